"""The books summed up day by day, by pack type: written once a night, read together with what moved since.

Sums of a day are taken when it has ended, and again on the next two nights; a transfer that is posted with an older
time has its day summed up again. Until then a reader adds it to the sums, so a report is of this moment.
"""

from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from django.db import connection, transaction

from iss_billing.days import day_of, start_of
from settlement.models import BookDay, CountedDay

AGAIN = 3
"""Days that are summed up again each night: a run posts at the clock it began with."""
DAYS_AT_A_TIME = 31
LOCK = 3

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
""".format(typed=TYPED.format(which="t.time >= %(start)s AND t.time < %(end)s"))


def count_days(now: datetime) -> None:
    """Sum up the days that have ended since the last time, the last few again, and those that were posted to since.

    Several at once wait for each other. Again, it changes nothing.
    """
    yesterday = day_of(now) - timedelta(days=1)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(7206, %s)", [LOCK])
        last_transfer = _one(cursor, "SELECT coalesce(max(id), 0) FROM accounts_transfer")
        for first, last in _spans(_days(yesterday)):
            BookDay.objects.filter(day__gte=first, day__lte=last).delete()
            cursor.execute(COUNT, {"start": start_of(first), "end": start_of(last + timedelta(days=1))})
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


def _days(yesterday: date) -> list[date]:
    """The days to sum up, oldest first."""
    counted = CountedDay.objects.order_by("-day").first()
    with connection.cursor() as cursor:
        if counted is None:
            oldest = _one(cursor, "SELECT min(time) FROM accounts_transfer")
            first = day_of(oldest) if oldest else yesterday
        else:
            first = min(counted.day + timedelta(days=1), yesterday - timedelta(days=AGAIN - 1))
        days = {first + timedelta(days=n) for n in range(max(0, (yesterday - first).days + 1))}
        if counted is not None:
            # since the count before the last: of two that post at once, the later number may be seen first
            seen = CountedDay.objects.filter(day__lt=counted.day - timedelta(days=AGAIN)).order_by("-day").first()
            cursor.execute(
                """SELECT DISTINCT (time AT TIME ZONE 'Asia/Shanghai')::date FROM accounts_transfer
                WHERE id > %s AND time < %s""",
                [seen.last_transfer if seen else 0, start_of(first)],
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
""".format(typed=TYPED.format(which="t.time >= %(start)s OR t.id > %(last)s"))  # noqa: S608 - our own words


def months() -> tuple[list[MonthSum], Held]:
    """All that ever moved, by month, and what is held now: one statement, so all of it is of one moment."""
    counted = CountedDay.objects.order_by("-day").first()
    values: dict[str, Any] = {
        "start": start_of(counted.day + timedelta(days=1) if counted else date(1970, 1, 1)),
        "last": counted.last_transfer if counted else 0,
    }
    with connection.cursor() as cursor:
        cursor.execute(MONTHS, values)
        rows = cursor.fetchall()
    held = {pack_type: int(amount) for month, *_, pack_type, amount in rows if month is None}
    sums = [MonthSum._make([*where, int(amount)]) for *where, amount in rows if where[0] is not None]
    return sums, Held(held[None], held[0])
