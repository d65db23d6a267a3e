"""A day's curve of 288 five-minute slots and the point of it that was charged (rules 2).

Pure: slot sums in, with what was not reported left out; slots are 0 to 287.
"""

from collections.abc import Mapping
from typing import NamedTuple

from iss_billing.days import SLOTS_PER_DAY

PER_HOUR = 12


class Slot(NamedTuple):
    """A slot and its sum in base units."""

    slot: int
    quantity: int


def charged_slot(slots: Mapping[int, int], peak: int) -> int | None:
    """The earliest slot that came to the charged peak; None where usage reported later has raised every such slot."""
    return min((slot for slot, quantity in slots.items() if quantity == peak), default=None)


def filled(slots: Mapping[int, int]) -> list[int]:
    """All 288 sums of a day; a slot without a report is 0."""
    return [slots.get(slot, 0) for slot in range(SLOTS_PER_DAY)]


def hourly(slots: Mapping[int, int]) -> list[Slot]:
    """The highest slot of each of the 24 hours, of equal ones the earliest."""
    whole = filled(slots)
    return [
        max((Slot(slot, whole[slot]) for slot in range(first, first + PER_HOUR)), key=lambda found: found.quantity)
        for first in range(0, SLOTS_PER_DAY, PER_HOUR)
    ]


def runner_up(slots: Mapping[int, int], slot: int) -> Slot | None:
    """The highest of all other slots, of equal ones the earliest; None where no other had a report."""
    others = [Slot(other, quantity) for other, quantity in sorted(slots.items()) if other != slot]
    return max(others, key=lambda found: found.quantity, default=None)
