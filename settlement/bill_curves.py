"""The curves of a bill's page: for each peak and mean item the day's 288 slots with the charged point marked."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from django.utils.translation import gettext as _

from iss_billing import formats
from iss_billing.days import SLOTS_PER_DAY
from packs.models import Aggregation, Unit
from settlement.aggregation import mean, peak
from settlement.bill_text import DayFacts, key_of, slot_times
from settlement.curve import Slot, charged_slot, filled, hourly, runner_up
from settlement.models import Bill, BillLine
from settlement.usage import Key, Share, slot_shares

SOURCES_SHOWN = 6
"""Of one slot; what others had is added up."""


class HourRow(NamedTuple):
    """The highest slot of an hour, in words."""

    hour: str
    begin: str
    quantity: int


class Curve(NamedTuple):
    """One item's day and what was charged of it."""

    line: BillLine
    billed: int
    """The day's quantity with this bill: earlier bills of the day hold the rest of it."""
    before: int
    slots: Mapping[int, int]
    slot: int | None
    """The charged slot of a peak; None for a mean, and where later reports have raised it since."""
    second: Slot | None
    shares: list[Share]

    @property
    def mean(self) -> bool:
        """Whether the mean is charged, not the highest slot."""
        return self.line.item.aggregation == Aggregation.MEAN

    @property
    def name(self) -> str:
        """What tells it from the other curves of the page."""
        return str(self.line.position)

    @property
    def raised(self) -> bool:
        """Whether reports that came after this bill have raised the curve above what it charged."""
        return self.now > self.billed

    @property
    def now(self) -> int:
        """The peak or mean of the curve as it is now."""
        return mean(self.slots) if self.mean else peak(self.slots)

    @property
    def times(self) -> tuple[str, str] | None:
        """When the charged slot began and ended."""
        return None if self.slot is None else slot_times(self.slot)

    @property
    def second_begins(self) -> str:
        """When the next highest slot began."""
        return slot_times(self.second.slot)[0] if self.second else ""

    @property
    def total(self) -> int:
        """All slots added up, which a mean divides by 288."""
        return sum(self.slots.values())

    @property
    def silent(self) -> int:
        """Slots without a report: they count as 0."""
        return SLOTS_PER_DAY - len(self.slots)

    @property
    def other_sources(self) -> int:
        """How many more sources had something in the charged slot than are named."""
        return self.shares[0].sources - len(self.shares) if self.shares else 0

    @property
    def rest(self) -> int:
        """What these had."""
        return self.billed - sum(share.quantity for share in self.shares)

    @property
    def hours(self) -> list[HourRow]:
        """The 24 hourly maxima."""
        return [
            HourRow(f"{found.slot // 12:02}", slot_times(found.slot)[0], found.quantity) for found in hourly(self.slots)
        ]

    @property
    def finding(self) -> str:
        """What the curve shows, in a sentence."""
        words = {"item": self.line.item.name, "quantity": formats.quantity(self.billed, self.line.item.unit)}
        if self.mean:
            return (
                _("%(item)s over the day; its mean of %(quantity)s is charged. The table below has the figures.")
                % words
            )
        if self.times is None:
            return _("%(item)s over the day; %(quantity)s is charged. The table below has the figures.") % words
        return _(
            "%(item)s over the day, highest at %(begin)s with %(quantity)s, which is charged. "
            "The table below has the figures."
        ) % (words | {"begin": self.times[0]})

    @property
    def chart_unit(self) -> str:
        """What its figures are in."""
        return chart_scale(self.line.item.unit)[1]

    @property
    def chart(self) -> dict[str, Any]:
        """What charts.js draws: the slots, a rule at what was charged, a dot on the slot of a peak."""
        scale, unit, digits = chart_scale(self.line.item.unit)
        mark = None
        if self.slot is not None:
            label = f"{slot_times(self.slot)[0]}  {formats.used(self.billed, self.line.item.unit)}"
            mark = {"at": self.slot, "label": label}
        labels = ["–".join(slot_times(slot)) for slot in range(SLOTS_PER_DAY)]
        return {
            "unit": unit,
            "digits": digits,
            "scale": scale,
            "labels": labels,
            "values": filled(self.slots),
            "rule": self.billed,
            "mark": mark,
        }


def chart_scale(unit: str) -> tuple[int, str, int]:
    """By what a chart divides base units, how it names what comes out, and with how many decimals."""
    if unit == Unit.BYTE:
        return formats.GB, "GB", 2
    if unit == Unit.BIT_PER_SECOND:
        return formats.MBPS, "Mbps", 2
    if unit == Unit.CALL and formats.chinese():
        return formats.WAN, "万次", 2
    return 1, formats.unit_text(unit, 2), 0


def bill_curves(bill: Bill, lines: Iterable[BillLine], facts: DayFacts) -> list[Curve]:
    """The curves of a bill in the order of its lines; one statement, for what sources had at the charged points."""
    found = []
    for line in lines:
        slots = facts.curves.get(key_of(line))
        if slots:
            before = facts.before.get(key_of(line), 0)
            billed = before + line.quantity
            peak = line.item.aggregation == Aggregation.PEAK
            slot = charged_slot(slots, billed) if peak else None
            second = runner_up(slots, slot) if slot is not None else None
            found.append(Curve(line, billed, before, slots, slot, second, []))
    points: dict[Key, int] = {key_of(curve.line): curve.slot for curve in found if curve.slot is not None}
    shares = slot_shares(bill.account_id, points, bill.day, SOURCES_SHOWN)
    return [curve._replace(shares=shares.get(key_of(curve.line), [])) for curve in found]
