"""What the page of packs says of each type: what is left and until when, its queue, its burn-down chart."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any, NamedTuple

from django.utils.translation import gettext as _

from iss_billing import formats
from iss_billing.money import FEN_PER_YUAN, MICRO_PER_FEN, round_half_up
from packs.models import Pack, PackType
from packs.offers import Comparison, compare
from packs.tariff import Price
from settlement.bill_curves import chart_scale
from settlement.burn import Burn, Burning, begins, burn
from settlement.pace import runs_out
from settlement.queues import Record, drawn_by_day
from settlement.recent import Key, Recent

SOON = 7
"""Days to empty from which a bar warns."""
CHARTED = 3
"""Packs of a type that its chart has a line for."""
RECORDED = 5
"""Bills of a pack's drawdowns that its queue names."""
TOKENS = ("--iss-s1", "--iss-s2", "--iss-s4")
NEAR = 90
"""Days within which an end is named by its day, beyond by its month."""


class Queued(NamedTuple):
    """A pack in its queue."""

    pack: Any
    first: bool
    empty: date | None
    begins: date | None
    low: bool
    records: list[Record]
    refundable_until: datetime | None
    gap: int
    """Packs between the one before and this one that are not shown."""


class Panel(NamedTuple):
    """A type of pack that is held."""

    pack_type: PackType
    covers: list[str]
    frozen: bool
    packs: int
    left: int
    bought: int
    pace: int | None
    """Base units a day, half-up; None with too few days of use to say."""
    empty: date | None
    after: int
    """Fen a day, pay-as-you-go, once it is empty."""
    comparison: Comparison | None
    """The last pack shown beside pay-as-you-go."""
    rows: list[Queued]
    more: int
    chart: dict[str, Any]
    table: list[tuple[date, list[int | None]]]
    charted_places: list[int]
    finding: str

    @property
    def charted(self) -> int:
        """Packs that the chart has a line for."""
        return len(self.charted_places)

    @property
    def last_size(self) -> str:
        """The size of the last pack shown."""
        return str(formats.size(self.rows[-1].pack.total, self.pack_type.unit))

    @property
    def soon(self) -> bool:
        """Whether its bars warn."""
        return any(row.low for row in self.rows)


def panel(
    packs: Sequence[Any],
    *,
    mode: str,
    today: date,
    now: datetime,
    lately: Recent,
    tariff: Mapping[Key, Price],
    records: Mapping[int, list[Record]],
) -> Panel:
    """The panel of one type; `packs` are those shown, as `queues.queued` annotates them."""
    first = packs[0]
    kind = first.pack_type
    frozen = kind.requires_billing_mode not in (None, mode)
    keys = {(item["id"], kind.region) for item in first.covered}
    pace = None if frozen else lately.use_per_day(keys)
    burning = [
        Burning(pack.total, pack.remaining, pack.effective_day, drawn_by_day(records.get(pack.pk, [])), ahead_of(pack))
        for pack in packs
    ]
    rows = _rows(packs, burning, pace, lately.last, records, frozen, today, now)
    # the first in the queue: those further back stand still until then
    drawn = burn(burning[:CHARTED], pace, lately.last)
    cost = lately.cost_per_day(keys, {key: (price.price, price.per) for key, price in tariff.items()}) if pace else 0
    name = "name_en" if not formats.chinese() else "name_zh"
    shown_to = packs[-1].place
    return Panel(
        pack_type=kind,
        covers=[item[name.removeprefix("name_")] for item in first.covered],
        frozen=frozen,
        packs=first.of_type,
        left=first.left,
        bought=first.bought,
        pace=None if pace is None else round_half_up(pace.numerator, pace.denominator),
        empty=runs_out(first.left, pace, lately.last),
        after=round_half_up(cost, MICRO_PER_FEN),
        comparison=_comparison(packs[-1], keys, tariff),
        rows=rows,
        more=first.of_type - shown_to,
        chart=burn_chart(drawn, kind.unit, [pack.place for pack in packs[:CHARTED]], burning, today, frozen=frozen),
        table=burn_table(drawn),
        charted_places=[pack.place for pack in packs[:CHARTED]],
        finding=_finding(kind, rows[:CHARTED], frozen, today),
    )


def ahead_of(pack: Any) -> int:
    """Units of its type that are drawn before a pack."""
    return int(pack.through - pack.remaining)


