"""What the last 30 settled days cost, by item: the series, the list and the table of one chart."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import NamedTuple

from django.utils.translation import gettext as _

from iss_billing.money import MICRO_PER_FEN, round_half_up
from packs.models import Item
from settlement.recent import Recent

SHOWN = 5
"""Items that are told apart; the rest are one series."""


class CostItem(NamedTuple):
    """A series in stacking order: its colour, its name, fen in all, and fen by day."""

    key: int
    name: str
    total: int
    daily: list[int]


class Cost(NamedTuple):
    """The days shown, oldest first, and what they cost; in fen, and what packs drew at pay-as-you-go worth."""

    days: list[date]
    items: list[CostItem]
    total: int
    worth: int
    mode: str
    """The billing mode that began within these days, and its first day; empty where there was no switch."""
    mode_since: date | None

    @property
    def rows(self) -> list[tuple[date, list[int], int]]:
        """The table: the day, fen by item, and their sum."""
        columns = [item.daily for item in self.items]
        return [(day, fen := [column[place] for column in columns], sum(fen)) for place, day in enumerate(self.days)]


def parts(amounts: Sequence[int], whole: int) -> list[int]:
    """Micro-yuan rounded to fen so that they add up to `whole` fen: the largest remainders take what rounding left."""
    floors = [amount // MICRO_PER_FEN for amount in amounts]
    order = sorted(range(len(amounts)), key=lambda place: floors[place] * MICRO_PER_FEN - amounts[place])
    for place in order[: max(whole - sum(floors), 0)]:
        floors[place] += 1
    return floors


def cost_of(lately: Recent, items: Mapping[int, Item], opened: date) -> Cost:
    """The cost of the days of `lately` on which there was an account."""
    first = max(lately.first, opened)
    days = [first + timedelta(days=number) for number in range((lately.last - first).days + 1)]
    by_item: dict[int, dict[date, int]] = {}
    for line in lately.lines:
        if line.amount and line.day >= first:
            daily = by_item.setdefault(line.item_id, {})
            daily[line.day] = daily.get(line.day, 0) + line.amount
    sums = {item: sum(daily.values()) for item, daily in by_item.items()}
    order = sorted(sums, key=lambda item: (-sums[item], items[item].position))
    shown = [(items[item].name, [by_item[item]]) for item in order[: SHOWN if len(order) > SHOWN + 1 else SHOWN + 1]]
    if rest := order[len(shown) :]:
        shown.append((_("Others"), [by_item[item] for item in rest]))
    columns = [[sum(daily.get(day, 0) for daily in dailies) for day in days] for _name, dailies in shown]
    total = round_half_up(sum(sums.values()), MICRO_PER_FEN)
    totals = parts([sum(column) for column in columns], total)
    daily_fen = [_day(columns, place) for place in range(len(days))]
    found = [
        CostItem(place + 1, name, totals[place], [fen[place] for fen in daily_fen])
        for place, (name, _dailies) in enumerate(shown)
    ]
    worth = round_half_up(sum(line.worth for line in lately.lines if line.day >= first), MICRO_PER_FEN)
    return Cost(
        days, found, total, worth, *_switched((bill.day, bill.mode) for bill in lately.bills if bill.day >= first)
    )


def _day(columns: Sequence[Sequence[int]], place: int) -> list[int]:
    amounts = [column[place] for column in columns]
    return parts(amounts, round_half_up(sum(amounts), MICRO_PER_FEN))


def _switched(modes: Iterable[tuple[date, str]]) -> tuple[str, date | None]:
    """The latest mode and its first day, where the day before was billed in the other; of bills newest first."""
    latest = ""
    since: date | None = None
    for day, mode in modes:
        latest = latest or mode
        if mode != latest:
            known = since is not None and since - day == timedelta(days=1)
            return (latest, since) if known else ("", None)
        since = day
    return "", None
