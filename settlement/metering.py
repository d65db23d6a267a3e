"""Metering: storing usage events once, and aggregating a day of them (rules 2, 5.6)."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from django.db import connection, transaction

from iss_billing.bare import bare_cursor
from iss_billing.days import SHANGHAI, start_of
from settlement.events import Accepted, Rejected
from settlement.partitions import ensure_partitions


class Ingested(NamedTuple):
    """What became of a batch; `rejected` in index order."""

    accepted: int
    duplicates: int
    rejected: list[Rejected]


STORE = """
WITH stored AS (
    INSERT INTO settlement_usageevent
        (day, source, event_id, account_id, item_id, region, resource, quantity, occurred_at, received_at)
    SELECT day, source, event_id, account_id, item_id, region, resource, quantity,
           timestamptz 'epoch' + occurred_us * interval '1 microsecond', %s::timestamptz
    FROM unnest(%s::date[], %s::text[], %s::text[], %s::bigint[], %s::smallint[], %s::text[], %s::text[], %s::bigint[],
                %s::bigint[]) WITH ORDINALITY
         AS event (day, source, event_id, account_id, item_id, region, resource, quantity, occurred_us, place)
    -- two batches with the same events wait for each other, never in a circle; in one batch the first is kept
    ORDER BY day, source, event_id, place
    ON CONFLICT (day, source, event_id) DO NOTHING
    RETURNING account_id, day
), marked AS (
    INSERT INTO settlement_usagebatch (received_at, account_ids, days)
    SELECT %s::timestamptz, array_agg(account_id), array_agg(day)
    FROM (SELECT DISTINCT account_id, day FROM stored) AS account_day HAVING count(*) > 0
)
SELECT count(*) FROM stored
"""

COUNT_REFUSALS = """
INSERT INTO settlement_usagerefusal (day, source, code, events)
SELECT * FROM unnest(%s::date[], %s::text[], %s::text[], %s::bigint[])
ON CONFLICT (day, source, code) DO UPDATE SET events = settlement_usagerefusal.events + excluded.events
"""


def store(events: Accepted, rejected: list[Rejected], now: datetime) -> Ingested:
    """Store judged events in one transaction: what is returned as accepted is durable, once (rules 5.6).

    The same (day, source, id) again is a duplicate, in one batch or from before. Refused events are only counted.
    """
    ensure_partitions(set(events.days))
    with transaction.atomic(), connection.cursor() as cursor:
        accepted = 0
        if events:
            with bare_cursor() as bare:
                bare.execute(STORE, [now, *map(_literal, events.columns()), now])
                [accepted] = bare.fetchone() or [0]
        if rejected:
            today = now.astimezone(SHANGHAI).date()
            counts = sorted(Counter((refused.source, refused.code) for refused in rejected).items())
            columns = zip(*((today, source, code, number) for (source, code), number in counts), strict=True)
            cursor.execute(COUNT_REFUSALS, list(map(list, columns)))
    return Ingested(accepted, len(events) - accepted, rejected)


def _literal(column: Sequence[Any]) -> str:
    """A column as PostgreSQL's array literal; written here because the driver takes ten times as long."""
    if not isinstance(column[0], str):
        return "{" + ",".join(map(str, column)) + "}"
    joined = '","'.join(column)
    if "\\" in joined or joined.count('"') != 2 * (len(column) - 1):
        joined = '","'.join(text.replace("\\", r"\\").replace('"', r"\"") for text in column)
    return '{"' + joined + '"}'


COLLECT = """
WITH taken AS (DELETE FROM settlement_usagebatch RETURNING account_ids, days),
marks AS (
    SELECT DISTINCT mark.account_id, mark.day
    FROM taken, unnest(taken.account_ids, taken.days) AS mark (account_id, day)
), held AS (
    SELECT pending.account_id, pending.day FROM settlement_pendingday AS pending
    WHERE (pending.account_id, pending.day) IN (SELECT account_id, day FROM marks)
    FOR KEY SHARE SKIP LOCKED
)
INSERT INTO settlement_pendingday (account_id, day) SELECT account_id, day FROM marks EXCEPT SELECT * FROM held
"""


def collect() -> int:
    """Turn the batches committed so far into pending account-days; how many were added.

    A pending row spares a new one only if we can hold it until we commit: whoever deletes it afterwards reads the
    batch's events too. One that settlement is deleting at this moment does not count, so a new row is added.
    """
    with connection.cursor() as cursor:
        cursor.execute(COLLECT)
        return int(cursor.rowcount)


def pending_days(account_id: int) -> list[date]:
    """The days of one account with usage that no run has seen yet, collected or not, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT day FROM settlement_pendingday WHERE account_id = %s
            UNION SELECT mark.day FROM settlement_usagebatch AS batch,
                  unnest(batch.account_ids, batch.days) AS mark (account_id, day)
            WHERE mark.account_id = %s ORDER BY 1""",
            [account_id, account_id],
        )
        return [day for (day,) in cursor.fetchall()]


AGGREGATE = """
WITH event AS (
    SELECT e.account_id, e.item_id, e.region, e.source, e.resource, e.quantity, e.occurred_at, item.aggregation
    FROM settlement_usageevent AS e JOIN packs_item AS item ON item.id = e.item_id
    WHERE e.day = %(day)s AND e.account_id = ANY(%(accounts)s)
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
)
SELECT account_id, item_id, region, sum(quantity) FROM event WHERE aggregation = 'sum' GROUP BY 1, 2, 3
UNION ALL
SELECT account_id, item_id, region, count(DISTINCT resource) FILTER (WHERE quantity > 0)
FROM event WHERE aggregation = 'distinct' GROUP BY 1, 2, 3
UNION ALL
SELECT account_id, item_id, region, max(quantity) FROM slot WHERE aggregation = 'peak' GROUP BY 1, 2, 3
UNION ALL
SELECT account_id, item_id, region, div(2 * sum(quantity) + 288, 2 * 288) FROM slot WHERE aggregation = 'mean'
GROUP BY 1, 2, 3
"""


def day_quantities(account_ids: Iterable[int], day: date) -> list[tuple[int, int, str, int]]:
    """(account, item, region, quantity) of a day, aggregated from its events (rules 2)."""
    with connection.cursor() as cursor:
        cursor.execute(AGGREGATE, {"day": day, "accounts": list(account_ids), "start": start_of(day)})
        return [(account, item, region, int(quantity)) for account, item, region, quantity in cursor.fetchall()]


def day_slots(account_id: int, item_id: int, region: str, day: date) -> dict[int, int]:
    """The slot sums (0-287) of one account's peak or mean item on a day; what had no report is left out."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT slot, sum(largest) FROM (
                SELECT (extract(epoch FROM occurred_at - %s) / 300)::int AS slot, max(quantity) AS largest FROM (
                    SELECT date_bin('5 minutes', occurred_at, %s) AS occurred_at, source, resource, quantity
                    FROM settlement_usageevent
                    WHERE day = %s AND account_id = %s AND item_id = %s AND region = %s
                ) AS event GROUP BY 1, source, resource
            ) AS series GROUP BY slot ORDER BY slot""",
            [start_of(day), start_of(day), day, account_id, item_id, region],
        )
        return {slot: int(quantity) for slot, quantity in cursor.fetchall()}
