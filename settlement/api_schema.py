"""Settlement's part of the API's schema."""

from typing import Annotated, Any, Literal

import msgspec
from drf_spectacular.utils import OpenApiParameter
from msgspec import Meta, Struct

from accounts.api_schema import yuan
from iss_billing.openapi import (
    DAYS,
    LIST,
    PAGES,
    Day,
    ExactMoney,
    Id,
    Mode,
    Moment,
    Money,
    Quantity,
    StandingName,
    operation,
    page_example,
    page_of,
    parameter,
    path_id,
    ref,
)
from packs.api_schema import Unit

BATCH_TYPE = "application/cloudevents-batch+json"


class BillHead(Struct):
    """A bill without its lines."""

    bill_id: Id
    day: Day
    sequence: Annotated[int, Meta(ge=1)]
    rated_total: ExactMoney
    carry_in: ExactMoney
    amount_due: Money
    carry_out: ExactMoney
    settled_at: Moment


class LineDrawdown(Struct):
    """What a line drew from a pack."""

    pack_id: Id
    quantity: Quantity


class BillLineShape(Struct):
    """One item and region: quantity = drawn + charged, amount = charged × price ÷ per."""

    item: str
    region: str
    quantity: Quantity
    drawn: Quantity
    charged: Quantity
    price: ExactMoney
    per: Quantity
    amount: ExactMoney
    drawdowns: list[LineDrawdown]


class BillShape(BillHead):
    """A bill, its lines in the order rated."""

    lines: list[BillLineShape]


class EstimatedBillShape(Struct):
    """A bill as the next run would write it."""

    day: Day
    sequence: Annotated[int, Meta(ge=1)]
    rated_total: ExactMoney
    carry_in: ExactMoney
    amount_due: Money
    carry_out: ExactMoney
    lines: list[BillLineShape]


class EstimateShape(Struct):
    """What would be due if today ended now."""

    as_of: Moment
    pending_days: list[EstimatedBillShape]
    today: EstimatedBillShape | None
    balance_after: Money


class DrawdownShape(Struct):
    """What a bill drew from the pack."""

    day: Day
    bill_id: Id
    item: str
    region: str
    quantity: Quantity
    remaining_after: Quantity


class UsageShape(Struct):
    """A part of a day's quantity, in base units."""

    day: Day
    item: str
    region: str
    quantity: Annotated[int, Meta(ge=1)]
    unit: Unit
    state: Literal["settled", "pending", "not_billable"]


class UsageData(Struct):
    """What was used; `resource` is required where resources are counted, `quantity` elsewhere."""

    item: str
    quantity: Annotated[int, Meta(ge=0, le=10**15)] | msgspec.UnsetType = msgspec.UNSET
    region: Annotated[str, Meta(max_length=255)] = "cn-mainland"
    resource: Annotated[str, Meta(max_length=255)] = ""


class UsageEventShape(Struct):
    """A CloudEvent 1.0. `source` and `id` identify it within its day; `subject` is the account."""

    specversion: Literal["1.0"]
    type: Literal["iss.usage"]
    id: Annotated[str, Meta(min_length=1, max_length=255)]
    source: Annotated[str, Meta(min_length=1, max_length=255)]
    subject: str
    time: Moment
    data: UsageData


class RejectedEvent(Struct):
    """An event that was refused; the rest of its batch is kept."""

    index: Annotated[int, Meta(ge=0)]
    id: str | None
    code: Literal[
        "invalid_event",
        "unknown_account",
        "unknown_item",
        "invalid_quantity",
        "missing_resource",
        "in_future",
        "too_old",
        "before_account",
        "unknown_region",
    ]
    detail: str


class IngestedShape(Struct):
    """What became of a batch: what is called accepted is durable."""

    accepted: Quantity
    duplicates: Quantity
    rejected: list[RejectedEvent]


class EntitledItem(Struct):
    """What packs have left for an item as of the last settlement, in base units: to draw from now, and frozen."""

    item: str
    pack_remaining: Quantity
    pack_frozen: Quantity


class EntitlementShape(Struct):
    """Whether the service may serve an account on `as_of_day`, and if not, why."""

    account_id: Id
    allowed: bool
    reason: Literal["suspended", "reclaimed", "closed"] | None
    status: StandingName
    suspends_at: Moment | None
    amount_to_clear: Money
    balance: Money
    billing_mode: Mode
    items: list[EntitledItem]
    as_of_day: Day


