"""The last 30 days of a range of accounts at other prices (rules 1.4, 4.4): what changes for whom, and by what.

Which units packs drew does not depend on any price, so what was charged is rated again, by settlement's own `rate()`;
beside it stand the packs that were bought, at their new prices. It does depend on what is sold at all: a
size that ends is taken not to have been bought in the window, so what its packs covered is charged, and an item that
ends not to have been used. Whoever did either is replayed whole, packs and all.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from itertools import groupby
from typing import Any, NamedTuple

from django.db import connection

from iss_billing import bulk
from iss_billing.days import start_of
from iss_billing.money import MICRO_PER_FEN
from packs.models import Item, Sku
from packs.proposal_models import PriceProposal
from packs.tariff import Price
from settlement.histories import load_histories
from settlement.rating import DayRules, Usage, rate
from settlement.replay import History, Step, Window, replay, with_tariff

Key = tuple[int, str]
"""An item's id and a region."""

LINES = """
SELECT bill.account_id, bill.id, bill.day, bill.billing_mode, line.item_id, line.region, line.charged, line.amount
FROM settlement_bill AS bill JOIN settlement_billline AS line ON line.bill_id = bill.id
JOIN unnest(%(items)s::smallint[], %(regions)s::text[]) AS priced (item_id, region)
  ON priced.item_id = line.item_id AND priced.region = line.region
WHERE bill.account_id BETWEEN %(low)s AND %(high)s AND bill.day BETWEEN %(first)s AND %(last)s
ORDER BY bill.account_id, bill.id
"""
TOTALS = """
SELECT account_id, sum(rated_total) FROM settlement_bill
WHERE account_id BETWEEN %(low)s AND %(high)s AND day BETWEEN %(first)s AND %(last)s GROUP BY account_id
"""
BOUGHT = """
SELECT account_id, sku_id, count(*), sum(price) FROM packs_pack
WHERE account_id BETWEEN %(low)s AND %(high)s AND purchased_at >= %(start)s AND purchased_at < %(end)s
  AND refunded_at IS NULL GROUP BY account_id, sku_id
"""


AMOUNTS = """
SELECT bill.account_id, line.item_id, line.region, sum(line.amount)
FROM settlement_bill AS bill JOIN settlement_billline AS line ON line.bill_id = bill.id
WHERE bill.account_id = ANY(%(accounts)s) AND bill.day BETWEEN %(first)s AND %(last)s
GROUP BY bill.account_id, line.item_id, line.region
"""


class NewPrices(NamedTuple):
    """Prices to try: of items by (id, region), and of SKUs in fen by id; and what is no longer sold."""

    tariff: Mapping[Key, Price]
    packs: Mapping[int, int]
    ended_items: frozenset[Key] = frozenset()
    ended_packs: frozenset[int] = frozenset()


def proposed_prices(proposal: PriceProposal, today: date) -> NewPrices:
    """What a proposal would change of what was used or bought; nothing of it was of what is new."""
    items, skus = dict(Item.objects.values_list("code", "id")), dict(Sku.objects.values_list("code", "id"))
    tariff: dict[Key, Price] = {}
    packs: dict[int, int] = {}
    ended_items, ended_packs = set[Key](), set[int]()
    for cell in proposal.cells.filter(cancels=False):
        if cell.of_pack and cell.code in skus:
            sku = skus[cell.code]
            ended_packs.add(sku) if cell.price is None else packs.update({sku: cell.price})
        elif not cell.of_pack and cell.code in items:
            key = items[cell.code], cell.region
            if cell.price is None:
                ended_items.add(key)
            else:
                tariff[key] = Price(cell.price, cell.per, cell.day or today)
    return NewPrices(tariff, packs, frozenset(ended_items - tariff.keys()), frozenset(ended_packs - packs.keys()))


@dataclass
class Repriced:
    """An account's window, in micro-yuan: what it was charged and what it paid for packs, and what would change."""

    account_id: int
    charged: int = 0
    bought: int = 0
    items: dict[Key, tuple[int, int]] = field(default_factory=dict)
    """Before and after of every item that was used, if only from packs."""
    packs: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    """Of SKUs: how many packs, before, after."""

    @property
    def paid(self) -> int:
        """All that it paid."""
        return self.charged + self.bought

    @property
    def change(self) -> int:
        """What would have been paid more."""
        return self.rated_change + sum(after - before for _number, before, after in self.packs.values())

    @property
    def rated_change(self) -> int:
        """What would have been charged more."""
        return sum(after - before for before, after in self.items.values())


