"""What is on sale, beside what pay-as-you-go would cost: the catalogue page's table (computed, never listed)."""

from collections import defaultdict
from datetime import datetime
from fractions import Fraction
from typing import NamedTuple

from iss_billing.days import day_of
from iss_billing.money import MICRO_PER_FEN, round_half_up
from packs.models import PackType, Sku
from packs.tariff import Price, sku_prices, tariff_on
from packs.whole import Whole


class Comparison(NamedTuple):
    """A pack's price beside pay-as-you-go: its own price per unit, and what it saves in whole percent.

    `unit_price` is in micro-yuan for `per` base units. `saves` is rounded down, 0 where it costs the same or saves
    less than 1%; `dearer` where it costs more.
    """

    unit_price: int
    per: int
    saves: int
    dearer: bool
    same: bool

    @property
    def cheaper(self) -> bool:
        """Whether it saves anything, be it less than 1%."""
        return not self.dearer and not self.same


class Offer(NamedTuple):
    """A SKU on sale, its price in fen; no comparison where its items have no tariff."""

    sku: Sku
    price: int
    comparison: Comparison | None


class Row(NamedTuple):
    """A pack type with its offers by size, None where a size is not sold; `tariff` is the price it spares."""

    pack_type: PackType
    covers: list[str]
    tariff: Price | None
    offers: list[Offer | None]


class Table(NamedTuple):
    """Pack types of one unit, comparable size by size; the columns are the sizes on sale."""

    unit: str
    sizes: list[int]
    rows: list[Row]

    @property
    def saves_nothing(self) -> bool:
        """Whether every pack of it costs what pay-as-you-go costs."""
        offers = [offer for row in self.rows for offer in row.offers if offer]
        return all(offer.comparison and offer.comparison.same for offer in offers)


def compare(price: int, quantity: int, tariff: Price) -> Comparison:
    """A pack of `quantity` base units for `price` fen beside a tariff price."""
    pack, spared = price * MICRO_PER_FEN * tariff.per, quantity * tariff.price
    unit_price = round_half_up(pack, quantity)
    saves = (spared - pack) * 100 // spared if spared > pack else 0
    return Comparison(unit_price, tariff.per, saves, dearer=pack > spared, same=pack == spared)


class Shelf(NamedTuple):
    """What is on sale at a moment: pack types in catalogue order (what they cover loaded), their SKUs and prices in
    fen by SKU id, and the day's tariff by (item id, region).
    """

    types: list[PackType]
    skus: dict[int, list[Sku]]
    prices: dict[int, int]
    tariff: dict[tuple[int, str], Price]

    def by_code(self) -> dict[str, Sku]:
        """Every SKU on sale by its code."""
        return {sku.code: sku for skus in self.skus.values() for sku in skus}


def on_sale(now: datetime) -> Shelf:
    """What can be bought at `now`: the one place that says so for pages."""
    prices, tariff = sku_prices(now), tariff_on(day_of(now))
    skus: dict[int, list[Sku]] = defaultdict(list)
    types: dict[int, PackType] = {}
    found = Sku.objects.filter(pk__in=prices).select_related("pack_type").prefetch_related("pack_type__covers")
    for sku in found:
        # the SKUs of a type share it, and with it what it covers
        sku.pack_type = types.setdefault(sku.pack_type_id, sku.pack_type)
        skus[sku.pack_type_id].append(sku)
    return Shelf(sorted(types.values(), key=lambda kind: kind.position), dict(skus), prices, tariff)


def shelf_of(whole: Whole) -> Shelf:
    """The same out of a catalogue that was read already."""
    types = [kind for kind in whole.types.values() if kind.pk in whole.skus]
    return Shelf(types, whole.skus, whole.prices, whole.tariff(whole.today))


def tables(shelf: Shelf) -> list[Table]:
    """The tables of what is on sale, in catalogue order."""
    found: list[Table] = []
    for unit in dict.fromkeys(kind.unit for kind in shelf.types):
        types = [kind for kind in shelf.types if kind.unit == unit]
        sizes = sorted({sku.quantity for kind in types for sku in shelf.skus[kind.pk]})
        rows = [_row(kind, shelf.skus[kind.pk], sizes, shelf.prices, shelf.tariff) for kind in types]
        found.append(Table(unit, sizes, rows))
    return found


def types_that_save(shelf: Shelf) -> set[int]:
    """The ids of the pack types of which some size costs less than pay-as-you-go."""
    return {
        row.pack_type.pk
        for table in tables(shelf)
        for row in table.rows
        if any(offer and offer.comparison and offer.comparison.cheaper for offer in row.offers)
    }


def _row(
    kind: PackType, skus: list[Sku], sizes: list[int], prices: dict[int, int], tariff: dict[tuple[int, str], Price]
) -> Row:
    items = list(kind.covers.all())
    spared = [tariff[item.pk, kind.region] for item in items if (item.pk, kind.region) in tariff]
    # of several covered items the cheapest: a saving is never overstated
    lowest = min(spared, key=lambda price: Fraction(price.price, price.per), default=None)
    by_size = {sku.quantity: sku for sku in skus}
    found = [by_size.get(size) for size in sizes]
    return Row(
        kind, [item.name for item in items], lowest, [_offer(sku, prices, lowest) if sku else None for sku in found]
    )


def _offer(sku: Sku, prices: dict[int, int], tariff: Price | None) -> Offer:
    price = prices[sku.pk]
    comparable = tariff is not None and tariff.price > 0
    return Offer(sku, price, compare(price, sku.quantity, tariff) if tariff and comparable else None)
