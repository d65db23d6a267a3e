"""Closing an account, paying its balance out, opening it again.

An account closes with nothing owed and nothing under way: no debt, no usage that no night has settled, no payment or
purchase that waits for money. From that moment on usage is refused (`events.py`); what occurred before is still taken
and billed, so that nothing is lost. Packs that can be returned are refunded first; the others end, given up: nothing
can come of them any more, so what is deferred of their prices is revenue from that moment on.
"""

from datetime import datetime
from typing import Any, NamedTuple

from django.db import OperationalError, connection, transaction
from django.db.models import Count, F, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
from psycopg.errors import LockNotAvailable

from accounts import notices
from accounts.account_events import account_closed, account_reopened
from accounts.auth import READS_FOR
from accounts.keys import keys_in_force, revoke_all
from accounts.ledger import ReferenceReused, lock_account, post
from accounts.models import Account, Kind, Notice, Payment, Transfer, User
from accounts.webhooks import endpoints_of, remove_all
from iss_billing.days import day_of
from packs.models import REFUND_WINDOW, Checkout, Pack, PackType
from packs.refunds import close_pack, give_up
from settlement.metering import pending_days

LOCK_PATIENCE = "3s"
"""How long closing waits for usage that is being stored at this moment."""
SET_PATIENCE = "SELECT set_config('lock_timeout', %s, true)"
DEBT, USAGE, PAYMENT, PURCHASE = "debt", "usage", "payment", "purchase"


class GivenUp(NamedTuple):
    """Packs of one type that closing does not refund: how many, what they have left, and what was paid for that."""

    pack_type: PackType
    packs: int
    remaining: int
    worth: int
    """Fen of their price that is neither drawn nor refunded."""


class Closing(NamedTuple):
    """What closing an account would do now, and what stands in its way; money in fen."""

    obstacles: dict[str, Any]
    """By code: the debt, the days with unsettled usage, the payment or the purchase that waits. None: it can close."""
    returned: int
    """Packs that are refunded at their full price."""
    refund: int
    given_up: list[GivenUp]
    payout: int
    """The balance after the refunds, which staff pay out."""
    keys: int
    endpoints: int

    @property
    def fingerprint(self) -> str:
        """The figures that a customer agrees to: closing with others asks again."""
        lost = [f"{one.pack_type.pk}:{one.packs}:{one.remaining}" for one in self.given_up]
        return "/".join([str(self.payout), str(self.returned), *lost])


class ClosingRefused(Exception):
    """Nothing was closed; `closing` tells why: obstacles, or none where the figures are not those agreed to."""

    def __init__(self, closing: Closing) -> None:
        super().__init__(", ".join(closing.obstacles) or "the figures have changed")
        self.closing = closing


class UsageArrives(Exception):
    """Usage of the account is being stored at this very moment."""


