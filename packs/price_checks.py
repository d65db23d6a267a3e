"""Whether the cells of a proposal can be published, each with the reason why not, and what they replace (rules 5.5)."""

import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any

from django.utils.translation import gettext as _

from accounts.models import MODES
from iss_billing.days import SHANGHAI, day_of, start_of
from packs.models import Aggregation, Item, PackType, Sku, Unit
from packs.proposal_models import ProposedPrice
from packs.tariff import (
    HIGHEST_PER,
    PriceRefused,
    check_day,
    check_pack_price,
    check_reason,
    check_tariff,
    scheduled,
    sku_prices,
    tariff_on,
)

LAST_MINUTES = timedelta(minutes=15)
"""So long before a day begins its usage may already be reported (rules 5.6: 10 minutes ahead): what would leave an item
without a tariff then comes too late."""
CODE = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?", re.ASCII)


class ProposalRefused(PriceRefused):
    """Nothing was proposed, or published; `errors` has the reason for each cell at fault, by its place."""

    def __init__(self, message: str, errors: dict[int, str] | None = None) -> None:
        super().__init__(message)
        self.errors = errors or {}


class PriceList:
    """The catalogue with its prices at any moment, as one judgement of a proposal sees it."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.skus = {sku.code: sku for sku in Sku.objects.select_related("pack_type")}
        self.items = {item.code: item for item in Item.objects.all()}
        packs, tariff = scheduled(now)
        self.coming = {(row.sku.code, "", row.effective_at.astimezone(SHANGHAI).date()): row for row in packs} | {
            (row.item.code, row.region, row.effective_day): row for row in tariff
        }
        self._packs = cache(sku_prices)
        self._tariff = cache(tariff_on)

    def before(self, cell: ProposedPrice) -> tuple[int, int] | None:
        """The price, and for how many units, that a cell replaces when it comes into force; None when not sold then."""
        return self._price(cell, cell.day, timedelta(0))

    def without(self, cell: ProposedPrice) -> tuple[int, int] | None:
        """The price when a cell's day begins if nothing was scheduled for it."""
        return self._price(cell, cell.day, timedelta(microseconds=1))

    def _price(self, cell: ProposedPrice, day: date | None, earlier: timedelta) -> tuple[int, int] | None:
        moment = (start_of(day) if day else self.now) - earlier
        if cell.of_pack:
            sku = self.skus.get(cell.code)
            price = self._packs(moment).get(sku.pk) if sku else None
            return (price, 0) if price is not None else None
        item = self.items.get(cell.code)
        found = self._tariff(day_of(moment)).get((item.pk, cell.region)) if item else None
        return (found.price, found.per) if found else None


def judge(cells: Sequence[ProposedPrice], now: datetime) -> None:
    """Fill in what the cells replace. Raises ProposalRefused with an error for every cell that cannot be published."""
    if not cells:
        raise ProposalRefused(_("Nothing is changed."))
    prices = PriceList(now)
    errors: dict[int, str] = {}
    seen: set[Any] = set()
    for place, cell in enumerate(cells):
        try:
            _judge(cell, prices)
            if cell.key in seen:
                raise PriceRefused(_("It is changed twice for the same day."))
            if cell.new is not None:
                _check_once(cell, cells[:place])
        except PriceRefused as error:
            errors[place] = str(error)
        seen.add(cell.key)
    if errors:
        names = ", ".join(dict.fromkeys(str(cells[place]) for place in errors))
        raise ProposalRefused(f"{names}: {next(iter(errors.values()))}" if len(errors) == 1 else names, errors)


def _judge(cell: ProposedPrice, prices: PriceList) -> None:
    check_reason(cell.reason)
    if cell.new is not None:
        _check_new(cell, prices)
    elif cell.code not in (prices.skus if cell.of_pack else prices.items):
        raise PriceRefused(_("There is no %(code)s in the catalogue.") % {"code": cell.code})
    if not cell.of_pack or cell.day is not None:
        if cell.day is None:
            raise PriceRefused(_("A tariff changes at a coming 00:00: a day is needed."))
        check_day(cell.day, prices.now)
    cell.from_price, cell.from_per = prices.before(cell) or (None, None)
    if cell.cancels:
        _judge_cancellation(cell, prices)
    elif cell.price is None:
        if cell.from_price is None:
            raise PriceRefused(_("It is not on sale then."))
        _check_not_late(cell, prices.now)
    elif cell.of_pack:
        check_pack_price(cell.price)
    else:
        check_tariff(cell.region, cell.price, cell.per)


def _judge_cancellation(cell: ProposedPrice, prices: PriceList) -> None:
    if cell.key not in prices.coming:
        raise PriceRefused(_("Nothing is scheduled for it on that day."))
    cell.price, cell.per = prices.without(cell) or (None, 0)
    if cell.price is None:
        _check_not_late(cell, prices.now)


