"""Rules 4.7 and 4.8: giving packs back, and the money that buying one needs."""

from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from accounts.ledger import record_adjustment
from accounts.models import Account
from accounts.standing import Standing
from packs.models import Item, Pack
from packs.orders import OrderRefused
from packs.refunds import RefundRefused, refund_pack
from settlement.estimate import estimate
from settlement.staff_refunds import refund_used_pack, staff_refund_amount
from tests.worlds import assert_books, at, bills_of, buy, night, opened, set_tariff, top_up, use, yuan

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def proven() -> Iterator[None]:
    """Every test leaves true books."""
    yield
    assert_books()


def left(pack: Pack) -> int:
    """What remains of a pack."""
    return Pack.objects.get(pk=pack.pk).remaining


def balance(account: Account) -> int:
    account.refresh_from_db()
    return account.balance


def reprice(item: str, micro: int, per: int, day: str) -> None:
    """A tariff in the home region from a day on, scheduled well ahead."""
    row = Item.objects.get(code=item)
    words: dict[str, Any] = {"region": "cn-mainland", "effective_day": date.fromisoformat(day), "reason": "test"}
    set_tariff(item=row, price=micro, per=per, now=at("2026-02-01T00:00"), **words)


def refund(pack: Pack, when: str) -> None:
    refund_pack(account_id=pack.account_id, pack_id=pack.pk, now=at(when))


def refund_by_staff(pack: Pack, when: str) -> int:
    """Fen that staff's refund gave."""
    return refund_used_pack(pack_id=pack.pk, reason="complaint", now=at(when)).refunded


def refused(pack: Pack, when: str) -> str:
    """The code with which a customer's refund is refused."""
    with pytest.raises(RefundRefused) as refusal:
        refund(pack, when)
    return refusal.value.code


def test_rule_4_7_a_customer_refunds_an_unused_pack_in_full_within_five_days_to_the_instant() -> None:
    alice = opened()
    [first, second] = buy(alice, "pet-100k", "2026-03-01T10:00", 2)
    refund(first, "2026-03-06T10:00")
    assert balance(alice) == yuan("99750")
    assert refused(second, "2026-03-06T10:00:00.000001") == "refund_window_over"
    assert refused(first, "2026-03-06T10:00:00.000001") == "already_refunded"
    assert (balance(alice), left(second)) == (yuan("99750"), 100_000)


def test_rule_4_7_nothing_may_have_been_drawn() -> None:
    alice = opened()
    [pack] = buy(alice, "pet-100k", "2026-03-01T10:00")
    use(alice, "ai.pet", 1, "2026-03-01T11:00")
    night("2026-03-02T02:00")
    assert refused(pack, "2026-03-02T03:00") == "pack_used"
    assert refused(pack, "2026-03-09T03:00") == "pack_used"


def test_rule_4_7_usage_not_settled_yet_falls_to_pay_as_you_go_and_the_estimate_says_how_much() -> None:
    alice = opened()
    [pack] = buy(alice, "pet-100k", "2026-03-01T10:00")
    use(alice, "ai.pet", 1000, "2026-03-01T11:00")
    use(alice, "ai.pet", 400, "2026-03-02T11:00")
    now = at("2026-03-02T12:00")
    assert estimate(alice.pk, now).balance_after == yuan("99750")
    assert estimate(alice.pk, now, without_pack=pack.pk).balance_after == yuan("99746.50")
    refund(pack, "2026-03-02T12:00")
    night("2026-03-03T02:00")
    assert balance(alice) == yuan("99996.50")


def test_rule_4_7_a_refund_is_possible_in_arrears() -> None:
    alice = opened(balance="250.00")
    [pack] = buy(alice, "pet-100k", "2026-03-01T10:00")
    use(alice, "ai.face", 20_000, "2026-03-01T11:00")
    night("2026-03-02T02:00")
    assert balance(alice) == yuan("-10.00")
    refund(pack, "2026-03-02T03:00")
    assert (balance(alice), alice.standing_at(at("2026-03-02T03:00"))) == (yuan("240"), Standing.ACTIVE)