LINE = {
    "item": "ai.pet",
    "region": "cn-mainland",
    "quantity": 100100,
    "drawn": 100000,
    "charged": 100,
    "price": yuan("2.500000"),
    "per": 1000,
    "amount": yuan("0.250000"),
    "drawdowns": [{"pack_id": "7731", "quantity": 100000}],
}
SUMS = {
    "day": "2026-03-05",
    "sequence": 1,
    "rated_total": yuan("0.250000"),
    "carry_in": yuan("0.001500"),
    "amount_due": yuan("0.25"),
    "carry_out": yuan("0.001500"),
}
HEAD: dict[str, Any] = {"bill_id": "5518"} | SUMS | {"settled_at": "2026-03-06T02:00:03+08:00"}
ESTIMATE = {
    "as_of": "2026-03-06T01:20:00+08:00",
    "pending_days": [SUMS | {"lines": [LINE]}],
    "today": None,
    "balance_after": yuan("99749.75"),
}
DRAWDOWN = {
    "day": "2026-03-05",
    "bill_id": "5518",
    "item": "ai.pet",
    "region": "cn-mainland",
    "quantity": 100000,
    "remaining_after": 0,
}
USAGE = {
    "day": "2026-03-05",
    "item": "ai.pet",
    "region": "cn-mainland",
    "quantity": 100100,
    "unit": "call",
    "state": "settled",
}
EVENT = {
    "specversion": "1.0",
    "type": "iss.usage",
    "id": "8f1c",
    "source": "/edge/gz-3",
    "subject": "1042",
    "time": "2026-03-05T10:00:00+08:00",
    "data": {"item": "ai.pet", "quantity": 12, "region": "cn-mainland", "resource": "camera-7"},
}
INGESTED = {
    "accepted": 2,
    "duplicates": 1,
    "rejected": [{"index": 3, "id": "8f20", "code": "unknown_item", "detail": "there is no item “ai.cat”"}],
}
ENTITLEMENT = {
    "account_id": "1042",
    "allowed": True,
    "reason": None,
    "status": "arrears",
    "suspends_at": "2026-03-07T02:00:03+08:00",
    "amount_to_clear": yuan("2.00"),
    "balance": yuan("-2.00"),
    "billing_mode": "bandwidth",
    "items": [{"item": "ai.pet", "pack_remaining": 99600, "pack_frozen": 0}],
    "as_of_day": "2026-03-06",
}

GET_BILLS = operation(
    "bills",
    tag="Bills",
    summary="Bills, newest day first",
    parameters=[*DAYS, *PAGES],
    answers={200: (page_of(BillHead), page_example(HEAD))},
    problems=LIST,
)
GET_BILL = operation(
    "bill",
    tag="Bills",
    summary="One bill with its lines and drawdowns",
    parameters=[path_id()],
    answers={200: (ref(BillShape), HEAD | {"lines": [LINE]})},
    problems=["not_found"],
)
GET_ESTIMATE = operation(
    "estimate",
    tag="Bills",
    summary="What would be due if today ended now",
    answers={200: (ref(EstimateShape), ESTIMATE)},
)
GET_DRAWDOWNS = operation(
    "pack_drawdowns",
    tag="Packs",
    summary="What was drawn from one pack, oldest first",
    parameters=[path_id(), *PAGES],
    answers={200: (page_of(DrawdownShape), page_example(DRAWDOWN))},
    problems=[*LIST, "not_found"],
)
ITEM = parameter("item", "Only this item, as the catalogue names it.", {"type": "string"})
GET_USAGE = operation(
    "usage",
    tag="Usage",
    summary="Usage per day, item and region, newest day first",
    parameters=[*DAYS, ITEM, *PAGES],
    answers={200: (page_of(UsageShape), page_example(USAGE))},
    problems=LIST,
)
POST_USAGE = operation(
    "report_usage",
    platform=True,
    tag="Usage",
    summary="Report usage as CloudEvents, up to 10,000 in a batch",
    parameters=[
        parameter(
            f"ce-{name}",
            "Binary mode (`application/json`): the attribute, percent-encoded.",
            {"type": "string"},
            location=OpenApiParameter.HEADER,
        )
        for name in ("specversion", "type", "id", "source", "subject", "time")
    ],
    request={
        BATCH_TYPE: ({"type": "array", "items": ref(UsageEventShape), "minItems": 1}, [EVENT]),
        "application/cloudevents+json": (ref(UsageEventShape), EVENT),
        "application/json": (ref(UsageData), EVENT["data"]),
    },
    answers={200: (ref(IngestedShape), INGESTED)},
    problems=("invalid", "too_large", "unsupported_media_type"),
)
GET_ENTITLEMENT = operation(
    "entitlement",
    platform=True,
    tag="Entitlements",
    summary="Whether one account may be served",
    parameters=[
        path_id("account_id"),
        parameter(
            "item", "What its packs have left for this item; all that packs cover without it.", {"type": "string"}
        ),
        parameter("region", "Where the item is used; `cn-mainland` without it.", {"type": "string"}),
    ],
    answers={200: (ref(EntitlementShape), ENTITLEMENT)},
    problems=("invalid", "not_found"),
)
GET_ENTITLEMENTS = operation(
    "entitlements",
    platform=True,
    tag="Entitlements",
    summary="Whether accounts may be served, to catch up after an outage",
    parameters=[
        parameter(
            "status",
            "Only accounts of this standing.",
            {"type": "string", "enum": ["active", "arrears", "suspended", "reclaimed"]},
        ),
        parameter(
            "changed_since",
            "Only accounts that were opened, or whose standing or billing mode changed, at or after this time.",
            {"type": "string", "format": "date-time"},
        ),
        *PAGES,
    ],
    answers={200: (page_of(EntitlementShape), page_example(ENTITLEMENT))},
    problems=LIST,
)
