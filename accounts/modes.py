"""The billing mode of a day, and switching it from the next 00:00 on (rules 3)."""

from collections.abc import Iterable
from datetime import date, datetime
from typing import NamedTuple

from django.db import connection, transaction

from accounts.ledger import lock_open_account
from accounts.models import BANDWIDTH, ModeChange
from iss_billing import bulk
from iss_billing.days import day_of, next_day

DEFAULT = BANDWIDTH


class InArrears(Exception):
    """A balance below 0 allows no new switch (rules 4.8)."""


def mode_since(account_id: int, today: date) -> date | None:
    """From which day on today's mode has been in force without a break; None when it always was."""
    words = ModeChange.objects.filter(account_id=account_id, effective_day__lte=today).order_by("effective_day", "id")
    # of several words for one day the last counts
    by_day = dict(words.values_list("effective_day", "mode"))
    mode, since = mode_on(account_id, today), None
    for day in sorted(by_day, reverse=True):
        if by_day[day] != mode:
            return since
        since = day
    return since if mode != DEFAULT else None


class Pending(NamedTuple):
    """A switch that has been asked for and can be taken back until `effective_day` begins."""

    mode: str
    effective_day: date


def modes_on(account_ids: Iterable[int], day: date) -> dict[int, str]:
    """The mode of each account on a day; accounts that never switched are left out: `DEFAULT`."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT DISTINCT ON (account_id) account_id, mode FROM accounts_modechange
            WHERE account_id = ANY(%s::bigint[]) AND effective_day <= %s
            ORDER BY account_id, effective_day DESC, id DESC""",
            [bulk.array(account_ids), day],
        )
        return dict(cursor.fetchall())


def mode_on(account_id: int, day: date) -> str:
    """The mode of one account on a day."""
    return modes_on([account_id], day).get(account_id, DEFAULT)


def mode_today_and_next(account_id: int, today: date) -> tuple[str, str]:
    """Today's mode and tomorrow's as announced, in one statement."""
    word = """(SELECT mode FROM accounts_modechange WHERE account_id = %s AND effective_day <= %s
               ORDER BY effective_day DESC, id DESC LIMIT 1)"""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {word}, {word}", [account_id, today, account_id, next_day(today)])
        [(now, then)] = cursor.fetchall()
    return now or DEFAULT, then or DEFAULT


def pending_mode(account_id: int, today: date) -> Pending | None:
    """The switch that takes effect at the next 00:00, if one is pending."""
    now, then = mode_today_and_next(account_id, today)
    return Pending(then, next_day(today)) if then != now else None


def switch_mode(*, account_id: int, mode: str, now: datetime) -> None:
    """From the next 00:00 on bill in `mode`; today's own mode takes a pending switch back, in any standing.

    Words are appended: the last one before midnight counts. Raises AccountUnknown, AccountClosed, InArrears.
    """
    today = day_of(now)
    with transaction.atomic():
        account = lock_open_account(account_id)
        if mode != mode_on(account_id, today) and account.balance < 0:
            raise InArrears("an account in arrears cannot switch its billing mode")
        if mode != mode_on(account_id, next_day(today)):
            ModeChange.objects.create(account=account, effective_day=next_day(today), mode=mode, decided_at=now)


class ModeState(NamedTuple):
    """Today's mode, from which day on it has been in force (None: it always was), and the switch that is pending."""

    mode: str
    since: date | None
    pending: Pending | None


def mode_state(account_id: int, today: date) -> ModeState:
    """What pages say of an account's billing mode, in one statement."""
    tomorrow = next_day(today)
    words = ModeChange.objects.filter(account_id=account_id, effective_day__lte=tomorrow)
    # of several words for one day the last counts
    by_day = dict(words.order_by("effective_day", "id").values_list("effective_day", "mode"))
    announced = by_day.pop(tomorrow, None)
    days = sorted(by_day, reverse=True)
    mode = by_day[days[0]] if days else DEFAULT
    since: date | None = None
    for day in days:
        if by_day[day] != mode:
            break
        since = day
    else:
        since = since if mode != DEFAULT else None
    return ModeState(mode, since, Pending(announced, tomorrow) if announced not in (None, mode) else None)
