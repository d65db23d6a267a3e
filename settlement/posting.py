"""Writing what a shard was rated: bills, lines, drawdowns, transfers, packs and accounts, in a few statements."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from functools import cache
from typing import Any

from django.db import connection
from django.db.backends.utils import CursorWrapper
from msgspec import Struct

from accounts import notices, standing
from accounts.models import Book, Kind
from accounts.thresholds import fell_below
from iss_billing import bulk
from packs.drawdown import PackState
from settlement.announcements import announce, fallen_packs
from settlement.loading import AccountState
from settlement.rating import Statement


class RatedDay(Struct, frozen=True):
    """An account's rated day: the locked account, the bill's sequence, the day's mode, and the packs it drew from."""

    account: AccountState
    sequence: int
    mode: str
    statement: Statement
    packs: Sequence[PackState]


BILLS = (
    "settlement_bill (id, account_id, day, sequence, billing_mode, rated_total, carry_in, amount_due, carry_out, "
    "balance_after, settled_at)"
)
LINES_OF_A_BILL = 1_000
"""A line's id is its bill's with its position, so that drawdowns can name it before it is written: 42, 3 is 42003."""
LINES = "settlement_billline (id, bill_id, position, item_id, region, quantity, drawn, charged, price, per, amount)"
DRAWDOWNS = "settlement_drawdown (line_id, pack_id, quantity, remaining_after, recognised)"
TRANSFERS = "accounts_transfer (account_id, kind, debit, credit, amount, time, reference, balance_after, reason)"
USAGE = "\t".join((Kind.USAGE.value, Book.BALANCE.value, Book.USAGE_REVENUE.value))
RECOGNITION = "\t".join((Kind.RECOGNITION.value, Book.DEFERRED.value, Book.PACK_REVENUE.value))

UPDATE_PACKS = """
UPDATE packs_pack AS pack SET remaining = new.remaining, recognised = new.recognised
FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[]) AS new (id, remaining, recognised)
WHERE pack.id = new.id AND pack.id BETWEEN %s AND %s
"""
"""The range only says where they are: read in one go, and not looked up one by one."""
UPDATE_ACCOUNTS = """
UPDATE accounts_account AS account
SET balance = new.balance, carry = new.carry, arrears_since = new.arrears_since, announced = new.announced
FROM unnest(%s::bigint[], %s::numeric[], %s::bigint[], %s::timestamptz[], %s::text[])
     AS new (id, balance, carry, arrears_since, announced)
WHERE account.id = new.id AND account.id BETWEEN %s AND %s
"""


@contextmanager
def write_shard(rated: Iterable[RatedDay], most: int, day: date, now: datetime) -> Iterator[list[RatedDay]]:
    """Write the bills of locked accounts and post what is due, in the caller's transaction (rules 5.2, 7).

    `rated` gives `most` at most, and is worked off while PostgreSQL writes the first ones' transfers: the two need
    not wait for each other. Yields the bills' days, as they were rated, while PostgreSQL looks up the keys of what was
    written. Neither `rated` nor the block may ask the database anything. All is written when the block is left.
    """
    rows = _Rows(day, now)
    with connection.cursor() as cursor:
        bill_ids = _reserve(cursor, "settlement_bill", most)
        bulk.copy(cursor, TRANSFERS, rows.transfers(zip(bill_ids, rated, strict=False)))
        if not rows.rated:
            yield []
            return
        bulk.copy(cursor, BILLS, rows.bills())
        bulk.copy(cursor, LINES, rows.lines())
        bulk.copy(cursor, DRAWDOWNS, rows.drawdowns())
        with bulk.pipelined():
            # what the commit would do while we wait for it; before the updates, for a row has one version then
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            packs = [(pack.pack_id, pack.remaining, pack.recognised) for one in rows.rated for pack in one.packs]
            if packs:
                _update(cursor, UPDATE_PACKS, packs)
            _update(cursor, UPDATE_ACCOUNTS, rows.accounts)
            fallen = fallen_packs(rows.rated)
            yield rows.rated
    notices.announce_standing(rows.news, rows.balances, now)
    if rows.low:
        notices.announce_low_balances(rows.low, now)
    announce(rows.rated, rows.ids, fallen, day, now)


