"""An account's standing, as a function of its balance, `arrears_since` and the clock (rules 6)."""

from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct

GRACE = timedelta(hours=24)
"""From arrears to suspension (rules 6.2)."""
RECLAIM_AFTER = timedelta(hours=8 * 24)
"""From arrears to reclaim: 7 × 24 h after suspension (rules 6.4)."""


class Standing(StrEnum):
    """What the service does for the account."""

    ACTIVE = "active"
    ARREARS = "arrears"
    SUSPENDED = "suspended"
    RECLAIMED = "reclaimed"


ACTIVE = Standing.ACTIVE
STOPPED = (Standing.SUSPENDED, Standing.RECLAIMED)
RESUMED = "resumed"


def status(balance: int, arrears_since: datetime | None, now: datetime) -> Standing:
    """The standing of a balance in fen at `now`; 0.00 is not arrears (rules 6.1, 6.2, 6.4)."""
    if balance >= 0 or arrears_since is None:
        return Standing.ACTIVE
    if now >= arrears_since + RECLAIM_AFTER:
        return Standing.RECLAIMED
    return Standing.SUSPENDED if now >= arrears_since + GRACE else Standing.ARREARS


def suspends_at(arrears_since: datetime | None) -> datetime | None:
    """When a debt that is not cleared suspends the service, also when that is past."""
    return arrears_since and arrears_since + GRACE


def reclaims_at(arrears_since: datetime | None) -> datetime | None:
    """When a debt that is not cleared releases the account's resources, also when that is past."""
    return arrears_since and arrears_since + RECLAIM_AFTER


class Change(Struct, frozen=True):
    """What a posting makes of an account's standing."""

    arrears_since: datetime | None
    announced: Standing
    news: tuple[tuple[str, datetime], ...]
    """What to tell the customer, in order, each with the start of the arrears that it is about."""


def after_posting(
    balance_before: int, balance_after: int, arrears_since: datetime | None, announced: str, now: datetime
) -> Change:
    """The standing after a posting at `now` (rules 6.1, 6.3).

    What time alone had changed and no sweep has told yet is told first, so that nobody hears of a resumption
    without having heard of the suspension.
    """
    before = status(balance_before, arrears_since, now)
    news: list[tuple[str, datetime]] = []
    if arrears_since and before in STOPPED and before != announced:
        news.append((before, arrears_since))
    if balance_after >= 0:
        if arrears_since and before in STOPPED:
            news.append((RESUMED, arrears_since))
        return Change(None, Standing.ACTIVE, tuple(news))
    if arrears_since is None:
        news.append((Standing.ARREARS, now))
        return Change(now, Standing.ARREARS, tuple(news))
    return Change(arrears_since, before, tuple(news))
