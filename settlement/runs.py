"""Runs of settlement and their shards: planned day by day, each settled once, by whoever takes it first.

Shards are rows, so any number of workers on any number of hosts share a night, and what a killed one left undone is
seen. A shard's `done_at` commits together with what it settled.
"""

import gc
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction
from django.db.models import BigIntegerField, Exists, OuterRef, Q, QuerySet

from iss_billing.days import day_of
from packs.models import Item
from settlement import alarms
from settlement.certificate import certify
from settlement.engine import Failure, Settled, failure_text, settle_accounts
from settlement.loading import load_rules
from settlement.metering import collect
from settlement.models import PendingDay, SettlementFailure, SettlementRun, SettlementShard
from settlement.progress import days_of
from settlement.yielding import give_way

log = logging.getLogger(__name__)

PIECE = 1_000
"""Accounts in one of a day's last transactions, half as many as in the others: who buys meanwhile waits for them, and
all who commit for their share of the log."""
LAST_PIECES = 4
"""So many stay single: processes that share a night then end it together, however few shards it has."""
BY_ITSELF = 7208
"""The class of the advisory locks that say that a process settles a run by itself; the run's id is in them."""
STANDSTILL = timedelta(hours=1)
"""A night that settles no shard for so long is told to the operators."""


class DayNotEnded(Exception):
    """A day is settled once it has ended."""


PATIENCE = timedelta(minutes=10)
"""A run without progress for so long was cut off."""


@dataclass
class RunResult(Settled):
    """What a run did; `balances` is what its certificate says, None where another process is still writing it."""

    run_id: int = 0
    days: list[date] = field(default_factory=list)
    seconds: Decimal = Decimal(0)
    balances: bool | None = None


class Step(NamedTuple):
    """How far a run in this process is: a day, its shards done and their number, and its account-days a second."""

    day: date
    done: int
    shards: int
    per_second: int


def settle(*, now: datetime, through: date | None = None, progress: Callable[[Step], None] | None = None) -> RunResult:
    """Settle every pending account-day up to and including `through` (yesterday when None) at the clock `now`.

    In this process, without a worker, and with its certificate. Again, or twice at once, it changes nothing more. An
    account that fails keeps its day and its later days for the next run; the others are settled. Raises DayNotEnded.
    """
    begun = time.monotonic()
    with _in_hand(now=now, through=through) as run:
        result = RunResult(run_id=run.pk)
        while shard_ids := advance(run.pk, _after(now, begun)):
            day_begun, settled_today = time.monotonic(), 0
            for done, shard_id in enumerate(shard_ids, start=1):
                shard_begun = time.monotonic()
                day, settled = settle_shard(shard_id, _after(now, begun))
                if settled.accounts and day not in result.days:
                    result.days.append(day)
                result.add(settled)
                settled_today += len(settled.accounts)
                if progress:
                    per_second = int(settled_today / (time.monotonic() - day_begun))
                    progress(Step(day, done, len(shard_ids), per_second))
                give_way(time.monotonic() - shard_begun)
    result.days.sort()  # a day may have been gone back to
    result.seconds = Decimal(time.monotonic() - begun).quantize(Decimal("0.001"))
    result.balances = certify(run.pk, _after(now, begun))
    return result


