"""What the API shows of accounts and money."""

from datetime import datetime
from typing import Any

from django.utils import timezone

from accounts import standing
from accounts.models import Account, Transfer
from accounts.modes import mode_on, pending_mode
from iss_billing.days import day_of
from iss_billing.fields import CURRENCY, fen_money, micro_money


def fen(value: int) -> dict[str, str]:
    """Whole fen as the API shows what moves on the ledger: two decimals."""
    return {"amount": str(fen_money(value).amount), "currency": CURRENCY}


def micro(value: int) -> dict[str, str]:
    """Micro-yuan as the API shows what is rated: six decimals."""
    return {"amount": str(micro_money(value).amount), "currency": CURRENCY}


def moment(value: datetime | None) -> str | None:
    """A time in ISO 8601 with its offset in Asia/Shanghai."""
    return timezone.localtime(value).isoformat() if value else None


def account_shape(account: Account, now: datetime) -> dict[str, Any]:
    """`GET account/`; of a closed account with `closed_at`."""
    today = day_of(now)
    pending = pending_mode(account.pk, today)
    return {
        "account_id": str(account.pk),
        "name": account.name,
        "opened_at": moment(account.opened_at),
        "balance": fen(account.balance),
        "carry": micro(account.carry),
        "status": account.standing_at(now),
        "arrears_since": moment(account.arrears_since),
        "suspends_at": moment(standing.suspends_at(account.arrears_since)),
        "reclaims_at": moment(standing.reclaims_at(account.arrears_since)),
        "billing_mode": mode_on(account.pk, today),
        "pending_billing_mode": pending and {"mode": pending.mode, "effective_day": pending.effective_day.isoformat()},
    } | ({"closed_at": moment(account.closed_at)} if account.closed_at else {})


def transfer_shape(transfer: Transfer) -> dict[str, Any]:
    """A row of `GET ledger/`."""
    return {
        "transfer_id": str(transfer.pk),
        "time": moment(transfer.time),
        "kind": transfer.kind,
        "amount": fen(transfer.signed_amount),
        "balance_after": fen(transfer.balance_after or 0),
        "reference": transfer.reference,
    }
