"""A bill as its page explains it: where each line's packs came from, what was charged and why, to the fen."""

from collections.abc import Iterable
from datetime import date
from typing import NamedTuple

from django.utils.translation import gettext as _

from iss_billing import formats
from iss_billing.days import SLOT, day_of, start_of
from iss_billing.money import round_half_up
from packs.models import Aggregation, Item, PackType
from settlement.models import Bill, BillLine, Drawdown
from settlement.usage import day_slots

GROUPS = ("ai", "network", "other")
"""The groups of a bill's lines, in catalogue order."""


class ExplainedLine(NamedTuple):
    """A line with its reasons, one clause each."""

    line: BillLine
    reasons: list[str]


class LineGroup(NamedTuple):
    """Lines that belong together under one heading."""

    name: str
    lines: list[ExplainedLine]


class BillSum(NamedTuple):
    """How a bill's lines add up, in micro-yuan: everything at pay-as-you-go, less what packs drew, is the total."""

    full: int
    drawn: int
    exact: int


def bill_sum(bill: Bill, lines: Iterable[BillLine]) -> BillSum:
    """The worth of all usage at the tariff, what packs took off it, and the exact amount with the carry."""
    full = sum(round_half_up(line.quantity * line.price, line.per) for line in lines)
    return BillSum(full, full - bill.rated_total, bill.rated_total + bill.carry_in)


def explain(bill: Bill, lines: Iterable[BillLine], today: date) -> list[LineGroup]:
    """The lines in the order rated, grouped, each with its reasons; needs `item` and drawdowns with packs loaded."""
    covered = {item for kind in PackType.objects.prefetch_related("covers") for item in kind.covers.all()}
    groups: dict[str, list[ExplainedLine]] = {}
    for line in lines:
        groups.setdefault(_group(line.item), []).append(ExplainedLine(line, _reasons(bill, line, covered, today)))
    return [LineGroup(_group_name(key), groups[key]) for key in GROUPS if key in groups]


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


def _reasons(bill: Bill, line: BillLine, covered: set[Item], today: date) -> list[str]:
    drawdowns = list(line.drawdowns.all())
    reasons = [_drawn(drawn, line.item.unit, today) for drawn in drawdowns]
    if how := _aggregation(bill, line):
        reasons.append(how)
    if line.charged:
        if not drawdowns and not how:
            if line.item in covered:
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


def _aggregation(bill: Bill, line: BillLine) -> str:
    """How the day's quantity came about, where it is not a plain sum."""
    if bill.sequence > 1:
        return _("usage of this day that was reported after its earlier bill")
    if line.item.aggregation == Aggregation.MEAN:
        return _("mean of the day's 288 five-minute slots")
    if line.item.aggregation == Aggregation.DISTINCT:
        return _("different channels that were seen this day")
    if line.item.aggregation == Aggregation.PEAK:
        slots = day_slots(bill.account_id, line.item_id, line.region, bill.day)
        # usage that came late may have raised a slot since: then this bill's peak cannot be shown any more
        slot = next((slot for slot, quantity in slots.items() if quantity == line.quantity), None)
        if slot is not None:
            begin = start_of(bill.day) + slot * SLOT
            return _("highest from %(begin)s to %(end)s") % {
                "begin": f"{begin:%H:%M}",
                "end": f"{begin + SLOT:%H:%M}" if slot < 287 else "24:00",
            }
        return _("the day's highest five-minute slot")
    return ""
