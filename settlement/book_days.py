"""The books summed up day by day, by pack type: written once a night, read together with what moved since.

Every transfer up to a number is in the sums, and a reader adds those after it, so a report is of this moment. Each
night moves the number on: it sums up what has come since, today with it, the last days again, and every older day
that was posted to with an older time.
"""

import time
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.db.models import Max

from accounts.models import Transfer
from iss_billing.days import day_of, start_of
from settlement.models import BookDay, CountedDay, SettlementRun

AGAIN = 3
"""Days that are summed up again each night: a run posts at the clock it began with."""
PATIENCE_SECONDS, PAUSE_SECONDS = 60, 0.2
DAYS_AT_A_TIME = 31
LOCK = 3
COUNT_AT = timedelta(hours=4, minutes=30)
"""Into the day, when the night is over."""
LONG_NIGHT = timedelta(hours=3)
MUCH = 20_000
"""Transfers that readers add up by themselves, in some tenths of a second, before they are summed up for them."""

# `{which}` of the transfers, aliased t. Every transfer is in one branch, and every branch adds up to its transfers.
TYPED = """
moved AS MATERIALIZED (
    SELECT t.kind, t.debit, t.credit, t.amount, (t.time AT TIME ZONE 'Asia/Shanghai')::date AS day,
           CASE WHEN t.kind IN ('purchase', 'refund', 'recognition') THEN split_part(t.reference, ':', 1) END AS cause,
           CASE WHEN t.kind IN ('purchase', 'refund', 'recognition')
                THEN split_part(t.reference, ':', 2)::bigint END AS number
    FROM accounts_transfer AS t WHERE {which}
), typed AS (
    SELECT m.day, m.kind, m.debit, m.credit, p.pack_type_id, sum(p.price) AS amount
    FROM moved AS m JOIN packs_orderline AS l ON l.order_id = m.number JOIN packs_pack AS p ON p.order_line_id = l.id
    WHERE m.cause = 'order' GROUP BY 1, 2, 3, 4, 5
    UNION ALL
    SELECT m.day, m.kind, m.debit, m.credit, p.pack_type_id, sum(m.amount)
    FROM moved AS m JOIN packs_pack AS p ON p.id = m.number WHERE m.cause = 'pack' GROUP BY 1, 2, 3, 4, 5
    UNION ALL
    SELECT m.day, m.kind, m.debit, m.credit, p.pack_type_id, sum(d.recognised)
    FROM moved AS m JOIN settlement_billline AS l ON l.bill_id = m.number
    JOIN settlement_drawdown AS d ON d.line_id = l.id JOIN packs_pack AS p ON p.id = d.pack_id
    WHERE m.cause = 'bill' AND d.recognised > 0 GROUP BY 1, 2, 3, 4, 5
    UNION ALL
    SELECT m.day, m.kind, m.debit, m.credit, NULL, sum(m.amount) FROM moved AS m WHERE m.cause IS NULL
    GROUP BY 1, 2, 3, 4
)
"""
COUNT = """
WITH {typed} INSERT INTO settlement_bookday (day, kind, debit, credit, pack_type_id, amount)
SELECT day, kind, debit, credit, pack_type_id, amount FROM typed
""".format(typed=TYPED.format(which="t.time >= %(start)s AND t.time < %(end)s AND t.id <= %(last)s"))


def count_if_due(now: datetime) -> bool:
    """Sum up once a day from 04:30 on, and whenever much has moved since and no run posts; whether it was due."""
    last = CountedDay.objects.aggregate(at=Max("counted_at"), transfer=Max("last_transfer"))
    morning = start_of(day_of(now)) + COUNT_AT
    if not (now >= morning and (last["at"] is None or last["at"] < morning)):
        newest = Transfer.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
        running = SettlementRun.objects.filter(finished_at=None, started_at__gt=now - LONG_NIGHT)
        if newest - (last["transfer"] or 0) < MUCH or running.exists():
            return False
    count_days(now)
    return True


