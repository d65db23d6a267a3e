"""A bill as its page explains it: where each line's packs came from, what was charged and why, to the fen."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date
from itertools import groupby
from typing import NamedTuple

from django.db.models import Sum
from django.utils.translation import gettext as _

from iss_billing import formats
from iss_billing.days import day_of
from iss_billing.money import round_half_up
from packs.models import Aggregation, Item, PackType
from settlement.curve import charged_slot
from settlement.models import Bill, BillLine, Drawdown
from settlement.usage import Key, day_curves

GROUPS = ("ai", "network", "other")
"""The groups of a bill's lines, in catalogue order."""


class ExplainedLine(NamedTuple):
    """A line with its reasons, one clause each."""

    line: BillLine
    reasons: list[str]


class LinePart(NamedTuple):
    """Lines that one type of pack covers together, with their sums; a line that stands alone has no name."""

    name: str
    lines: list[ExplainedLine]

    @property
    def unit(self) -> str:
        """The base unit of all its lines."""
        return self.lines[0].line.item.unit

    @property
    def quantity(self) -> int:
        """Base units used."""
        return sum(row.line.quantity for row in self.lines)

    @property
    def drawn(self) -> int:
        """Base units drawn."""
        return sum(row.line.drawn for row in self.lines)

    @property
    def charged(self) -> int:
        """Base units charged."""
        return sum(row.line.charged for row in self.lines)

    @property
    def amount(self) -> int:
        """Micro-yuan."""
        return sum(row.line.amount for row in self.lines)


class LineGroup(NamedTuple):
    """Lines that belong together under one heading."""

    name: str
    lines: list[ExplainedLine]
    parts: list[LinePart]


class BillSum(NamedTuple):
    """How a bill's lines add up, in micro-yuan: everything at pay-as-you-go, less what packs drew, is the total."""

    full: int
    drawn: int
    exact: int


def bill_sum(bill: Bill, lines: Iterable[BillLine]) -> BillSum:
    """The worth of all usage at the tariff, what packs took off it, and the exact amount with the carry."""
    full = sum(round_half_up(line.quantity * line.price, line.per) for line in lines)
    return BillSum(full, full - bill.rated_total, bill.rated_total + bill.carry_in)


class DayFacts(NamedTuple):
    """What explaining a bill needs beside its lines, by (item id, region)."""

    curves: Mapping[Key, Mapping[int, int]]
    """Slot sums of peak and mean items, as they are now."""
    before: Mapping[Key, int]
    """What earlier bills of the same day hold of each."""
    covering: Mapping[Key, PackType]
    """A type of pack that covers it."""
    families: Mapping[Key, PackType]
    """A type of pack that covers it together with other items."""


def day_facts(bill: Bill, lines: Iterable[BillLine]) -> DayFacts:
    """Three statements, one less for a day's first bill."""
    shaped = {line.item_id for line in lines if line.item.aggregation in (Aggregation.PEAK, Aggregation.MEAN)}
    covering, families = _covering()
    return DayFacts(
        day_curves(bill.account_id, shaped, bill.day) if shaped else {},
        _billed_before(bill) if bill.sequence > 1 else {},
        covering,
        families,
    )


def _covering() -> tuple[dict[Key, PackType], dict[Key, PackType]]:
    rows = list(PackType.covers.through.objects.select_related("packtype").order_by("packtype__position"))
    sizes = Counter(row.packtype_id for row in rows)
    covering = {(row.item_id, row.packtype.region): row.packtype for row in rows}
    return covering, {key: kind for key, kind in covering.items() if sizes[kind.pk] > 1}


def _billed_before(bill: Bill) -> dict[Key, int]:
    earlier = BillLine.objects.filter(
        bill__account_id=bill.account_id, bill__day=bill.day, bill__sequence__lt=bill.sequence
    )
    sums = earlier.order_by().values_list("item_id", "region").annotate(Sum("quantity"))
    return {(item, region): int(quantity) for item, region, quantity in sums}


def explain(bill: Bill, lines: Iterable[BillLine], today: date, facts: DayFacts | None = None) -> list[LineGroup]:
    """The lines in the order rated, grouped, each with its reasons; needs `item` and drawdowns with packs loaded."""
    rows = list(lines)
    facts = facts or day_facts(bill, rows)
    groups: dict[str, list[ExplainedLine]] = {}
    for line in rows:
        groups.setdefault(_group(line.item), []).append(ExplainedLine(line, _reasons(bill, line, facts, today)))
    return [LineGroup(_group_name(key), groups[key], _parts(groups[key], facts)) for key in GROUPS if key in groups]


