"""The accounts' part of the API's schema."""

from typing import Literal

import msgspec
from msgspec import Struct

from iss_billing.openapi import (
    LIST,
    PAGES,
    WRITE,
    Day,
    ExactMoney,
    Id,
    Mode,
    Moment,
    Money,
    StandingName,
    operation,
    page_example,
    page_of,
    ref,
)

TAG = "Account"


class PendingMode(Struct):
    """A switch that takes effect at the next 00:00."""

    mode: Mode
    effective_day: Day


class AccountShape(Struct):
    """An account: balance, standing and billing mode."""

    account_id: Id
    name: str
    opened_at: Moment
    balance: Money
    carry: ExactMoney
    status: StandingName
    arrears_since: Moment | None
    suspends_at: Moment | None
    reclaims_at: Moment | None
    billing_mode: Mode
    pending_billing_mode: PendingMode | None
    closed_at: Moment | msgspec.UnsetType = msgspec.UNSET


class BillingModeRequest(Struct):
    """The mode from the next 00:00 on."""

    mode: Mode


class TransferShape(Struct):
    """A movement of the balance; the amount is signed as it moves it."""

    transfer_id: Id
    time: Moment
    kind: Literal["top_up", "purchase", "usage", "refund", "adjustment", "withdrawal"]
    amount: Money
    balance_after: Money
    reference: str


def yuan(amount: str) -> dict[str, str]:
    """An amount in an example."""
    return {"amount": amount, "currency": "CNY"}


ACCOUNT = {
    "account_id": "1042",
    "name": "Harbour Logistics",
    "opened_at": "2026-03-01T09:12:44+08:00",
    "balance": yuan("-2.00"),
    "carry": yuan("0.003000"),
    "status": "arrears",
    "arrears_since": "2026-03-06T02:00:03+08:00",
    "suspends_at": "2026-03-07T02:00:03+08:00",
    "reclaims_at": "2026-03-14T02:00:03+08:00",
    "billing_mode": "bandwidth",
    "pending_billing_mode": {"mode": "traffic", "effective_day": "2026-03-07"},
}
TRANSFER = {
    "transfer_id": "90313",
    "time": "2026-03-06T02:00:03+08:00",
    "kind": "usage",
    "amount": yuan("-12.00"),
    "balance_after": yuan("-2.00"),
    "reference": "bill:5518",
}

GET_ACCOUNT = operation(
    "account", tag=TAG, summary="Balance, standing and billing mode", answers={200: (ref(AccountShape), ACCOUNT)}
)
PUT_MODE = operation(
    "switch_billing_mode",
    tag=TAG,
    summary="Switch the billing mode from the next 00:00 on, or take a pending switch back",
    request={"application/json": (ref(BillingModeRequest), {"mode": "traffic"})},
    answers={200: (ref(AccountShape), ACCOUNT)},
    problems=(*WRITE, "account_in_arrears"),
)
GET_LEDGER = operation(
    "ledger",
    tag=TAG,
    summary="Everything that moved the balance, newest first",
    parameters=PAGES,
    answers={200: (page_of(TransferShape), page_example(TRANSFER))},
    problems=LIST,
)