@pytest.mark.parametrize(
    ("sku", "drawn", "given"),
    [
        ("pet-100k", 40_000, "150.00"),  # 250 - 40,000 x 2.5/1000
        ("pet-100k", 100_000, "0.00"),
        ("pet-1m", 100_000, "1950.00"),  # 2200 - 250, though 1980 is deferred
        ("pet-1m", 6, "2199.99"),  # 2199.985, half-up
        ("pet-1m", 2, "2200.00"),  # 2199.995, half-up, and nothing is recognised yet
        ("pet-100k", 2, "249.99"),  # 249.995 would be 250.00, but 0.01 is recognised
        ("plate-100k", 1, "9999.90"),
        ("plate-1m", 599_999, "0.10"),
        ("plate-1m", 700_000, "0.00"),  # at tariff it is worth more than was paid
    ],
)
def test_rule_4_7_staff_refund_what_was_paid_less_what_was_drawn_at_tariff(sku: str, drawn: int, given: str) -> None:
    alice = opened()
    [pack] = buy(alice, sku, "2026-03-01T10:00")
    use(alice, f"ai.{sku.split('-')[0]}", drawn, "2026-03-01T11:00")
    night("2026-03-02T02:00")
    before = balance(alice)
    pack.refresh_from_db()
    assert staff_refund_amount(pack) == yuan(given)
    assert refund_by_staff(pack, "2026-03-20T10:00") == yuan(given)
    pack.refresh_from_db()
    assert (balance(alice) - before, pack.recognised + pack.refunded) == (yuan(given), pack.price)
    with pytest.raises(RefundRefused, match="before"):
        refund_by_staff(pack, "2026-03-20T10:00")


def test_rule_4_7_staff_refund_an_unused_pack_after_the_window() -> None:
    [pack] = buy(opened(), "pet-100k", "2026-03-01T10:00")
    assert refund_by_staff(pack, "2026-03-20T10:00") == yuan("250.00")


def test_rule_4_7_a_staff_refund_counts_each_item_at_the_tariff_of_the_purchase_day() -> None:
    reprice("ai.kitchen.hat", 5_000_000, 1000, "2026-03-01")
    reprice("ai.kitchen.hat", 9_000_000, 1000, "2026-03-02")
    [pack] = buy(alice := opened(), "kitchen-100k", "2026-03-01T23:59")
    use(alice, "ai.kitchen.hat", 10_000, "2026-03-02T11:00")
    use(alice, "ai.kitchen.uniform", 10_000, "2026-03-02T11:00")
    night("2026-03-03T02:00")
    assert refund_by_staff(pack, "2026-03-20T10:00") == yuan("175.00")  # 250 - 50 - 25


def test_rule_4_7_a_staff_refund_is_never_more_than_what_is_deferred() -> None:
    reprice("ai.pet", 1_000_000, 1000, "2026-03-01")
    [pack] = buy(alice := opened(), "pet-100k", "2026-03-01T10:00")
    use(alice, "ai.pet", 40_000, "2026-03-01T11:00")
    night("2026-03-02T02:00")
    assert refund_by_staff(pack, "2026-03-20T10:00") == yuan("150.00")  # 250 - 40 = 210, but 100 is recognised


def test_rule_4_7_a_staff_refund_and_an_adjustment_carry_a_reason() -> None:
    [pack] = buy(alice := opened(), "pet-100k", "2026-03-01T10:00")
    with pytest.raises(ValueError, match="reason"):
        refund_used_pack(pack_id=pack.pk, reason="  ", now=at("2026-03-02T10:00"))
    refund_by_staff(pack, "2026-03-02T10:00")
    record_adjustment(
        account_id=alice.pk, amount=-100, reason="too much given", reference="a", now=at("2026-03-03T10:00")
    )
    assert list(alice.transfers.order_by("id").values_list("kind", "reason"))[2:] == [
        ("refund", "complaint"),
        ("adjustment", "too much given"),
    ]


def order_refused(account: Account, sku: str, when: str) -> str:
    """The code with which an order is refused."""
    with pytest.raises(OrderRefused) as refusal:
        buy(account, sku, when)
    return refusal.value.code


def test_rule_4_8_a_purchase_never_makes_a_balance_negative() -> None:
    alice = opened(balance="249.99")
    assert order_refused(alice, "pet-100k", "2026-03-01T10:00") == "insufficient_balance"
    assert (balance(alice), alice.packs.count()) == (yuan("249.99"), 0)
    top_up(alice, "0.01", "2026-03-01T10:01")
    buy(alice, "pet-100k", "2026-03-01T10:02")
    assert (balance(alice), alice.standing_at(at("2026-03-01T10:02"))) == (0, Standing.ACTIVE)


def test_rule_4_8_an_account_below_zero_cannot_buy_and_can_top_up() -> None:
    alice = opened(balance=None)
    use(alice, "ai.pet", 4, "2026-03-01T10:00")
    night("2026-03-02T02:00")
    assert [bill.amount_due for bill in bills_of(alice)] == [1]
    assert order_refused(alice, "face-100k", "2026-03-02T10:00") == "account_in_arrears"
    top_up(alice, "50.01", "2026-03-02T11:00")
    buy(alice, "face-100k", "2026-03-02T12:00")
    assert balance(alice) == 0
