"""What an account used, by day, item and region, and what became of it: settled, pending or not billable.

A settled day is told by its bills; its events (or, where those have expired, what is kept of them) are read only for
items that its mode does not bill, and a pending day's for all. Each is found by account and item: no day's partition
is ever scanned.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any, NamedTuple

from django.db import connection

from accounts.models import Account
from accounts.modes import DEFAULT
from iss_billing.days import day_of, next_day, start_of
from packs.models import Item
from settlement.estimate import one_snapshot
from settlement.metering import pending_days
from settlement.usage import of_few

SETTLED, PENDING, NOT_BILLABLE = "settled", "pending", "not_billable"
STATES = (SETTLED, PENDING, NOT_BILLABLE)


class Place(NamedTuple):
    """Where a row stands: newest day first, then item and region as on bills, and what is settled first."""

    back: int
    """Days before 9999-12-31, so that a later day comes first."""
    position: int
    region: str
    state: int

    @property
    def day(self) -> date:
        """The row's day."""
        return date.max - timedelta(days=self.back)

    def __str__(self) -> str:
        return f"{self.back} {self.position} {self.state} {self.region}"

    @classmethod
    def parse(cls, text: str) -> "Place":
        """The place of a text made by `str`. Raises ValueError."""
        back, position, state, region = text.split(" ", 3)
        place = cls(int(back), int(position), region, int(state))
        if not 0 <= place.back <= (date.max - date.min).days:
            raise ValueError("no day")
        return place


class Used(NamedTuple):
    """One part of a day's quantity of an item and region, in base units, never 0."""

    place: Place
    day: date
    item: Item
    region: str
    quantity: int
    state: str


DAYS = """
SELECT day FROM settlement_bill WHERE account_id = %(account)s AND day BETWEEN %(first)s AND %(last)s
UNION
SELECT day FROM settlement_dayusage
WHERE account_id = %(account)s AND day BETWEEN %(first)s AND %(last)s AND item_id = ANY(%(items)s)
UNION
SELECT candidate.day FROM (
    SELECT %(first)s::date + n AS day FROM generate_series(0, %(last)s::date - %(first)s::date) AS n
) AS candidate
CROSS JOIN LATERAL (
    SELECT FROM settlement_usageevent AS event
    WHERE event.day = candidate.day AND event.day BETWEEN %(first)s AND %(last)s
      AND event.account_id = %(account)s AND event.item_id = ANY(%(items)s)
    LIMIT 1
) AS any_use
ORDER BY 1 {direction} LIMIT %(number)s
"""
BILLED = """
SELECT bill.day, line.item_id, line.region, sum(line.quantity)
FROM settlement_bill AS bill JOIN settlement_billline AS line ON line.bill_id = bill.id
WHERE bill.account_id = %(account)s AND bill.day = ANY(%(days)s::date[]) AND line.item_id = ANY(%(items)s)
GROUP BY 1, 2, 3
"""
MODES = """
SELECT day, (
    SELECT mode FROM accounts_modechange AS word WHERE word.account_id = %(account)s AND word.effective_day <= day
    ORDER BY word.effective_day DESC, word.id DESC LIMIT 1
) FROM unnest(%(days)s::date[]) AS day
"""
# the night's own aggregation, asked for several days at once and for the items that each needs
_OF_ACCOUNT = "e.account_id = %(account)s AND e.item_id = ANY(wanted.items::smallint[])"
_OF_DAY = of_few(_OF_ACCOUNT).replace("%(day)s", "wanted.day").replace("%(start)s", "wanted.start")
RATED = f"""
SELECT wanted.day, rated.* FROM unnest(%(days)s::date[], %(starts)s::timestamptz[], %(wanted)s::text[])
     AS wanted (day, start, items)
CROSS JOIN LATERAL (
    {_OF_DAY} SELECT item_id, region, quantity FROM used
    UNION ALL
    SELECT item_id, region, quantity FROM settlement_dayusage AS e WHERE e.day = wanted.day AND {_OF_ACCOUNT}
) AS rated (item_id, region, quantity)
"""


def used(
    account: Account,
    today: date,
    *,
    number: int,
    first: date | None = None,
    last: date | None = None,
    item: Item | None = None,
    beside: Place | None = None,
    backward: bool = False,
) -> list[Used]:
    """Up to `number` rows after the one at `beside`, or before it; from the newest without one.

    `first` and `last` are billing days, both inclusive. An event may be 10 minutes ahead, so tomorrow counts.
    """
    first = max(first or date.min, day_of(account.opened_at))
    last = min(last or date.max, today + timedelta(days=1))
    if beside is not None:
        first, last = (max(first, beside.day), last) if backward else (first, min(last, beside.day))
    items = {item.pk: item for item in ([item] if item else Item.objects.all())}
    found: list[Used] = []
    with one_snapshot():
        while len(found) < number and first <= last:
            rows, reached = _some_days(account.pk, items, first, last, number, backward)
            if beside is not None:
                rows = [row for row in rows if (row.place < beside if backward else row.place > beside)]
            found = rows + found if backward else found + rows
            if reached is None:
                break
            # seldom: days on which all that was reported counts as 0
            first, last = (next_day(reached), last) if backward else (first, reached - timedelta(days=1))
    return found[-number:] if backward else found[:number]


def _some_days(
    account: int, items: dict[int, Item], first: date, last: date, number: int, backward: bool
) -> tuple[list[Used], date | None]:
    """The rows of about enough days from one end of the range, and the last of these days; None when it was all."""
    ask = {"account": account, "items": list(items), "first": first, "last": last}
    direction = "ASC" if backward else "DESC"
    found = [day for (day,) in _ask(DAYS.format(direction=direction), ask | {"number": number + 1})]
    billed = {(day, what, where): int(total) for day, what, where, total in _ask(BILLED, ask | {"days": found})}
    days = _enough(found, billed, number)
    billed = {key: quantity for key, quantity in billed.items() if key[0] in days}
    modes = dict(_ask(MODES, ask | {"days": days}))
    open_days = set(pending_days(account))

    def billable(day: date, what: int) -> bool:
        return items[what].requires_billing_mode in (None, modes[day] or DEFAULT)

    wanted = [
        "{" + ",".join(str(what) for what in items if day in open_days or not billable(day, what)) + "}" for day in days
    ]
    ask |= {"days": days, "starts": [start_of(day) for day in days], "wanted": wanted}
    rows = [_used(day, items[what], where, quantity, SETTLED) for (day, what, where), quantity in billed.items()]
    for day, what, where, quantity in _ask(RATED, ask):
        rest = int(quantity) - billed.get((day, what, where), 0)
        if rest > 0:
            rows.append(_used(day, items[what], where, rest, PENDING if billable(day, what) else NOT_BILLABLE))
    more = len(days) < len(found) or len(found) > number
    return sorted(rows, key=lambda row: row.place), days[-1] if more else None


def _enough(days: list[date], billed: Iterable[tuple[date, int, str]], number: int) -> list[date]:
    """The days that fill a page, by the rows that they have at least."""
    lines = Counter(day for day, _, _ in billed)
    rows = 0
    for place, day in enumerate(days):
        # the first day may be the one that the page begins in
        rows += max(lines[day], 1) if place else 0
        if rows > number:
            return days[: place + 1]
    return days


def _used(day: date, item: Item, region: str, quantity: int, state: str) -> Used:
    place = Place((date.max - day).days, item.position, region, STATES.index(state))
    return Used(place, day, item, region, quantity, state)


def _ask(statement: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())