def _parts(rows: list[ExplainedLine], facts: DayFacts) -> list[LinePart]:
    """Neighbours that one type of pack covers, together; every other line by itself."""
    found: list[LinePart] = []
    families = [facts.families.get(key_of(row.line)) for row in rows]
    for family, members in groupby(zip(families, rows, strict=True), key=lambda pair: pair[0]):
        members_of = [row for _family, row in members]
        if family is not None and len(members_of) > 1:
            found.append(LinePart(family.short_name, members_of))
        else:
            found.extend(LinePart("", [row]) for row in members_of)
    return found


def key_of(line: BillLine) -> Key:
    """What a line is for."""
    return line.item_id, line.region


def _group(item: Item) -> str:
    if item.code.startswith("ai."):
        return "ai"
    return "network" if item.requires_billing_mode else "other"


def _group_name(key: str) -> str:
    return {
        "ai": _("AI recognition"),
        "network": _("Network"),
        "other": _("Storage, devices and video"),
    }[key]


def _reasons(bill: Bill, line: BillLine, facts: DayFacts, today: date) -> list[str]:
    drawdowns = list(line.drawdowns.all())
    reasons = [_drawn(drawn, line.item.unit, today) for drawn in drawdowns]
    if how := _aggregation(bill, line, facts):
        reasons.append(how)
    if line.charged:
        if not drawdowns and not how:
            if key_of(line) in facts.covering:
                reasons.append(_("no pack with units left: pay-as-you-go"))
            else:
                reasons.append(_("no pack covers it: pay-as-you-go"))
        words = {
            "quantity": formats.quantity(line.charged, line.item.unit),
            "price": formats.unit_price(line.price, line.per, line.item.unit),
            "amount": formats.exact_money(line.amount),
        }
        reasons.append(_("%(quantity)s × %(price)s = %(amount)s") % words)
    return reasons


def _drawn(drawn: Drawdown, unit: str, today: date) -> str:
    """Which pack, how much, and what it had left after."""
    words = {
        "day": formats.day(day_of(drawn.pack.purchased_at), today),
        "size": formats.size(drawn.pack.total, unit),
        "quantity": formats.quantity(drawn.quantity, unit),
        "left": formats.remaining(drawn.remaining_after, unit),
    }
    if drawn.remaining_after == 0:
        return _("the %(size)s pack bought on %(day)s gave its last %(quantity)s") % words
    return _("the %(size)s pack bought on %(day)s gave %(quantity)s, leaving %(left)s") % words


def _aggregation(bill: Bill, line: BillLine, facts: DayFacts) -> str:
    """How the day's quantity came about, where it is not a plain sum."""
    if bill.sequence > 1:
        return _late(line, facts.before.get(key_of(line), 0))
    if line.item.aggregation == Aggregation.MEAN:
        return _("mean of the day's 288 five-minute slots")
    if line.item.aggregation == Aggregation.DISTINCT:
        return _("different channels that were seen this day")
    if line.item.aggregation == Aggregation.PEAK:
        # usage that came late may have raised a slot since: then this bill's peak cannot be shown any more
        slot = charged_slot(facts.curves.get(key_of(line), {}), line.quantity)
        if slot is not None:
            begin, end = slot_times(slot)
            return _("highest from %(begin)s to %(end)s") % {"begin": begin, "end": end}
        return _("the day's highest five-minute slot")
    return ""


def _late(line: BillLine, before: int) -> str:
    """What usage that was reported late added to the day."""
    if before and line.item.aggregation in (Aggregation.PEAK, Aggregation.MEAN):
        words = {
            "before": formats.quantity(before, line.item.unit),
            "after": formats.quantity(before + line.quantity, line.item.unit),
        }
        if line.item.aggregation == Aggregation.PEAK:
            return _("late reports raised the day's peak from %(before)s to %(after)s") % words
        return _("late reports raised the day's mean from %(before)s to %(after)s") % words
    return _("usage of this day that was reported after its earlier bill")


def slot_times(slot: int) -> tuple[str, str]:
    """When a slot begins and ends, in Asia/Shanghai: 19:50, 19:55; the last ends at 24:00."""
    return _clock(slot), _clock(slot + 1)


def _clock(slot: int) -> str:
    hour, place = divmod(slot, 12)
    return f"{hour:02}:{place * 5:02}"
