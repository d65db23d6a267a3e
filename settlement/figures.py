"""What the operators watch, read from the database and the broker when somebody asks.

Everything here is found by an index or in a small table: 100,000 accounts cost milliseconds. What the processes count
themselves (requests, usage events) is kept where it happens.
"""

import logging
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from datetime import date, datetime
from typing import Any, Final

import redis
from django.conf import settings
from django.db import Error, connection, transaction
from django.db.models import Exists, OuterRef
from prometheus_client import Counter
from prometheus_client.core import GaugeMetricFamily, Metric

from accounts.standing import GRACE, RECLAIM_AFTER
from iss_billing.backup import ENDING
from iss_billing.days import day_of, oldest_accepted
from iss_billing.probes import broker, database_answers
from settlement.metering import Ingested
from settlement.models import PendingDay, SettlementRun
from settlement.partitions import partition_days

log = logging.getLogger(__name__)

USAGE: Final = Counter("iss_usage_events", "Usage events sent to us: accepted, duplicate, or refused why.", ["outcome"])
QUEUES: Final = ("celery", "webhooks")
PATIENCE_MS: Final = 5_000
"""How long one statement may take: who watches must not be a burden."""


def figures(now: datetime) -> list[Metric]:
    """All figures at `now`; without the database or the broker those that are left, and which of them is gone."""
    up, found = database_answers(), list[Metric]()
    for ask in ASKED if up else ():
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL statement_timeout = {PATIENCE_MS}")
                found += list(ask(now))
        except Error as error:
            log.warning("the figures are not complete: %s", error)
            up = False
            break
    found.append(_one("iss_database_up", "Whether PostgreSQL answers, and in time.", int(up)))
    return [*found, *_queues(), *_backups()]


def count_usage(done: Ingested) -> None:
    """Count what became of a batch, in this process."""
    USAGE.labels("accepted").inc(done.accepted)
    USAGE.labels("duplicate").inc(done.duplicates)
    for code, number in Tally(refused.code for refused in done.rejected).items():
        USAGE.labels(code).inc(number)


def _one(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value=value)


def _by(name: str, documentation: str, label: str, values: dict[str, float]) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _rows(statement: str, parameters: list[Any] | None = None) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())


def _age(since: datetime | None, now: datetime) -> float:
    return max((now - since).total_seconds(), 0.0) if since else 0.0


# ── the night ────────────────────────────────────────────────────────────────────────────────────────


def _night(now: datetime) -> Iterator[Metric]:
    """How far settlement is behind, what the last run did, and what the present one has left."""
    today = day_of(now)
    [(oldest, waiting)] = _rows("SELECT min(day), count(*) FILTER (WHERE day < %s) FROM settlement_pendingday", [today])
    # one account tried again is no night
    runs = SettlementRun.objects.filter(account=None).order_by("-through_day", "-pk")
    last = runs.filter(finished_at__isnull=False).first()
    yield _one(
        "iss_settlement_lag_days",
        "Ended days that no finished run has come to yet: 1 from midnight until the night is done.",
        _lag(last.through_day if last else None, oldest, today),
    )
    yield _one("iss_usage_waiting_account_days", "Account-days that have ended and are not billed.", waiting)
    yield _one(
        "iss_usage_oldest_waiting_days",
        "Days since the oldest day with usage that is not billed.",
        max((today - oldest).days, 0) if oldest else 0,
    )
    if last:
        yield from _last_run(last)
    open_run = SettlementRun.objects.filter(finished_at=None).order_by("-pk").first()
    [(done, left)] = _rows(
        "SELECT count(done_at), count(*) - count(done_at) FROM settlement_settlementshard WHERE run_id = %s",
        [open_run.pk if open_run else None],
    )
    yield _one("iss_settlement_running", "Whether a run is not finished.", int(open_run is not None))
    yield _by("iss_settlement_shards", "Shards of the run that is not finished.", "state", {"done": done, "left": left})


def _lag(through: date | None, oldest_waiting: date | None, today: date) -> int:
    """Before a first run, the days since the oldest usage."""
    if through is None:
        return max((today - oldest_waiting).days, 0) if oldest_waiting else 0
    return max((today - through).days - 1, 0)


def _last_run(run: SettlementRun) -> Iterator[Metric]:
    """What the last night did, and what accounts tried again since have changed of it."""
    about = "of the last finished run."
    yield _one("iss_settlement_last_run_seconds", f"Duration {about}", float(run.seconds or 0))
    yield _one("iss_settlement_last_run_account_days", f"Account-days settled {about}", run.accounts)
    yield _one("iss_settlement_last_run_bills", f"Bills {about}", run.bills)
    yield _one("iss_settlement_last_run_due_yuan", f"Amount due {about}", run.due / 100)
    waits = Exists(PendingDay.objects.filter(account=OuterRef("account"), day=OuterRef("day")))
    failures = run.failures.filter(waits).count()
    yield _one(
        "iss_settlement_last_run_failures", "Account-days that failed in it and are not settled since.", failures
    )
    finished = run.finished_at.timestamp() if run.finished_at else 0
    yield _one("iss_settlement_last_run_timestamp_seconds", f"Finish {about}", finished)
    if run.balances is not None:
        balances = not SettlementRun.objects.filter(pk__gte=run.pk, balances=False).exists()
        yield _one("iss_settlement_last_run_balances", f"Whether the certificate balances {about}", int(balances))


