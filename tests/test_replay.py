"""Replaying settled days: unchanged it comes to what the bills say, otherwise to what the rules say."""

import random
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import BANDWIDTH, TRAFFIC, Account
from accounts.modes import switch_mode
from packs.models import Item, PackType
from packs.refunds import refund_pack
from packs.tariff import Price
from settlement.histories import load_histories, load_history, position, settled_window, window_rules
from settlement.models import Bill
from settlement.replay import Held, History, Window, also_held, replay, with_tariff
from settlement.staff_refunds import refund_used_pack
from tests.worlds import GB, MBPS, TB, assert_books, at, buy, night, opened, set_tariff, use

pytestmark = pytest.mark.django_db

UNTIL = date(2099, 12, 31)


def rated_by_bills(account: Account, window: Window) -> dict[date, int]:
    found = dict.fromkeys(window.days, 0)
    for bill in Bill.objects.filter(account=account, day__range=(window.first, window.last)):
        found[bill.day] += bill.rated_total
    return found


def item(code: str) -> int:
    return Item.objects.get(code=code).pk


def network() -> list[Item]:
    return list(Item.objects.exclude(requires_billing_mode=None))


def supposed(kind: str, units: int, day: str, number: int = 1) -> Held:
    return Held(-number, PackType.objects.get(code=kind).pk, units, date.fromisoformat(day), UNTIL)


def history_of(account: Account, now: str, metered: list[Item] | None = None) -> History:
    return load_history(account, settled_window(at(now)), metered=metered or [])


def pets_cost(price: int, day: date, when: str) -> None:
    """From a day on a thousand pets cost so many micro-yuan."""
    pet = Item.objects.get(code="ai.pet")
    set_tariff(item=pet, region="cn-mainland", price=price, per=1000, effective_day=day, reason="test", now=at(when))


def live(account: Account, days: int, chance: random.Random, first: date = date(2026, 3, 1)) -> None:
    """Days of everything: packs of several types, usage late by up to 9 days, switches, refunds, a new price."""
    held: list[Any] = []
    for number in range(days):
        day = first + timedelta(days=number)
        for code, most in (("ai.pet", 40_000), ("ai.kitchen.hat", 30_000), ("ai.kitchen.phone", 30_000)):
            use(account, code, chance.randint(1, most), f"{day}T08:00")
        use(account, "traffic.down", chance.randint(1, 300) * GB + 1, f"{day}T09:00")
        use(account, "bandwidth.down", chance.randint(1, 90) * MBPS + 7, f"{day}T10:00")
        if chance.random() < 0.4:
            late = day - timedelta(days=chance.randint(0, min(number, 9)))
            use(account, "ai.pet", chance.randint(1, 20_000), f"{late}T07:00", received=f"{day}T12:00")
        if chance.random() < 0.5:
            sku = chance.choice(["pet-100k", "kitchen-100k", "traffic-down-500gb"])
            held += buy(account, sku, f"{day}T14:00", chance.randint(1, 2))
        if chance.random() < 0.3:
            switch_mode(account_id=account.pk, mode=chance.choice([BANDWIDTH, TRAFFIC]), now=at(f"{day}T15:00"))
        if held and chance.random() < 0.2:
            pack = held.pop(chance.randrange(len(held)))
            pack.refresh_from_db()
            if pack.remaining and pack.refundable_until(at(f"{day}T16:00")):
                refund_pack(account_id=account.pk, pack_id=pack.pk, now=at(f"{day}T16:00"))
            elif pack.remaining:
                refund_used_pack(pack_id=pack.pk, reason="x", now=at(f"{day}T16:00"))
        if number == days // 2:
            pets_cost(3_000_000, day + timedelta(days=1), f"{day}T17:00")
        night(f"{day + timedelta(days=1)}T02:00")


def test_unchanged_it_comes_to_what_the_bills_say() -> None:
    """36 days of everything, so that late bills of days before the window drew from its packs too."""
    account = opened(balance="1000000")
    live(account, 36, random.Random(0))
    window = settled_window(at("2026-04-06T09:00"))
    assert (window.last, len(window.days)) == (date(2026, 4, 5), 30)
    rules = window_rules(window)
    for metered in ([], network()):
        history = load_history(account, window, metered=metered)
        assert any(not step.counted for step in history.steps), "a late bill of an older day"
        outcome = replay(history, rules)
        assert outcome.days == rated_by_bills(account, window)
        assert outcome.total == sum(outcome.days.values())
        assert outcome.total == sum(one.amount for one in outcome.items.values())
        assert load_histories(account.pk, account.pk, window, metered=metered) == {account.pk: history}
        assert load_history(account, position(account.pk, at("2026-04-06T09:00")), metered=metered) == history
    assert_books()


def month(name: str = "alice") -> tuple[Account, str]:
    """Three days of pets and traffic, billed by bandwidth."""
    account = opened(name)
    for day in (1, 2, 3):
        use(account, "ai.pet", 60_000, f"2026-03-0{day}T08:00")
        use(account, "traffic.down", 200 * GB, f"2026-03-0{day}T08:00")
        use(account, "bandwidth.down", 100 * MBPS, f"2026-03-0{day}T08:00")
        night(f"2026-03-0{day + 1}T02:00")
    return account, "2026-03-04T09:00"


