"""Billing days: calendar days at UTC+8, from 00:00 inclusive to the next 00:00 exclusive (rules 1.1)."""

from datetime import UTC, date, datetime, timedelta, timezone

SHANGHAI = timezone(timedelta(hours=8), "Asia/Shanghai")
SLOT = timedelta(minutes=5)
SLOTS_PER_DAY = 288
LATE_DAYS = 30
"""Usage is accepted while its day is at most this many days before the day of receipt (rules 5.4)."""


def day_of(moment: datetime) -> date:
    """The billing day in which an aware moment falls."""
    return moment.astimezone(SHANGHAI).date()


def start_of(day: date) -> datetime:
    """The first instant of a billing day."""
    return datetime(day.year, day.month, day.day, tzinfo=SHANGHAI)


def next_day(day: date) -> date:
    """The day after."""
    return day + timedelta(days=1)


def oldest_accepted(received: datetime) -> date:
    """The oldest day whose usage is still accepted at `received` (rules 5.4)."""
    return day_of(received) - timedelta(days=LATE_DAYS)


def slot_of(moment: datetime) -> int:
    """The 5-minute slot of its billing day, 0 to 287, in which a moment falls (rules 2)."""
    local = moment.astimezone(SHANGHAI)
    return (local.hour * 60 + local.minute) // 5


def parse_day(text: str) -> date:
    """A `YYYY-MM-DD` day. Raises ValueError on anything else."""
    if len(text) != 10 or not text.isascii():
        raise ValueError(f"“{text[:40]}” is not a day such as 2026-03-05")
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"“{text}” is not a day such as 2026-03-05") from error


def parse_moment(text: str) -> datetime:
    """An ISO 8601 moment as UTC; without an offset it is Asia/Shanghai. Raises ValueError."""
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=SHANGHAI)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"“{text[:40]}” is not a time such as 2026-03-05T10:00:00+08:00") from error
