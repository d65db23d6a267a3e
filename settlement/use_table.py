"""Days of use by item, in the shape of the usage pages: a row an item, its days, and where they stand."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from iss_billing import formats
from iss_billing.money import round_half_up
from packs.models import Aggregation, Item
from settlement.bill_curves import chart_scale
from settlement.used import NOT_BILLABLE, PENDING, SETTLED, STATES, Used


def state_name(state: str) -> str:
    """Where use stands, in words."""
    return {
        SETTLED: pgettext("usage", "settled"),
        PENDING: pgettext("usage", "not settled yet"),
        NOT_BILLABLE: pgettext("usage", "not billed in this mode"),
    }[state]


class ItemUse(NamedTuple):
    """An item over some days: base units by day over all regions, and the days of each state."""

    item: Item
    daily: dict[date, int]
    states: dict[str, int]

    @property
    def figure(self) -> int:
        """What sums the days up: the sum, the highest day, or the mean of the days with use."""
        values = list(self.daily.values())
        if self.item.aggregation == Aggregation.SUM:
            return sum(values)
        if self.item.aggregation == Aggregation.MEAN:
            return round_half_up(sum(values), len(values))
        return max(values)

    @property
    def figure_name(self) -> str:
        """What the figure is."""
        return {
            Aggregation.SUM: pgettext("usage", "in all"),
            Aggregation.PEAK: pgettext("usage", "highest day"),
            Aggregation.MEAN: pgettext("usage", "mean of the days"),
            Aggregation.DISTINCT: pgettext("usage", "highest day"),
        }[Aggregation(self.item.aggregation)]


def by_item(rows: Iterable[Used]) -> list[ItemUse]:
    """The items with use, in catalogue order; a day with parts in two states counts in both."""
    found: dict[int, ItemUse] = {}
    seen: dict[tuple[int, str], set[date]] = {}
    for row in rows:
        use = found.setdefault(row.item.pk, ItemUse(row.item, {}, {}))
        use.daily[row.day] = use.daily.get(row.day, 0) + row.quantity
        seen.setdefault((row.item.pk, row.state), set()).add(row.day)
    for (item, state), days in seen.items():
        found[item].states[state] = len(days)
    return sorted(found.values(), key=lambda use: use.item.position)


class Bar(NamedTuple):
    """A day of a small bar chart, in hundredths of its box."""

    x: str
    width: str
    y: int
    height: int


def bars(daily: Mapping[date, int], first: date, last: date) -> list[Bar]:
    """The days as bars, the highest 100 high, others at least 4."""
    highest = max(daily.values(), default=0)
    number = (last - first).days + 1
    found = []
    for place in range(number):
        quantity = daily.get(first + timedelta(days=place), 0)
        if quantity and highest:
            height = max(round_half_up(quantity * 100, highest), 4)
            x = formats.percent(place, number) if place else "0%"
            found.append(Bar(x, _share(7, 10 * number), 100 - height, height))
    return found


def _share(part: int, whole: int) -> str:
    permyriad = part * 10_000 // whole
    return f"{permyriad // 100}.{permyriad % 100:02d}%"


def daily_chart(item: Item, rows: Sequence[Used], first: date, last: date, today: date) -> dict[str, Any]:
    """What charts.js draws of an item's days, stacked by where they stand."""
    scale, unit, digits = chart_scale(item.unit)
    days = [first + timedelta(days=place) for place in range((last - first).days + 1)]
    series = []
    for key, state in zip((1, 3, 6), STATES, strict=True):
        daily: dict[date, int] = {}
        for row in rows:
            if row.state == state:
                daily[row.day] = daily.get(row.day, 0) + row.quantity
        if daily:
            series.append({"name": state_name(state), "key": key, "data": [daily.get(day, 0) for day in days]})
    return {
        "unit": unit,
        "digits": digits,
        "scale": scale,
        "days": [formats.day(day, today) for day in days],
        "series": series,
    }


def hourly_chart(item: Item, hours: Mapping[int, int]) -> dict[str, Any]:
    """What charts.js draws of a day's hours."""
    scale, unit, digits = chart_scale(item.unit)
    return {
        "unit": unit,
        "digits": digits,
        "scale": scale,
        "days": [f"{hour:02}:00" for hour in range(24)],
        "series": [{"name": _("per hour"), "key": 1, "data": [hours.get(hour, 0) for hour in range(24)]}],
    }
