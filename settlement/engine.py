"""Settlement: rates every account-day with usage not yet billed, oldest day first, and writes its bill (rules 5).

A run goes day by day, a day in shards of accounts, a shard in one transaction: its accounts locked, its pending
rows deleted, its usage read, rated and posted. Killed at any instruction it has settled a shard or has not.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal

from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction

from accounts.models import Account
from accounts.modes import DEFAULT, modes_on
from iss_billing.days import day_of
from packs.models import Item
from settlement.loading import load_day, load_packs, load_rules
from settlement.metering import collect
from settlement.models import PendingDay, SettlementFailure, SettlementRun
from settlement.posting import RatedDay, write_shard
from settlement.rating import BilledAboveUsage, DayRules, rate

SHARD = 5_000
"""Accounts in one transaction."""


class DayNotEnded(Exception):
    """A day is settled once it has ended."""


@dataclass
class Failure:
    """An account-day that could not be settled, and why."""

    account_id: int
    day: date
    error: str


@dataclass
class RunResult:
    """What a run did; `due` in fen, `drawn` in base units by item id."""

    days: list[date] = field(default_factory=list)
    accounts: set[int] = field(default_factory=set)
    bills: int = 0
    due: int = 0
    drawn: dict[int, int] = field(default_factory=dict)
    failed: list[Failure] = field(default_factory=list)
    seconds: Decimal = Decimal(0)

    def add(self, rated: Iterable[RatedDay]) -> None:
        """Count the bills of a shard that has committed."""
        for one in rated:
            self.bills += 1
            self.due += one.statement.amount_due
            for line in one.statement.lines:
                if line.drawn:
                    self.drawn[line.item_id] = self.drawn.get(line.item_id, 0) + line.drawn


Progress = Callable[[date, int, int], None]
"""Called with the day, its account-days done and their number."""


def settle(*, now: datetime, through: date | None = None, progress: Progress | None = None) -> RunResult:
    """Settle every pending account-day up to and including `through` (yesterday when None) at the clock `now`.

    Again, or twice at once, it changes nothing more. An account that fails keeps its day and its later days for
    the next run; the others are settled. Raises DayNotEnded.
    """
    yesterday = day_of(now) - timedelta(days=1)
    if through is not None and through > yesterday:
        raise DayNotEnded(f"{through} has not ended yet: the last day to settle is {yesterday}")
    through = through or yesterday
    started = time.monotonic()
    run = SettlementRun.objects.create(now=now, through_day=through, started_at=now)
    result = RunResult()
    collect()
    for day in list(_pending_days(through)):
        _settle_day(day, now, result, progress)
    result.seconds = Decimal(time.monotonic() - started).quantize(Decimal("0.001"))
    _record(run, result, now)
    return result


def _pending_days(through: date) -> Iterator[date]:
    days = PendingDay.objects.filter(day__lte=through).order_by("day").values_list("day", flat=True).distinct()
    return days.iterator()


def _settle_day(day: date, now: datetime, result: RunResult, progress: Progress | None) -> None:
    """Settle a day of every account that has no older one pending: days follow each other per account."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT DISTINCT account_id FROM settlement_pendingday AS pending WHERE day = %s AND NOT EXISTS (
                SELECT FROM settlement_pendingday AS older
                WHERE older.account_id = pending.account_id AND older.day < pending.day
            ) ORDER BY account_id""",
            [day],
        )
        account_ids = [account_id for (account_id,) in cursor.fetchall()]
    rules = load_rules(day)
    settled = 0
    for first in range(0, len(account_ids), SHARD):
        shard = account_ids[first : first + SHARD]
        settled += _settle_or_split(shard, rules, now, result)
        if progress:
            progress(day, first + len(shard), len(account_ids))
    if settled:
        result.days.append(day)


def _settle_or_split(account_ids: Sequence[int], rules: DayRules, now: datetime, result: RunResult) -> int:
    """Settle a shard and say how many accounts were; where the database refuses a row, halve the shard.

    The account at fault stands alone in the end, is reported, and keeps nobody else waiting.
    """
    try:
        claimed, rated, failed = settle_shard(account_ids, rules, now)
    except (OperationalError, InterfaceError):
        raise  # the server is gone or gave up, which is nobody's row: the next run goes on here
    except DatabaseError as error:
        if len(account_ids) == 1:
            result.failed.append(Failure(account_ids[0], rules.day, str(error).strip()))
            return 0
        middle = len(account_ids) // 2
        return sum(_settle_or_split(half, rules, now, result) for half in (account_ids[:middle], account_ids[middle:]))
    result.accounts.update(claimed)
    result.add(rated)
    result.failed += failed
    return len(claimed)


def settle_shard(
    account_ids: Sequence[int], rules: DayRules, now: datetime
) -> tuple[list[int], list[RatedDay], list[Failure]]:
    """Settle one day of some accounts in one transaction: those settled, their bills, and those that failed.

    The pending rows go before the usage is read: an event that commits in between comes with a row of its own.
    """
    with transaction.atomic():
        locked = list(Account.objects.select_for_update(no_key=True).filter(pk__in=account_ids).order_by("pk"))
        claimed = _claim([account.pk for account in locked], rules.day)
        accounts = [account for account in locked if account.pk in claimed]
        usage, packs, modes = load_day(claimed, rules.day), load_packs(claimed), modes_on(claimed, rules.day)
        rated: list[RatedDay] = []
        failed: list[Failure] = []
        for account in accounts:
            day, held = usage[account.pk], packs.get(account.pk, [])
            mode = modes.get(account.pk, DEFAULT)
            try:
                statement = rate(day.usage, rules=rules, mode=mode, packs=held, carry=account.carry)
            except (BilledAboveUsage, ArithmeticError, LookupError) as error:
                failed.append(Failure(account.pk, rules.day, f"{type(error).__name__}: {error}"))
                continue
            if statement is not None:
                touched = [
                    pack for pack in held if any(pack.pack_id == d.pack_id for ln in statement.lines for d in ln.draws)
                ]
                rated.append(RatedDay(account, day.sequence + 1, mode, statement, touched))
        PendingDay.objects.bulk_create(PendingDay(account_id=one.account_id, day=one.day) for one in failed)
        write_shard(rated, rules.day, now)
        return sorted(claimed - {one.account_id for one in failed}), rated, failed


def _claim(account_ids: list[int], day: date) -> set[int]:
    """Delete the pending rows of the day and say whose they were; an account with an older day waits for it."""
    with connection.cursor() as cursor:
        cursor.execute(
            """DELETE FROM settlement_pendingday AS pending WHERE day = %s AND account_id = ANY(%s) AND NOT EXISTS (
                SELECT FROM settlement_pendingday AS older
                WHERE older.account_id = pending.account_id AND older.day < pending.day
            ) RETURNING account_id""",
            [day, account_ids],
        )
        return {account_id for (account_id,) in cursor.fetchall()}


def _record(run: SettlementRun, result: RunResult, now: datetime) -> None:
    """Keep what the run did, for the operator."""
    codes = dict(Item.objects.values_list("id", "code"))
    run.days, run.accounts, run.bills, run.due = result.days, len(result.accounts), result.bills, result.due
    run.drawn = {codes[item]: quantity for item, quantity in sorted(result.drawn.items())}
    run.seconds, run.finished_at = result.seconds, now
    with transaction.atomic():
        SettlementFailure.objects.bulk_create(
            SettlementFailure(run=run, account_id=one.account_id, day=one.day, error=one.error) for one in result.failed
        )
        run.save()
