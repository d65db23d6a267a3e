"""The day partitions of the usage table."""

import re
from collections.abc import Iterable
from datetime import date, datetime, timedelta

from django.db import connection, transaction

from iss_billing.days import day_of, oldest_accepted
from settlement.models import ExpiredDay

AHEAD = 7
TABLE = "settlement_usageevent"
DETACHED = "settlement_detachedusage"


class DayExpired(Exception):
    """Usage of a day whose events are gone cannot be stored any more."""


def partition_name(day: date) -> str:
    """The table that holds the usage of a day."""
    return f"{TABLE}_{day:%Y%m%d}"


def partition_days() -> list[date]:
    """The days that have a partition, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = %s::regclass", [TABLE]
        )
        names = [re.fullmatch(rf"{TABLE}_(\d{{4}})(\d\d)(\d\d)", name) for (name,) in cursor.fetchall()]
    return sorted(date(*map(int, name.groups())) for name in names if name)


def expired_since(day: date) -> set[date]:
    """The expired days from a day on."""
    return set(ExpiredDay.objects.filter(day__gte=day).values_list("day", flat=True))


def ensure_partitions(days: Iterable[date]) -> None:
    """Make the partitions of these days that are missing, in a transaction of their own. Raises DayExpired.

    Made beside the table and attached, which unlike CREATE … PARTITION OF does not wait for open ingests.
    """
    wanted = {partition_name(day): day for day in sorted(days)}
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM unnest(%s::text[]) AS name WHERE to_regclass(name) IS NULL", [list(wanted)])
        missing = [name for (name,) in cursor.fetchall()]
    for name in missing:
        _make(name, wanted[name])


def _make(name: str, day: date) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(7206, 1)")
        cursor.execute("SELECT to_regclass(%s) IS NULL", [name])
        if not cursor.fetchone()[0]:
            return
        # seen missing because it expired: then the mark is seen too, for they were committed together
        if ExpiredDay.objects.filter(day=day).exists():
            raise DayExpired(f"the usage of {day} has expired")
        # a name of digits and a date: nothing that came from outside
        cursor.execute(f"CREATE TABLE {name} (LIKE {TABLE} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
        cursor.execute(
            f"ALTER TABLE {TABLE} ATTACH PARTITION {name} FOR VALUES FROM ('{day}') TO ('{day + timedelta(days=1)}')"
        )


def make_partitions_ahead(now: datetime) -> None:
    """Make the partitions of every day for which usage may arrive within the next week."""
    oldest, today = oldest_accepted(now), day_of(now)
    days = {oldest + timedelta(days=n) for n in range((today - oldest).days + 1 + AHEAD)}
    ensure_partitions(days - expired_since(oldest))


def measure(day: date) -> tuple[int, int]:
    """The events of a day, and the bytes they take with their indexes."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*), pg_total_relation_size(%s) FROM {partition_name(day)}", [partition_name(day)])
        events, size = cursor.fetchone()
        return int(events), int(size)


def take_turn() -> None:
    """Wait until nobody else removes a partition, and be the one until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(7206, 2)")


def close_to_writers(day: date) -> None:
    """Lock a day's partition until the transaction ends: read by all, written by none.

    Waits for whoever has written to it and not committed, as long as `lock_timeout` allows.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {partition_name(day)} IN SHARE MODE")


def writer_waits(day: date) -> bool:
    """Whether somebody waits to write to a day's partition that we have closed."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT EXISTS (SELECT FROM pg_locks
            WHERE relation = %s::regclass AND mode = 'RowExclusiveLock' AND NOT granted)""",
            [partition_name(day)],
        )
        return bool(cursor.fetchone()[0])


def holder_of(table: str) -> str:
    """Who has been at a table for longest, for a person to read; empty when nobody is."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT activity.pid, to_char(activity.xact_start AT TIME ZONE 'Asia/Shanghai', 'YYYY-MM-DD HH24:MI:SS')
            FROM pg_locks AS held JOIN pg_stat_activity AS activity USING (pid)
            WHERE held.relation = to_regclass(%s) AND held.granted AND pid <> pg_backend_pid()
            ORDER BY activity.xact_start LIMIT 1""",
            [table],
        )
        found = cursor.fetchone()
        return f": server process {found[0]}, in a transaction since {found[1]}" if found else ""


def remove(day: date, *, detach: bool) -> None:
    """Drop a day's partition, or detach it as a table of its own; stops all use of usage until the transaction ends."""
    name = partition_name(day)
    with connection.cursor() as cursor:
        if detach:
            cursor.execute(f"ALTER TABLE {TABLE} DETACH PARTITION {name}")
            cursor.execute(f"ALTER TABLE {name} RENAME TO {DETACHED}_{day:%Y%m%d}")
        else:
            cursor.execute(f"DROP TABLE {name}")
