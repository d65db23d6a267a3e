"""Rules 4.1 to 4.6: what packs cover, from when, in which order they are drawn, their price and status."""

from collections.abc import Iterator
from datetime import date

import pytest

from accounts.models import BANDWIDTH, TRAFFIC, Account
from packs.models import Item, Pack, PackStatus, Sku
from packs.orders import LineRequest, place_order
from packs.refunds import PackUnknown, refund_pack
from settlement.models import BillLine
from tests.worlds import assert_books, at, bill_of, buy, night, opened, packs_of, set_pack_price, set_tariff, use, yuan

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def proven() -> Iterator[None]:
    """Every test leaves true books."""
    yield
    assert_books()


def left(*packs: Pack) -> list[int]:
    """What remains of packs."""
    return [Pack.objects.get(pk=pack.pk).remaining for pack in packs]


def lines(account: Account, day: str) -> list[tuple[str, str, int, int]]:
    """Item, region, drawn and charged of a bill's lines, in the order rated."""
    rows = BillLine.objects.filter(bill=bill_of(account, day)).order_by("position")
    return list(rows.values_list("item__code", "region", "drawn", "charged"))


def balance(account: Account) -> int:
    account.refresh_from_db()
    return account.balance


def reprice(item: str, micro: int, per: int, day: str, region: str = "cn-mainland") -> None:
    """A tariff from a day on, scheduled well ahead."""
    row = Item.objects.get(code=item)
    now = at("2026-02-01T00:00")
    effective = date.fromisoformat(day)
    set_tariff(item=row, region=region, price=micro, per=per, effective_day=effective, reason="test", now=now)


def price_pack(sku: str, price: str, when: str) -> None:
    set_pack_price(sku=Sku.objects.get(code=sku), price=yuan(price), reason="test", now=at(when))


def refund(pack: Pack, when: str) -> None:
    refund_pack(account_id=pack.account_id, pack_id=pack.pk, now=at(when))


KITCHEN = [f"ai.kitchen.{name}" for name in ("uniform", "hat", "mask", "smoking", "phone")]


def test_rule_4_1_a_kitchen_pack_covers_its_five_items_and_no_other() -> None:
    alice = opened()
    [pack] = buy(alice, "kitchen-100k", "2026-03-05T09:00")
    for item in [*KITCHEN, "ai.pet"]:
        use(alice, item, 1000, "2026-03-05T10:00")
    night("2026-03-06T02:00")
    expected = [(item, "cn-mainland", 1000, 0) for item in KITCHEN]
    assert lines(alice, "2026-03-05") == [("ai.pet", "cn-mainland", 0, 1000), *expected]
    assert left(pack) == [95_000]


def test_rule_4_1_a_pack_covers_only_the_home_region() -> None:
    reprice("ai.pet", 3_000_000, 1000, "2026-03-01", region="cn-hongkong")
    alice = opened()
    [pack] = buy(alice, "pet-100k", "2026-03-05T09:00")
    use(alice, "ai.pet", 1000, "2026-03-05T10:00", region="cn-hongkong")
    use(alice, "ai.pet", 400, "2026-03-05T10:00")
    night("2026-03-06T02:00")
    assert lines(alice, "2026-03-05") == [("ai.pet", "cn-hongkong", 0, 1000), ("ai.pet", "cn-mainland", 400, 0)]
    assert (bill_of(alice, "2026-03-05").amount_due, left(pack)) == (yuan("3.00"), [99_600])


def test_rule_4_1_a_pack_is_only_for_the_account_that_bought_it() -> None:
    alice, bob = opened(), opened("bob")
    [pack] = buy(alice, "pet-100k", "2026-03-05T09:00")
    use(bob, "ai.pet", 1000, "2026-03-05T10:00")
    night("2026-03-06T02:00")
    assert (lines(bob, "2026-03-05"), left(pack)) == ([("ai.pet", "cn-mainland", 0, 1000)], [100_000])
    with pytest.raises(PackUnknown):
        refund_pack(account_id=bob.pk, pack_id=pack.pk, now=at("2026-03-05T11:00"))


def test_rule_4_2_a_pack_offsets_the_whole_day_of_its_purchase_and_none_before() -> None:
    alice = opened()
    use(alice, "ai.pet", 1000, "2026-03-04T23:59")
    use(alice, "ai.pet", 1000, "2026-03-05T00:00")
    [pack] = buy(alice, "pet-100k", "2026-03-05T23:59:59.999999")
    use(alice, "ai.pet", 1000, "2026-03-06T00:00")
    night("2026-03-07T02:00")
    assert [lines(alice, f"2026-03-0{day}")[0][2:] for day in (4, 5, 6)] == [(0, 1000), (1000, 0), (1000, 0)]
    assert (pack.effective_day, left(pack)) == (date(2026, 3, 5), [98_000])


