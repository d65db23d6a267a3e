"""The pace of an account: what it used and paid a day of late, and so when a pack or the balance is at its end.

The mean of the last 7 settled days; days before the first use in the 30 days behind do not count, so that what was
begun three days ago is not taken for little. Pure: dates, integers and exact fractions; `recent.py` reads the days.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import date, timedelta
from fractions import Fraction

from iss_billing.money import round_half_up

WINDOW = 7
"""Settled days that a mean is taken of."""
FEWEST = 3
"""Days of use in the window below which nothing is said."""
LOOK_BACK = 30
"""Settled days in which the first use is looked for."""
FARTHEST = 100 * 365
"""Days from now beyond which no end is named."""


def settled_through(today: date, billed: Collection[date], pending: Iterable[date]) -> date:
    """The last day that counts as settled: yesterday, unless days after the latest bill still wait for a run.

    A late event for an older day that has a bill does not set the pace back.
    """
    latest = max((day for day in billed if day < today), default=date.min)
    waiting = min((day for day in pending if latest < day < today), default=today)
    return waiting - timedelta(days=1)


def per_day(daily: Mapping[date, int], last: date) -> Fraction | None:
    """The mean a day, through `last`, of what `daily` says of the 30 days before it; None with fewer than 3 days of
    use in the last 7.
    """
    days = [day for day in daily if last - timedelta(days=LOOK_BACK) < day <= last]
    window = [day for day in days if day > last - timedelta(days=WINDOW)]
    if len(window) < FEWEST:
        return None
    counted = min(WINDOW, (last - min(days)).days + 1)
    return Fraction(sum(daily[day] for day in window), counted)


def runs_out(left: int, pace: Fraction | None, last: date) -> date | None:
    """The day in which what was left after `last` is used up; None when that cannot be said or is beyond a lifetime."""
    if not pace:
        return None
    days = -(-left // pace)
    return last + timedelta(days=days) if days <= FARTHEST else None


def lasts_until(balance: int, pace: Fraction | None, last: date) -> date | None:
    """The last day whose end sees no debt at `pace` fen a day: the bill of a day comes in the next night.

    Whole bills that the balance pays, rounded down. None below 0, and where no end can be said.
    """
    if not pace or balance < 0:
        return None
    days = balance // pace + 1
    return last + timedelta(days=days) if days <= FARTHEST else None


def cost_per_day(paces: Mapping[tuple[int, str], Fraction], tariff: Mapping[tuple[int, str], tuple[int, int]]) -> int:
    """Micro-yuan a day of so much use by (item id, region) at the tariff's (price, per): pay-as-you-go, half-up."""
    whole = sum((pace * tariff[key][0] / tariff[key][1] for key, pace in paces.items()), Fraction(0))
    return round_half_up(whole.numerator, whole.denominator)
