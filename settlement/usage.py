"""What accounts used on a day, from its events or, where those have expired, from what is kept of them (rules 2).

Everything that asks for a day's quantities or its curve asks here and need not know which of the two it was.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any, NamedTuple

from django.db import connection

from iss_billing import bulk
from iss_billing.days import SLOT, start_of

_USED = """
slot AS (
    SELECT account_id, item_id, region, slot, sum(largest) AS quantity
    FROM (
        SELECT account_id, item_id, region, source, resource, max(quantity) AS largest,
               date_bin('5 minutes', occurred_at, %(start)s) AS slot
        FROM {peak_and_mean}
        GROUP BY account_id, item_id, region, source, resource, date_bin('5 minutes', occurred_at, %(start)s)
    ) AS series
    GROUP BY account_id, item_id, region, slot
), used AS (
    SELECT account_id, item_id, region, sum(quantity) AS quantity FROM {sum} GROUP BY 1, 2, 3
    UNION ALL
    SELECT account_id, item_id, region, count(DISTINCT resource) FILTER (WHERE quantity > 0)
    FROM {distinct} GROUP BY 1, 2, 3
    UNION ALL
    SELECT account_id, item_id, region,
           CASE aggregation WHEN 'peak' THEN max(quantity) ELSE div(2 * sum(quantity) + 288, 2 * 288) END
    FROM slot JOIN packs_item AS item ON item.id = item_id GROUP BY 1, 2, 3, aggregation
)
"""
_KINDS = {"sum": "'sum'", "distinct": "'distinct'", "peak_and_mean": "'peak', 'mean'"}
_EVENTS = "settlement_usageevent AS e WHERE e.day = %(day)s AND {of_accounts}"


def of_many(of_accounts: str) -> str:
    """`slot` and `used` of a day, of accounts by a condition on `e`: each kind reads its own items' events.

    By the index; all of them read at once and told apart then take half as long again.
    """
    items = "(SELECT array_agg(id) FROM packs_item WHERE aggregation IN ({}))::smallint[]"
    events = _EVENTS.format(of_accounts=of_accounts)
    return "WITH" + _USED.format_map(
        {name: f"{events} AND e.item_id = ANY({items.format(kinds)})" for name, kinds in _KINDS.items()}
    )


def of_few(of_accounts: str) -> str:
    """The same, all read at once and told apart then: of one account's few events three readings cost twice as much."""
    events = _EVENTS.replace("WHERE", "JOIN packs_item AS item ON item.id = e.item_id WHERE")
    return f"""WITH event AS (
        SELECT e.account_id, e.item_id, e.region, e.source, e.resource, e.quantity, e.occurred_at, item.aggregation
        FROM {events.format(of_accounts=of_accounts)}
    ),""" + _USED.format_map({name: f"event WHERE event.aggregation IN ({kinds})" for name, kinds in _KINDS.items()})


_OF_ACCOUNTS = "e.account_id = ANY(%(accounts)s::bigint[])"
# A day has events or is kept, never both and, in one statement, never neither: the two change in one transaction.
_QUANTITIES = """
SELECT account_id, item_id, region, quantity::text FROM used  -- text is sooner an integer than a decimal is
UNION ALL
SELECT account_id, item_id, region, quantity::text FROM settlement_dayusage
WHERE account_id = ANY(%(accounts)s::bigint[]) AND day = %(day)s
  AND (SELECT true FROM settlement_expiredday WHERE day = %(day)s)  -- asked first: a night reads none of this table
"""
AGGREGATE = of_many(_OF_ACCOUNTS) + _QUANTITIES
AGGREGATE_FEW = of_few(_OF_ACCOUNTS) + _QUANTITIES

