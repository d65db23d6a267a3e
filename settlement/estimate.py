"""What the next runs would bill if nothing more happened, without changing anything: the same rating, unwritten."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any, NamedTuple

from django.db import connection, transaction
from msgspec.structs import replace

from accounts.models import Account
from accounts.modes import DEFAULT
from iss_billing import bulk
from iss_billing.days import day_of, next_day
from packs.drawdown import PackState
from settlement.loading import DayOfAccount, Rules, ask_packs, load_days, load_rules_between
from settlement.metering import PENDING
from settlement.rating import DayRules, Statement, rate


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


class UnsettledDay(NamedTuple):
    """A day with usage that no run has seen, and what rating it needs."""

    mode: str
    used: DayOfAccount
    rules: DayRules


class Unsettled(NamedTuple):
    """An account's balance (fen), carry (micro-yuan) and packs, and the days yet to be settled, oldest first."""

    as_of: datetime
    balance: int
    carry: int
    packs: list[PackState]
    days: list[UnsettledDay]
    next_mode: str
    """The billing mode of tomorrow, as announced."""
    words: list[tuple[date, str]]
    """The words on the billing mode, each from a day on, the latest first."""


STANDS = f"""
SELECT balance, carry, ARRAY(SELECT day FROM ({PENDING}) AS pending ORDER BY day), (
    SELECT json_object_agg(effective_day, mode) FROM (
        SELECT DISTINCT ON (effective_day) effective_day, mode FROM accounts_modechange
        WHERE account_id = %(account)s AND effective_day <= %(tomorrow)s ORDER BY effective_day, id DESC
    ) AS word
) FROM accounts_account WHERE id = %(account)s
"""  # noqa: S608 - constants


def load_unsettled(account_id: int, now: datetime, *, rules_of: Rules = load_rules_between) -> Unsettled:
    """Every pending earlier day and today: six statements, however many days there are, or four where `rules_of` reads
    none. Raises Account.DoesNotExist.
    """
    today = day_of(now)
    with one_snapshot(), connection.cursor() as cursor:
        asked: dict[str, Any] = {"account": account_id, "ids": bulk.array([account_id]), "tomorrow": next_day(today)}
        cursor.execute(STANDS, asked)
        row = cursor.fetchone()
        if row is None:
            raise Account.DoesNotExist(f"there is no account {account_id}")
        balance, carry, pending, words = row
        days = [*(day for day in pending if day < today), today]
        used, rules = load_days(account_id, days), rules_of(days[0], today)
        packs = ask_packs([account_id])()[account_id]
    modes = [(date.fromisoformat(day), mode) for day, mode in sorted((words or {}).items(), reverse=True)]
    return Unsettled(
        now,
        int(balance),
        carry,
        packs,
        [UnsettledDay(_mode_on(modes, day), used[day], rules[day]) for day in days],
        _mode_on(modes, next_day(today)),
        modes,
    )


def _mode_on(words: list[tuple[date, str]], day: date) -> str:
    """The mode of a day, by the words on it from the latest to the earliest."""
    return next((mode for since, mode in words if since <= day), DEFAULT)


def rate_unsettled(unsettled: Unsettled, *, without_pack: int | None = None) -> Estimate:
    """What those days would come to; `unsettled` stays as it is and can be rated again otherwise.

    `without_pack` leaves one pack out, as if it had been refunded before (rules 4.7).
    """
    bills: list[EstimatedBill] = []
    packs = [replace(pack) for pack in unsettled.packs if pack.pack_id != without_pack]
    balance, carry, today = unsettled.balance, unsettled.carry, day_of(unsettled.as_of)
    for mode, used, rules in unsettled.days:
        statement = rate(used.usage, rules=rules, mode=mode, packs=packs, carry=carry)
        if statement is not None:
            bills.append(EstimatedBill(rules.day, used.sequence + 1, mode, statement))
            balance, carry = balance - statement.amount_due, statement.carry_out
    ends_today = bills.pop() if bills and bills[-1].day == today else None
    return Estimate(unsettled.as_of, bills, ends_today, balance)


def estimate(account_id: int, now: datetime, *, without_pack: int | None = None) -> Estimate:
    """What would be due if today ended now: every pending earlier day, oldest first, then today."""
    return rate_unsettled(load_unsettled(account_id, now), without_pack=without_pack)
