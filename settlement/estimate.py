"""What the next runs would bill if nothing more happened, without changing anything: the same rating, unwritten."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from typing import NamedTuple

from django.db import connection, transaction

from accounts.models import Account
from accounts.modes import DEFAULT, modes_on
from iss_billing.days import day_of
from settlement.loading import load_day, load_packs, load_rules
from settlement.metering import pending_days
from settlement.rating import Statement, rate


class EstimatedBill(NamedTuple):
    """A bill as the next run would write it."""

    day: date
    sequence: int
    mode: str
    statement: Statement


class Estimate(NamedTuple):
    """The pending earlier days, today (None when it would make no bill), and the balance in fen after them all."""

    as_of: datetime
    pending: list[EstimatedBill]
    today: EstimatedBill | None
    balance_after: int


@contextmanager
def one_snapshot() -> Iterator[None]:
    """Reads that belong together, beside runs that go on writing."""
    if connection.in_atomic_block:
        yield  # the caller's transaction says what is seen
        return
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield


def estimate(account_id: int, now: datetime, *, without_pack: int | None = None) -> Estimate:
    """What would be due if today ended now: every pending earlier day, oldest first, then today.

    `without_pack` leaves one pack out, as if it had been refunded before (rules 4.7).
    """
    today = day_of(now)
    bills: list[EstimatedBill] = []
    with one_snapshot():
        account = Account.objects.get(pk=account_id)
        packs = [pack for pack in load_packs([account_id])[account_id] if pack.pack_id != without_pack]
        balance, carry = account.balance, account.carry
        for day in [day for day in pending_days(account_id) if day < today] + [today]:
            used = load_day([account_id], day)[account_id]
            mode = modes_on([account_id], day).get(account_id, DEFAULT)
            statement = rate(used.usage, rules=load_rules(day), mode=mode, packs=packs, carry=carry)
            if statement is not None:
                bills.append(EstimatedBill(day, used.sequence + 1, mode, statement))
                balance, carry = balance - statement.amount_due, statement.carry_out
    ends_today = bills.pop() if bills and bills[-1].day == today else None
    return Estimate(now, bills, ends_today, balance)