_CURVE = """
, placed AS (
    SELECT account_id, item_id, region, quantity, place,
           lag(place, 1, -1) OVER (PARTITION BY account_id, item_id, region ORDER BY place) AS before
    FROM (SELECT slot.*, (extract(epoch FROM slot - %(start)s) / 300)::int AS place FROM slot) AS slot
), curve AS (
    -- the array as text, from the slots there are: 288 rows a curve would take many times as long
    SELECT account_id, item_id, region, ('{' || string_agg(repeat('NULL,', place - before - 1) || quantity, ','
               ORDER BY place) || repeat(',NULL', 287 - max(place)) || '}')::numeric[] AS slots
    FROM placed GROUP BY account_id, item_id, region
)
"""

KEEP = (
    of_many("true")
    + _CURVE
    + """
INSERT INTO settlement_dayusage (account_id, day, item_id, region, quantity, slots)
SELECT account_id, %(day)s, item_id, region, quantity, slots
FROM used LEFT JOIN curve USING (account_id, item_id, region) ORDER BY account_id, item_id, region
"""
)

DAY = (
    of_few(_OF_ACCOUNTS)
    + _CURVE
    + """
SELECT item_id, region, quantity, slots FROM used LEFT JOIN curve USING (account_id, item_id, region)
UNION ALL
SELECT item_id, region, quantity, slots FROM settlement_dayusage
WHERE account_id = ANY(%(accounts)s::bigint[]) AND day = %(day)s
"""
)

SLOTS = """
SELECT item_id, region, slot, sum(largest) FROM (
    SELECT item_id, region, (extract(epoch FROM occurred_at - %(start)s) / 300)::int AS slot, max(quantity) AS largest
    FROM (
        SELECT item_id, region, date_bin('5 minutes', occurred_at, %(start)s) AS occurred_at, source, resource, quantity
        FROM settlement_usageevent
        WHERE day = %(day)s AND account_id = %(account)s AND item_id = ANY(%(items)s::smallint[])
    ) AS event GROUP BY 1, 2, 3, source, resource
) AS series GROUP BY item_id, region, slot
UNION ALL
SELECT item_id, region, place - 1, sum FROM settlement_dayusage, unnest(slots) WITH ORDINALITY AS slot (sum, place)
WHERE account_id = %(account)s AND day = %(day)s AND item_id = ANY(%(items)s::smallint[]) AND sum IS NOT NULL
ORDER BY 1, 2, 3
"""

SHARES = """
SELECT item_id, region, source, quantity, sources FROM (
    SELECT item_id, region, source, sum(largest) AS quantity, count(*) OVER one AS sources,
           row_number() OVER (one ORDER BY sum(largest) DESC, source) AS place
    FROM (
        SELECT event.item_id, event.region, event.source, event.resource, max(event.quantity) AS largest
        FROM settlement_usageevent AS event
        JOIN unnest(%(items)s::smallint[], %(regions)s::text[], %(begins)s::timestamptz[])
             AS point (item_id, region, begin) USING (item_id, region)
        WHERE event.day = %(day)s AND event.account_id = %(account)s AND event.item_id = ANY(%(items)s::smallint[])
          AND event.occurred_at >= point.begin AND event.occurred_at < point.begin + interval '5 minutes'
        GROUP BY 1, 2, 3, 4
    ) AS series GROUP BY item_id, region, source WINDOW one AS (PARTITION BY item_id, region)
) AS share WHERE place <= %(most)s ORDER BY item_id, region, place
"""

Key = tuple[int, str]
"""(item id, region)."""


class Share(NamedTuple):
    """What one source had of a slot, in base units; `sources` had something in it."""

    source: str
    quantity: int
    sources: int


def ask_day_quantities(account_ids: Iterable[int], day: date) -> Callable[[], list[tuple[int, int, str, int]]]:
    """Ask for (account, item, region, quantity) of a day (rules 2); what is returned fetches them, once."""
    cursor = connection.cursor()
    cursor.execute(AGGREGATE, {"day": day, "accounts": bulk.array(account_ids), "start": start_of(day)})

    def fetch() -> list[tuple[int, int, str, int]]:
        with cursor:
            return [(account, item, region, int(quantity)) for account, item, region, quantity in cursor.fetchall()]

    return fetch


