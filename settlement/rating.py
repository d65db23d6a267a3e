"""Rating one account's day: usage → lines, drawn from packs and charged → what is due (rules 1.4, 4, 5).

The one path that settlement, estimate and rehearsal share. Integers only; no database, no clock.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Protocol

from msgspec import Struct

from iss_billing.money import MICRO_PER_FEN, round_half_up
from packs.drawdown import Draw, PackState, draw


class TariffEntry(Protocol):
    """`price` micro-yuan per `per` base units."""

    @property
    def price(self) -> int:
        """Micro-yuan."""

    @property
    def per(self) -> int:
        """Base units."""


class ItemRule(Struct, frozen=True):
    """What rating must know of an item: its place in the order, and the billing mode it is billed in, if only one."""

    position: int
    requires_billing_mode: str | None


class DayRules(Struct, frozen=True):
    """The catalogue of one day: items by id, tariff and covering pack types by (item id, region)."""

    day: date
    items: Mapping[int, ItemRule]
    tariff: Mapping[tuple[int, str], TariffEntry]
    covering: Mapping[tuple[int, str], frozenset[int]]


class Usage(Struct, frozen=True, order=True):
    """A day's quantity of one item and region, and how much of it earlier bills of that day hold."""

    item_id: int
    region: str
    quantity: int
    billed: int


class Line(Struct, frozen=True):
    """What one item and region cost: quantity = drawn + charged, amount in micro-yuan."""

    item_id: int
    region: str
    quantity: int
    drawn: int
    charged: int
    price: int
    per: int
    amount: int
    draws: Sequence[Draw]


class Statement(Struct, frozen=True):
    """The rated day: lines in the order rated, their total and the carries in micro-yuan, the due in fen."""

    lines: Sequence[Line]
    rated_total: int
    carry_in: int
    amount_due: int
    carry_out: int


class BilledAboveUsage(Exception):
    """More was billed than was used, which no run does: the account waits until somebody has looked."""


def amount_due(rated_total: int, carry: int) -> tuple[int, int]:
    """Whole fen due, half-up and never below 0, and the carry that is left, in micro-yuan (rules 1.4)."""
    exact = rated_total + carry
    due = max(round_half_up(exact, MICRO_PER_FEN), 0)
    return due, exact - due * MICRO_PER_FEN


def rate(
    usage: Iterable[Usage], *, rules: DayRules, mode: str, packs: Sequence[PackState], carry: int
) -> Statement | None:
    """The statement of what is not billed yet, or None when that makes no line (rules 5.3).

    `packs` are the account's, in drawing order; their remaining and recognised change as they are drawn from.
    Usage that the day's mode does not bill makes no line and draws nothing (rules 3.1). Raises BilledAboveUsage.
    """
    lines: list[Line] = []
    total = 0
    billed = []
    for entry in usage:
        rule = rules.items[entry.item_id]
        if rule.requires_billing_mode is None or rule.requires_billing_mode == mode:
            billed.append((rule.position, entry.region, entry))
    # in the order of the items' positions, then of regions
    for _position, _region, entry in sorted(billed):
        if line := _line(entry, rules, packs):
            lines.append(line)
            total += line.amount
    if not lines:
        return None
    due, carry_out = amount_due(total, carry)
    return Statement(lines, total, carry, due, carry_out)


def _line(entry: Usage, rules: DayRules, packs: Sequence[PackState]) -> Line | None:
    """Packs first, in drawing order, then pay-as-you-go for the remainder (rules 4.3, 4.4); None when all is billed.

    A day is rated whole, late usage is the difference to what was billed for it.
    """
    item, region = entry.item_id, entry.region
    quantity = charged = entry.quantity - entry.billed
    if quantity <= 0:
        if quantity:
            told = f"item {item} in {region} on {rules.day}: {entry.billed} billed, {entry.quantity} used"
            raise BilledAboveUsage(told)
        return None
    key = (item, region)
    draws: Sequence[Draw] = ()
    if packs and (types := rules.covering.get(key)):
        day = rules.day
        held = [pack for pack in packs if pack.pack_type_id in types and pack.effective_day <= day <= pack.valid_until]
        if held:
            draws = draw(held, quantity)
            charged -= sum([taken.quantity for taken in draws])
    tariff = rules.tariff[key]
    price, per = tariff.price, tariff.per
    amount = round_half_up(charged * price, per)
    return Line(item, region, quantity, quantity - charged, charged, price, per, amount, draws)
