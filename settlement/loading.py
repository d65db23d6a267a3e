"""Reading what rating needs: the rules of a day, usage with what was billed of it, and packs in drawing order."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from typing import NamedTuple

from django.db.models import Max, Sum

from packs.drawdown import PackState
from packs.models import Item, Pack, PackType
from packs.tariff import tariff_on
from settlement.metering import day_quantities
from settlement.models import Bill, BillLine
from settlement.rating import DayRules, ItemRule, Usage


def load_rules(day: date) -> DayRules:
    """The catalogue and tariff of a day."""
    items = {item.pk: ItemRule(item.position, item.requires_billing_mode) for item in Item.objects.all()}
    covering: dict[tuple[int, str], set[int]] = defaultdict(set)
    for pack_type, region, item in PackType.objects.values_list("id", "region", "covers"):
        covering[item, region].add(pack_type)
    return DayRules(day, items, tariff_on(day), {key: frozenset(types) for key, types in covering.items()})


class DayOfAccount(NamedTuple):
    """What one account used on a day, and the sequence of its latest bill for that day (0 without one)."""

    usage: list[Usage]
    sequence: int


def load_day(account_ids: Iterable[int], day: date) -> dict[int, DayOfAccount]:
    """The usage of a day per account, each quantity with what earlier bills of the day hold."""
    ids = list(account_ids)
    bills = Bill.objects.filter(account_id__in=ids, day=day)
    sequences = dict(bills.values("account_id").annotate(top=Max("sequence")).values_list("account_id", "top"))
    billed: dict[tuple[int, int, str], int] = {}
    if sequences:
        lines = BillLine.objects.filter(bill__account_id__in=list(sequences), bill__day=day)
        grouped = lines.order_by().values("bill__account_id", "item_id", "region").annotate(total=Sum("quantity"))
        billed = {
            (account, item, region): total
            for account, item, region, total in grouped.values_list("bill__account_id", "item_id", "region", "total")
        }
    days = {account: DayOfAccount([], sequences.get(account, 0)) for account in ids}
    for account, item, region, quantity in day_quantities(ids, day):
        days[account].usage.append(Usage(item, region, quantity, billed.pop((account, item, region), 0)))
    for (account, item, region), total in billed.items():
        # billed without any usage: rating refuses it
        days[account].usage.append(Usage(item, region, 0, total))
    return days


def load_packs(account_ids: Iterable[int]) -> dict[int, list[PackState]]:
    """The packs with units left, per account in drawing order: ids rise with order, line and unit (rules 4.3)."""
    packs: dict[int, list[PackState]] = defaultdict(list)
    rows = (
        Pack.objects.filter(account_id__in=list(account_ids), remaining__gt=0)
        .order_by("account_id", "id")
        .values_list(
            "account_id",
            "id",
            "pack_type_id",
            "total",
            "remaining",
            "price",
            "recognised",
            "effective_day",
            "valid_until",
        )
    )
    for account, pack, kind, total, remaining, price, recognised, effective, until in rows:
        packs[account].append(PackState(pack, kind, total, remaining, price, recognised, effective, until))
    return packs