@contextmanager
def _in_hand(*, now: datetime, through: date | None) -> Iterator[SettlementRun]:
    """Begin a run that this process settles by itself: until the block or the process ends, workers leave it alone.

    Its clock may be any, so its progress tells nobody whether it is at work; a lock of the session does.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        run = begin(now=now, through=through)
        cursor.execute("SELECT pg_advisory_lock(%s, %s)", [BY_ITSELF, run.pk])  # before anybody sees the run
    try:
        yield run
    finally:
        if connection.is_usable():
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [BY_ITSELF, run.pk])


def _after(clock: datetime, begun: float) -> datetime:
    """A clock, moved on by what has passed since `begun` (monotonic seconds)."""
    return clock + timedelta(seconds=time.monotonic() - begun)


def begin(*, now: datetime, through: date | None = None, account_id: int | None = None) -> SettlementRun:
    """Begin a run that settles up to and including `through` (yesterday when None). Raises DayNotEnded.

    With an account it settles nobody else: what failed is tried again before the next night.
    """
    yesterday = _yesterday(now)
    if through is not None and through > yesterday:
        raise DayNotEnded(f"{through} has not ended yet: the last day to settle is {yesterday}")
    collect()
    return SettlementRun.objects.create(
        now=now, through_day=through or yesterday, started_at=now, account_id=account_id
    )


def begin_night(*, now: datetime, missed_only: bool = False) -> SettlementRun | None:
    """Begin the night's run; with `missed_only` not where there was one. None where another beat has just begun it.

    A second run that has nothing new would fail once more where the first did, tell of it once more, and stand for the
    night in the figures.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(7206, 4)")
        there = SettlementRun.objects.filter(through_day__gte=_yesterday(now), account=None).order_by("-pk")
        if not missed_only:
            there = there.filter(Q(finished_at=None) | Q(started_at__gt=now - PATIENCE))
        last = there.first()
        return None if last and (missed_only or not _has_new(last)) else begin(now=now)


def _has_new(run: SettlementRun) -> bool:
    """Whether a run is finished and left something that it has not tried."""
    if run.finished_at is None:
        return False
    collect()
    return _pending(run).exclude(account__in=run.failures.values("account")).exists()


def _yesterday(now: datetime) -> date:
    return day_of(now) - timedelta(days=1)


def advance(run_id: int, clock: datetime) -> list[int]:
    """Plan the run's next day once the day before is done; its shards, none while one is undone or all is settled.

    Of several callers at once one plans, so each shard is handed out once. With no day left the run is finished.
    """
    if SettlementShard.objects.filter(run=run_id, done_at=None).exists():
        return []  # after every shard but the last; asked without the lock, which would have to be written down
    with transaction.atomic():
        run = SettlementRun.objects.select_for_update().get(pk=run_id)
        if run.finished_at or run.shards.filter(done_at=None).exists():
            return []
        day = _next_day(run)
        if day is None:
            _finish(run, clock)
            return []
        shards = [
            SettlementShard(run=run, day=day, first_account=first, last_account=last)
            for first, last in _tapered(_ranges(day, run.account_id))
        ]
        if not shards:  # everybody pending on this day waits for an older one that failed
            shards = [SettlementShard(run=run, day=day, first_account=0, last_account=0, done_at=clock)]
        SettlementShard.objects.bulk_create(shards)
        undone = [shard.pk for shard in shards if shard.done_at is None]
    return undone or advance(run_id, clock)


def _next_day(run: SettlementRun) -> date | None:
    """The day after the one planned last; behind the last one, the oldest of those who were kept from a later one.

    Usage of an older day, collected while the run was past it, makes its account wait for that day; it would wait for
    the next night, and bill and arrears with it. Who failed does wait.
    """
    last = run.shards.order_by("-pk").values_list("day", flat=True).first()
    pending = _pending(run).order_by("day")
    later = (pending.filter(day__gt=last) if last else pending).values_list("day", flat=True).first()
    if later is not None:
        return later
    older = PendingDay.objects.filter(account=OuterRef("account"), day__lt=OuterRef("day"))
    kept_waiting = pending.filter(Exists(older)).exclude(account__in=run.failures.values("account"))
    return pending.filter(account__in=kept_waiting.values("account")).values_list("day", flat=True).first()


def _pending(run: SettlementRun) -> QuerySet[PendingDay]:
    """What the run is there for and nobody has settled."""
    pending = PendingDay.objects.filter(day__lte=run.through_day)
    return pending.filter(account=run.account_id) if run.account_id else pending


