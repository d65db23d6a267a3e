"""What is scheduled, and every price that was ever made, as staff read it (rules 5.5)."""

from datetime import date, datetime
from typing import NamedTuple

from django.db.models import Q, Value
from django.db.models.fields import CharField
from django.utils.translation import gettext as _

from iss_billing import formats
from iss_billing.days import day_of, start_of
from packs.models import Priced, SkuPrice, TariffPrice
from packs.tariff import scheduled

HISTORY_PAGE = 50


class Row(NamedTuple):
    """A price for a page: what of, from, to, from when, and who did what and why."""

    code: str
    region: str
    name: str
    before: str
    after: str
    rises: bool | None
    """None where it is neither dearer nor cheaper, or was or is not sold."""
    effective: datetime
    state: str
    made_at: datetime
    made_by: str
    published_by: str
    reason: str
    proposal_id: int | None
    cancelled_at: datetime | None = None
    cancelled_by: str = ""
    cancel_reason: str = ""

    @property
    def day(self) -> date:
        """The day from which it is in force."""
        return day_of(self.effective)

    @property
    def key(self) -> tuple[str, str, date]:
        """As a proposed cell names it."""
        return self.code, self.region, self.day


def price_words(price: int | None, per: int | None, unit: str) -> str:
    """A price of a pack, or of an item where it is `per` units of something."""
    if price is None:
        return str(_("not on sale"))
    return str(formats.unit_price(price, per, unit) if per else formats.money(price))


def rises(before: tuple[int | None, int | None], after: tuple[int | None, int | None]) -> bool | None:
    """Whether a price (price, per) is dearer than before; None where it is not, nor cheaper, or was or is not sold."""
    old, new = before[0], after[0]
    if old is None or new is None:
        return None
    left, right = new * (before[1] or 1), old * (after[1] or 1)
    return None if left == right else left > right


def coming_changes(now: datetime) -> list[Row]:
    """What is scheduled, by when it comes into force."""
    packs, items = scheduled(now)
    rows = [_pack_row(row, now) for row in packs] + [_item_row(row, now) for row in items]
    return sorted(rows, key=lambda row: (row.effective, row.code))


def history(search: str, page: int, now: datetime) -> list[Row]:
    """A page of all prices, the newest first, and one row more where there are more."""
    packs, items = SkuPrice.objects.all(), TariffPrice.objects.all()
    for word in search.replace("\x00", "").split():
        who = Q(made_by__email__icontains=word) | Q(reason__icontains=word)
        packs = packs.filter(Q(sku__code__icontains=word) | who)
        items = items.filter(Q(item__code__icontains=word) | Q(region__icontains=word) | who)
    pack_keys = packs.values_list("made_at", "pk", Value("pack", output_field=CharField()))
    item_keys = items.values_list("made_at", "pk", Value("item", output_field=CharField()))
    start = (page - 1) * HISTORY_PAGE
    keys = list(pack_keys.union(item_keys, all=True).order_by("-made_at", "-pk")[start : start + HISTORY_PAGE + 1])
    people = ("made_by", "cancelled_by", "proposal__decided_by")
    of_packs = packs.select_related("sku__pack_type", *people).in_bulk([pk for _at, pk, kind in keys if kind == "pack"])
    of_items = items.select_related("item", *people).in_bulk([pk for _at, pk, kind in keys if kind == "item"])
    return [_pack_row(of_packs[pk], now) if kind == "pack" else _item_row(of_items[pk], now) for _at, pk, kind in keys]


def _pack_row(row: SkuPrice, now: datetime) -> Row:
    kind = row.sku.pack_type
    name = f"{kind.short_name} {formats.size(row.sku.quantity, kind.unit)}"
    after = None if row.withdraws else row.price
    return _row(row, row.sku.code, "", name, "", (row.from_price, None), (after, None), row.effective_at, now)


def _item_row(row: TariffPrice, now: datetime) -> Row:
    item, after = row.item, None if row.withdraws else row.price
    since = start_of(row.effective_day)
    before = (row.from_price, row.from_per)
    return _row(row, item.code, row.region, item.name, item.unit, before, (after, row.per), since, now)


def _row(
    row: Priced,
    code: str,
    region: str,
    name: str,
    unit: str,
    before: tuple[int | None, int | None],
    after: tuple[int | None, int | None],
    effective: datetime,
    now: datetime,
) -> Row:
    state = "cancelled" if row.cancelled_at else "scheduled" if effective > now else "made"
    publisher = row.proposal.decided_by if row.proposal else None
    return Row(
        code=code,
        region=region,
        name=name,
        before=price_words(*before, unit),
        after=price_words(*after, unit),
        rises=rises(before, after),
        effective=effective,
        state=state,
        made_at=row.made_at,
        made_by=row.made_by.email if row.made_by else "",
        published_by=publisher.email if publisher else "",
        reason=row.reason,
        proposal_id=row.proposal_id,
        cancelled_at=row.cancelled_at,
        cancelled_by=row.cancelled_by.email if row.cancelled_by and row.cancelled_at else "",
        cancel_reason=row.cancel_reason,
    )
