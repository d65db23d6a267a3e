"""Prices that race: two publishers of one change, two changes of one cell, a publisher and a customer who buys."""

import itertools
from typing import Any

import pytest

from packs.models import OrderLine, SkuPrice
from packs.orders import LineRequest, OrderRefused, place_order
from packs.price_checks import ProposalRefused
from packs.proposals import propose, publish
from packs.tariff import PriceRefused
from tests.test_races import race
from tests.test_rules_prices import pack
from tests.worlds import assert_books, at, opened, yuan

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = 20
NOW = "2026-03-06T12:00"


def publisher(proposal_id: int) -> Any:
    return lambda: publish(proposal_id=proposal_id, now=at(NOW), published_by=None)


def test_two_publishers_of_one_change_publish_it_once() -> None:
    for number in range(ROUNDS):
        proposal = propose(cells=[pack("pet-100k", str(300 + number))], reason="r", now=at(NOW))
        outcomes = race(publisher(proposal.pk), publisher(proposal.pk))
        assert sorted(isinstance(one, PriceRefused) for one in outcomes) == [False, True], outcomes
        assert SkuPrice.objects.filter(proposal=proposal).count() == 1


def test_of_two_changes_of_one_cell_the_second_is_refused_and_each_knows_what_it_replaced() -> None:
    for number in range(ROUNDS):
        first, second = (
            propose(cells=[pack(code, str(price)), pack("pet-100k", str(price))], reason="r", now=at(NOW))
            for code, price in (("face-100k", 400 + number), ("body-100k", 500 + number))
        )
        outcomes = race(publisher(first.pk), publisher(second.pk))
        assert sorted(isinstance(one, ProposalRefused) for one in outcomes) == [False, True], outcomes
    rows = list(SkuPrice.objects.filter(sku__code="pet-100k").order_by("id").values_list("from_price", "price"))
    assert len(rows) == ROUNDS + 1
    assert all(later[0] == earlier[1] for earlier, later in itertools.pairwise(rows))


def test_an_order_beside_a_publisher_pays_all_old_prices_or_all_new_ones() -> None:
    account = opened(balance="1000000")
    old, seen = 25_000, set()
    for number in range(ROUNDS):
        new = yuan(str(300 + number))
        cells = [pack("pet-100k", str(300 + number)), pack("image-label-100k", str(300 + number))]
        proposal = propose(cells=cells, reason="r", now=at(NOW))
        lines = [LineRequest("pet-100k", 1), LineRequest("image-label-100k", 1, old if number % 2 else None)]
        buyer = lambda key=number, lines=lines: place_order(  # noqa: E731
            account_id=account.pk, lines=lines, key=f"k{key}", now=at(NOW)
        )
        published, bought = race(publisher(proposal.pk), buyer)
        assert not isinstance(published, Exception), published
        if isinstance(bought, OrderRefused):
            assert (bought.code, number % 2) == ("price_changed", 1)
            seen.add("refused")
        else:
            paid = set(OrderLine.objects.filter(order=bought[0]).values_list("price", flat=True))
            assert paid in ({old}, {new})
            assert number % 2 == 0 or paid == {old}
            seen.add("old" if paid == {old} else "new")
        old = new
    assert seen
    assert_books()
