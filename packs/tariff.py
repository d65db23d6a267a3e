"""Prices: which are in force, and appending new ones (rules 4.5, 5.5)."""

from datetime import date, datetime, timedelta
from typing import NamedTuple

from django.db import connection, transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from accounts.models import User
from iss_billing.days import day_of
from iss_billing.money import MICRO_PER_YUAN
from packs.models import Item, Sku, SkuPrice, TariffPrice
from packs.price_events import price_announced

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
        TariffPrice.objects.filter(effective_day__lte=day)
        .order_by("item_id", "region", "-effective_day", "-id")
        .distinct("item_id", "region")
        .values_list("item_id", "region", "price", "per", "effective_day")
    )
    return {(item, region): Price(price, per, since) for item, region, price, per, since in rows}


def tariffs_between(first: date, last: date) -> dict[date, dict[tuple[int, str], Price]]:
    """The tariff of every day from `first` to `last`, both inclusive; days share one mapping until a price changes."""
    before = TariffPrice.objects.filter(effective_day__lte=first).order_by("item_id", "region", "-effective_day", "-id")
    in_force = before.distinct("item_id", "region").values("pk")
    changes = Q(effective_day__gt=first, effective_day__lte=last)
    rows = TariffPrice.objects.filter(Q(pk__in=in_force) | changes).order_by("effective_day", "id")
    by_day: dict[date, dict[tuple[int, str], Price]] = {}
    for item, region, price, per, since in rows.values_list("item_id", "region", "price", "per", "effective_day"):
        # of several changes for one day the last made
        by_day.setdefault(max(since, first), {})[item, region] = Price(price, per, since)
    found: dict[date, dict[tuple[int, str], Price]] = {}
    tariff: dict[tuple[int, str], Price] = {}
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        if changed := by_day.get(day):
            tariff = tariff | changed
        found[day] = tariff
    return found


def sku_prices(now: datetime) -> dict[int, int]:
    """The price in fen of every SKU at a moment, by SKU id."""
    return dict(
        SkuPrice.objects.filter(effective_at__lte=now)
        .order_by("sku_id", "-effective_at", "-id")
        .distinct("sku_id")
        .values_list("sku_id", "price")
    )


def _serialise(number: int) -> None:
    """One price change at a time per thing priced, so that each knows the price that it replaces."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(7205, %s)", [number])


def check_pack_price(price: int, reason: str) -> None:
    """Raise PriceRefused, saying why, where a pack cannot be sold at `price` fen."""
    if not 0 < price <= HIGHEST * 100:
        raise PriceRefused(_("A pack price is above 0.00 and at most %(most)s CNY.") % {"most": f"{HIGHEST:,}"})
    _check_reason(reason)


def set_pack_price(*, sku: Sku, price: int, reason: str, now: datetime, made_by: User | None = None) -> SkuPrice:
    """From `now` on sell a SKU at `price` fen; orders and packs keep theirs. Raises PriceRefused."""
    check_pack_price(price, reason)
    with transaction.atomic():
        _serialise(sku.pk)
        return SkuPrice.objects.create(
            sku=sku,
            price=price,
            effective_at=now,
            from_price=sku_prices(now).get(sku.pk),
            made_by=made_by,
            reason=reason.strip(),
        )


def check_tariff(region: str, price: int, per: int, effective_day: date, reason: str, now: datetime) -> None:
    """Raise PriceRefused, saying why, where the tariff cannot be changed so."""
    if effective_day <= day_of(now):
        words = {"day": effective_day, "today": day_of(now)}
        raise PriceRefused(_("A tariff changes at a coming 00:00: %(day)s is not after %(today)s.") % words)
    if not 0 <= price <= HIGHEST * MICRO_PER_YUAN:
        raise PriceRefused(_("A tariff price is from 0 to %(most)s CNY.") % {"most": f"{HIGHEST:,}"})
    if not 0 < per <= HIGHEST_PER:
        raise PriceRefused(_("A tariff price is for 1 to %(most)s base units.") % {"most": f"{HIGHEST_PER:,}"})
    if not region or len(region) > 40 or not region.isascii() or not region.isprintable():
        raise PriceRefused(_("A region is a code of 1 to 40 ASCII characters, such as cn-mainland."))
    _check_reason(reason)


def _check_reason(reason: str) -> None:
    if not reason.strip() or len(reason) > 500:
        raise PriceRefused(_("A price change needs a reason of 1 to 500 characters."))


def set_tariff(
    *,
    item: Item,
    region: str,
    price: int,
    per: int,
    effective_day: date,
    reason: str,
    now: datetime,
    made_by: User | None = None,
) -> TariffPrice:
    """From a coming 00:00 on charge `price` micro-yuan per `per` base units; opens the region where it is new.

    A later change for the same item, region and day replaces the earlier, which stays. Raises PriceRefused.
    """
    check_tariff(region, price, per, effective_day, reason, now)
    with transaction.atomic():
        _serialise(-item.pk)
        before = tariff_on(effective_day).get((item.pk, region))
        made = TariffPrice.objects.create(
            item=item,
            region=region,
            price=price,
            per=per,
            effective_day=effective_day,
            from_price=before and before.price,
            from_per=before and before.per,
            made_at=now,
            made_by=made_by,
            reason=reason.strip(),
        )
        price_announced(made, now)
        return made
