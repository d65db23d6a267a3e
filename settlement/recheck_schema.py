"""The shapes of a recheck file, as the API's schema tells of them."""

from typing import Any, Literal

from msgspec import Struct

from accounts.api_schema import yuan
from iss_billing.openapi import Day, ExactMoney, Id, Mode, Moment, Money, Quantity, operation, path_id, ref
from packs.api_schema import Unit
from settlement.api_schema import HEAD, LINE, BillHead


class RecheckItem(Struct):
    """An item used that day, and how its quantity comes about; lines are rated by `position`."""

    item: str
    position: int
    unit: Unit
    aggregation: Literal["sum", "peak", "mean", "distinct"]
    requires_billing_mode: Mode | None


class RecheckPrice(Struct):
    """A price up to the day, in the order of being made: the last of an item and region is in force."""

    item: str
    region: str
    price: ExactMoney
    per: Quantity
    effective_from: Day


class RecheckPackType(Struct):
    """What packs of a type cover."""

    pack_type: str
    region: str
    covers: list[str]


class RecheckPack(Struct):
    """A pack in force that day with units left, in drawing order."""

    pack_id: Id
    pack_type: str
    total: Quantity
    purchased_at: Moment
    effective_day: Day
    valid_until: Day


class RecheckWaiting(Struct):
    """Reported since the latest bill, to be billed by the next run."""

    item: str
    region: str
    quantity: Quantity


class RecheckDrawdown(Struct):
    """What a line drew from a pack."""

    pack_id: Id
    quantity: Quantity
    remaining_after: Quantity


class RecheckLine(Struct):
    """A line of a bill, as the bill has it."""

    item: str
    region: str
    quantity: Quantity
    drawn: Quantity
    charged: Quantity
    price: ExactMoney
    per: Quantity
    amount: ExactMoney
    drawdowns: list[RecheckDrawdown]


class RecheckHeld(Struct):
    """A pack as a bill came upon it and left it."""

    pack_id: Id
    drawn_before: Quantity
    remaining_before: Quantity
    remaining_after: Quantity


class RecheckTransfer(Struct):
    """The bill's transfer on the ledger."""

    transfer_id: Id
    amount: Money
    balance_after: Money


class RecheckBill(BillHead):
    """A bill of the day, with the bill before it, the packs it could draw from, and the balance."""

    billing_mode: Mode
    lines: list[RecheckLine]
    previous: BillHead | None
    packs: list[RecheckHeld]
    balance_before: Money
    balance_after: Money
    transfer: RecheckTransfer | None


class RecheckFile(Struct):
    """A bill's day with all that its bills were made from. `static/recheck/recheck.py` recomputes it offline."""

    format: Literal["iss-billing-recheck-1"]
    how: str
    language: Literal["zh-hans", "en"]
    made_at: Moment
    account_id: Id
    bill_id: Id
    day: Day
    billing_mode: Mode
    items: list[RecheckItem]
    tariff: list[RecheckPrice]
    pack_types: list[RecheckPackType]
    packs: list[RecheckPack]
    waiting: list[RecheckWaiting]
    bills: list[RecheckBill]
    usage: dict[str, Any]
    digests: dict[str, str]


_DRAWN = {"pack_id": "7731", "quantity": 100000, "remaining_after": 0}
EXAMPLE: dict[str, Any] = {
    "format": "iss-billing-recheck-1",
    "how": "Download https://billing.example.com/static/recheck/recheck.py and run it beside this file: "
    "python3 recheck.py FILE",
    "language": "zh-hans",
    "made_at": "2026-03-06T10:00:00+08:00",
    "account_id": "1042",
    "bill_id": "5518",
    "day": "2026-03-05",
    "billing_mode": "bandwidth",
    "items": [
        {"item": "ai.pet", "position": 5, "unit": "call", "aggregation": "sum", "requires_billing_mode": None},
    ],
    "tariff": [
        {
            "item": "ai.pet",
            "region": "cn-mainland",
            "price": yuan("2.500000"),
            "per": 1000,
            "effective_from": "2020-01-01",
        }
    ],
    "pack_types": [{"pack_type": "pet", "region": "cn-mainland", "covers": ["ai.pet"]}],
    "packs": [
        {
            "pack_id": "7731",
            "pack_type": "pet",
            "total": 100000,
            "purchased_at": "2026-03-01T10:00:00+08:00",
            "effective_day": "2026-03-01",
            "valid_until": "2099-12-31",
        }
    ],
    "waiting": [],
    "bills": [
        HEAD
        | {
            "billing_mode": "bandwidth",
            "lines": [LINE | {"drawdowns": [_DRAWN]}],
            "previous": HEAD | {"bill_id": "5310", "day": "2026-03-04", "settled_at": "2026-03-05T02:00:03+08:00"},
            "packs": [{"pack_id": "7731", "drawn_before": 0, "remaining_before": 100000, "remaining_after": 0}],
            "balance_before": yuan("99750.00"),
            "balance_after": yuan("99749.75"),
            "transfer": {"transfer_id": "90114", "amount": yuan("-0.25"), "balance_after": yuan("99749.75")},
        }
    ],
    "usage": {
        "columns": ["source", "id", "item", "region", "resource", "quantity", "time", "received"],
        "events": [
            [
                "/edge/gz-3",
                "8f1c",
                "ai.pet",
                "cn-mainland",
                "camera-7",
                100100,
                "2026-03-05T10:00:00+08:00",
                "2026-03-05T10:00:02+08:00",
            ]
        ],
        "from": "events",
    },
    "digests": {"usage": "9f2c6f2b0b6f9f0c9d5b3e2e4f5d7a1c0e8b7a6d5c4b3a291817161514131211"},
}

GET_RECHECK = operation(
    "bill_recheck",
    tag="Bills",
    summary="A bill with its usage, packs and prices, to recompute offline",
    parameters=[path_id()],
    answers={200: (ref(RecheckFile), EXAMPLE)},
    problems=["not_found"],
)
