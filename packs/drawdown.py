"""Drawing usage from packs: first bought first, one to exhaustion before the next (rules 4.3)."""

from collections.abc import Sequence
from datetime import date

from msgspec import Struct

from packs.revenue import recognised


class PackState(Struct):
    """A pack while a day is rated; `draw` lowers `remaining` and raises `recognised`."""

    pack_id: int
    pack_type_id: int
    total: int
    remaining: int
    price: int
    recognised: int
    effective_day: date
    valid_until: date


class Draw(Struct, frozen=True):
    """Units that one line takes from one pack, what is left there, and the fen it recognises (rules 7.2)."""

    pack_id: int
    quantity: int
    remaining_after: int
    recognised: int


def draw(packs: Sequence[PackState], quantity: int) -> list[Draw]:
    """Take up to `quantity` units from `packs`, given in drawing order; what they lack is left to be charged."""
    draws: list[Draw] = []
    for pack in packs:
        if quantity == 0:
            break
        taken = min(pack.remaining, quantity)
        if taken == 0:
            continue
        quantity -= taken
        pack.remaining -= taken
        now_recognised = recognised(pack.price, pack.total - pack.remaining, pack.total)
        draws.append(Draw(pack.pack_id, taken, pack.remaining, now_recognised - pack.recognised))
        pack.recognised = now_recognised
    return draws
