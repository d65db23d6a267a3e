"""Writing what a shard was rated: bills, lines, drawdowns, transfers, packs and accounts, in a few statements."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from django.db import connection
from django.db.backends.utils import CursorWrapper

from accounts import notices, standing
from accounts.models import Book, Kind, Notice
from iss_billing.days import day_of
from packs.drawdown import PackState
from packs.models import Pack
from settlement.loading import AccountState
from settlement.rating import Statement


class RatedDay(NamedTuple):
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
LINES = "settlement_billline (id, bill_id, position, item_id, region, quantity, drawn, charged, price, per, amount)"
DRAWDOWNS = "settlement_drawdown (line_id, pack_id, quantity, remaining_after, recognised)"
TRANSFERS = "accounts_transfer (account_id, kind, debit, credit, amount, time, reference, balance_after, reason)"

UPDATE_PACKS = """
UPDATE packs_pack AS pack SET remaining = new.remaining, recognised = new.recognised
FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[]) AS new (id, remaining, recognised) WHERE pack.id = new.id
"""
UPDATE_ACCOUNTS = """
UPDATE accounts_account AS account
SET balance = new.balance, carry = new.carry, arrears_since = new.arrears_since, announced = new.announced
FROM unnest(%s::bigint[], %s::numeric[], %s::bigint[], %s::timestamptz[], %s::text[])
     AS new (id, balance, carry, arrears_since, announced)
WHERE account.id = new.id
"""


def write_shard(rated: Sequence[RatedDay], day: date, now: datetime) -> None:
    """Write the bills of locked accounts and post what is due, in the caller's transaction (rules 5.2, 7)."""
    if not rated:
        return
    with connection.cursor() as cursor:
        bill_ids = _reserve(cursor, "settlement_bill", len(rated))
        rows = _Rows(day, now)
        for bill_id, one in zip(bill_ids, rated, strict=True):
            rows.add(bill_id, one)
        line_ids = _reserve(cursor, "settlement_billline", len(rows.lines))
        _copy(cursor, BILLS, rows.bills)
        _copy(cursor, LINES, ((id, *line) for id, line in zip(line_ids, rows.lines, strict=True)))
        _copy(cursor, DRAWDOWNS, ((line_ids[place], *drawn) for place, *drawn in rows.drawdowns))
        _copy(cursor, TRANSFERS, rows.transfers)
        packs = {pack.pack_id: pack for one in rated for pack in one.packs}.values()
        if packs:
            cursor.execute(UPDATE_PACKS, _columns((pack.pack_id, pack.remaining, pack.recognised) for pack in packs))
        cursor.execute(UPDATE_ACCOUNTS, _columns(rows.accounts))
    notices.announce_standing(rows.news, rows.balances, now)
    notices.write(_used_up(rated, day), now)


class _Rows:
    """The rows of a shard, as the tables take them."""

    def __init__(self, day: date, now: datetime) -> None:
        self.day, self.now = day, now
        self.bills: list[tuple[Any, ...]] = []
        self.lines: list[tuple[Any, ...]] = []
        self.drawdowns: list[tuple[int, ...]] = []
        self.transfers: list[tuple[Any, ...]] = []
        self.accounts: list[tuple[Any, ...]] = []
        self.news: dict[int, tuple[tuple[str, datetime], ...]] = {}
        self.balances: dict[int, int] = {}

    def add(self, bill_id: int, one: RatedDay) -> None:
        """The rows of one account's bill: revenue recognised with each drawdown, the due taken from the balance."""
        account, statement = one.account, one.statement
        recognised = 0
        for position, line in enumerate(statement.lines, start=1):
            for draw in line.draws:
                self.drawdowns.append(
                    (len(self.lines), draw.pack_id, draw.quantity, draw.remaining_after, draw.recognised)
                )
                recognised += draw.recognised
            self.lines.append((bill_id, position, *line[:8]))
        balance = account.balance - statement.amount_due
        change = standing.after_posting(account.balance, balance, account.arrears_since, account.announced, self.now)
        self.bills.append(
            (
                bill_id,
                account.id,
                self.day,
                one.sequence,
                one.mode,
                statement.rated_total,
                statement.carry_in,
                statement.amount_due,
                statement.carry_out,
                balance,
                self.now,
            )
        )
        if statement.amount_due:
            books = (Kind.USAGE.value, Book.BALANCE.value, Book.USAGE_REVENUE.value)
            self._transfer(account.id, bill_id, books, statement.amount_due, balance)
            self.news[account.id] = change.news
        else:
            change = standing.Change(account.arrears_since, standing.Standing(account.announced), ())
        if recognised:
            books = (Kind.RECOGNITION.value, Book.DEFERRED.value, Book.PACK_REVENUE.value)
            self._transfer(account.id, bill_id, books, recognised, None)
        self.balances[account.id] = balance
        since = change.arrears_since and change.arrears_since.isoformat()
        self.accounts.append((account.id, balance, statement.carry_out, since, str(change.announced)))

    def _transfer(
        self, account_id: int, bill_id: int, books: tuple[str, str, str], amount: int, balance_after: int | None
    ) -> None:
        self.transfers.append((account_id, *books, amount, self.now, f"bill:{bill_id}", balance_after, ""))


def _used_up(rated: Iterable[RatedDay], day: date) -> list[notices.Entry]:
    """A notice for every pack that its last units were drawn from."""
    emptied = [pack.pack_id for one in rated for pack in one.packs if pack.remaining == 0]
    if not emptied:
        return []
    return [
        (
            pack.account_id,
            Notice.Type.PACK_EXHAUSTED.value,
            f"pack:{pack.pk}",
            {
                "name_zh": pack.pack_type.name_zh,
                "name_en": pack.pack_type.name_en,
                "sku": pack.sku.code,
                "pack_id": str(pack.pk),
                "day": day.isoformat(),
                "purchased_day": day_of(pack.purchased_at).isoformat(),
            },
        )
        for pack in Pack.objects.filter(pk__in=emptied).select_related("pack_type", "sku").order_by("pk")
    ]


def _columns(rows: Iterable[Sequence[Any]]) -> list[str]:
    """Rows as PostgreSQL's array literals, one for each column; values of digits, words and times only.

    Written here because the driver asks each value for its type, which takes longer than the update.
    """
    return [
        "{" + ",".join("NULL" if value is None else str(value) for value in column) + "}"
        for column in zip(*rows, strict=True)
    ]


def _reserve(cursor: CursorWrapper, table: str, number: int) -> list[int]:
    """Ids from a table's sequence, so that rows can name each other before they are written."""
    cursor.execute("SELECT nextval(%s::regclass) FROM generate_series(1, %s)", [f"{table}_id_seq", number])
    return [id for (id,) in cursor.fetchall()]


def _copy(cursor: CursorWrapper, table: str, rows: Iterable[Sequence[Any]] | Iterator[Sequence[Any]]) -> None:
    """COPY rows into a table. Raises Django's database errors, as every other statement does."""
    with connection.wrap_database_errors, cursor.copy(f"COPY {table} FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
