"""Reading what rating needs: the rules of a day, usage with what was billed of it, and packs in drawing order."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta
from typing import Any, Protocol

from django.db import connection
from msgspec import Struct

from iss_billing import bulk
from packs.drawdown import PackState
from packs.models import Item, PackType
from packs.tariff import tariff_on, tariffs_between
from packs.whole import Whole
from settlement.rating import DayRules, ItemRule, Usage
from settlement.usage import ask_day_quantities, quantities_of_days


def load_rules(day: date) -> DayRules:
    """The catalogue and tariff of a day."""
    items = {item.pk: ItemRule(item.position, item.requires_billing_mode) for item in Item.objects.all()}
    covering: dict[tuple[int, str], set[int]] = defaultdict(set)
    for pack_type, region, item in PackType.objects.values_list("id", "region", "covers"):
        covering[item, region].add(pack_type)
    return DayRules(day, items, tariff_on(day), {key: frozenset(types) for key, types in covering.items()})


def load_rules_between(first: date, last: date) -> dict[date, DayRules]:
    """The catalogue and tariff of every day from `first` to `last`, in as many statements as for one."""
    items: dict[int, ItemRule] = {}
    covering: dict[tuple[int, str], set[int]] = defaultdict(set)
    columns = ("pk", "position", "requires_billing_mode", "pack_types__pk", "pack_types__region")
    for item, place, mode, pack_type, region in Item.objects.order_by().values_list(*columns):
        items[item] = ItemRule(place, mode)
        if pack_type is not None:
            covering[item, region].add(pack_type)
    frozen = {key: frozenset(types) for key, types in covering.items()}
    return {day: DayRules(day, items, tariff, frozen) for day, tariff in tariffs_between(first, last).items()}


class Rules(Protocol):
    """Where the rules of some days come from, both days inclusive."""

    def __call__(self, first: date, last: date, /) -> dict[date, DayRules]:
        """The rules of every day."""


def rules_of(whole: Whole) -> Rules:
    """The rules of days out of a catalogue that was read already; of days before it they are read."""
    items = {item.pk: ItemRule(item.position, item.requires_billing_mode) for item in whole.items.values()}
    covering: dict[tuple[int, str], set[int]] = defaultdict(set)
    for kind in whole.types.values():
        for item in kind.covers.all():
            covering[item.pk, kind.region].add(kind.pk)
    frozen = {key: frozenset(types) for key, types in covering.items()}

    def rules(first: date, last: date, /) -> dict[date, DayRules]:
        if first < whole.first or last > whole.today:
            return load_rules_between(first, last)
        days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
        return {day: DayRules(day, items, whole.tariff(day), frozen) for day in days}

    return rules


class DayOfAccount(Struct, frozen=True):
    """What one account used on a day, and the sequence of its latest bill for that day (0 without one)."""

    usage: list[Usage]
    sequence: int


class AccountState(Struct, frozen=True):
    """What settlement must know of a locked account: balance in fen, carry in micro-yuan, its standing, and what its
    customer wants to be told."""

    id: int
    balance: int
    carry: int
    arrears_since: datetime | None
    announced: str
    low_percent: int = 20
    low_balance: int | None = None
    """Fen."""
    mails_bills: bool = False


LOCK_ACCOUNTS = """
SELECT id, balance::text, carry, arrears_since, announced, low_percent, low_balance, mails_bills FROM accounts_account
WHERE id BETWEEN %s AND %s AND id IN (
    SELECT account_id FROM settlement_pendingday WHERE day = %s AND account_id BETWEEN %s AND %s
) ORDER BY id FOR NO KEY UPDATE
"""


def lock_accounts(first: int, last: int, day: date) -> dict[int, tuple[Any, ...]]:
    """Lock the accounts of an id range that have the day pending, in id order, until the transaction ends.

    What `account_states` takes, by their ids.
    """
    with connection.cursor() as cursor:
        cursor.execute(LOCK_ACCOUNTS, [first, last, day, first, last])
        return {row[0]: row for row in cursor.fetchall()}


def account_states(rows: Iterable[tuple[Any, ...]]) -> list[AccountState]:
    """Locked accounts."""
    return [AccountState(id, int(balance), *rest) for id, balance, *rest in rows]


def ask_day(account_ids: Iterable[int], day: date) -> Callable[[], dict[int, DayOfAccount]]:
    """Ask for the usage of a day per account, each quantity with what earlier bills of the day hold.

    What is returned fetches it; asked in a pipeline, PostgreSQL aggregates meanwhile.
    """
    ids = list(account_ids)
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT account_id, max(sequence) FROM settlement_bill
            WHERE day = %s AND account_id = ANY(%s::bigint[]) GROUP BY account_id""",
            [day, bulk.array(ids)],
        )
        sequences = dict(cursor.fetchall())
    billed = _billed(list(sequences), day) if sequences else {}
    quantities = ask_day_quantities(ids, day)

    def fetch() -> dict[int, DayOfAccount]:
        usage: dict[int, list[Usage]] = {account: [] for account in ids}
        for account, item, region, quantity in quantities():
            held = billed.pop((account, item, region), 0) if billed else 0
            usage[account].append(Usage(item, region, quantity, held))
        for (account, item, region), total in billed.items():
            # billed without any usage: rating refuses it
            usage[account].append(Usage(item, region, 0, total))
        return {account: DayOfAccount(used, sequences.get(account, 0)) for account, used in usage.items()}

    return fetch


