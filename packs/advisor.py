"""Which packs of one type would have cost least: the exact optimum over the sizes, pay-as-you-go for the rest.

Pure integers. What was used stands in drawing order, because a pack that covers several items draws whichever comes
first, and their prices may differ. `least` searches all ways to buy, cut short by a bound that no way can be under.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

from iss_billing.money import MICRO_PER_FEN, round_half_up

MOST_OF_A_SIZE = 1000
"""As many as an order line may have."""


@dataclass(frozen=True, slots=True)
class Size:
    """A size on sale: `quantity` base units for `price` fen; `code` is its SKU."""

    code: str
    quantity: int
    price: int


@dataclass(frozen=True, slots=True)
class Demand:
    """Base units used, and what each costs without a pack: `price` micro-yuan per `per` of them."""

    quantity: int
    price: int
    per: int


@dataclass(frozen=True, slots=True)
class Bought:
    """So many packs of a size."""

    size: Size
    number: int


@dataclass(frozen=True, slots=True)
class Way:
    """One way to buy, with its sum: packs + rest = total, all whole fen; the rest by its prices as pay-as-you-go."""

    packs: tuple[Bought, ...]
    rest: tuple[Demand, ...]

    @property
    def packs_price(self) -> int:
        """Fen for the packs."""
        return sum(bought.number * bought.size.price for bought in self.packs)

    @property
    def units(self) -> int:
        """Base units that the packs hold."""
        return sum(bought.number * bought.size.quantity for bought in self.packs)

    @property
    def rest_price(self) -> int:
        """Fen that the rest costs, rounded half-up once for each of its prices."""
        return sum(worth(part) for part in self.rest)

    @property
    def total(self) -> int:
        """Fen."""
        return self.packs_price + self.rest_price


def worth(part: Demand) -> int:
    """Fen that units cost as pay-as-you-go, half-up."""
    return round_half_up(part.quantity * part.price, part.per * MICRO_PER_FEN)


def stretched(demand: Sequence[Demand], times: int, over: int) -> list[Demand]:
    """The same pace for longer: each quantity × times ÷ over, half-up."""
    return [Demand(round_half_up(part.quantity * times, over), part.price, part.per) for part in demand]


def pay_as_you_go(demand: Sequence[Demand]) -> Way:
    """No packs at all."""
    return Way((), tuple(_rest(demand, 0)))


def least(demand: Sequence[Demand], sizes: Sequence[Size], most: int = MOST_OF_A_SIZE) -> Way:
    """The way that costs least, with at most `most` packs of a size; a pack is in it only where it saves something.

    Compared are exact costs, before anything is rounded to fen.
    """
    bought = _Search(demand, sizes, most).best()
    units = sum(one.number * one.size.quantity for one in bought)
    return Way(bought, tuple(_rest(demand, units)))


def with_only(demand: Sequence[Demand], size: Size, most: int = MOST_OF_A_SIZE) -> Way:
    """The best number, at least one, of a single size: what the advisor compares with."""
    scale, used = _scale(demand), sum(part.quantity for part in demand)
    enough = min(max(-(-used // size.quantity), 1), most)

    def cost(number: int) -> int:
        rest = _rest(demand, number * size.quantity)
        return number * size.price * MICRO_PER_FEN * scale + _exact(rest, scale)

    number = min(range(1, enough + 1), key=lambda count: (cost(count), count))
    return Way((Bought(size, number),), tuple(_rest(demand, number * size.quantity)))


def saves(price: int, per: int, size: Size) -> bool:
    """Whether a used-up pack of a size costs less than pay-as-you-go at micro-yuan `price` per `per`."""
    return size.price * MICRO_PER_FEN * per < size.quantity * price


def break_even(price: int, per: int, size: Size) -> int:
    """From how many units on one pack of a size costs no more than pay-as-you-go at micro-yuan `price` per `per`."""
    return -(-size.price * MICRO_PER_FEN * per // price)


def _rest(demand: Sequence[Demand], covered: int) -> list[Demand]:
    """What is left when the first `covered` units are drawn from packs, by price, as often as each is met."""
    left: dict[tuple[int, int], int] = {}
    for part in demand:
        drawn = min(part.quantity, covered)
        covered -= drawn
        if part.quantity > drawn:
            key = part.price, part.per
            left[key] = left.get(key, 0) + part.quantity - drawn
    return [Demand(quantity, price, per) for (price, per), quantity in left.items()]


def _scale(demand: Sequence[Demand]) -> int:
    """What micro-yuan are multiplied by, so that every cost is a whole number."""
    return lcm(*(part.per for part in demand))


def _exact(rest: Sequence[Demand], scale: int) -> int:
    return sum(part.quantity * part.price * (scale // part.per) for part in rest)


class _Search:
    """Depth first over the sizes, the cheapest unit first and of each the most first.

    At every node the units not covered yet cost at least their own price or the cheapest unit that can still be
    bought, whichever is less. Where that bound is not under the best known way, nothing below can be.
    """

    def __init__(self, demand: Sequence[Demand], sizes: Sequence[Size], most: int) -> None:
        self._demand = [part for part in demand if part.quantity]
        self._scale = _scale(self._demand)
        self._used = sum(part.quantity for part in self._demand)
        self._most = most
        # a size that saves nothing when all its units replace the dearest price never saves
        dearest = max((part.price * (self._scale // part.per) for part in self._demand), default=0)
        self._cheapest = min((part.price * (self._scale // part.per) for part in self._demand), default=0)
        useful = [size for size in sizes if self._price(size) < size.quantity * dearest]
        self._sizes = sorted(useful, key=lambda size: (Fraction(size.price, size.quantity), -size.quantity))
        self._numbers = [0] * len(self._sizes)
        self._best_numbers = list(self._numbers)
        self._best_cost = _exact(self._demand, self._scale)
        self._seen: dict[tuple[int, int], int] = {}

    def best(self) -> tuple[Bought, ...]:
        """The packs that cost least with the rest."""
        self._descend(0, 0, 0)
        chosen = zip(self._best_numbers, self._sizes, strict=True)
        return tuple(Bought(size, number) for number, size in chosen if number)

    def _price(self, size: Size) -> int:
        return size.price * MICRO_PER_FEN * self._scale

    def _descend(self, place: int, covered: int, paid: int) -> None:
        """Try every number of the size at `place`, the ones before it chosen."""
        cost = paid + self._rest_cost(covered)
        if cost < self._best_cost:
            self._best_cost, self._best_numbers = cost, list(self._numbers)
        if place == len(self._sizes) or covered >= self._used:
            return
        known = self._seen.get((place, covered))
        if known is not None and known <= paid:
            return
        self._seen[place, covered] = paid
        if paid + self._bound(place, covered) >= self._best_cost:
            return
        size = self._sizes[place]
        price = self._price(size)
        full = min((self._used - covered) // size.quantity, self._most)
        for number in range(min(full + 1, self._most), -1, -1):
            reached, spent = covered + number * size.quantity, paid + number * price
            # where every unit that one pack fewer leaves costs at least what it costs in the pack, it only gets worse
            worse = number < full and price <= size.quantity * self._cheapest and place + 1 < len(self._sizes)
            if worse and spent + self._bound(place + 1, reached) >= self._best_cost:
                break
            self._numbers[place] = number
            self._descend(place + 1, reached, spent)
        self._numbers[place] = 0

    def _rest_cost(self, covered: int) -> int:
        total = 0
        for part in self._demand:
            drawn = min(part.quantity, covered)
            covered -= drawn
            total += (part.quantity - drawn) * part.price * (self._scale // part.per)
        return total

    def _bound(self, place: int, covered: int) -> int:
        """What the units not covered cost at least, rounded up: every cost is whole."""
        size = self._sizes[place]
        price = self._price(size)
        tariff, as_packs = 0, 0
        for part in self._demand:
            drawn = min(part.quantity, covered)
            covered -= drawn
            left, unit = part.quantity - drawn, part.price * (self._scale // part.per)
            if unit * size.quantity <= price:
                tariff += left * unit
            else:
                as_packs += left
        return tariff - (-as_packs * price // size.quantity)
