"""The events of accounts and their money, for `outbox.py`."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from accounts.models import Account, Transfer
from accounts.outbox import Event, write_events
from accounts.webhook_models import EventType


def account_opened(account: Account, now: datetime) -> None:
    """Tell the platform of a new account."""
    event = Event(account.pk, EventType.ACCOUNT_OPENED, f"account:{account.pk}", partial(_account, account.pk, now))
    write_events([event], now)


def standing_changed(news: Mapping[int, Iterable[tuple[str, datetime]]], now: datetime) -> None:
    """Tell what became of accounts: per account what is news, and the start of the arrears that it is about.

    They are shown as they are now; where the past is told late, the type says what it was.
    """
    events = (
        Event(
            account_id,
            EventType(f"account.{kind}"),
            f"account:{account_id}:{since.isoformat()}",
            partial(_account, account_id, now),
        )
        for account_id, told in news.items()
        for kind, since in told
    )
    write_events(events, now)


def account_closed(account: Account, now: datetime) -> None:
    """Tell the platform that an account is closed: usage from now on is refused."""
    data = partial(_account, account.pk, now)
    write_events([Event(account.pk, EventType.ACCOUNT_CLOSED, f"account:{account.pk}:{now.isoformat()}", data)], now)


def account_reopened(account: Account, now: datetime) -> None:
    """Tell the platform that a closed account is open again."""
    data = partial(_account, account.pk, now)
    write_events([Event(account.pk, EventType.ACCOUNT_REOPENED, f"account:{account.pk}:{now.isoformat()}", data)], now)


def balance_low(fallen: Mapping[int, str], now: datetime) -> None:
    """Tell of balances that a posting took below the customer's threshold: per account what the posting was for."""
    events = (
        Event(account_id, EventType.BALANCE_LOW, reference, partial(_account, account_id, now))
        for account_id, reference in fallen.items()
    )
    write_events(events, now)


def payment_received(transfer: Transfer, now: datetime) -> None:
    """Tell of a top-up."""
    data = partial(_transfer, transfer)
    write_events([Event(transfer.account_id, EventType.PAYMENT_RECEIVED, f"transfer:{transfer.pk}", data)], now)


# shapes show modes, whose writer needs the ledger, which imports this module


def _account(account_id: int, now: datetime) -> dict[str, Any]:
    from accounts.shapes import account_shape

    return account_shape(Account.objects.get(pk=account_id), now)


def _transfer(transfer: Transfer) -> dict[str, Any]:
    from accounts.shapes import transfer_shape

    return transfer_shape(transfer)