class _Rows:
    """The rows of a shard, as COPY takes them; `transfers` are made first, and the others know what they saw."""

    def __init__(self, day: date, now: datetime) -> None:
        self.now, self.day, self.time = now, day.isoformat(), now.isoformat()
        self.ids: list[int] = []
        self.rated: list[RatedDay] = []
        self.accounts: list[tuple[Any, ...]] = []
        self.news: dict[int, tuple[tuple[str, datetime], ...]] = {}
        self.balances: dict[int, int] = {}
        self.low: list[notices.LowBalance] = []

    def transfers(self, bills: Iterable[tuple[int, RatedDay]]) -> Iterator[str]:
        """What bills move: the due taken from the balance, and the revenue that their drawdowns recognise."""
        for bill_id, one in bills:
            self.ids.append(bill_id)
            self.rated.append(one)
            account, bill = one.account, one.statement
            due, balance = bill.amount_due, account.balance - bill.amount_due
            since, announced = account.arrears_since, account.announced
            if due:
                change = standing.after_posting(account.balance, balance, since, announced, self.now)
                since, announced = change.arrears_since, change.announced
                yield f"{account.id}\t{USAGE}\t{due}\t{self.time}\tbill:{bill_id}\t{balance}\t"
                if change.news:
                    self.news[account.id], self.balances[account.id] = change.news, balance
                threshold = account.low_balance
                if threshold is not None and fell_below(account.balance, balance, threshold):
                    self.low.append(notices.LowBalance(account.id, balance, int(threshold), f"bill:{bill_id}"))
            recognised = sum([draw.recognised for line in bill.lines for draw in line.draws])
            if recognised:
                yield f"{account.id}\t{RECOGNITION}\t{recognised}\t{self.time}\tbill:{bill_id}\t{bulk.NULL}\t"
            self.accounts.append((account.id, balance, bill.carry_out, since and since.isoformat(), announced))

    def bills(self) -> Iterator[str]:
        """The bills themselves."""
        for bill_id, one in zip(self.ids, self.rated, strict=True):
            account, bill = one.account, one.statement
            yield (
                f"{bill_id}\t{account.id}\t{self.day}\t{one.sequence}\t{one.mode}\t{bill.rated_total}"
                f"\t{bill.carry_in}\t{bill.amount_due}\t{bill.carry_out}\t{account.balance - bill.amount_due}"
                f"\t{self.time}"
            )

    def lines(self) -> Iterator[str]:
        """The bills' lines."""
        escaped = cache(bulk.escaped)  # a shard has few regions and many lines
        for bill_id, one in zip(self.ids, self.rated, strict=True):
            line_id = bill_id * LINES_OF_A_BILL
            for position, line in enumerate(one.statement.lines, start=1):
                yield (
                    f"{line_id + position}\t{bill_id}\t{position}\t{line.item_id}\t{escaped(line.region)}"
                    f"\t{line.quantity}\t{line.drawn}\t{line.charged}\t{line.price}\t{line.per}\t{line.amount}"
                )

    def drawdowns(self) -> Iterator[str]:
        """What the lines drew."""
        for bill_id, one in zip(self.ids, self.rated, strict=True):
            for line_id, line in enumerate(one.statement.lines, start=bill_id * LINES_OF_A_BILL + 1):
                for draw in line.draws:
                    yield f"{line_id}\t{draw.pack_id}\t{draw.quantity}\t{draw.remaining_after}\t{draw.recognised}"


def _update(cursor: CursorWrapper, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Update rows that begin with their ids."""
    columns = bulk.columns(rows)
    ids = [row[0] for row in rows]
    cursor.execute(statement, [*columns, min(ids), max(ids)])


def _reserve(cursor: CursorWrapper, table: str, number: int) -> list[int]:
    """Ids from a table's sequence, so that rows can name each other before they are written."""
    cursor.execute("SELECT nextval(%s::regclass) FROM generate_series(1, %s)", [f"{table}_id_seq", number])
    return [id for (id,) in cursor.fetchall()]