def load_days(account_id: int, days: Iterable[date]) -> dict[date, DayOfAccount]:
    """The usage of one account on several days, each quantity with what earlier bills of its day hold."""
    used = quantities_of_days(account_id, days)
    billed: dict[date, dict[tuple[int, str], int]] = {day: {} for day in used}
    sequences = dict.fromkeys(used, 0)
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT bill.day, line.item_id, line.region, sum(line.quantity), max(bill.sequence)
            FROM settlement_bill AS bill JOIN settlement_billline AS line ON line.bill_id = bill.id
            WHERE bill.account_id = %s AND bill.day = ANY(%s::date[]) GROUP BY 1, 2, 3""",
            [account_id, bulk.array(used)],
        )
        for day, item, region, quantity, sequence in cursor.fetchall():
            billed[day][item, region] = int(quantity)
            sequences[day] = max(sequences[day], sequence)
    found = {}
    for day, quantities in used.items():
        usage = [Usage(item, region, number, billed[day].pop((item, region), 0)) for item, region, number in quantities]
        # billed without any usage: rating refuses it
        usage += [Usage(item, region, 0, number) for (item, region), number in billed[day].items()]
        found[day] = DayOfAccount(usage, sequences[day])
    return found


def _billed(account_ids: list[int], day: date) -> dict[tuple[int, int, str], int]:
    """What the bills of a day hold, by account, item and region."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT bill.account_id, line.item_id, line.region, sum(line.quantity)
            FROM settlement_bill AS bill JOIN settlement_billline AS line ON line.bill_id = bill.id
            WHERE bill.day = %s AND bill.account_id = ANY(%s::bigint[]) GROUP BY 1, 2, 3""",
            [day, bulk.array(account_ids)],
        )
        return {(account, item, region): int(total) for account, item, region, total in cursor.fetchall()}


def ask_packs(account_ids: Iterable[int]) -> Callable[[], dict[int, list[PackState]]]:
    """Ask for the packs with units left, per account in drawing order: ids rise with order, line and unit (rules 4.3).

    What is returned fetches them.
    """
    cursor = connection.cursor()
    cursor.execute(
        """SELECT account_id, id, pack_type_id, total, remaining, price, recognised, effective_day, valid_until
        FROM packs_pack WHERE account_id = ANY(%s::bigint[]) AND remaining > 0 ORDER BY account_id, id""",
        [bulk.array(account_ids)],
    )

    def fetch() -> dict[int, list[PackState]]:
        packs: dict[int, list[PackState]] = defaultdict(list)
        with cursor:
            for account, *columns in cursor.fetchall():
                packs[account].append(PackState(*columns))
        return packs

    return fetch