def test_rule_4_2_a_pack_bought_after_midnight_does_not_offset_yesterday() -> None:
    alice = opened()
    use(alice, "ai.pet", 1000, "2026-03-05T10:00")
    [pack] = buy(alice, "pet-100k", "2026-03-06T00:00")
    night("2026-03-06T02:00")
    assert (lines(alice, "2026-03-05")[0][2:], left(pack)) == ((0, 1000), [100_000])


def test_rule_4_2_a_pack_is_valid_through_the_last_day_of_2099() -> None:
    alice = opened(on="2099-12-30")
    [pack] = buy(alice, "pet-100k", "2099-12-30T10:00")
    use(alice, "ai.pet", 1000, "2099-12-31T23:59")
    use(alice, "ai.pet", 1000, "2100-01-01T00:00")
    night("2100-01-02T02:00")
    assert [lines(alice, day)[0][2:] for day in ("2099-12-31", "2100-01-01")] == [(1000, 0), (0, 1000)]
    assert [str(pack.status_on(day, BANDWIDTH)) for day in (date(2099, 12, 31), date(2100, 1, 1))] == [
        "active",
        "expired",
    ]


def test_rule_4_2_each_pack_keeps_its_own_validity() -> None:
    alice = opened()
    sku = Sku.objects.filter(code="pet-100k")
    sku.update(valid_until=date(2026, 3, 5))
    [short] = buy(alice, "pet-100k", "2026-03-01T10:00")
    sku.update(valid_until=date(2099, 12, 31))
    [long] = buy(alice, "pet-100k", "2026-03-01T11:00")
    assert (short.valid_until, long.valid_until) == (date(2026, 3, 5), date(2099, 12, 31))
    use(alice, "ai.pet", 1000, "2026-03-05T10:00")
    use(alice, "ai.pet", 1000, "2026-03-06T10:00")
    night("2026-03-07T02:00")
    assert left(short, long) == [99_000, 99_000]


def test_rule_4_3_packs_are_drawn_in_order_of_purchase_one_to_exhaustion() -> None:
    alice = opened()
    sku = Sku.objects.filter(code="pet-100k")
    [big] = buy(alice, "pet-1m", "2026-03-01T10:00")  # neither the smallest, nor the cheapest a call,
    price_pack("pet-100k", "1.00", "2026-03-02T09:00")
    [cheap] = buy(alice, "pet-100k", "2026-03-02T10:00")
    sku.update(valid_until=date(2026, 3, 6))  # nor the first to expire
    [short] = buy(alice, "pet-100k", "2026-03-03T10:00")
    use(alice, "ai.pet", 1_050_000, "2026-03-05T10:00")
    night("2026-03-06T02:00")
    assert left(big, cheap, short) == [0, 50_000, 100_000]
    use(alice, "ai.pet", 60_000, "2026-03-06T10:00")
    night("2026-03-07T02:00")
    assert left(big, cheap, short) == [0, 0, 90_000]


def test_rule_4_3_within_an_order_by_line_then_unit() -> None:
    alice = opened()
    wanted = [LineRequest("pet-1m", 1), LineRequest("pet-100k", 2), LineRequest("pet-1m", 1)]
    order, _ = place_order(account_id=alice.pk, lines=wanted, key="k", now=at("2026-03-01T10:00"))
    packs = packs_of(order)
    assert [pack.total for pack in packs] == [1_000_000, 100_000, 100_000, 1_000_000]
    use(alice, "ai.pet", 1_150_000, "2026-03-05T10:00")
    night("2026-03-06T02:00")
    assert left(*packs) == [0, 0, 50_000, 1_000_000]


def test_rule_4_3_the_order_is_that_of_the_commits_and_not_of_clocks() -> None:
    alice = opened()
    [first] = buy(alice, "pet-100k", "2026-03-01T10:00:01")
    [second] = buy(alice, "pet-100k", "2026-03-01T10:00:00")  # of a server whose clock is behind
    use(alice, "ai.pet", 1000, "2026-03-05T10:00")
    night("2026-03-06T02:00")
    assert left(first, second) == [99_000, 100_000]


