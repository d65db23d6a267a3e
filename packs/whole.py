"""The whole catalogue in one statement, for pages that show much else: items, pack types, SKUs on sale, prices."""

from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from django.db import connection

from iss_billing.days import day_of
from packs.models import Item, PackType, Sku
from packs.tariff import Price

LOOK_BACK = timedelta(days=31)
"""How long ago a day may be that is still rated as usual: late usage, and the day of a night that has not come."""

WHOLE = """
SELECT
    (SELECT json_agg(item ORDER BY item.position) FROM packs_item AS item),
    (SELECT json_agg(kind ORDER BY kind.position) FROM (
        SELECT kind.*, ARRAY(
            SELECT cover.item_id FROM packs_packtype_covers AS cover JOIN packs_item AS item ON item.id = cover.item_id
            WHERE cover.packtype_id = kind.id ORDER BY item.position
        ) AS items
        FROM packs_packtype AS kind
    ) AS kind),
    (SELECT json_agg(sku ORDER BY sku.position) FROM (
        SELECT sku.id, sku.code, sku.pack_type_id, sku.quantity, sku.position, price.price
        FROM packs_sku AS sku CROSS JOIN LATERAL (
            SELECT price, withdraws FROM packs_skuprice
            WHERE sku_id = sku.id AND effective_at <= %(now)s AND cancelled_at IS NULL
            ORDER BY effective_at DESC, id DESC LIMIT 1
        ) AS price WHERE NOT price.withdraws
    ) AS sku),
    (SELECT json_agg(json_build_array(item_id, region, price, per, effective_day, withdraws) ORDER BY effective_day, id)
    FROM packs_tariffprice
    WHERE cancelled_at IS NULL AND (effective_day BETWEEN %(first)s AND %(today)s OR id IN (
        SELECT DISTINCT ON (item_id, region) id FROM packs_tariffprice
        WHERE effective_day < %(first)s AND cancelled_at IS NULL
        ORDER BY item_id, region, effective_day DESC, id DESC
    )))
"""


class Whole(NamedTuple):
    """The catalogue as it is, and the tariff as it was on the days since `first`."""

    first: date
    today: date
    items: dict[int, Item]
    types: dict[int, PackType]
    """In catalogue order; what they cover is loaded."""
    skus: dict[int, list[Sku]]
    """On sale, by pack type id."""
    prices: dict[int, int]
    """Fen by SKU id."""
    changes: list[tuple[date, tuple[int, str], Price | None]]
    """Tariff prices in the order in which they came into force, None where the sale ended; of several for one day the
    last counts.
    """

    def tariff(self, day: date) -> dict[tuple[int, str], Price]:
        """The tariff of a day from `first` to `today`, by (item id, region)."""
        latest = {key: price for since, key, price in self.changes if since <= day}
        return {key: price for key, price in latest.items() if price is not None}


def whole_catalogue(now: datetime) -> Whole:
    """The catalogue at `now`."""
    today = day_of(now)
    first = today - LOOK_BACK
    with connection.cursor() as cursor:
        cursor.execute(WHOLE, {"now": now, "today": today, "first": first})
        item_rows, type_rows, sku_rows, tariff_rows = (rows or [] for rows in cursor.fetchone())
    items = {row["id"]: Item(**row) for row in item_rows}
    types = {row["id"]: _pack_type(row, items) for row in type_rows}
    skus: dict[int, list[Sku]] = {}
    prices: dict[int, int] = {}
    for row in sku_rows:
        prices[row["id"]] = row.pop("price")
        skus.setdefault(row["pack_type_id"], []).append(Sku(**row, pack_type=types[row["pack_type_id"]]))
    changes = [
        (day := date.fromisoformat(since), (item, region), None if withdraws else Price(price, per, day))
        for item, region, price, per, since, withdraws in tariff_rows
    ]
    return Whole(first, today, items, types, skus, prices, changes)


def _pack_type(row: dict[str, Any], items: dict[int, Item]) -> PackType:
    covered = [items[item] for item in row.pop("items")]
    kind = PackType(**row)
    rows = kind.covers.get_queryset()
    rows._result_cache = covered  # as prefetch_related leaves it
    rows._prefetch_done = True  # type: ignore[attr-defined]
    kind._prefetched_objects_cache = {"covers": rows}  # type: ignore[attr-defined]
    return kind