def day_quantities(account_ids: Iterable[int], day: date) -> list[tuple[int, int, str, int]]:
    """(account, item, region, quantity) of a day (rules 2)."""
    return ask_day_quantities(account_ids, day)()


def quantities_of_days(account_id: int, days: Iterable[date]) -> dict[date, list[tuple[int, str, int]]]:
    """(item, region, quantity) of one account on several days, in one statement that touches those days alone."""
    found: dict[date, list[tuple[int, str, int]]] = {day: [] for day in days}
    names: dict[str, Any] = {"accounts": bulk.array([account_id])}
    parts = []
    for number, day in enumerate(found):
        part = AGGREGATE_FEW.replace("%(day)s", f"%(day{number})s").replace("%(start)s", f"%(start{number})s")
        parts.append(f"SELECT %(day{number})s::date, item_id, region, quantity FROM ({part}) AS used")
        names |= {f"day{number}": day, f"start{number}": start_of(day)}
    if parts:
        with connection.cursor() as cursor:
            cursor.execute(" UNION ALL ".join(parts), names)
            for day, item, region, quantity in cursor.fetchall():
                found[day].append((item, region, int(quantity)))
    return found


def day_curves(account_id: int, item_ids: Iterable[int], day: date) -> dict[Key, dict[int, int]]:
    """The slot sums (0-287) of one account's peak and mean items on a day; what had no report is left out."""
    found: dict[Key, dict[int, int]] = {}
    names: dict[str, Any] = {"account": account_id, "items": bulk.array(item_ids), "day": day, "start": start_of(day)}
    with connection.cursor() as cursor:
        cursor.execute(SLOTS, names)
        for item, region, slot, quantity in cursor.fetchall():
            found.setdefault((item, region), {})[int(slot)] = int(quantity)
    return found


class DayQuantity(NamedTuple):
    """A day's quantity of an item and region, and the 288 slot sums that a peak or mean came from."""

    item_id: int
    region: str
    quantity: int
    slots: list[int | None] | None


def day_of_account(account_id: int, day: date) -> list[DayQuantity]:
    """All that one account used on a day, as it is kept of an expired one."""
    with connection.cursor() as cursor:
        ask: dict[str, Any] = {"day": day, "accounts": bulk.array([account_id]), "start": start_of(day)}
        cursor.execute(DAY, ask)
        return [
            DayQuantity(item, region, int(quantity), slots and [None if one is None else int(one) for one in slots])
            for item, region, quantity, slots in cursor.fetchall()
        ]


def day_slots(account_id: int, item_id: int, region: str, day: date) -> dict[int, int]:
    """The slot sums (0-287) of one account's peak or mean item on a day; what had no report is left out."""
    return day_curves(account_id, [item_id], day).get((item_id, region), {})


def slot_shares(account_id: int, points: Mapping[Key, int], day: date, most: int) -> dict[Key, list[Share]]:
    """Which sources had how much in one slot of each item and region, the `most` largest first.

    Nothing is known of it once the day has expired.
    """
    found: dict[Key, list[Share]] = {}
    if not points:
        return found
    names: dict[str, Any] = {
        "account": account_id,
        "day": day,
        "most": most,
        "items": bulk.array(item for item, _region in points),
        "regions": [region for _item, region in points],
        "begins": [start_of(day) + slot * SLOT for slot in points.values()],
    }
    with connection.cursor() as cursor:
        cursor.execute(SHARES, names)
        for item, region, source, quantity, sources in cursor.fetchall():
            found.setdefault((item, region), []).append(Share(source, int(quantity), sources))
    return found


def keep_day(day: date) -> int:
    """Write what is kept of a day's events, in the caller's transaction; the number of rows."""
    with connection.cursor() as cursor:
        cursor.execute(KEEP, {"day": day, "start": start_of(day)})
        return int(cursor.rowcount)