# ── usage and its partitions ─────────────────────────────────────────────────────────────────────────


def _partitions(now: datetime) -> Iterator[Metric]:
    today, oldest = day_of(now), oldest_accepted(now)
    days = partition_days()
    yield _one(
        "iss_usage_partitions_ahead", "Days after today that have a partition.", sum(day > today for day in days)
    )
    yield _one(
        "iss_usage_partitions_expirable", "Partitions of days for which no usage is accepted any more.",
        sum(day < oldest for day in days),
    )  # fmt: skip
    [(batches,)] = _rows("SELECT count(*) FROM settlement_usagebatch")
    yield _one("iss_usage_uncollected_batches", "Batches of usage whose account-days are not listed yet.", batches)
    [(size,)] = _rows("SELECT pg_database_size(current_database())")
    yield _one("iss_database_bytes", "Size of the database.", size)


# ── backups ──────────────────────────────────────────────────────────────────────────────────────────


def _backups() -> Iterator[Metric]:
    """When the newest backup was made; nothing where this host sees none."""
    times = [file.stat().st_mtime for file in settings.BACKUPS.glob(f"iss-*{ENDING}")]
    if times:
        yield _one("iss_backup_timestamp_seconds", "When the newest whole backup was made.", max(times))


# ── money ────────────────────────────────────────────────────────────────────────────────────────────


def _money(now: datetime) -> Iterator[Metric]:
    rows = _rows(
        """SELECT CASE WHEN arrears_since <= %s THEN 'reclaimed' WHEN arrears_since <= %s THEN 'suspended'
                  ELSE 'arrears' END, count(*), -sum(balance)
        FROM accounts_account WHERE arrears_since IS NOT NULL GROUP BY 1""",
        [now - RECLAIM_AFTER, now - GRACE],
    )
    stages = {stage: (number, owed) for stage, number, owed in rows}
    counts = {stage: float(stages.get(stage, (0, 0))[0]) for stage in ("arrears", "suspended", "reclaimed")}
    owed = {stage: float(stages.get(stage, (0, 0))[1]) / 100 for stage in counts}
    yield _by("iss_arrears_accounts", "Accounts with a balance below 0.", "stage", counts)
    yield _by("iss_arrears_yuan", "What they owe.", "stage", owed)
    [(waiting, first)] = _rows("SELECT count(*), min(started_at) FROM accounts_payment WHERE state = 'waiting'")
    yield _one("iss_payments_waiting", "Payments of which the gateway has not told the outcome.", waiting)
    yield _one("iss_payments_oldest_seconds", "Age of the oldest of them.", _age(first, now))


# ── what is to be sent ───────────────────────────────────────────────────────────────────────────────

OUTBOXES: Final = {
    "notice": "SELECT count(*), min(created_at) FROM accounts_notice WHERE sent_at IS NULL",
    "letter": "SELECT count(*), min(created_at) FROM accounts_letter WHERE sent_at IS NULL AND used_at IS NULL",
    "webhook": "SELECT count(*), min(created_at) FROM accounts_delivery WHERE next_attempt_at IS NOT NULL",
    "alarm": "SELECT count(*), min(created_at) FROM settlement_alarm WHERE sent_at IS NULL",
}


def _outboxes(now: datetime) -> Iterator[Metric]:
    found = {name: _rows(statement)[0] for name, statement in OUTBOXES.items()}
    yield _by(
        "iss_outbox_waiting", "Messages not delivered yet.", "kind", {name: row[0] for name, row in found.items()}
    )
    ages = {name: _age(row[1], now) for name, row in found.items()}
    yield _by("iss_outbox_oldest_seconds", "Age of the oldest message not delivered yet.", "kind", ages)


def _queues() -> list[Metric]:
    """Tasks that wait in the broker, and those that workers have in hand."""
    about = "Whether the broker answers."
    try:
        with broker() as client:
            depths: dict[str, float] = {name: client.llen(name) for name in QUEUES}
            depths["in hand"] = client.hlen("unacked")
    except redis.RedisError:
        return [_one("iss_broker_up", about, 0)]
    return [_one("iss_broker_up", about, 1), _by("iss_queue_tasks", "Tasks in the broker.", "queue", depths)]


ASKED: Final[tuple[Callable[[datetime], Iterator[Metric]], ...]] = (_night, _partitions, _money, _outboxes)