class PayoutRefused(Exception):
    """Nothing was paid out; `code` is not_closed, usage_waits or balance_changed."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def look(account: Account, now: datetime) -> Closing:
    """What closing the account would do at `now`."""
    found = {
        DEBT: -account.balance if account.balance < 0 else None,
        USAGE: pending_days(account.pk) or None,
        PAYMENT: account.payments.filter(state=Payment.State.WAITING).order_by("id").first(),
        PURCHASE: Checkout.objects.filter(account=account, state=Checkout.State.WAITING).first(),
    }
    returned = _returnable(account, now).aggregate(packs=Count("pk"), price=Sum("price"))
    refund = int(returned["price"] or 0)
    keys, endpoints = _connected(account, now)
    return Closing(
        obstacles={code: value for code, value in found.items() if value is not None},
        returned=returned["packs"],
        refund=refund,
        given_up=_given_up(account, now),
        payout=account.balance + refund,
        keys=keys,
        endpoints=endpoints,
    )


def _connected(account: Account, now: datetime) -> tuple[int, int]:
    """How many keys in force and webhook endpoints the account has, asked at once."""

    def many(rows: QuerySet[Any]) -> Coalesce:
        counted = rows.order_by().values("account").annotate(many=Count("pk")).values("many")
        return Coalesce(Subquery(counted), 0)

    keys, endpoints = keys_in_force(now).filter(account=account), endpoints_of(account)
    found: tuple[int, int] = Account.objects.values_list(many(keys), many(endpoints)).get(pk=account.pk)
    return found


HOLDS = Q(refunded_at=None, remaining__gt=0)
RETURNABLE = Q(refunded_at=None, remaining=F("total"))


def _returnable(account: Account, now: datetime) -> QuerySet[Pack]:
    """The packs that the customer could refund now (rules 4.7)."""
    return Pack.objects.filter(RETURNABLE, account=account, purchased_at__gte=now - REFUND_WINDOW)


def _given_up(account: Account, now: datetime) -> list[GivenUp]:
    kept = Pack.objects.filter(HOLDS, account=account, valid_until__gte=day_of(now))
    kept = kept.exclude(RETURNABLE & Q(purchased_at__gte=now - REFUND_WINDOW))
    sums = (
        kept.order_by()
        .values("pack_type")
        .annotate(packs=Count("pk"), left=Sum("remaining"), worth=Sum(F("price") - F("recognised") - F("refunded")))
    )
    rows = {row["pack_type"]: row for row in sums}
    types = PackType.objects.filter(pk__in=rows).order_by("pk") if rows else []
    return [
        GivenUp(kind, rows[kind.pk]["packs"], int(rows[kind.pk]["left"]), int(rows[kind.pk]["worth"])) for kind in types
    ]


def close_account(*, account_id: int, now: datetime, agreed: str) -> Account:
    """Close the account from `now` on, once; `agreed` is the fingerprint of what was shown.

    Refunds what can be returned, ends the other packs, revokes keys and endpoints, tells customer and platform. Raises
    AccountUnknown, ClosingRefused, UsageArrives.
    """
    with transaction.atomic():
        account = _lock_with_usage(account_id)
        if account.closed_at is not None:
            return account
        closing = look(account, now)
        if closing.obstacles or closing.fingerprint != agreed:
            raise ClosingRefused(closing)
        for pack in _returnable(account, now).order_by("id"):
            close_pack(account, pack, amount=pack.price, now=now)
        for pack in Pack.objects.filter(HOLDS, account=account).order_by("id"):
            give_up(account, pack, now)
        account.closed_at = now
        account.save(update_fields=["closed_at"])
        revoke_all(account.pk, now)
        remove_all(account.pk, now)
        account_closed(account, now)
        data = {
            "payout": account.balance,
            "given_up": sum(one.packs for one in closing.given_up),
            "reads_until": (now + READS_FOR).isoformat(),
        }
        notices.write([(account.pk, Notice.Type.CLOSED, f"account:{now.isoformat()}", data)], now)
        return account


def _lock_with_usage(account_id: int) -> Account:
    """The account, locked against ingests too: one that has stored usage is waited for, and then seen.

    One that is judged and not yet stored comes after the closing: what it brings is billed as late usage.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('lock_timeout')")
        [before] = cursor.fetchone()
        try:
            with transaction.atomic():
                cursor.execute(SET_PATIENCE, [LOCK_PATIENCE])
                account = lock_account(account_id, and_usage=True)
        except OperationalError as error:
            if isinstance(error.__cause__, LockNotAvailable):
                raise UsageArrives("usage of the account is being stored at this moment") from error
            raise
        cursor.execute(SET_PATIENCE, [before])
        return account


def pay_out(
    *, account_id: int, amount: int, reference: str, reason: str, now: datetime, made_by: User | None = None
) -> Transfer:
    """Record that the whole balance of a closed account, `amount` fen, was paid out to its customer.

    The same reference again is the same payout. Raises AccountUnknown, ReferenceReused, PayoutRefused, ValueError
    without a reason.
    """
    if not reason.strip():
        raise ValueError("a payout needs a reason")
    with transaction.atomic():
        account = lock_account(account_id)
        known = Transfer.objects.filter(kind=Kind.WITHDRAWAL, reference=reference).first()
        if known is not None:
            if (known.account_id, known.amount) != (account_id, amount):
                raise ReferenceReused(f"reference {reference} was used before, for another account or another amount")
            return known
        if account.closed_at is None:
            raise PayoutRefused("not_closed", "the account is not closed")
        if pending_days(account_id):
            raise PayoutRefused("usage_waits", "usage of the account waits to be settled")
        if amount != account.balance or amount <= 0:
            raise PayoutRefused("balance_changed", "the balance is not what was shown")
        transfer = post(
            account,
            kind=Kind.WITHDRAWAL,
            amount=amount,
            reference=reference,
            now=now,
            reason=reason.strip(),
            made_by=made_by,
        )
        data = {"amount": amount, "reference": reference}
        notices.write([(account.pk, Notice.Type.PAID_OUT, f"transfer:{transfer.pk}", data)], now)
        return transfer


def reopen_account(*, account_id: int, now: datetime) -> bool:
    """Open a closed account again; its keys and endpoints stay revoked, its packs ended. False where it is open.

    Raises AccountUnknown.
    """
    with transaction.atomic():
        account = lock_account(account_id)
        if account.closed_at is None:
            return False
        account.closed_at, account.reopened_at = None, now
        account.save(update_fields=["closed_at", "reopened_at"])
        account_reopened(account, now)
        notices.write([(account.pk, Notice.Type.REOPENED, f"account:{now.isoformat()}", {})], now)
        return True
