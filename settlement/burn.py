"""How packs of one type burn down: what each had left at the end of each day, and what it will have at this pace.

Pure: base units, dates and an exact pace. At most `MOST_POINTS` points, evenly apart, one of them the last settled day.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from fractions import Fraction
from typing import NamedTuple

from settlement.pace import runs_out

MOST_POINTS = 60
LOOK_BACK = 90
"""Days of history on the page of all packs."""
LOOK_AHEAD = 180
"""Days of projection."""
AFTER = 2
"""Days shown after the last pack is empty."""


class Burning(NamedTuple):
    """A pack in drawing order: what it has now, what was drawn of it by day of usage, what stands before it."""

    total: int
    remaining: int
    effective_day: date
    drawn: Mapping[date, int]
    ahead: int = 0
    """Units of packs that are drawn before this one."""


class Line(NamedTuple):
    """One pack over the days of the chart: settled and projected levels, None where there is none."""

    settled: list[int | None]
    projected: list[int | None]
    empty: date | None
    """The day that uses up the last of it, at the pace."""


class Burn(NamedTuple):
    """The days of a chart, the place of the last settled one, and a line for each pack."""

    days: list[date]
    last: int
    lines: list[Line]


def begins(pack: Burning, pace: Fraction | None, last: date) -> date | None:
    """The first day whose usage is drawn from a pack at the pace; None when that cannot be said."""
    if not pace:
        return None
    # the day in which what stands before it ends is the first that reaches it, unless it ends with that day
    days = pack.ahead // pace + 1
    return last + timedelta(days=days) if days <= LOOK_AHEAD else None


def burn(packs: Sequence[Burning], pace: Fraction | None, last: date, *, look_back: int | None = LOOK_BACK) -> Burn:
    """The burn-down of packs given in drawing order, settled through `last`; without a pace nothing is projected."""
    # of late usage or of a night under way more may be drawn than of the days through `last`
    last = max([last, *(day for pack in packs for day in pack.drawn)])
    first = min(pack.effective_day for pack in packs) - timedelta(days=1)
    if look_back is not None:
        first = max(first, last - timedelta(days=look_back))
    first = min(first, last)
    ends = [runs_out(pack.ahead + pack.remaining, pace, last) if pack.remaining else None for pack in packs]
    horizon = last + timedelta(days=AFTER)
    if pace:
        farthest = last + timedelta(days=LOOK_AHEAD)
        horizon = min(max([end or farthest for end in ends]) + timedelta(days=AFTER), farthest)
    step = -(-((horizon - first).days + 1) // (MOST_POINTS - 2))
    back, ahead = -(-(last - first).days // step), -(-(horizon - last).days // step)
    days = [last + timedelta(days=number * step) for number in range(-back, ahead + 1)]
    return Burn(days, back, [_line(pack, end, pace, last, days) for pack, end in zip(packs, ends, strict=True)])


def _line(pack: Burning, end: date | None, pace: Fraction | None, last: date, days: list[date]) -> Line:
    settled = [_level(pack, day) if day <= last else None for day in days]
    projected: list[int | None] = [None] * len(days)
    if pace and pack.remaining:
        for place, day in enumerate(days):
            if day < last:
                continue
            taken = max(int(pace * (day - last).days) - pack.ahead, 0)
            projected[place] = max(pack.remaining - taken, 0)
            if end is not None and day >= end:
                projected[place] = 0
                break
    return Line(settled, projected, end)


def _level(pack: Burning, day: date) -> int | None:
    """What was left when a day had ended; None before the pack was there."""
    if day < pack.effective_day - timedelta(days=1):
        return None
    return pack.remaining + sum(quantity for drawn_on, quantity in pack.drawn.items() if drawn_on > day)