def test_rule_4_4_packs_come_first_and_the_remainder_is_paid() -> None:
    alice = opened()
    buy(alice, "pet-100k", "2026-03-01T10:00")
    use(alice, "ai.pet", 100_004, "2026-03-05T10:00")
    night("2026-03-06T02:00")
    assert lines(alice, "2026-03-05") == [("ai.pet", "cn-mainland", 100_000, 4)]
    assert bill_of(alice, "2026-03-05").amount_due == yuan("0.01")


def test_rule_4_4_items_draw_in_the_order_of_the_catalogue() -> None:
    alice = opened()
    [pack] = buy(alice, "kitchen-100k", "2026-03-01T10:00")
    for item in reversed(KITCHEN):  # reported the other way round
        use(alice, item, 30_000, "2026-03-05T10:00")
    night("2026-03-06T02:00")
    drawn = [30_000, 30_000, 30_000, 10_000, 0]
    expected = [(item, "cn-mainland", n, 30_000 - n) for item, n in zip(KITCHEN, drawn, strict=True)]
    assert (lines(alice, "2026-03-05"), left(pack)) == (expected, [0])
    assert bill_of(alice, "2026-03-05").amount_due == yuan("125.00")


def test_rule_4_4_lines_are_rated_by_item_and_then_by_region() -> None:
    for region in ("us-east", "ap-south"):
        reprice("ai.pet", 1_000_000, 1000, "2026-03-01", region=region)
    alice = opened()
    for item, region in (
        ("ai.vehicle", "cn-mainland"),
        ("ai.pet", "us-east"),
        ("ai.pet", "cn-mainland"),
        ("ai.pet", "ap-south"),
    ):
        use(alice, item, 1000, "2026-03-05T10:00", region=region)
    night("2026-03-06T02:00")
    shown = [(item, region) for item, region, _, _ in lines(alice, "2026-03-05")]
    assert shown == [
        ("ai.pet", "ap-south"),
        ("ai.pet", "cn-mainland"),
        ("ai.pet", "us-east"),
        ("ai.vehicle", "cn-mainland"),
    ]


def test_rule_4_5_the_price_in_effect_is_kept_on_the_order() -> None:
    alice = opened()
    [before] = buy(alice, "pet-100k", "2026-03-05T10:00")
    use(alice, "ai.pet", 50_000, "2026-03-05T10:00")
    night("2026-03-06T02:00")
    bill = bill_of(alice, "2026-03-05")
    price_pack("pet-100k", "300.00", "2026-03-06T10:00")
    [at_once] = buy(alice, "pet-100k", "2026-03-06T10:00")
    [early] = buy(alice, "pet-100k", "2026-03-06T09:59:59.999999")
    assert (at_once.price, early.price, balance(alice)) == (yuan("300"), yuan("250"), yuan("99200"))
    before.refresh_from_db()
    line = before.order_line
    assert (before.price, line.price, line.order.total, before.recognised) == (25_000, 25_000, 25_000, 12_500)
    assert bill_of(alice, "2026-03-05").rated_total == bill.rated_total == 0


def test_rule_4_6_a_status_is_the_first_that_holds() -> None:
    alice = opened()
    Sku.objects.filter(pack_type__code="traffic-down").update(valid_until=date(2026, 3, 6))
    [pack] = buy(alice, "traffic-down-100gb", "2026-03-05T10:00")
    day, over = date(2026, 3, 6), date(2026, 3, 7)
    assert pack.status_on(day, TRAFFIC) == PackStatus.ACTIVE
    assert pack.status_on(day, BANDWIDTH) == PackStatus.FROZEN
    assert pack.status_on(over, BANDWIDTH) == PackStatus.EXPIRED
    pack.remaining = 0  # as read from a row, never saved
    assert pack.status_on(over, BANDWIDTH) == PackStatus.EXHAUSTED
    refund(pack, "2026-03-05T11:00")
    pack.refresh_from_db()
    assert (pack.status_on(over, BANDWIDTH), pack.remaining) == (PackStatus.REFUNDED, 0)


def test_rule_4_6_a_refunded_pack_is_drawn_no_more() -> None:
    alice = opened()
    [pack] = buy(alice, "pet-100k", "2026-03-05T09:00")
    use(alice, "ai.pet", 1000, "2026-03-05T10:00")
    refund(pack, "2026-03-05T11:00")
    night("2026-03-06T02:00")
    assert (left(pack), lines(alice, "2026-03-05")) == ([0], [("ai.pet", "cn-mainland", 0, 1000)])