def _rows(
    packs: Sequence[Any],
    burning: Sequence[Burning],
    pace: Fraction | None,
    last: date,
    records: Mapping[int, list[Record]],
    frozen: bool,
    today: date,
    now: datetime,
) -> list[Queued]:
    found: list[Queued] = []
    place = 0
    for pack, burns in zip(packs, burning, strict=True):
        empty = runs_out(burns.ahead + burns.remaining, pace, last)
        found.append(
            Queued(
                pack=pack,
                first=pack.place == 1 and not frozen,
                empty=empty,
                begins=begins(burns, pace, last),
                low=empty is not None and empty <= today + timedelta(days=SOON),
                records=records.get(pack.pk, [])[:RECORDED],
                refundable_until=pack.refundable_until(now),
                gap=pack.place - place - 1,
            )
        )
        place = pack.place
    return found


def _comparison(pack: Pack, keys: set[Key], tariff: Mapping[Key, Price]) -> Comparison | None:
    """What was paid beside today's tariff; of several covered items the cheapest: a saving is never overstated."""
    spared = [tariff[key] for key in keys if key in tariff]
    if not spared:
        return None
    return compare(pack.price, pack.total, min(spared, key=lambda price: Fraction(price.price, price.per)))


def _finding(kind: PackType, rows: Sequence[Queued], frozen: bool, today: date) -> str:
    """What the chart shows, in a sentence."""
    if frozen:
        return _("%(type)s: what is left, frozen. The table below has the figures.") % {"type": kind.short_name}
    ends = [
        _("no. %(number)s empty about %(day)s") % {"number": row.pack.place, "day": day_or_month(row.empty, today)}
        for row in rows
        if row.empty
    ]
    if not ends:
        return _("%(type)s: what is left by day. The table below has the figures.") % {"type": kind.short_name}
    words = {"type": kind.short_name, "ends": ", ".join(ends) if not formats.chinese() else "，".join(ends)}
    return _("%(type)s: what is left by day; %(ends)s. The table below has the figures.") % words


def burn_table(drawn: Burn) -> list[tuple[date, list[int | None]]]:
    """The settled days of a chart as rows, the latest first."""
    rows = [
        (day, [line.settled[place] for line in drawn.lines]) for place, day in enumerate(drawn.days[: drawn.last + 1])
    ]
    return [(day, levels) for day, levels in reversed(rows) if any(level is not None for level in levels)]


def burn_chart(
    drawn: Burn, unit: str, numbers: Sequence[int], packs: Sequence[Burning], today: date, *, frozen: bool = False
) -> dict[str, Any]:
    """What charts.js draws: a line for each pack as far as it is settled, dotted on where it would go."""
    scale, name, digits = chart_scale(unit)
    highest = max(pack.total for pack in packs[: len(numbers)])
    if name == "GB" and highest >= formats.TB:
        scale, name = formats.TB, "TB"
    series: list[dict[str, Any]] = []
    for place, (number, line) in enumerate(zip(numbers, drawn.lines, strict=True)):
        label = _("No. %(number)s") % {"number": number}
        start = next((at for at, level in enumerate(line.settled) if level is not None), None)
        mark = None
        if place and start is not None:
            mark = {"at": start, "value": line.settled[start], "label": label, "short": ""}
        look = {"token": TOKENS[place], "area": place == 0, "dashed": False}
        series.append({"name": label, "data": line.settled, "mark": mark} | look)
        if any(level is not None for level in line.projected):
            series.append(_projection(line.projected, line.empty, number, place, today))
    # rules are drawn with the first series
    return {
        "unit": name,
        "digits": digits,
        "scale": scale,
        "days": [formats.day(day, today) for day in drawn.days],
        "highest": highest,
        "frozen": frozen,
        "today": {"at": min(drawn.last + 1, len(drawn.days) - 1), "label": _("today")},
        "series": series,
    }


def _projection(levels: list[int | None], empty: date | None, number: int, place: int, today: date) -> dict[str, Any]:
    mark = None
    if empty is not None and 0 in levels:
        day = formats.day(empty, today)
        label = _("no. %(number)s empty\n%(day)s") % {"number": number, "day": day}
        mark = {"at": levels.index(0), "value": 0, "label": label, "short": day if place == 0 else ""}
    name = _("No. %(number)s (expected)") % {"number": number}
    return {"name": name, "data": levels, "mark": mark, "token": TOKENS[place], "area": False, "dashed": True}


def day_or_month(day: date, today: date) -> str:
    """An expected day: the day itself within 90 days, the month beyond."""
    if (day - today).days <= NEAR:
        return formats.day(day, today)
    return formats.month(day)


def about(fen: int) -> str:
    """An estimated amount: whole yuan from 10 on."""
    whole = round_half_up(fen, FEN_PER_YUAN) * FEN_PER_YUAN if fen >= 10 * FEN_PER_YUAN else fen
    return str(formats.list_price(whole))


def by_urgency(panels: Sequence[Panel]) -> list[Panel]:
    """What is empty first, first; what has no end, then what is frozen, last; else in catalogue order."""
    return sorted(panels, key=lambda panel: (panel.frozen, panel.empty or date.max, panel.pack_type.position))
