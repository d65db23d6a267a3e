"""The last 30 days of a range of accounts at other prices (rules 1.4, 4.4): what changes for whom, and by what.

Which units packs drew does not depend on any price, so what was charged is rated again, by settlement's own `rate()`
in `replay`; beside it stand the packs that were bought, at their new prices.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
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
from settlement.rating import DayRules, Usage
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


class NewPrices(NamedTuple):
    """Prices to try: of items by (id, region), and of SKUs in fen by id."""

    tariff: Mapping[Key, Price]
    packs: Mapping[int, int]


def proposed_prices(proposal: PriceProposal, today: date) -> NewPrices:
    """What a proposal would change of what was used or bought; nothing of it was of what is new or ends its sale."""
    items, skus = dict(Item.objects.values_list("code", "id")), dict(Sku.objects.values_list("code", "id"))
    tariff: dict[Key, Price] = {}
    packs: dict[int, int] = {}
    for cell in proposal.cells.filter(cancels=False, price__isnull=False):
        if cell.price is None:
            continue
        if cell.of_pack and cell.code in skus:
            packs[skus[cell.code]] = cell.price
        elif not cell.of_pack and cell.code in items:
            tariff[items[cell.code], cell.region] = Price(cell.price, cell.per, cell.day or today)
    return NewPrices(tariff, packs)


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
    """The accounts from `low` to `high` that paid for something in the window, three statements for them all.

    `rules` are those of the window, `prices` what is tried instead on every day of it.
    """
    rules = with_tariff(rules, prices.tariff)
    ask: dict[str, Any] = {"low": low, "high": high, "first": window.first, "last": window.last}
    ask |= {"start": start_of(window.first), "end": start_of(window.last + timedelta(days=1))}
    ask |= {
        "items": bulk.array(item for item, _region in prices.tariff),
        "regions": [region for _item, region in prices.tariff],
    }
    found: dict[int, Repriced] = defaultdict(lambda: Repriced(0))
    for account, total in _rows(TOTALS, ask):
        found[account] = Repriced(account, charged=int(total))
    for account, sku, number, price in _rows(BOUGHT, ask):
        one = found.setdefault(account, Repriced(account))
        before = int(price) * MICRO_PER_FEN
        one.bought += before
        if sku in prices.packs:
            one.packs[sku] = (number, before, number * prices.packs[sku] * MICRO_PER_FEN)
    for account, lines in groupby(_rows(LINES, ask), key=lambda line: line[0]) if prices.tariff else ():
        found[account].items = _rated(account, list(lines), window, rules)
    return dict(found)


def _rated(
    account: int, lines: list[tuple[Any, ...]], window: Window, rules: Mapping[date, DayRules]
) -> dict[Key, tuple[int, int]]:
    """Before and after by item and region; each region is replayed alone, for a replay tells items only."""
    before: dict[Key, int] = {}
    for line in lines:
        key = line[4], line[5]
        before[key] = before.get(key, 0) + int(line[7])
    items: dict[Key, tuple[int, int]] = {}
    for region in dict.fromkeys(region for _item, region in before):
        steps = tuple(_steps(line for line in lines if line[5] == region))
        outcome = replay(History(account, window, len(window.days), steps), rules)
        for item, where in before:
            if where == region:
                cost = outcome.items.get(item)
                items[item, region] = (before[item, region], cost.amount if cost else 0)
    return items


def _steps(lines: Iterator[tuple[Any, ...]]) -> Iterator[Step]:
    """What was charged, a bill a step; units that packs drew cost nothing at any price."""
    for (_bill, day, mode), of_bill in groupby(lines, key=lambda line: (line[1], line[2], line[3])):
        usage = tuple(Usage(line[4], line[5], int(line[6]), 0) for line in of_bill if line[6])
        if usage:
            yield Step(day, mode, usage)


def _rows(statement: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())