def _check_not_late(cell: ProposedPrice, now: datetime) -> None:
    """Usage of a day that is about to begin may have been accepted already, and must find a tariff."""
    if not cell.of_pack and cell.day and now > start_of(cell.day) - LAST_MINUTES:
        raise PriceRefused(
            _("It is too late: from %(minutes)s minutes before its day begins on, usage of that day may be there.")
            % {"minutes": LAST_MINUTES // timedelta(minutes=1)}
        )


def _check_new(cell: ProposedPrice, prices: PriceList) -> None:
    most = 60 if cell.of_pack else 40
    if not CODE.fullmatch(cell.code) or len(cell.code) > most:
        raise PriceRefused(
            _("A code has 1 to %(most)s lower-case letters, digits, points and hyphens.") % {"most": most}
        )
    if cell.code in (prices.skus if cell.of_pack else prices.items):
        raise PriceRefused(_("There is a %(code)s already.") % {"code": cell.code})
    new = cell.new or {}
    if cell.price is None or cell.cancels:
        raise PriceRefused(_("What is new needs a price."))
    if cell.of_pack:
        quantity, kind = new.get("quantity"), new.get("pack_type")
        if not isinstance(quantity, int) or not 0 < quantity <= HIGHEST_PER:
            raise PriceRefused(_("A size is from 1 to %(most)s base units.") % {"most": f"{HIGHEST_PER:,}"})
        known = PackType.objects.filter(code=kind).exists()
        if (described := new.get("type")) is not None:
            _check_new_type(str(kind), described, prices, known)
        elif not known:
            raise PriceRefused(_("There is no %(code)s in the catalogue.") % {"code": kind})
        if any((sku.pack_type.code, sku.quantity) == (kind, quantity) for sku in prices.skus.values()):
            raise PriceRefused(_("There is a pack of this type and size already."))
        return
    _check_names(new)
    known = new.get("unit") in Unit.values and new.get("aggregation") in Aggregation.values
    if not known or new.get("requires_billing_mode") not in (None, *dict(MODES)):
        raise PriceRefused(_("The item's unit, aggregation or billing mode is not one that there is."))


def _check_once(cell: ProposedPrice, earlier: Sequence[ProposedPrice]) -> None:
    """Raise PriceRefused where what is new is told of twice, and not alike; a new item may have several regions."""
    new = cell.new or {}
    for other in earlier:
        told = other.new
        if told is None or other.of_pack != cell.of_pack:
            continue
        if not cell.of_pack:
            unlike = other.code == cell.code and told != new
        else:
            same_type = told.get("pack_type") == new.get("pack_type")
            if other.code == cell.code or (same_type and told.get("quantity") == new.get("quantity")):
                raise PriceRefused(_("This size is added twice."))
            unlike = same_type and told.get("type") != new.get("type")
        if unlike:
            raise PriceRefused(_("It is described twice, and not alike."))


def _check_names(new: dict[str, Any]) -> None:
    names = (new.get("name_zh"), new.get("name_en"))
    if not all(isinstance(name, str) and 0 < len(name.strip()) <= 120 for name in names):
        raise PriceRefused(_("A name is needed in both languages, each of 1 to 120 characters."))


def _check_new_type(code: str, new: dict[str, Any], prices: PriceList, known: bool) -> None:
    """Raise PriceRefused unless a pack of the type could be drawn from: units that add up, of items billed together."""
    if not CODE.fullmatch(code) or len(code) > 40:
        raise PriceRefused(_("A code has 1 to %(most)s lower-case letters, digits, points and hyphens.") % {"most": 40})
    if known:
        raise PriceRefused(_("There is a %(code)s already.") % {"code": code})
    _check_names(new)
    covers = [prices.items.get(name) for name in new.get("covers") or ()]
    if not covers:
        raise PriceRefused(_("A pack type covers one item at least."))
    items = [item for item in covers if item is not None]
    if len(items) < len(covers) or len(set(covers)) < len(covers):
        raise PriceRefused(_("It covers an item that there is not, or one twice."))
    if any(item.aggregation != Aggregation.SUM for item in items):
        raise PriceRefused(_("A pack holds units that are used up: it covers items only whose day is a sum."))
    if len({(item.unit, item.requires_billing_mode) for item in items}) > 1:
        raise PriceRefused(_("The items of a pack type are counted in one unit, and billed in the same modes."))


def stale(cell: ProposedPrice, before: tuple[int | None, int | None]) -> str | None:
    """Why a cell that was judged again no longer says what was proposed: the price it replaces has changed."""
    if before == (cell.from_price, cell.from_per):
        return None
    return _("The price that it replaces has changed since it was proposed.")
