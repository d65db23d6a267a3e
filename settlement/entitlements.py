"""May an account be served: its standing, its mode and what its packs have left, at a cost that no usage changes."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple

from django.db import connection
from django.db.models import F, Q, QuerySet

from accounts.models import Account, Book, ModeChange, Transfer
from accounts.modes import DEFAULT
from accounts.standing import GRACE, RECLAIM_AFTER, STOPPED, Standing, status
from iss_billing.bare import bare_cursor
from iss_billing.days import day_of
from packs.models import HOME_REGION
from packs.tariff import tariff_on


class Held(NamedTuple):
    """What the packs of an account have left for an item, in base units: to draw from now, and frozen."""

    item: str
    remaining: int
    frozen: int


class Entitlement(NamedTuple):
    """Whether the service may serve an account, and why; the balance in fen."""

    account_id: int
    standing: Standing
    balance: int
    arrears_since: datetime | None
    mode: str
    items: list[Held]
    as_of_day: date
    closed: bool = False

    @property
    def allowed(self) -> bool:
        """Packs in force or not: a suspended service stands still (rules 6.2), and so does that of a closed account."""
        return self.reason is None

    @property
    def reason(self) -> str | None:
        """Why it may not be served."""
        if self.closed:
            return "closed"
        return self.standing if self.standing in STOPPED else None


ACCOUNTS = """
SELECT account.id, account.balance, account.arrears_since, account.closed_at IS NOT NULL, word.mode,
       held.types, held.remaining, covers.codes, covers.types, covers.regions, covers.modes
FROM accounts_account AS account
LEFT JOIN LATERAL (
    SELECT mode FROM accounts_modechange WHERE account_id = account.id AND effective_day <= %(today)s
    ORDER BY effective_day DESC, id DESC LIMIT 1
) AS word ON true
CROSS JOIN LATERAL (
    SELECT array_agg(pack_type_id) AS types, array_agg(remaining) AS remaining FROM (
        SELECT pack_type_id, sum(remaining)::bigint AS remaining FROM packs_pack
        WHERE account_id = account.id AND remaining > 0 AND %(today)s BETWEEN effective_day AND valid_until
        GROUP BY pack_type_id
    ) AS by_type
) AS held
CROSS JOIN (
    SELECT array_agg(code) AS codes, array_agg(type_id) AS types, array_agg(region) AS regions,
           array_agg(requires_billing_mode) AS modes
    FROM (
        SELECT item.code, type.id AS type_id, type.region, type.requires_billing_mode FROM packs_item AS item
        LEFT JOIN packs_packtype_covers AS cover ON cover.item_id = item.id
        LEFT JOIN packs_packtype AS type ON type.id = cover.packtype_id
        WHERE CASE WHEN %(item)s::text IS NULL THEN type.id IS NOT NULL ELSE item.code = %(item)s END
        ORDER BY item.position, type.id
    ) AS cover
) AS covers
WHERE account.id = ANY(%(accounts)s::bigint[])
"""
"""One statement, which the server prepares once a connection: it is asked before every service."""


def entitlements(
    account_ids: Sequence[int], now: datetime, *, item: str | None = None, region: str = HOME_REGION
) -> list[Entitlement]:
    """Those of the accounts that exist, in the order asked for; `items` is `item`, or all that packs cover."""
    today = day_of(now)
    with bare_cursor() as cursor:
        cursor.execute(ACCOUNTS, {"today": today, "item": item, "accounts": list(account_ids)}, prepare=True)
        rows = {row[0]: row for row in cursor.fetchall()}
    found = []
    for id, balance, since, closed, word, types, remaining, *covers in (rows[id] for id in account_ids if id in rows):
        mode = word or DEFAULT
        left = dict(zip(types or (), remaining or (), strict=True))
        held: dict[str, Held] = {}
        for code, pack_type, covered, needs in zip(*(column or () for column in covers), strict=True):
            units = left.get(pack_type, 0) if covered == region else 0
            before = held.get(code, Held(code, 0, 0))
            if needs in (None, mode):
                held[code] = before._replace(remaining=before.remaining + units)
            else:
                held[code] = before._replace(frozen=before.frozen + units)
        standing = status(int(balance), since, now)
        found.append(Entitlement(id, standing, int(balance), since, mode, list(held.values()), today, closed))
    return found


def unknown(now: datetime, item: str | None, region: str | None) -> list[str]:
    """Which of `item` and `region` a question names wrongly: an item needs a tariff there today."""
    wrong: list[str] = []
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, code FROM packs_item")
        ids = {code: id for id, code in cursor.fetchall()}
    if item is not None and item not in ids:
        wrong.append("item")
    if region is not None:
        opened = {where for what, where in tariff_on(day_of(now)) if item not in ids or what == ids[item]}
        if region not in opened:
            wrong.append("region")
    return wrong


def with_standing(rows: QuerySet[Account], standing: Standing, now: datetime) -> QuerySet[Account]:
    """The accounts of that standing at `now`: `standing.status` as a condition."""
    suspended, reclaimed = Q(arrears_since__lte=now - GRACE), Q(arrears_since__lte=now - RECLAIM_AFTER)
    conditions = {
        Standing.ACTIVE: Q(arrears_since=None),
        Standing.ARREARS: Q(arrears_since__isnull=False) & ~suspended,
        Standing.SUSPENDED: suspended & ~reclaimed,
        Standing.RECLAIMED: reclaimed,
    }
    return rows.filter(conditions[standing])


def changed_since(rows: QuerySet[Account], since: datetime, now: datetime) -> QuerySet[Account]:
    """The accounts that were opened, closed or reopened, or whose standing or mode changed, from `since` to `now`.

    Arrears begin and end with a posting that crosses 0; suspension and reclaim come with time alone.
    """
    fell = Q(debit=Book.BALANCE, balance_after__lt=0, balance_after__gte=-F("amount"))
    rose = Q(credit=Book.BALANCE, balance_after__gte=0, balance_after__lt=F("amount"))
    crossings = Transfer.objects.filter(fell | rose, time__gte=since, balance_after__isnull=False)
    words = ModeChange.objects.filter(effective_day__gt=day_of(since), effective_day__lte=day_of(now))
    return rows.filter(
        Q(opened_at__gte=since)
        | Q(closed_at__gte=since)
        | Q(reopened_at__gte=since)
        | Q(arrears_since__gte=since - GRACE, arrears_since__lte=now - GRACE)
        | Q(arrears_since__gte=since - RECLAIM_AFTER, arrears_since__lte=now - RECLAIM_AFTER)
        | Q(pk__in=crossings.values("account_id"))
        | Q(pk__in=words.values("account_id"))
    )
