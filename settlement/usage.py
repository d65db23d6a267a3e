"""What accounts used on a day, from its events or, where those have expired, from what is kept of them (rules 2).

Everything that asks for a day's quantities or its curve asks here and need not know which of the two it was.
"""

from collections.abc import Iterable
from datetime import date

from django.db import connection

from iss_billing.days import start_of

FROM_EVENTS = """
WITH event AS (
    SELECT e.account_id, e.item_id, e.region, e.source, e.resource, e.quantity, e.occurred_at, item.aggregation
    FROM settlement_usageevent AS e JOIN packs_item AS item ON item.id = e.item_id
    WHERE e.day = %(day)s AND {of_accounts}
), slot AS (
    SELECT account_id, item_id, region, aggregation, slot, sum(largest) AS quantity
    FROM (
        SELECT account_id, item_id, region, aggregation, source, resource, max(quantity) AS largest,
               date_bin('5 minutes', occurred_at, %(start)s) AS slot
        FROM event WHERE aggregation IN ('peak', 'mean')
        GROUP BY account_id, item_id, region, aggregation, source, resource,
                 date_bin('5 minutes', occurred_at, %(start)s)
    ) AS series
    GROUP BY account_id, item_id, region, aggregation, slot
), used AS (
    SELECT account_id, item_id, region, sum(quantity) AS quantity
    FROM event WHERE aggregation = 'sum' GROUP BY 1, 2, 3
    UNION ALL
    SELECT account_id, item_id, region, count(DISTINCT resource) FILTER (WHERE quantity > 0)
    FROM event WHERE aggregation = 'distinct' GROUP BY 1, 2, 3
    UNION ALL
    SELECT account_id, item_id, region, max(quantity) FROM slot WHERE aggregation = 'peak' GROUP BY 1, 2, 3
    UNION ALL
    SELECT account_id, item_id, region, div(2 * sum(quantity) + 288, 2 * 288) FROM slot WHERE aggregation = 'mean'
    GROUP BY 1, 2, 3
)
"""

# A day has events or is kept, never both and, in one statement, never neither: the two change in one transaction.
AGGREGATE = (
    FROM_EVENTS.format(of_accounts="e.account_id = ANY(%(accounts)s)")
    + """
SELECT account_id, item_id, region, quantity FROM used
UNION ALL
SELECT account_id, item_id, region, quantity FROM settlement_dayusage
WHERE account_id = ANY(%(accounts)s) AND day = %(day)s
  AND (SELECT true FROM settlement_expiredday WHERE day = %(day)s)  -- asked first: a night reads none of this table
"""
)

KEEP = (
    FROM_EVENTS.format(of_accounts="true")
    + """
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
INSERT INTO settlement_dayusage (account_id, day, item_id, region, quantity, slots)
SELECT account_id, %(day)s, item_id, region, quantity, slots
FROM used LEFT JOIN curve USING (account_id, item_id, region) ORDER BY account_id, item_id, region
"""
)

SLOTS = """
SELECT slot, sum(largest) FROM (
    SELECT (extract(epoch FROM occurred_at - %(start)s) / 300)::int AS slot, max(quantity) AS largest FROM (
        SELECT date_bin('5 minutes', occurred_at, %(start)s) AS occurred_at, source, resource, quantity
        FROM settlement_usageevent
        WHERE day = %(day)s AND account_id = %(account)s AND item_id = %(item)s AND region = %(region)s
    ) AS event GROUP BY 1, source, resource
) AS series GROUP BY slot
UNION ALL
SELECT place - 1, sum FROM settlement_dayusage, unnest(slots) WITH ORDINALITY AS slot (sum, place)
WHERE account_id = %(account)s AND day = %(day)s AND item_id = %(item)s AND region = %(region)s AND sum IS NOT NULL
ORDER BY 1
"""


def day_quantities(account_ids: Iterable[int], day: date) -> list[tuple[int, int, str, int]]:
    """(account, item, region, quantity) of a day (rules 2)."""
    with connection.cursor() as cursor:
        cursor.execute(AGGREGATE, {"day": day, "accounts": list(account_ids), "start": start_of(day)})
        return [(account, item, region, int(quantity)) for account, item, region, quantity in cursor.fetchall()]


def day_slots(account_id: int, item_id: int, region: str, day: date) -> dict[int, int]:
    """The slot sums (0-287) of one account's peak or mean item on a day; what had no report is left out."""
    with connection.cursor() as cursor:
        cursor.execute(
            SLOTS, {"account": account_id, "item": item_id, "region": region, "day": day, "start": start_of(day)}
        )
        return {int(slot): int(quantity) for slot, quantity in cursor.fetchall()}


def keep_day(day: date) -> int:
    """Write what is kept of a day's events, in the caller's transaction; the number of rows."""
    with connection.cursor() as cursor:
        cursor.execute(KEEP, {"day": day, "start": start_of(day)})
        return int(cursor.rowcount)
