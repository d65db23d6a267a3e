"""Settlement: rates every account-day with usage not yet billed, oldest day first, and writes its bill (rules 5).

A run goes day by day, a day in shards of accounts (`runs.py`), a shard in one transaction: its accounts locked, its
pending rows deleted, its usage read, rated and posted. Killed at any instruction it has settled a shard or has not.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime

from django.db import DatabaseError, connection

from accounts.modes import DEFAULT, modes_on
from iss_billing import bulk
from settlement.loading import account_states, ask_day, ask_packs, lock_accounts
from settlement.models import PendingDay
from settlement.posting import RatedDay, write_shard
from settlement.rating import BilledAboveUsage, DayRules, rate


@dataclass
class Failure:
    """An account-day that could not be settled, and why."""

    account_id: int
    day: date
    error: str


def failure_text(error: Exception) -> str:
    """What an operator reads of it: the database says itself what it is, of others their kind does."""
    kind, said = type(error).__name__, str(error).strip()
    return said if said and isinstance(error, DatabaseError) else f"{kind}: {said}"


@dataclass
class Settled:
    """What became of some account-days; `due` in fen, `drawn` in base units by item id."""

    accounts: set[int] = field(default_factory=set)
    bills: int = 0
    due: int = 0
    drawn: dict[int, int] = field(default_factory=dict)
    failed: list[Failure] = field(default_factory=list)

    def count(self, rated: Iterable[RatedDay]) -> None:
        """Add bills."""
        for one in rated:
            self.bills += 1
            self.due += one.statement.amount_due
            for line in one.statement.lines:
                if line.drawn:
                    self.drawn[line.item_id] = self.drawn.get(line.item_id, 0) + line.drawn

    def add(self, other: "Settled") -> None:
        """Add another shard's."""
        self.accounts |= other.accounts
        self.bills += other.bills
        self.due += other.due
        self.failed += other.failed
        for item, quantity in other.drawn.items():
            self.drawn[item] = self.drawn.get(item, 0) + quantity


def settle_accounts(first: int, last: int, rules: DayRules, now: datetime) -> Settled:
    """Settle a day of the pending accounts in an id range, in the caller's transaction.

    The pending rows go before the usage is read: an event that commits in between comes with a row of its own.
    """
    locked = lock_accounts(first, last, rules.day)
    claimed = _claim(list(locked), rules.day)
    asked_packs, modes = ask_packs(claimed), modes_on(claimed, rules.day)
    with bulk.pipelined():  # what was read so far is unpacked while PostgreSQL aggregates
        asked_usage = ask_day(claimed, rules.day)
        accounts = account_states(row for id, row in locked.items() if id in claimed)
        packs = asked_packs()
        usage = asked_usage()
    settled = Settled()

    def rated() -> Iterator[RatedDay]:
        for account in accounts:
            day, held = usage[account.id], packs.get(account.id, [])
            mode = modes.get(account.id, DEFAULT)
            try:
                statement = rate(day.usage, rules=rules, mode=mode, packs=held, carry=account.carry)
            except (BilledAboveUsage, ArithmeticError, LookupError) as error:
                settled.failed.append(Failure(account.id, rules.day, failure_text(error)))
                continue
            if statement is not None:
                drawn = {draw.pack_id for line in statement.lines for draw in line.draws}
                touched = [pack for pack in held if pack.pack_id in drawn]
                yield RatedDay(account, day.sequence + 1, mode, statement, touched)

    with write_shard(rated(), len(accounts), rules.day, now) as written:
        settled.count(written)
    if settled.failed:
        PendingDay.objects.bulk_create(PendingDay(account_id=one.account_id, day=one.day) for one in settled.failed)
    settled.accounts = claimed - {one.account_id for one in settled.failed}
    return settled


def _claim(account_ids: list[int], day: date) -> set[int]:
    """Delete the pending rows of the day and say whose they were; an account with an older day waits for it."""
    with connection.cursor() as cursor:
        cursor.execute(
            """DELETE FROM settlement_pendingday AS pending
            WHERE day = %s AND account_id = ANY(%s::bigint[]) AND NOT EXISTS (
                SELECT FROM settlement_pendingday AS older
                WHERE older.account_id = pending.account_id AND older.day < pending.day
            ) RETURNING account_id""",
            [day, bulk.array(account_ids)],
        )
        return {account_id for (account_id,) in cursor.fetchall()}
