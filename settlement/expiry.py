"""Expiring raw usage: a day past the late window, once it proves billed, keeps its aggregate and loses its events.

A day is one transaction: closed to writers, kept, proved, removed. Killed at any instruction it is whole or expired.

The ids of its events go too, so a repeat could not be told from a new event any more. None is accepted: the day is
past the late window, and for an import with an earlier clock `ExpiredDay` refuses what the clock would let in.
"""

import time
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

import psycopg
from django.db import OperationalError, ProgrammingError, connection, transaction

from iss_billing.days import oldest_accepted
from settlement import partitions
from settlement.audit import FIRST_ROWS, judged
from settlement.models import ExpiredDay
from settlement.usage import keep_day

WRITERS_MS = 5_000
"""How long to wait for who writes to the day itself: nobody does, unless an ingest has been open since it was late."""
EVERYBODY_MS = 300
"""How long at a time to wait for all who use usage, of whatever day: new ingests queue behind us meanwhile."""
TRIES = 30
PAUSE_SECONDS = 1.0


class StillAccepted(Exception):
    """Usage of a day that is to expire may still arrive."""


class Stays(Exception):
    """A day cannot expire: why, and the first rows that keep it."""

    def __init__(self, why: str, rows: list[dict[str, Any]] | None = None) -> None:
        super().__init__(why)
        self.why, self.rows = why, rows or []


class Gone(Exception):
    """Another expiry was quicker."""


class Outcome(NamedTuple):
    """What became of a day: what went and what is kept, or why it stays; of a dry run, what would go."""

    day: date
    events: int
    bytes: int
    kept: int
    stays: Stays | None


def expire_usage(
    *,
    before: date,
    now: datetime,
    detach: bool = False,
    dry_run: bool = False,
    told: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Expire every day before a day, oldest first; a day that does not prove stays and the others go on.

    `detach` leaves the events in a table of their own. Again it changes nothing. Raises StillAccepted.
    """
    oldest = oldest_accepted(now)
    if before > oldest:
        raise StillAccepted(
            f"usage of {oldest} and later is still accepted: the last day to expire is {oldest - timedelta(days=1)}, "
            f"--before {oldest}"
        )
    outcomes = []
    for day in partitions.partition_days():
        if day < before and (outcome := _outcome(day, now, detach=detach, dry_run=dry_run)):
            outcomes.append(outcome)
            if told:
                told(outcome)
    return outcomes


def _outcome(day: date, now: datetime, *, detach: bool, dry_run: bool) -> Outcome | None:
    try:
        with transaction.atomic():
            return _expire(day, now, detach=detach, dry_run=dry_run)
    except Gone:
        return None
    except Stays as stays:
        return Outcome(day, 0, 0, 0, stays)


def _expire(day: date, now: datetime, *, detach: bool, dry_run: bool) -> Outcome:
    """Expire a day in the caller's transaction. Raises Stays and Gone."""
    partitions.take_turn()  # two that had both read usage would wait for each other to drop it
    _close(day)
    if waiting := _waiting(day):
        raise Stays("has usage that is not billed yet", waiting)
    events, size = partitions.measure(day)
    kept = keep_day(day)
    if broken := _unproved(day):
        raise Stays("is not billed as it was used", broken)
    if dry_run:
        transaction.set_rollback(True)
        return Outcome(day, events, size, kept, None)
    ExpiredDay.objects.create(day=day, expired_at=now, events=events, bytes=size, kept=kept)
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # now, and not while everybody waits for our commit
    _remove(day, detach=detach)
    return Outcome(day, events, size, kept, None)


def _close(day: date) -> None:
    """Wait for ingests that have written to the day, and keep new ones out: from here on its events stand still."""
    try:
        with transaction.atomic():
            _wait_at_most(WRITERS_MS)
            partitions.close_to_writers(day)
    except ProgrammingError as error:
        if isinstance(error.__cause__, psycopg.errors.UndefinedTable):
            raise Gone from error
        raise
    except OperationalError as error:
        _only_a_lock(error)
        holder = partitions.holder_of(partitions.partition_name(day))
        raise Stays(f"is being written to by an ingest that has not committed{holder}") from error


def _waiting(day: date) -> list[dict[str, Any]]:
    """The first accounts with usage of the day that no run has billed, and the error where one has tried."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT account_id, (
                SELECT error FROM settlement_settlementfailure AS failure
                WHERE failure.account_id = waiting.account_id AND failure.day = %(day)s ORDER BY id DESC LIMIT 1
            ) FROM (
                SELECT account_id FROM settlement_pendingday WHERE day = %(day)s
                UNION SELECT mark.account_id FROM settlement_usagebatch AS batch,
                      unnest(batch.account_ids, batch.days) AS mark (account_id, day) WHERE mark.day = %(day)s
            ) AS waiting ORDER BY account_id LIMIT %(rows)s""",
            {"day": day, "rows": FIRST_ROWS},
        )
        return [{"account": account, "error": error} for account, error in cursor.fetchall()]


def _unproved(day: date) -> list[dict[str, Any]]:
    """The first rows where the events, what is kept of them and what was billed are not the same.

    The audit's reading of the raw rows, so what is kept was computed twice, by code that shares nothing.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            judged(expiring=day)
            + """
            SELECT account_id, item_id, region, rated, kept.quantity AS kept, billed
            FROM judged FULL JOIN (SELECT * FROM settlement_dayusage WHERE day = %s) AS kept
                 USING (account_id, item_id, region)
            WHERE rated IS DISTINCT FROM kept.quantity OR billed <> CASE WHEN billable THEN rated ELSE 0 END
            ORDER BY account_id, item_id, region LIMIT %s""",
            [day, FIRST_ROWS],
        )
        names = ("account", "item", "region", "used", "kept", "billed")
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _remove(day: date, *, detach: bool) -> None:
    """Take the partition away as soon as nobody uses usage for a moment, without making anybody wait for long."""
    for last in [False] * (TRIES - 1) + [True]:
        if partitions.writer_waits(day):
            raise Stays("is being written to by an ingest that judged its events long ago")
        try:
            with transaction.atomic():
                _wait_at_most(EVERYBODY_MS)
                partitions.remove(day, detach=detach)
                return
        except OperationalError as error:
            _only_a_lock(error)
            if last:
                holder = partitions.holder_of(partitions.TABLE)
                raise Stays(f"cannot be removed while usage is read or written without a pause{holder}") from error
        time.sleep(PAUSE_SECONDS)


def _wait_at_most(milliseconds: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [str(milliseconds)])


def _only_a_lock(error: OperationalError) -> None:
    """Raise what is no lock that was waited for in vain."""
    if not isinstance(error.__cause__, psycopg.errors.LockNotAvailable | psycopg.errors.DeadlockDetected):
        raise error