NEXT_PIECES = """
WITH RECURSIVE piece (first, last) AS (
    SELECT NULL::bigint, %(after)s::bigint
    UNION ALL
    SELECT next.first, next.last FROM piece CROSS JOIN LATERAL (
        SELECT min(account_id) AS first, max(account_id) AS last FROM (
            SELECT account_id FROM settlement_pendingday AS pending
            WHERE day = %(day)s AND account_id > piece.last AND account_id <= %(until)s
              AND ((SELECT min(day) FROM settlement_pendingday) = %(day)s OR NOT EXISTS (
                  SELECT FROM settlement_pendingday AS older
                  WHERE older.account_id = pending.account_id AND older.day < %(day)s
              ))
            ORDER BY account_id LIMIT %(piece)s
        ) AS part
    ) AS next WHERE piece.last IS NOT NULL
) SELECT first, last FROM piece WHERE first IS NOT NULL
"""
"""One pass along the index, for nobody settles anything meanwhile; who waits is asked only where a day was left."""


def _ranges(day: date, account_id: int | None) -> list[tuple[int, int]]:
    """The pending accounts of a day, without those that have an older day pending, as id ranges of a piece each.

    One account alone, if one is given.
    """
    after, until = (0, BigIntegerField.MAX_BIGINT) if account_id is None else (account_id - 1, account_id)
    with connection.cursor() as cursor:
        cursor.execute(NEXT_PIECES, {"day": day, "after": after, "until": until, "piece": PIECE})
        return list(cursor.fetchall())


