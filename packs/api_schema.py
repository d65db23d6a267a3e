"""The packs' part of the API's schema."""

from typing import Annotated, Literal

import msgspec
from drf_spectacular.utils import OpenApiParameter
from msgspec import Meta, Struct

from accounts.api_schema import yuan
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
    Quantity,
    extra_member,
    operation,
    page_example,
    page_of,
    parameter,
    path_id,
    ref,
)

Status = Literal["refunded", "exhausted", "expired", "frozen", "active"]
Unit = Literal["call", "byte", "bit/s", "channel", "second"]


class PackShape(Struct):
    """A pack: what it held, and what remains of it, in base units."""

    pack_id: Id
    sku: str
    pack_type: str
    order_id: Id
    total: Quantity
    remaining: Quantity
    status: Status
    purchased_at: Moment
    effective_day: Day
    valid_until: Day
    price_paid: Money
    refundable_until: Moment | None


class OrderLineShape(Struct):
    """So many packs of one SKU, each at `price`."""

    sku: str
    quantity: Quantity
    price: Money
    amount: Money


class OrderShape(Struct):
    """An order, paid from the balance; packs in drawing order."""

    order_id: Id
    placed_at: Moment
    total: Money
    lines: list[OrderLineShape]
    packs: list[PackShape]


class OrderRequestLine(Struct):
    """So many packs of a SKU; refused where one does not cost `expected_price` any more."""

    sku: Annotated[str, Meta(pattern="^[!-~]+$", max_length=60)]
    quantity: Annotated[int, Meta(ge=1, le=1000)]
    expected_price: Annotated[str, Meta(pattern=r"^[0-9]{1,9}(\.[0-9]{1,2})?$")] | msgspec.UnsetType = msgspec.UNSET


class OrderRequest(Struct):
    """What to buy; a SKU may repeat."""

    lines: Annotated[list[OrderRequestLine], Meta(min_length=1, max_length=50)]


class CataloguePack(Struct):
    """A pack on sale."""

    sku: str
    name: str
    pack_type: str
    covers: list[str]
    quantity: Quantity
    unit: Unit
    price: Money
    valid_until: Day


class CatalogueTariff(Struct):
    """What usage costs without a pack: `price` for `per` base units."""

    item: str
    name: str
    region: str
    price: ExactMoney
    per: Quantity
    unit: Unit
    aggregation: Literal["sum", "peak", "mean", "distinct"]
    requires_billing_mode: Mode | None
    effective_from: Day


class CatalogueShape(Struct):
    """What is sold and what it costs otherwise, now."""

    packs: list[CataloguePack]
    tariff: list[CatalogueTariff]


class SkuPriceNow(Struct):
    """What one pack of a SKU costs now."""

    sku: str
    price: Money


PACK = {
    "pack_id": "7731",
    "sku": "pet-100k",
    "pack_type": "pet",
    "order_id": "310",
    "total": 100000,
    "remaining": 99600,
    "status": "active",
    "purchased_at": "2026-03-01T10:00:00+08:00",
    "effective_day": "2026-03-01",
    "valid_until": "2099-12-31",
    "price_paid": yuan("250.00"),
    "refundable_until": None,
}
ORDER = {
    "order_id": "310",
    "placed_at": "2026-03-01T10:00:00+08:00",
    "total": yuan("250.00"),
    "lines": [{"sku": "pet-100k", "quantity": 1, "price": yuan("250.00"), "amount": yuan("250.00")}],
    "packs": [PACK],
}
ORDER_REQUEST = {"lines": [{"sku": "pet-100k", "quantity": 1, "expected_price": "250.00"}]}
CATALOGUE = {
    "packs": [
        {
            "sku": "pet-100k",
            "name": "宠物识别资源包",
            "pack_type": "pet",
            "covers": ["ai.pet"],
            "quantity": 100000,
            "unit": "call",
            "price": yuan("250.00"),
            "valid_until": "2099-12-31",
        }
    ],
    "tariff": [
        {
            "item": "bandwidth.down",
            "name": "下行日峰值带宽",
            "region": "cn-mainland",
            "price": yuan("0.700000"),
            "per": 1000000,
            "unit": "bit/s",
            "aggregation": "peak",
            "requires_billing_mode": "bandwidth",
            "effective_from": "2020-01-01",
        }
    ],
}

extra_member(
    "price_changed",
    "prices",
    {"type": "array", "items": ref(SkuPriceNow)},
    [{"sku": "pet-100k", "price": yuan("240.00")}],
)
extra_member("insufficient_balance", "missing", ref(Money), yuan("37.50"))
for _code in ("already_refunded", "pack_used", "refund_window_over"):
    extra_member(_code, "pack", ref(PackShape), PACK)

GET_CATALOGUE = operation(
    "catalogue",
    tag="Catalogue",
    summary="What is on sale and the tariff in force; for anyone",
    parameters=[
        parameter(
            "Accept-Language",
            "The language of names: `zh-hans` (default) or `en`.",
            {"type": "string"},
            location=OpenApiParameter.HEADER,
        )
    ],
    answers={200: (ref(CatalogueShape), CATALOGUE)},
    public=True,
)
GET_ORDERS = operation(
    "orders",
    tag="Orders",
    summary="Orders, newest first",
    parameters=PAGES,
    answers={200: (page_of(OrderShape), page_example(ORDER))},
    problems=LIST,
)
POST_ORDER = operation(
    "place_order",
    tag="Orders",
    summary="Buy packs from the balance",
    parameters=[
        parameter(
            "Idempotency-Key",
            "Your name for this order: sent again with the same body, it is answered with the same order.",
            {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
            location=OpenApiParameter.HEADER,
            required=True,
        )
    ],
    request={"application/json": (ref(OrderRequest), ORDER_REQUEST)},
    answers={201: (ref(OrderShape), ORDER), 200: (ref(OrderShape), ORDER)},
    problems=(
        "idempotency_key_required",
        *WRITE,
        "idempotency_key_reused",
        "unknown_sku",
        "account_in_arrears",
        "price_changed",
        "insufficient_balance",
    ),
)
GET_ORDER = operation(
    "order",
    tag="Orders",
    summary="One order",
    parameters=[path_id()],
    answers={200: (ref(OrderShape), ORDER)},
    problems=["not_found"],
)
GET_PACKS = operation(
    "packs",
    tag="Packs",
    summary="Packs of every status, in drawing order",
    parameters=[
        parameter("status", "Only packs of this status.", {"type": "string", "enum": list(Status.__args__)}),  # type: ignore[attr-defined]
        parameter("pack_type", "Only packs of this type, as the catalogue names it.", {"type": "string"}),
        *PAGES,
    ],
    answers={200: (page_of(PackShape), page_example(PACK))},
    problems=LIST,
)
GET_PACK = operation(
    "pack",
    tag="Packs",
    summary="One pack",
    parameters=[path_id()],
    answers={200: (ref(PackShape), PACK)},
    problems=["not_found"],
)
POST_REFUND = operation(
    "refund_pack",
    tag="Packs",
    summary="Give an unused pack back within 5 × 24 h, for its full price",
    parameters=[path_id()],
    answers={200: (ref(PackShape), PACK | {"remaining": 0, "status": "refunded"})},
    problems=("not_found", "csrf_failed", "already_refunded", "pack_used", "refund_window_over"),
)