def test_other_packs_draw_from_the_day_they_are_bought() -> None:
    account, now = month()
    history = history_of(account, now)
    rules = window_rules(history.window)
    assert history.known_days == 3
    as_it_was = replay(history, rules)
    assert as_it_was.total == 3 * (150 + 70) * 10**6
    packs = also_held(history, [supposed("pet", 100_000, "2026-03-02")])
    outcome = replay(history, rules, packs=packs)
    assert [outcome.days[date(2026, 3, day)] for day in (1, 2, 3)] == [220 * 10**6, 70 * 10**6, 120 * 10**6]
    pets = outcome.items[item("ai.pet")]
    assert (pets.quantity, pets.drawn, pets.charged, pets.amount) == (180_000, 100_000, 80_000, 200 * 10**6)
    assert outcome.left == {-1: 0}
    assert replay(history, rules) == as_it_was, "a replay leaves no trace"


def test_the_other_mode_bills_what_was_metered_all_along() -> None:
    account, _now = month()
    buy(account, "traffic-down-500gb", "2026-03-03T20:00")
    history = load_history(account, Window(date(2026, 2, 2), date(2026, 3, 3)), metered=network())
    rules = window_rules(history.window)
    outcome = replay(history, rules, mode=TRAFFIC)
    # 200 GB of the first two days at 0.5, those of the third from the pack
    assert [outcome.days[date(2026, 3, day)] for day in (1, 2, 3)] == [250 * 10**6, 250 * 10**6, 150 * 10**6]
    assert item("bandwidth.down") not in outcome.items
    assert outcome.items[item("traffic.down")].drawn == 200 * GB
    assert [*outcome.left.values()] == [300 * GB]
    same = replay(history, rules, mode=BANDWIDTH)
    assert same.days == rated_by_bills(account, history.window)
    assert [*same.left.values()] == [500 * GB], "frozen"
    # from the 4th on by traffic: the same days, asked from the other side
    switch_mode(account_id=account.pk, mode=TRAFFIC, now=at("2026-03-03T21:00"))
    use(account, "traffic.down", 1 * TB, "2026-03-04T08:00")
    use(account, "bandwidth.down", 10 * MBPS, "2026-03-04T08:00")
    night("2026-03-05T02:00")
    history = history_of(account, "2026-03-05T09:00", network())
    outcome = replay(history, window_rules(history.window), mode=BANDWIDTH)
    assert (outcome.days[date(2026, 3, 3)], outcome.days[date(2026, 3, 4)]) == (220 * 10**6, 7 * 10**6)


def test_other_prices() -> None:
    account, now = month()
    history = history_of(account, now)
    rules = window_rules(history.window)
    changed = with_tariff(rules, {(item("ai.pet"), "cn-mainland"): Price(3_000_000, 1000, date(2026, 4, 1))})
    assert replay(history, changed).total == 3 * (180 + 70) * 10**6
    assert replay(history, rules).total == 3 * (150 + 70) * 10**6


def test_a_price_counts_from_its_day() -> None:
    account, now = month()
    pets_cost(5_000_000, date(2026, 3, 3), "2026-02-01T09:00")
    history = history_of(account, now)
    outcome = replay(history, window_rules(history.window))
    assert [outcome.days[date(2026, 3, day)] for day in (1, 2, 3)] == [220 * 10**6, 220 * 10**6, 370 * 10**6]


def test_the_window_ends_where_settlement_has_come_to() -> None:
    account, _now = month()
    assert settled_window(at("2026-03-05T01:00")).last == date(2026, 3, 3), "the night of the 4th is still to come"
    assert settled_window(at("2026-03-04T23:00")).last == date(2026, 3, 3)
    assert history_of(account, "2026-03-05T01:00").window.first == date(2026, 2, 2)


def test_many_accounts_take_no_more_statements_than_one() -> None:
    alice, now = month("alice")
    window = settled_window(at(now))

    def asked(read: Callable[[], Any]) -> tuple[Any, int]:
        with CaptureQueriesContext(connection) as queries:
            found = read()
        return found, len(queries)

    bound = network()
    _one, alone = asked(lambda: load_histories(alice.pk, alice.pk, window, metered=bound))
    others = [opened(name) for name in ("bob", "carol")]
    for account in others:
        use(account, "ai.pet", 7, "2026-03-03T08:00")
        use(account, "traffic.down", 3 * GB, "2026-03-03T08:00")
        buy(account, "pet-100k", "2026-03-03T08:00", 3)
    night("2026-03-04T03:00")
    high = others[-1].pk
    found, together = asked(lambda: load_histories(alice.pk, high, window, metered=bound))
    assert together == alone <= 5
    assert set(found) == {alice.pk, *(account.pk for account in others)}
    assert found[high] == load_history(others[-1], window, metered=network())
    assert [pack.units for pack in found[high].packs] == [300_000], "packs bought alike are one"
    outcome = replay(found[high], window_rules(window), mode=TRAFFIC)
    assert outcome.total == 1_500_000
