"""Usage that stopped coming: an account or a source that reported every day, and then no more.

Once a morning `look` reads the partitions of the last days, one at a time, and keeps for every account and every source
on which days it reported. What is asked afterwards costs no look at the usage.
"""

from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from django.db import connection, transaction

from accounts.standing import GRACE
from iss_billing.days import day_of, start_of
from settlement import alarms
from settlement.models import ReportedDay, Reporter
from settlement.partitions import partition_days

LOOK_AT = timedelta(hours=8, minutes=30)
"""Into the day, when those who report in the morning have."""
AGAIN = 3
"""Days that are looked at each morning: usage arrives late, too."""
KEPT = 28
"""Days that a reporter's bits go back."""
DAILY = 7
"""Who reported on so many days in a row, and not on the next, fell silent."""
FORGOTTEN = 60
"""Days after which a silence is no news any more, and its reporter is forgotten."""

# Who is known to have reported on a day is left alone: looked at again, a day writes next to nothing.
_KNOWN = """
    UPDATE settlement_reporter AS r SET
        days = CASE
            WHEN %(day)s - r.last_day >= %(kept)s THEN 1
            WHEN %(day)s > r.last_day THEN ((r.days << (%(day)s - r.last_day)) | 1) & ((1::bigint << %(kept)s) - 1)
            ELSE r.days | (1::bigint << (r.last_day - %(day)s)) END,
        told = r.told AND %(day)s <= r.last_day,
        last_day = greatest(r.last_day, %(day)s)
    FROM (SELECT DISTINCT {key} FROM seen) AS s
    WHERE r.{key} = s.{key} AND {its_kind} AND r.last_day - %(day)s < %(kept)s
      AND NOT (r.last_day >= %(day)s AND (r.days >> greatest(r.last_day - %(day)s, 0)) & 1 = 1)
"""
_NEW = """
    INSERT INTO settlement_reporter (account_id, source, last_day, days, told)
    SELECT {row}, %(day)s, 1, false FROM (SELECT DISTINCT {key} FROM seen) AS s
    WHERE NOT EXISTS (SELECT FROM settlement_reporter AS r WHERE r.{key} = s.{key} AND {its_kind})
"""
_ACCOUNT = {"key": "account_id", "its_kind": "r.account_id IS NOT NULL", "row": "account_id, ''"}
_SOURCE = {"key": "source", "its_kind": "r.account_id IS NULL", "row": "NULL::bigint, source"}
LOOK = f"""
WITH seen AS MATERIALIZED (
    SELECT account_id, source, count(*) AS events FROM settlement_usageevent WHERE day = %(day)s GROUP BY 1, 2
), known_account AS ({_KNOWN.format(**_ACCOUNT)}), known_source AS ({_KNOWN.format(**_SOURCE)}),
new_account AS ({_NEW.format(**_ACCOUNT)}), new_source AS ({_NEW.format(**_SOURCE)})
INSERT INTO settlement_reportedday (day, looked_at, events, accounts, sources)
SELECT %(day)s, %(now)s, coalesce(sum(events), 0), count(DISTINCT account_id), count(DISTINCT source) FROM seen
ON CONFLICT (day) DO UPDATE SET looked_at = excluded.looked_at, events = excluded.events,
    accounts = excluded.accounts, sources = excluded.sources
"""  # noqa: S608 - our own words


def look_if_due(now: datetime) -> bool:
    """Look, once a day from 08:30 on, whenever somebody comes to ask; whether it was due."""
    today = day_of(now)
    if now < start_of(today) + LOOK_AT or looked_through() == today - timedelta(days=1):
        return False
    look(now)
    return True


def look(now: datetime) -> None:
    """Bring who reported up to date with the days that have ended, and tell the operators of new silences.

    Several at once wait for each other. Again, it changes nothing.
    """
    yesterday = day_of(now) - timedelta(days=1)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(7206, 2)")
        for day in _days_to_look_at(yesterday):
            cursor.execute(LOOK, {"day": day, "now": now, "kept": KEPT})
        Reporter.objects.filter(last_day__lt=yesterday - timedelta(days=FORGOTTEN)).delete()
        ReportedDay.objects.filter(day__lt=yesterday - timedelta(days=FORGOTTEN)).delete()
        _tell(yesterday, now)


def _days_to_look_at(yesterday: date) -> list[date]:
    """The last days, and those since the last look, oldest first; before the oldest partition there is nothing."""
    latest = looked_through()
    first = yesterday - timedelta(days=KEPT - 1)
    if latest is not None:
        first = max(first, min(latest + timedelta(days=1), yesterday - timedelta(days=AGAIN - 1)))
    oldest = min(partition_days(), default=yesterday)
    first = max(first, min(oldest, yesterday))
    return [first + timedelta(days=n) for n in range((yesterday - first).days + 1)]


def looked_through() -> date | None:
    """The last day that was looked at."""
    return ReportedDay.objects.order_by("-day").values_list("day", flat=True).first()


class Silence(NamedTuple):
    """Who fell silent: an account (its id and name) or a source; since when, and how many days in a row before."""

    account_id: int | None
    name: str
    source: str
    last_day: date
    days_before: int
    serves: bool
    """False where the account was suspended meanwhile: then silence is what is to be expected."""

    def silent_days(self, through: date) -> int:
        """Whole days without any usage."""
        return (through - self.last_day).days


SILENT = """
SELECT r.id, r.account_id, coalesce(a.name, ''), r.source, r.last_day,
       -- the bits set at the low end: how many days in a row up to the last
       bit_count(((r.days # (r.days + 1)) >> 1)::bit(64)) AS before,
       a.arrears_since IS NULL OR a.arrears_since > %(suspended)s AS serves
FROM settlement_reporter AS r LEFT JOIN accounts_account AS a ON a.id = r.account_id
WHERE r.last_day < %(through)s AND r.days & %(daily)s = %(daily)s {more}
ORDER BY r.last_day DESC, r.account_id NULLS LAST, r.source LIMIT %(limit)s
"""


def silences(through: date, now: datetime, limit: int = 200) -> list[Silence]:
    """Who reported daily for a week and has not on `through`, the latest silences first."""
    return [Silence(*row[1:]) for row in _silent(through, now, limit)]


def _silent(through: date, now: datetime, limit: int, more: str = "") -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(
            SILENT.format(more=more),
            {
                "through": through,
                "daily": (1 << DAILY) - 1,
                "suspended": now - GRACE,
                "limit": limit,
            },
        )
        return list(cursor.fetchall())


def _tell(yesterday: date, now: datetime) -> None:
    """One mail a morning about who fell silent since the last one; an account that is suspended is not told of."""
    rows = _silent(yesterday, now, 10_000, "AND NOT r.told")
    news = [Silence(*row[1:]) for row in rows]
    alarms.silent([one for one in news if one.serves], yesterday, now)
    Reporter.objects.filter(pk__in=[row[0] for row in rows]).update(told=True)
