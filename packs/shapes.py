"""What the API shows of the catalogue, orders and packs."""

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

from accounts.modes import mode_on
from accounts.shapes import fen, moment
from iss_billing.days import day_of
from packs.models import Item, Order, Pack, Sku
from packs.price_events import tariff_shape
from packs.tariff import sku_prices, tariff_on


def pack_shape(pack: Pack, *, today: date, mode: str, now: datetime) -> dict[str, Any]:
    """One pack; needs `sku`, `pack_type` and `order_line` loaded."""
    return {
        "pack_id": str(pack.pk),
        "sku": pack.sku.code,
        "pack_type": pack.pack_type.code,
        "order_id": str(pack.order_line.order_id),
        "total": pack.total,
        "remaining": pack.remaining,
        "status": pack.status_on(today, mode),
        "purchased_at": moment(pack.purchased_at),
        "effective_day": pack.effective_day.isoformat(),
        "valid_until": pack.valid_until.isoformat(),
        "price_paid": fen(pack.price),
        "refundable_until": moment(pack.refundable_until(now)),
    }


def pack_shapes(packs: Iterable[Pack], account_id: int, now: datetime) -> list[dict[str, Any]]:
    """Packs of one account."""
    today = day_of(now)
    mode = mode_on(account_id, today)
    return [pack_shape(pack, today=today, mode=mode, now=now) for pack in packs]


def order_shapes(orders: list[Order], account_id: int, now: datetime) -> list[dict[str, Any]]:
    """Orders of one account with their lines, and packs in drawing order."""
    packs = Pack.objects.filter(order_line__order__in=orders).select_related("sku", "pack_type", "order_line")
    by_order: dict[str, list[dict[str, Any]]] = {}
    for shape in pack_shapes(packs.order_by("id"), account_id, now):
        by_order.setdefault(shape["order_id"], []).append(shape)
    return [
        {
            "order_id": str(order.pk),
            "placed_at": moment(order.placed_at),
            "total": fen(order.total),
            "lines": [
                {
                    "sku": line.sku.code,
                    "quantity": line.quantity,
                    "price": fen(line.price),
                    "amount": fen(line.amount),
                }
                for line in order.lines.all()
            ],
            "packs": by_order.get(str(order.pk), []),
        }
        for order in orders
    ]


def catalogue_shape(now: datetime) -> dict[str, Any]:
    """`GET catalogue/`: what is on sale and the tariff in force."""
    prices = sku_prices(now)
    skus = Sku.objects.filter(pk__in=prices).select_related("pack_type").prefetch_related("pack_type__covers")
    items = {item.pk: item for item in Item.objects.all()}
    tariff = sorted(tariff_on(day_of(now)).items(), key=lambda entry: (items[entry[0][0]].position, entry[0][1]))
    return {
        "packs": [
            {
                "sku": sku.code,
                "name": sku.pack_type.name,
                "pack_type": sku.pack_type.code,
                "covers": [item.code for item in sku.pack_type.covers.all()],
                "quantity": sku.quantity,
                "unit": sku.pack_type.unit,
                "price": fen(prices[sku.pk]),
                "valid_until": sku.valid_until.isoformat(),
            }
            for sku in skus
        ],
        "tariff": [
            tariff_shape(items[item], region, price.price, price.per, price.effective_day)
            for (item, region), price in tariff
        ],
    }
