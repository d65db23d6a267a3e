"""Recognising what a pack's sale deferred, and what a used pack is still worth (rules 4.7, 7.2)."""

from collections.abc import Iterable
from typing import NamedTuple

from iss_billing.money import MICRO_PER_FEN, round_half_up


def recognised(price: int, drawn: int, total: int) -> int:
    """Fen recognised of a pack's price once `drawn` of `total` units are drawn; the whole price at the end."""
    return round_half_up(price * drawn, total)


class DrawnItem(NamedTuple):
    """Units of one item drawn from a pack, and that item's tariff on the day of purchase (micro-yuan per units)."""

    quantity: int
    price: int
    per: int


def refund_of_used(paid: int, recognised: int, drawn: Iterable[DrawnItem]) -> int:
    """Fen that staff refund for a pack: paid less what was drawn at tariff, within 0 and what is still deferred."""
    numerator, denominator = paid * MICRO_PER_FEN, 1
    for item in drawn:
        numerator = numerator * item.per - item.quantity * item.price * denominator
        denominator *= item.per
    return min(max(round_half_up(numerator, denominator * MICRO_PER_FEN), 0), paid - recognised)
