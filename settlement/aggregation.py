"""From a day's reports to the day's quantity, in plain Python (rules 2).

Whole shards are aggregated in SQL (`usage.py`); property tests hold that to these functions.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from iss_billing.days import SLOTS_PER_DAY
from iss_billing.money import round_half_up

SUM, PEAK, MEAN, DISTINCT = "sum", "peak", "mean", "distinct"


class Report(NamedTuple):
    """What one event says: its 5-minute slot (0-287), its series (source, resource) and its quantity."""

    slot: int
    source: str
    resource: str
    quantity: int


def slot_sums(reports: Iterable[Report]) -> dict[int, int]:
    """Per slot, the sum over the series of each one's largest report; slots without a report are left out."""
    largest: dict[tuple[int, str, str], int] = {}
    for report in reports:
        series = (report.slot, report.source, report.resource)
        largest[series] = max(largest.get(series, 0), report.quantity)
    sums: dict[int, int] = {}
    for (slot, _, _), quantity in largest.items():
        sums[slot] = sums.get(slot, 0) + quantity
    return sums


def peak(slots: Mapping[int, int]) -> int:
    """The largest slot."""
    return max(slots.values(), default=0)


def peak_slot(slots: Mapping[int, int]) -> int | None:
    """The earliest of the largest slots; None without one above 0."""
    top = peak(slots)
    return min((slot for slot, quantity in slots.items() if quantity == top), default=None) if top else None


def mean(slots: Mapping[int, int]) -> int:
    """The sum over the slots divided by 288, rounded half-up: a slot without a report counts 0."""
    return round_half_up(sum(slots.values()), SLOTS_PER_DAY)


def quantity(aggregation: str, reports: Iterable[Report]) -> int:
    """The day's quantity of one account, item and region."""
    if aggregation == PEAK:
        return peak(slot_sums(reports))
    if aggregation == MEAN:
        return mean(slot_sums(reports))
    if aggregation == DISTINCT:
        return len({report.resource for report in reports if report.quantity > 0})
    return sum(report.quantity for report in reports)
