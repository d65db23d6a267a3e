"""Prices: which are in force, and which are scheduled (rules 4.5, 5.5). `proposals.py` appends new ones."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import NamedTuple

from django.db.models import Q
from django.utils.translation import gettext as _

from iss_billing.days import day_of
from iss_billing.money import MICRO_PER_YUAN
from packs.models import SkuPrice, TariffPrice

HIGHEST = 10**9
"""No price is above this many yuan: beyond it somebody mistyped."""
HIGHEST_PER = 10**15


class PriceRefused(Exception):
    """The price is impossible, or comes too late; the message says why."""


class Price(NamedTuple):
    """A tariff price: `price` micro-yuan per `per` base units."""

    price: int
    per: int
    effective_day: date


def tariff_on(day: date) -> dict[tuple[int, str], Price]:
    """The tariff of a day by (item id, region); the latest effective, of several for one day the last made."""
    rows = (
        TariffPrice.objects.filter(effective_day__lte=day, cancelled_at=None)
        .order_by("item_id", "region", "-effective_day", "-id")
        .distinct("item_id", "region")
        .values_list("item_id", "region", "price", "per", "effective_day", "withdraws")
    )
    return {
        (item, region): Price(price, per, since) for item, region, price, per, since, withdraws in rows if not withdraws
    }


def tariffs_between(first: date, last: date) -> dict[date, dict[tuple[int, str], Price]]:
    """The tariff of every day from `first` to `last`, both inclusive; days share one mapping until a price changes."""
    kept = TariffPrice.objects.filter(cancelled_at=None)
    before = kept.filter(effective_day__lte=first).order_by("item_id", "region", "-effective_day", "-id")
    in_force = before.distinct("item_id", "region").values("pk")
    changes = Q(effective_day__gt=first, effective_day__lte=last)
    rows = kept.filter(Q(pk__in=in_force) | changes).order_by("effective_day", "id")
    columns = ("item_id", "region", "price", "per", "effective_day", "withdraws")
    by_day: dict[date, dict[tuple[int, str], Price | None]] = {}
    for item, region, price, per, since, withdraws in rows.values_list(*columns):
        # of several changes for one day the last made
        by_day.setdefault(max(since, first), {})[item, region] = None if withdraws else Price(price, per, since)
    found: dict[date, dict[tuple[int, str], Price]] = {}
    tariff: dict[tuple[int, str], Price] = {}
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        if changed := by_day.get(day):
            tariff = {key: price for key, price in (tariff | changed).items() if price is not None}
        found[day] = tariff
    return found


def sku_prices(now: datetime) -> dict[int, int]:
    """The price in fen of every SKU on sale at a moment, by SKU id."""
    rows = (
        SkuPrice.objects.filter(effective_at__lte=now, cancelled_at=None)
        .order_by("sku_id", "-effective_at", "-id")
        .distinct("sku_id")
        .values_list("sku_id", "price", "withdraws")
    )
    return {sku: price for sku, price, withdraws in rows if not withdraws}


def scheduled(now: datetime) -> tuple[list[SkuPrice], list[TariffPrice]]:
    """The changes that are still to come, each the last made for its moment; by when they come."""
    packs = SkuPrice.objects.filter(effective_at__gt=now, cancelled_at=None).order_by("effective_at", "sku_id", "-id")
    items = TariffPrice.objects.filter(effective_day__gt=day_of(now), cancelled_at=None)
    items = items.order_by("effective_day", "item_id", "region", "-id").distinct("effective_day", "item_id", "region")
    people = ("made_by", "proposal__decided_by")
    return (
        list(packs.distinct("effective_at", "sku_id").select_related("sku__pack_type", *people)),
        list(items.select_related("item", *people)),
    )


class Spells:
    """On which days an item has a tariff in a region, as far as usage is judged by it (rules 5.6)."""

    def __init__(self) -> None:
        rows = (
            TariffPrice.objects.filter(cancelled_at=None)
            .order_by("item_id", "region", "effective_day", "-id")
            .distinct("item_id", "region", "effective_day")
            .values_list("item_id", "region", "effective_day", "withdraws")
        )
        self.first: dict[tuple[int, str], date] = {}
        """The first day; where nothing was ever withdrawn it says all."""
        self.broken: dict[tuple[int, str], list[tuple[date, bool]]] = {}
        """Where something was: from which days on it has a tariff, or has none, oldest first."""
        words: dict[tuple[int, str], list[tuple[date, bool]]] = {}
        for item, region, day, withdraws in rows:
            words.setdefault((item, region), []).append((day, not withdraws))
        for key, spells in words.items():
            opens = [day for day, sold in spells if sold]
            if opens:
                self.first[key] = opens[0]
            if len(opens) < len(spells):
                self.broken[key] = spells

    def interrupted(self, key: tuple[int, str], day: date) -> bool:
        """Whether an item that had a tariff before has none on a day."""
        return not _last(self.broken.get(key, ()), day)


def _last(spells: Iterable[tuple[date, bool]], day: date) -> bool:
    sold = True
    for since, word in spells:
        if since <= day:
            sold = word
    return sold


def check_pack_price(price: int) -> None:
    """Raise PriceRefused, saying why, where a pack cannot be sold at `price` fen."""
    if not 0 < price <= HIGHEST * 100:
        raise PriceRefused(_("A pack price is above 0.00 and at most %(most)s CNY.") % {"most": f"{HIGHEST:,}"})


def check_tariff(region: str, price: int, per: int) -> None:
    """Raise PriceRefused, saying why, where an item cannot be priced so."""
    if not 0 <= price <= HIGHEST * MICRO_PER_YUAN:
        raise PriceRefused(_("A tariff price is from 0 to %(most)s CNY.") % {"most": f"{HIGHEST:,}"})
    if not 0 < per <= HIGHEST_PER:
        raise PriceRefused(_("A tariff price is for 1 to %(most)s base units.") % {"most": f"{HIGHEST_PER:,}"})
    if not region or len(region) > 40 or not region.isascii() or not region.isprintable():
        raise PriceRefused(_("A region is a code of 1 to 40 ASCII characters, such as cn-mainland."))


def check_day(day: date, now: datetime) -> None:
    """Raise PriceRefused where a day has come already (rules 5.5)."""
    if day <= day_of(now):
        words = {"day": day, "today": day_of(now)}
        raise PriceRefused(_("A tariff changes at a coming 00:00: %(day)s is not after %(today)s.") % words)


def check_reason(reason: str) -> None:
    """Raise PriceRefused where no reason is given, or too long a one."""
    if not reason.strip() or len(reason) > 500:
        raise PriceRefused(_("A price change needs a reason of 1 to 500 characters."))
