"""The day partitions of the usage table."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta

from django.db import connection, transaction

from iss_billing.days import day_of, oldest_accepted

AHEAD = 7


def partition_name(day: date) -> str:
    """The table that holds the usage of a day."""
    return f"settlement_usageevent_{day:%Y%m%d}"


def ensure_partitions(days: Iterable[date]) -> None:
    """Make the partitions of these days that are missing, in a transaction of their own.

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
        if cursor.fetchone()[0]:
            # a name of digits and a date: nothing that came from outside
            cursor.execute(f"CREATE TABLE {name} (LIKE settlement_usageevent INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
            cursor.execute(
                f"ALTER TABLE settlement_usageevent ATTACH PARTITION {name} "
                f"FOR VALUES FROM ('{day}') TO ('{day + timedelta(days=1)}')"
            )


def make_partitions_ahead(now: datetime) -> None:
    """Make the partitions of every day for which usage may arrive within the next week."""
    oldest, today = oldest_accepted(now), day_of(now)
    ensure_partitions(oldest + timedelta(days=n) for n in range((today - oldest).days + 1 + AHEAD))