def count_days(now: datetime) -> None:
    """Sum up the days since the last time, today so far, the last few again, and those that were posted to since.

    Several at once wait for each other. Again, it changes nothing.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(7206, %s)", [LOCK])
        last_transfer = _last_transfer(cursor)
        for first, last in _spans(_days(day_of(now))):
            BookDay.objects.filter(day__gte=first, day__lte=last).delete()
            values: dict[str, Any] = {
                "start": start_of(first),
                "end": start_of(last + timedelta(days=1)),
                "last": last_transfer,
            }
            cursor.execute(COUNT, values)
            CountedDay.objects.bulk_create(
                [
                    CountedDay(day=day, counted_at=now, last_transfer=last_transfer)
                    for day in (first + timedelta(days=n) for n in range((last - first).days + 1))
                ],
                update_conflicts=True,
                unique_fields=["day"],
                update_fields=["counted_at", "last_transfer"],
            )


def _one(cursor: Any, sql: str, values: Any = None) -> Any:
    cursor.execute(sql, values)
    return cursor.fetchone()[0]


WRITERS = """
SELECT coalesce(array_agg(backend_xid::text), '{}') FROM pg_stat_activity
WHERE datname = current_database() AND backend_xid IS NOT NULL AND pid <> pg_backend_pid()
"""


def _last_transfer(cursor: Any) -> int:
    """The last transfer's number, once everybody who wrote at that moment has committed: none below it is unseen.

    One that takes very long is not waited for; what it posts is summed up the next night.
    """
    last = int(_one(cursor, "SELECT coalesce(max(id), 0) FROM accounts_transfer"))
    cursor.execute("SELECT pg_stat_clear_snapshot()")
    writing = set(_one(cursor, WRITERS))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while writing and time.monotonic() < deadline:
        time.sleep(PAUSE_SECONDS)
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        writing &= set(_one(cursor, WRITERS))
    return last


def _days(today: date) -> list[date]:
    """The days to sum up, oldest first."""
    counted = CountedDay.objects.order_by("-day").first()
    with connection.cursor() as cursor:
        if counted is None:
            oldest = _one(cursor, "SELECT min(time) FROM accounts_transfer")
            first = day_of(oldest) if oldest else today
        else:
            first = min(counted.day, today - timedelta(days=AGAIN))
        days = {first + timedelta(days=n) for n in range(max(0, (today - first).days + 1))}
        if counted is not None:
            # since the count before the last: of two that post at once, the later number may be seen first
            seen = CountedDay.objects.filter(day__lt=counted.day - timedelta(days=AGAIN)).order_by("-day").first()
            cursor.execute(
                """SELECT DISTINCT (time AT TIME ZONE 'Asia/Shanghai')::date FROM accounts_transfer
                WHERE id > %s AND time < %s""",
                [seen.last_transfer if seen else 0, start_of(first)],
            )
            days |= {day for (day,) in cursor.fetchall()}
        # a development installation's clock may run ahead
        cursor.execute(
            "SELECT DISTINCT (time AT TIME ZONE 'Asia/Shanghai')::date FROM accounts_transfer WHERE time >= %s",
            [start_of(today + timedelta(days=1))],
        )
        days |= {day for (day,) in cursor.fetchall()}
    return sorted(days)


def _spans(days: list[date]) -> list[tuple[date, date]]:
    """Days as ranges of neighbours, none longer than a month."""
    spans: list[tuple[date, date]] = []
    for day in days:
        if spans and day == spans[-1][1] + timedelta(days=1) and (day - spans[-1][0]).days < DAYS_AT_A_TIME:
            spans[-1] = (spans[-1][0], day)
        else:
            spans.append((day, day))
    return spans


class MonthSum(NamedTuple):
    """What moved in a month between two books, by kind and pack type; fen."""

    month: date
    kind: str
    debit: str
    credit: str
    pack_type: int | None
    amount: int


class Held(NamedTuple):
    """What the accounts and packs themselves hold at the same moment, to compare the books with; fen."""

    balances: int
    deferred: int


MONTHS = """
WITH {typed} SELECT date_trunc('month', day)::date, kind, debit, credit, pack_type_id, sum(amount) FROM (
    SELECT day, kind, debit, credit, pack_type_id, amount FROM settlement_bookday
    UNION ALL SELECT * FROM typed) AS one
GROUP BY 1, 2, 3, 4, 5
UNION ALL
SELECT NULL, 'held', '', '', NULL, coalesce(sum(balance), 0) FROM accounts_account
UNION ALL
SELECT NULL, 'held', '', '', 0, coalesce(sum(price - recognised - refunded), 0) FROM packs_pack
""".format(typed=TYPED.format(which="t.id > (SELECT coalesce(max(last_transfer), 0) FROM settlement_countedday)"))  # noqa: S608 - our own words


def months() -> tuple[list[MonthSum], Held]:
    """All that ever moved, by month, and what is held now: one statement, so all of it is of one moment."""
    with connection.cursor() as cursor:
        cursor.execute(MONTHS)
        rows = cursor.fetchall()
    held = {pack_type: int(amount) for month, *_, pack_type, amount in rows if month is None}
    sums = [MonthSum._make([*where, int(amount)]) for *where, amount in rows if where[0] is not None]
    return sums, Held(held[None], held[0])
