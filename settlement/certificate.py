"""The nightly certificate: for every day that a run settled and every item, from the raw rows,

    accepted usage = drawn from packs + charged + not billable in that mode + waiting.

Each account and region has to balance on its own, and every bill line has to say what its drawdowns and the tariff
say. What *waits* has a pending row or a batch in the same snapshot, so that usage arriving meanwhile breaks nothing.
No account's figures touch another's, so a day is read some accounts at a time, and gives way to people in between.
"""

import json
import logging
import time
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

from django.db import connection, transaction
from django.db.models import BigIntegerField, Q, QuerySet

from iss_billing.days import oldest_accepted
from settlement import alarms
from settlement.models import CertificateLine, SettlementRun, SettlementShard
from settlement.recount import recount
from settlement.yielding import give_way

log = logging.getLogger(__name__)

FIRST_ROWS = 10
ACCOUNTS = 5_000
"""Accounts that one statement reads of a day."""
LOCK = 7207

LAST_OF_PARTS = """
SELECT id FROM (SELECT id, row_number() OVER (ORDER BY id) AS place FROM accounts_account) AS account
WHERE place %% %s = 0 ORDER BY id
"""
PART = "account_id BETWEEN %(first)s AND %(last)s"

# The one place that knows how drawdowns hang on lines, and lines on bills. Bills are looked up account by account: the
# day alone would read every bill ever written.
LINES = """
    bill AS MATERIALIZED (
        SELECT b.* FROM accounts_account AS a CROSS JOIN LATERAL (
            SELECT id, account_id FROM settlement_bill WHERE account_id = a.id AND day = %(day)s OFFSET 0) AS b
        WHERE a.id BETWEEN %(first)s AND %(last)s
    ), plain_line AS MATERIALIZED (
        SELECT b.account_id, l.* FROM bill AS b JOIN settlement_billline AS l ON l.bill_id = b.id
    ), drawdown AS (
        SELECT d.line_id, sum(d.quantity) AS quantity
        FROM settlement_drawdown AS d JOIN plain_line AS l ON l.id = d.line_id GROUP BY d.line_id
    ), line AS (
        SELECT l.account_id, l.item_id, l.region, l.quantity, l.drawn, l.charged, l.amount,
               coalesce(d.quantity, 0) AS drawdowns
        FROM plain_line AS l LEFT JOIN drawdown AS d ON d.line_id = l.id
    )
"""

CERTIFY = f"""
WITH {LINES}, tariff AS (
    SELECT DISTINCT ON (item_id, region) item_id, region, CASE WHEN withdraws THEN NULL ELSE price END AS price, per
    FROM packs_tariffprice WHERE effective_day <= %(day)s AND cancelled_at IS NULL
    ORDER BY item_id, region, effective_day DESC, id DESC
), mode AS (
    SELECT DISTINCT ON (account_id) account_id, mode FROM accounts_modechange
    WHERE effective_day <= %(day)s AND {PART} ORDER BY account_id, effective_day DESC, id DESC
), waiting AS (
    SELECT account_id FROM settlement_pendingday WHERE day = %(day)s AND {PART}
    UNION SELECT mark.account_id FROM settlement_usagebatch AS batch,
          unnest(batch.account_ids, batch.days) AS mark (account_id, day) WHERE mark.day = %(day)s AND mark.{PART}
), used AS (
    {recount(f"e.day = %(day)s AND e.{PART}", kept=False)}
    UNION ALL SELECT day, account_id, item_id, region, quantity FROM settlement_dayusage
    WHERE day = %(day)s AND {PART} AND (SELECT true FROM settlement_expiredday WHERE day = %(day)s)
), billed AS (
    SELECT l.account_id, l.item_id, l.region, sum(l.drawdowns) AS drawn, sum(l.charged) AS charged,
           bool_and(l.quantity = l.drawn + l.charged AND l.drawn = l.drawdowns
                    AND l.amount IS NOT DISTINCT FROM div(2 * l.charged * t.price + t.per, 2 * t.per)) AS sound
    FROM line AS l LEFT JOIN tariff AS t ON t.item_id = l.item_id AND t.region = l.region GROUP BY 1, 2, 3
), both_sides AS (
    SELECT account_id, item_id, region, coalesce(used.quantity, 0) AS accepted, coalesce(billed.drawn, 0) AS drawn,
           coalesce(billed.charged, 0) AS charged, coalesce(billed.sound, true) AS sound
    FROM used FULL JOIN billed USING (account_id, item_id, region)
), judged AS (
    SELECT s.*, m.mode, i.requires_billing_mode <> m.mode AS other_mode, w.account_id IS NOT NULL AS waits
    FROM both_sides AS s JOIN packs_item AS i ON i.id = s.item_id
    LEFT JOIN waiting AS w ON w.account_id = s.account_id
    LEFT JOIN mode ON mode.account_id = s.account_id AND i.requires_billing_mode IS NOT NULL
    CROSS JOIN LATERAL (
        SELECT CASE WHEN i.requires_billing_mode IS NOT NULL THEN coalesce(mode.mode, 'bandwidth') END AS mode) AS m
), placed AS (
    SELECT account_id, item_id, region, coalesce(mode, '') AS mode, accepted, drawn, charged, sound,
           CASE WHEN other_mode THEN accepted ELSE 0 END AS not_billable,
           CASE WHEN waits AND other_mode IS NOT TRUE THEN accepted - drawn - charged ELSE 0 END AS waiting
    FROM judged
), verdict AS (
    SELECT *, NOT sound OR waiting < 0 OR accepted <> drawn + charged + not_billable + waiting AS breaks FROM placed
)
SELECT item_id, mode, sum(accepted), sum(drawn), sum(charged), sum(not_billable), sum(waiting),
       count(*) FILTER (WHERE breaks),
       (array_agg(jsonb_build_object(
           'account', account_id, 'region', region, 'accepted', accepted, 'drawn', drawn, 'charged', charged,
           'not_billable', not_billable, 'waiting', waiting, 'sound', sound
       ) ORDER BY account_id, region) FILTER (WHERE breaks))[1:{FIRST_ROWS}]
FROM verdict GROUP BY item_id, mode ORDER BY item_id, mode
"""