def _tapered(pieces: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Pieces joined in pairs, but for the last ones."""
    paired = max(len(pieces) - LAST_PIECES, 0) // 2 * 2
    pairs = zip(pieces[:paired:2], pieces[1:paired:2], strict=True)
    return [(first, last) for (first, _), (_, last) in pairs] + pieces[paired:]


def settle_shard(shard_id: int, clock: datetime, *, as_run: bool = True) -> tuple[date, Settled]:
    """Settle a shard and mark it done, in one transaction; nothing when it is done or somebody has it in hand.

    Where anything is in the way but the server the shard is halved: the account at fault stands alone in the end, is
    reported, and keeps nobody else waiting. `clock` is kept as the run's progress. All is posted at the run's clock,
    or at this one: a night lasts, and a fall below 0 in it is a moment of its own (rules 6.3).
    """
    begun = time.monotonic()
    # seen at once; whoever is second finds it started and does not wait for the row
    SettlementShard.objects.filter(pk=shard_id, started_at=None).update(started_at=clock)
    try:
        with transaction.atomic():
            return _settle_locked(shard_id, clock, begun, as_run=as_run)
    except (OperationalError, InterfaceError):
        raise  # the server is gone or gave up, which is nobody's row: the shard is taken up again
    except Exception as error:  # whatever a row that nobody foresaw makes of it
        return _split(shard_id, _after(clock, begun), error, as_run=as_run)


def _settle_locked(shard_id: int, clock: datetime, begun: float, *, as_run: bool) -> tuple[date, Settled]:
    rows = SettlementShard.objects.select_for_update(skip_locked=True, of=("self",)).select_related("run")
    shard = rows.filter(pk=shard_id, done_at=None).first()
    if shard is None:
        known = SettlementShard.objects.filter(pk=shard_id).values_list("day", flat=True).first()
        return known or day_of(clock), Settled()
    now = shard.run.now if as_run else max(shard.run.now, clock)
    with _collector_paused():
        settled = settle_accounts(shard.first_account, shard.last_account, load_rules(shard.day), now)
    _mark_done(shard, settled, clock, begun)
    return shard.day, settled


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Without the search for reference cycles: a shard makes a million objects and not one cycle, and it costs 20%."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _mark_done(shard: SettlementShard, settled: Settled, clock: datetime, begun: float) -> None:
    shard.account_days, shard.bills, shard.due = len(settled.accounts), settled.bills, settled.due
    shard.drawn = {str(item): quantity for item, quantity in settled.drawn.items()}
    shard.started_at, shard.done_at = clock, _after(clock, begun)
    shard.save()
    SettlementFailure.objects.bulk_create(
        SettlementFailure(run_id=shard.run_id, account_id=one.account_id, day=one.day, error=one.error)
        for one in settled.failed
    )
    # a run that was taken for dead, and certified as far as it had come, is alive
    SettlementRun.objects.filter(pk=shard.run_id, certified_at__isnull=False).update(certified_at=None, balances=None)


def _split(shard_id: int, clock: datetime, error: Exception, *, as_run: bool) -> tuple[date, Settled]:
    """Halve a shard that cannot be settled whole, and settle the halves; one account alone has failed."""
    begun = time.monotonic()
    with transaction.atomic():
        shard = SettlementShard.objects.select_for_update().get(pk=shard_id)
        if shard.done_at is not None:
            return shard.day, Settled()  # somebody else has halved it meanwhile, and settled what was left in it
        pending = PendingDay.objects.filter(
            day=shard.day, account_id__gte=shard.first_account, account_id__lte=shard.last_account
        )
        ids = sorted(set(pending.values_list("account_id", flat=True)))
        if len(ids) <= 1:
            if not isinstance(error, DatabaseError):  # which says itself what it refuses
                log.error("shard %s failed at accounts %s", shard_id, ids, exc_info=error)
            settled = Settled(failed=[Failure(account_id, shard.day, failure_text(error)) for account_id in ids])
            _mark_done(shard, settled, clock, begun)
            return shard.day, settled
        middle = len(ids) // 2
        half = SettlementShard.objects.create(
            run_id=shard.run_id, day=shard.day, first_account=ids[middle], last_account=shard.last_account
        )
        shard.last_account = ids[middle - 1]
        shard.save(update_fields=["last_account"])
    settled = Settled()
    for part in (shard.pk, half.pk):
        settled.add(settle_shard(part, _after(clock, begun), as_run=as_run)[1])
    return shard.day, settled


def _finish(run: SettlementRun, clock: datetime) -> None:
    """Keep what the run did, for the operator, who is told of what failed."""
    days = days_of(run)
    codes = dict(Item.objects.values_list("id", "code"))
    drawn = Counter[str]()
    for day in days:
        drawn.update({codes[item]: quantity for item, quantity in day.drawn.items()})
    run.days = [day.day for day in days if day.account_days]
    run.accounts, run.bills = sum(day.account_days for day in days), sum(day.bills for day in days)
    run.due, run.drawn = sum(day.due for day in days), dict(sorted(drawn.items()))
    run.finished_at, run.seconds = clock, Decimal((clock - run.started_at) // timedelta(milliseconds=1)) / 1000
    run.save()
    if run.failures.exists():
        alarms.failures(run, clock)


SETTLED_BY_ITSELF = """
SELECT objid::bigint FROM pg_locks JOIN pg_database ON pg_database.oid = database
WHERE locktype = 'advisory' AND classid = %s AND datname = current_database()
"""


def left_behind(since: datetime, through: date) -> dict[int, list[int]]:
    """The unfinished runs through that day or a later one that stand still since then, and the shards left of each.

    A shard in somebody's hand is locked, and a run with one is at work. The others' tasks may be queued or lost with
    the worker or the broker that had them: which, nobody can tell, and a task sent twice does no harm.
    """
    progress = Q(started_at__gt=since) | Q(shards__done_at__gt=since)
    tonight = SettlementRun.objects.filter(through_day__gte=through, finished_at=None)
    with connection.cursor() as cursor:
        cursor.execute(SETTLED_BY_ITSELF, [BY_ITSELF])
        at_work = [run for (run,) in cursor.fetchall()]
    found: dict[int, list[int]] = {}
    for run in tonight.exclude(Q(pk__in=tonight.filter(progress).values("pk")) | Q(pk__in=at_work)).order_by("pk"):
        undone = run.shards.filter(done_at=None).order_by("pk")
        with transaction.atomic():
            free = list(undone.select_for_update(skip_locked=True).values_list("pk", flat=True))
            if len(free) == undone.count():
                found[run.pk] = free
    return found


def sound_standstill(now: datetime) -> None:
    """Tell the operators, once, of a night that began an hour ago or more and moves no more (rules 5.1)."""
    yesterday = day_of(now) - timedelta(days=1)
    tonight = SettlementRun.objects.filter(through_day__gte=yesterday, account=None)
    begun = tonight.filter(started_at__lte=now - STANDSTILL).exists()
    finished = tonight.filter(finished_at__isnull=False).exists()
    if begun and not finished and not tonight.filter(shards__done_at__gt=now - STANDSTILL).exists():
        alarms.standstill(yesterday, now)
