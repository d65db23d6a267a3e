"""How far a run is, day by day, from its shards: what an operator asks at 3 a.m."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from django.db.models import Count

from settlement.models import PendingDay, SettlementRun, SettlementShard


@dataclass
class DayProgress:
    """A day of a run: its shards, what they did, and what failed; `drawn` in base units by item id, `due` in fen."""

    day: date
    shards: int = 0
    done: int = 0
    in_hand: int = 0
    account_days: int = 0
    bills: int = 0
    due: int = 0
    drawn: Counter[int] = field(default_factory=Counter)
    failures: int = 0
    began: datetime | None = None
    ended: datetime | None = None
    waits: bool = False
    """Nobody could be settled: all its accounts have an older day that failed."""

    @property
    def left(self) -> int:
        """Shards not done."""
        return self.shards - self.done

    @property
    def seconds(self) -> float | None:
        """From the first shard's start to the last one's end, so far."""
        return (self.ended - self.began).total_seconds() if self.began and self.ended else None

    @property
    def per_second(self) -> int | None:
        """Account-days a second."""
        return round(self.account_days / self.seconds) if self.seconds else None

    def add(self, shard: SettlementShard) -> None:
        """Add one shard."""
        if not shard.last_account:
            self.waits = True
            return
        self.shards += 1
        self.done += shard.done_at is not None
        self.in_hand += shard.done_at is None and shard.started_at is not None
        self.account_days += shard.account_days
        self.bills += shard.bills
        self.due += shard.due
        self.drawn.update({int(item): quantity for item, quantity in shard.drawn.items()})
        if shard.started_at:
            self.began = min(self.began or shard.started_at, shard.started_at)
        if shard.done_at:
            self.ended = max(self.ended or shard.done_at, shard.done_at)


def days_of(run: SettlementRun) -> list[DayProgress]:
    """The days that a run has planned so far, oldest first."""
    days: dict[date, DayProgress] = {}
    for shard in run.shards.order_by("day", "pk"):
        days.setdefault(shard.day, DayProgress(shard.day)).add(shard)
    for day, failures in run.failures.order_by("day").values_list("day").annotate(Count("pk")):
        days[day].failures = failures
    return list(days.values())


class PlannedDay(NamedTuple):
    """A day that a run has still to come to, and the account-days pending on it."""

    day: date
    account_days: int


def days_left(run: SettlementRun, done: list[DayProgress]) -> list[PlannedDay]:
    """The pending days after those that an unfinished run has planned."""
    pending = PendingDay.objects.filter(day__lte=run.through_day)
    if run.account_id:
        pending = pending.filter(account=run.account_id)
    if done:
        pending = pending.filter(day__gt=done[-1].day)
    counts = pending.order_by("day").values_list("day").annotate(Count("account_id", distinct=True))
    return [PlannedDay(*row) for row in counts]


def pending_through(day: date, account_id: int | None = None) -> int:
    """The account-days that are not settled yet, up to and including a day; of one account, if one is given."""
    pending = PendingDay.objects.filter(day__lte=day)
    if account_id:
        pending = pending.filter(account=account_id)
    return pending.values("account_id", "day").distinct().count()


class State(StrEnum):
    """What has become of a run."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    STALLED = "stalled"


def state_of(run: SettlementRun, now: datetime, patience: timedelta) -> State:
    """A run failed where an account-day did or where it does not balance; without progress for long it stands still."""
    if run.finished_at:
        return State.FAILED if run.balances is False or run.failures.exists() else State.FINISHED
    since = now - patience
    moves = run.started_at > since or run.shards.filter(done_at__gt=since).exists()
    return State.RUNNING if moves or run.shards.filter(started_at__gt=since).exists() else State.STALLED