def certify(run_id: int, clock: datetime) -> bool | None:
    """Write the certificate of a run that has none, and say whether the run balances.

    None while somebody else is at it, or where the run went on meanwhile: the next tick sees to it. An account's day is
    read in one statement and so one snapshot; none is locked, and nothing is kept of an attempt that is killed.
    """
    with transaction.atomic():
        if not _take(run_id):
            return None
        run = SettlementRun.objects.get(pk=run_id)
        if run.certified_at:
            return run.balances
        done = _done(run).count()
        lines = [line for day in _days(run) for line in _certificate(run, day)]
        if _done(run).count() != done:
            return None  # a run that was taken for dead has settled more than we saw
        balances = not any(line.breaks for line in lines)
        SettlementRun.objects.filter(pk=run_id).update(certified_at=clock, balances=balances)
        run.certificate.all().delete()
        CertificateLine.objects.bulk_create(lines)
        if not balances:
            _shout(run, [line for line in lines if line.breaks], clock)
    return balances


def certify_due(clock: datetime, idle: timedelta) -> None:
    """Certify every run that ended without a certificate: its process was killed before, or before the run's end.

    A run cut off is certified once nothing has moved in it for `idle` and a later run has finished. Older than the
    late window (rules 5.4) none is: its raw usage may be gone.
    """
    moved = SettlementShard.objects.filter(Q(done_at__gt=clock - idle) | Q(started_at__gt=clock - idle))
    last = SettlementRun.objects.filter(finished_at__isnull=False).order_by("-pk").values_list("pk", flat=True).first()
    cut_off = Q(finished_at=None, pk__lt=last or 0) & ~Q(shards__in=moved)
    due = SettlementRun.objects.filter(certified_at=None, through_day__gte=oldest_accepted(clock))
    for run_id in due.filter(Q(finished_at__isnull=False) | cut_off).order_by("pk").values_list("pk", flat=True):
        certify(run_id, clock)


def _take(run_id: int) -> bool:
    """Be the only one at this run's certificate until the transaction ends, however it does."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", [LOCK, run_id % 2**31])
        return bool(cursor.fetchone()[0])


def _done(run: SettlementRun) -> QuerySet[SettlementShard]:
    """The shards with which the run settled, or tried to settle, anything."""
    return run.shards.filter(last_account__gt=0, done_at__isnull=False)


def _days(run: SettlementRun) -> list[date]:
    return list(_done(run).order_by("day").values_list("day", flat=True).distinct())


def _certificate(run: SettlementRun, day: date) -> Iterable[CertificateLine]:
    """The lines of a day, by item and mode."""
    lines: dict[tuple[int, str], CertificateLine] = {}
    for first, last in _parts():
        begun = time.monotonic()
        for line in _part(run, day, first, last):
            known = lines.setdefault((line.item_id, line.billing_mode), line)
            if known is not line:
                _add(known, line)
        give_way(time.monotonic() - begun)
    return [lines[key] for key in sorted(lines)]


def _parts() -> Iterator[tuple[int, int]]:
    """Id ranges of so many accounts each, which together hold every id there can be."""
    with connection.cursor() as cursor:
        cursor.execute(LAST_OF_PARTS, [ACCOUNTS])
        ends = [last for (last,) in cursor.fetchall()]
    yield from pairwise([-1, *ends, BigIntegerField.MAX_BIGINT])


def _part(run: SettlementRun, day: date, first: int, last: int) -> Iterator[CertificateLine]:
    """A day's lines of the accounts above the one and up to the other, by item and mode."""
    with connection.cursor() as cursor:
        cursor.execute(CERTIFY, {"day": day, "first": first + 1, "last": last})
        for item, mode, accepted, drawn, charged, not_billable, waiting, breaks, broken in cursor.fetchall():
            yield CertificateLine(
                run=run,
                day=day,
                item_id=item,
                billing_mode=mode,
                accepted=int(accepted),
                drawn=int(drawn),
                charged=int(charged),
                not_billable=int(not_billable),
                waiting=int(waiting),
                breaks=breaks,
                broken=[_decoded(row) for row in broken or ()],
            )


def _add(line: CertificateLine, more: CertificateLine) -> None:
    """Add what the next accounts have."""
    line.accepted += more.accepted
    line.drawn += more.drawn
    line.charged += more.charged
    line.not_billable += more.not_billable
    line.waiting += more.waiting
    line.breaks += more.breaks
    line.broken = [*line.broken, *more.broken][:FIRST_ROWS]


def _decoded(row: Any) -> Any:
    """Django leaves the jsonb in an array as text."""
    return json.loads(row) if isinstance(row, str) else row


def _shout(run: SettlementRun, lines: list[CertificateLine], clock: datetime) -> None:
    first = lines[0]
    log.error(
        "settlement run %s does not balance in %s of its certificate's lines, the first: %s, %s, accounts %s",
        run.pk,
        len(lines),
        first.day,
        first.item.code,
        ", ".join(str(row["account"]) for row in first.broken),
    )
    alarms.unbalanced(run, lines, clock)
