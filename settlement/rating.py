"""Rating one account's day: usage → lines, drawn from packs and charged → what is due (rules 1.4, 4, 5).

The one path that settlement, estimate and rehearsal share. Integers only; no database, no clock.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import NamedTuple, Protocol

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


class ItemRule(NamedTuple):
    """What rating must know of an item: its place in the order, and the billing mode it is billed in, if only one."""

    position: int
    requires_billing_mode: str | None


class DayRules(NamedTuple):
    """The catalogue of one day: items by id, tariff and covering pack types by (item id, region)."""

    day: date
    items: Mapping[int, ItemRule]
    tariff: Mapping[tuple[int, str], TariffEntry]
    covering: Mapping[tuple[int, str], frozenset[int]]


class Usage(NamedTuple):
    """A day's quantity of one item and region, and how much of it earlier bills of that day hold."""

    item_id: int
    region: str
    quantity: int
    billed: int


class Line(NamedTuple):
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


class Statement(NamedTuple):
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
    # in the order of the items' positions, then of regions
    for item, entry in sorted([(rules.items[entry.item_id], entry) for entry in usage]):
        if item.requires_billing_mode in (None, mode) and (quantity := _unbilled(entry, rules)):
            line = _line(entry, quantity, rules, packs)
            lines.append(line)
            total += line.amount
    if not lines:
        return None
    due, carry_out = amount_due(total, carry)
    return Statement(lines, total, carry, due, carry_out)


def _unbilled(entry: Usage, rules: DayRules) -> int:
    """The quantity above what was billed for the day; a day is rated whole, late usage is the difference."""
    if entry.quantity < entry.billed:
        raise BilledAboveUsage(
            f"item {entry.item_id} in {entry.region} on {rules.day}: {entry.billed} billed, {entry.quantity} used"
        )
    return entry.quantity - entry.billed


def _line(entry: Usage, quantity: int, rules: DayRules, packs: Sequence[PackState]) -> Line:
    """Packs first, in drawing order, then pay-as-you-go for the remainder (rules 4.3, 4.4)."""
    key = (entry.item_id, entry.region)
    draws: Sequence[Draw] = ()
    drawn = 0
    if packs and (types := rules.covering.get(key)):
        held = [
            pack for pack in packs if pack.pack_type_id in types and pack.effective_day <= rules.day <= pack.valid_until
        ]
        draws = draw(held, quantity)
        drawn = sum([taken.quantity for taken in draws])
    charged = quantity - drawn
    tariff = rules.tariff[key]
    amount = round_half_up(charged * tariff.price, tariff.per)
    return Line(entry.item_id, entry.region, quantity, drawn, charged, tariff.price, tariff.per, amount, draws)