def reprice(
    low: int, high: int, window: Window, rules: Mapping[date, DayRules], prices: NewPrices
) -> dict[int, Repriced]:
    """The accounts from `low` to `high` that paid for something in the window, a few statements for them all.

    `rules` are those of the window, `prices` what is tried instead on every day of it.
    """
    keys = [*prices.tariff, *prices.ended_items]
    rules = with_tariff(rules, prices.tariff)
    ask: dict[str, Any] = {"low": low, "high": high, "first": window.first, "last": window.last}
    ask |= {"start": start_of(window.first), "end": start_of(window.last + timedelta(days=1))}
    ask |= {
        "items": bulk.array(item for item, _region in keys),
        "regions": [region for _item, region in keys],
    }
    found: dict[int, Repriced] = defaultdict(lambda: Repriced(0))
    whole: set[int] = set()
    for account, total in _rows(TOTALS, ask):
        found[account] = Repriced(account, charged=int(total))
    for account, sku, number, price in _rows(BOUGHT, ask):
        one = found.setdefault(account, Repriced(account))
        before = int(price) * MICRO_PER_FEN
        one.bought += before
        if sku in prices.packs:
            one.packs[sku] = (number, before, number * prices.packs[sku] * MICRO_PER_FEN)
        elif sku in prices.ended_packs:
            one.packs[sku] = (number, before, 0)
            whole.add(account)
    for account, of_account in groupby(_rows(LINES, ask), key=lambda line: line[0]) if keys else ():
        lines = list(of_account)
        if any((line[4], line[5]) in prices.ended_items for line in lines):
            whole.add(account)
        elif account not in whole:
            found[account].items = _rated(lines, rules)
    for account, items in _replayed(whole, window, rules, prices) if whole else ():
        found[account].items = items
    return dict(found)


def _replayed(
    accounts: set[int], window: Window, rules: Mapping[date, DayRules], prices: NewPrices
) -> Iterator[tuple[int, dict[Key, tuple[int, int]]]]:
    """Before and after of accounts that bought or used what ends: all that they used, without it."""
    before: dict[int, dict[Key, int]] = defaultdict(dict)
    ask = {"accounts": sorted(accounts), "first": window.first, "last": window.last}
    for account, item, region, amount in _rows(AMOUNTS, ask):
        before[account][item, region] = int(amount)
    histories = load_histories(min(accounts), max(accounts), window, without=prices.ended_packs)
    changed = prices.tariff.keys() | prices.ended_items
    for account in sorted(accounts):
        history, was = histories[account], before[account]
        after: dict[Key, int] = {}
        # a replay tells items only; the packs of a region are drawn by its own usage alone
        for region in {region for _item, region in was}:
            steps = tuple(_used_in(region, history.steps, prices.ended_items))
            outcome = replay(History(account, window, history.known_days, steps, history.packs), rules)
            after |= {(item, region): cost.amount for item, cost in outcome.items.items()}
        items = {key: (amount, after.get(key, 0)) for key, amount in was.items()}
        yield account, {key: sums for key, sums in items.items() if key in changed or sums[0] != sums[1]}


def _used_in(region: str, steps: Iterable[Step], ended: frozenset[Key]) -> Iterator[Step]:
    for step in steps:
        usage = tuple(one for one in step.usage if one.region == region and (one.item_id, one.region) not in ended)
        if usage:
            yield replace(step, usage=usage)


def _rated(lines: Iterable[tuple[Any, ...]], rules: Mapping[date, DayRules]) -> dict[Key, tuple[int, int]]:
    """Before and after by item and region, bill by bill; units that packs drew cost nothing at any price."""
    before: dict[Key, int] = {}
    after: dict[Key, int] = {}
    for (_bill, day, mode), of_bill in groupby(lines, key=lambda line: line[1:4]):
        usage = []
        for *_where, item, region, charged, amount in of_bill:
            key = item, region
            before[key] = before.get(key, 0) + int(amount)
            if charged:
                usage.append(Usage(item, region, int(charged), 0))
        statement = rate(usage, rules=rules[day], mode=mode, packs=(), carry=0)
        for line in statement.lines if statement else ():
            key = line.item_id, line.region
            after[key] = after.get(key, 0) + line.amount
    return {key: (amount, after.get(key, 0)) for key, amount in before.items()}


def _rows(statement: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())
