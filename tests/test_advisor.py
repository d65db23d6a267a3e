"""The advisor against brute force: no way to buy costs less than the one it names."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from iss_billing.money import MICRO_PER_FEN
from packs.advisor import (
    Bought,
    Demand,
    Size,
    Way,
    break_even,
    least,
    pay_as_you_go,
    saves,
    stretched,
    with_only,
    worth,
)

VEHICLE = [
    Size("vehicle-100k", 100_000, 300_00),
    Size("vehicle-1m", 1_000_000, 2_500_00),
    Size("vehicle-10m", 10_000_000, 20_000_00),
]
MOST = 4
"""Packs of a size in the property tests: every combination of up to three sizes is tried."""

prices = st.integers(0, 30).map(lambda yuan: yuan * 100_000)
demands = st.lists(st.builds(Demand, st.integers(0, 40), prices, st.sampled_from([1, 7, 10])), max_size=6)
sizes = st.lists(st.tuples(st.integers(1, 25), st.integers(1, 9_000)), max_size=3).map(
    lambda pairs: [Size(f"s{place}", quantity, price) for place, (quantity, price) in enumerate(pairs)]
)


def exact_cost(demand: Sequence[Demand], bought: Sequence[tuple[Size, int]]) -> Fraction:
    """Micro-yuan of one way to buy, unit by unit as settlement draws: packs until they are empty, then the tariff."""
    left = sum(size.quantity * number for size, number in bought)
    cost = Fraction(sum(size.price * number for size, number in bought) * MICRO_PER_FEN)
    for part in demand:
        for _unit in range(part.quantity):
            if left:
                left -= 1
            else:
                cost += Fraction(part.price, part.per)
    return cost


def ways(offered: Sequence[Size], most: int) -> Iterator[list[tuple[Size, int]]]:
    for numbers in product(range(most + 1), repeat=len(offered)):
        yield list(zip(offered, numbers, strict=True))


def as_pairs(way: Way) -> list[tuple[Size, int]]:
    return [(bought.size, bought.number) for bought in way.packs]


@given(demands, sizes)
def test_no_way_costs_less(demand: list[Demand], offered: list[Size]) -> None:
    found = least(demand, offered, MOST)
    cheapest = min(exact_cost(demand, way) for way in ways(offered, MOST))
    assert exact_cost(demand, as_pairs(found)) == cheapest
    if exact_cost(demand, []) == cheapest:
        assert not found.packs, "what saves nothing is not bought"
    assert all(0 < bought.number <= MOST for bought in found.packs)
    # the sum on the page: packs + rest, the rest rounded once for each price
    rest = exact_cost(demand, as_pairs(found)) - found.packs_price * MICRO_PER_FEN
    assert abs(found.rest_price * MICRO_PER_FEN - rest) <= len(found.rest) * MICRO_PER_FEN // 2
    assert found.total == found.packs_price + found.rest_price
    drawn = min(found.units, sum(part.quantity for part in demand))
    assert sum(part.quantity for part in found.rest) == sum(part.quantity for part in demand) - drawn


@given(demands, sizes)
def test_the_best_number_of_one_size(demand: list[Demand], offered: list[Size]) -> None:
    for size in offered:
        found = with_only(demand, size, MOST)
        assert exact_cost(demand, as_pairs(found)) == min(
            exact_cost(demand, [(size, number)]) for number in range(1, MOST + 1)
        )


@given(st.integers(0, 10**15), st.lists(st.tuples(st.integers(1, 10**13), st.integers(1, 10**9)), max_size=5))
def test_large_figures_and_many_sizes_are_soon_answered(used: int, pairs: list[tuple[int, int]]) -> None:
    offered = [Size(f"s{place}", quantity, price) for place, (quantity, price) in enumerate(pairs)]
    demand = [Demand(used, 500_000, 10**9)]
    found = least(demand, offered)
    assert found.total <= pay_as_you_go(demand).total + 1
    for size in offered:
        assert found.total <= with_only_bound(demand, size) + 1


def with_only_bound(demand: list[Demand], size: Size) -> int:
    """One pack of a size, the rest as used."""
    [part] = demand
    return size.price + worth(Demand(max(part.quantity - size.quantity, 0), part.price, part.per))


def test_the_sum_of_the_mock() -> None:
    demand = [Demand(1_087_818, 3_000_000, 1000)]
    best = least(demand, VEHICLE)
    assert best.packs == (Bought(VEHICLE[1], 1),)
    assert best.rest == (Demand(87_818, 3_000_000, 1000),)
    assert (best.packs_price, best.rest_price, best.total) == (2_500_00, 263_45, 2_763_45)
    assert pay_as_you_go(demand).total == 3_263_45


def test_below_the_break_even_nothing_is_bought_and_from_it_on_a_pack() -> None:
    pays_from = break_even(3_000_000, 1000, VEHICLE[1])
    assert pays_from == 833_334
    assert not least([Demand(pays_from - 1, 3_000_000, 1000)], VEHICLE).packs
    assert least([Demand(pays_from, 3_000_000, 1000)], VEHICLE).packs == (Bought(VEHICLE[1], 1),)
    assert [saves(3_000_000, 1000, size) for size in VEHICLE] == [False, True, True]


def test_packs_that_cost_what_is_charged_anyway_are_never_bought() -> None:
    same = [Size("a", 100_000, 250_00), Size("b", 1_000_000, 2_500_00)]
    for used in (1, 99_999, 100_000, 1_000_000, 12_345_678):
        assert not least([Demand(used, 2_500_000, 1000)], same).packs


def test_a_pack_that_covers_several_items_draws_the_first_first() -> None:
    """A dear item drawn last is what the packs do not reach: two small packs, not one."""
    cheap, dear = Demand(10, 1_000_000, 1), Demand(10, 9_000_000, 1)
    size = Size("s", 10, 20_00)
    assert least([cheap, dear], [size]).packs == (Bought(size, 2),), "the second pack is worth it, the first alone not"
    assert least([dear, cheap], [size]).packs == (Bought(size, 1),)


def test_sizes_are_combined() -> None:
    best = least([Demand(12_000_000, 3_000_000, 1000)], VEHICLE)
    assert best.packs == (Bought(VEHICLE[2], 1), Bought(VEHICLE[1], 2))
    assert not best.rest


def test_the_pace_is_stretched() -> None:
    assert stretched([Demand(10, 1, 1), Demand(7, 2, 1)], 90, 7) == [Demand(129, 1, 1), Demand(90, 2, 1)]
