"""Metering: storing usage events once, and marking the account-days they belong to (rules 5.6)."""

import logging
from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from django.db import IntegrityError, connection, transaction

from iss_billing import bulk
from iss_billing.bare import bare_cursor
from iss_billing.days import SHANGHAI
from settlement.events import Accepted, Event, Faulty, Rejected, judge_all
from settlement.partitions import DayExpired, ensure_partitions

log = logging.getLogger(__name__)


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


def meter(events: Sequence[Event | Faulty], now: datetime) -> Ingested:
    """Judge events and store what is accepted (rules 5.6).

    Judged again where a day expired in between: then its events are too old.
    """
    while True:
        try:
            return store(*judge_all(events, now), now)
        except DayExpired as error:
            log.info("judged again: %s", error)


def store(events: Accepted, rejected: list[Rejected], now: datetime) -> Ingested:
    """Store judged events in one transaction: what is returned as accepted is durable, once (rules 5.6).

    The same (day, source, id) again is a duplicate, in one batch or from before. Refused events are only counted.
    Raises DayExpired, with nothing stored, where a day's events went after its events were judged.
    """
    ensure_partitions(set(events.days))
    with transaction.atomic(), connection.cursor() as cursor:
        accepted = _insert(events, now) if events else 0
        if rejected:
            today = now.astimezone(SHANGHAI).date()
            counts = sorted(Counter((refused.source, refused.code) for refused in rejected).items())
            columns = zip(*((today, source, code, number) for (source, code), number in counts), strict=True)
            cursor.execute(COUNT_REFUSALS, list(map(list, columns)))
    return Ingested(accepted, len(events) - accepted, rejected)


def _insert(events: Accepted, now: datetime) -> int:
    try:
        with bare_cursor() as bare:
            bare.execute(STORE, [now, *map(_literal, events.columns()), now])
            [accepted] = bare.fetchone() or [0]
            return int(accepted)
    except IntegrityError as error:
        if "no partition of relation" in str(error):  # dropped since `ensure_partitions` saw it
            raise DayExpired(str(error).partition("\n")[0]) from error
        raise


def _literal(column: Sequence[Any]) -> str:
    return bulk.texts(column) if isinstance(column[0], str) else bulk.array(column)


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


PENDING = """
SELECT account_id, day FROM settlement_pendingday WHERE account_id = ANY(%(ids)s::bigint[])
UNION SELECT mark.account_id, mark.day FROM settlement_usagebatch AS batch,
      unnest(batch.account_ids, batch.days) AS mark (account_id, day)
WHERE batch.account_ids && %(ids)s::bigint[] AND mark.account_id = ANY(%(ids)s::bigint[]) ORDER BY 1, 2
"""
"""The account-days of some accounts with usage that no run has seen yet."""


def pending_days(account_id: int) -> list[date]:
    """The days of one account with usage that no run has seen yet, collected or not, oldest first."""
    return pending_days_of([account_id]).get(account_id, [])


def pending_days_of(account_ids: Sequence[int]) -> dict[int, list[date]]:
    """The same of several accounts at once; who has none is left out."""
    with connection.cursor() as cursor:
        cursor.execute(PENDING, {"ids": bulk.array(account_ids)})
        found: dict[int, list[date]] = {}
        for account_id, day in cursor.fetchall():
            found.setdefault(account_id, []).append(day)
        return found
