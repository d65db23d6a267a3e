"""The worked examples of rules 8, each as a customer would live it."""

from collections.abc import Iterator

import pytest

from accounts.models import TRAFFIC, Account
from accounts.modes import switch_mode
from accounts.standing import Standing
from settlement.models import BillLine
from tests.worlds import GB, MBPS, TB, assert_books, at, bill_of, bills_of, buy, night, opened, top_up, use, yuan

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def proven() -> Iterator[None]:
    """Every example leaves true books."""
    yield
    assert_books()


def line(account: Account, day: str, item: str) -> BillLine:
    return BillLine.objects.get(bill=bill_of(account, day), item__code=item)


def test_two_pet_packs_are_drawn_in_the_order_of_purchase_and_the_rest_is_charged() -> None:
    alice = opened()
    [first] = buy(alice, "pet-100k", "2026-03-01T10:00")
    [second] = buy(alice, "pet-100k", "2026-03-03T10:00")

    use(alice, "ai.pet", 150_000, "2026-03-05T10:00")
    night("2026-03-06T02:00")
    fifth = line(alice, "2026-03-05", "ai.pet")
    assert [(d.pack_id, d.quantity) for d in fifth.drawdowns.all()] == [(first.pk, 100_000), (second.pk, 50_000)]
    assert (fifth.charged, bill_of(alice, "2026-03-05").amount_due) == (0, 0)

    use(alice, "ai.pet", 80_000, "2026-03-06T10:00")
    night("2026-03-07T02:00")
    sixth = line(alice, "2026-03-06", "ai.pet")
    assert [(d.pack_id, d.quantity) for d in sixth.drawdowns.all()] == [(second.pk, 50_000)]
    assert (sixth.charged, bill_of(alice, "2026-03-06").amount_due) == (30_000, yuan("75.00"))


def test_a_traffic_pack_is_frozen_in_bandwidth_mode_and_draws_from_the_next_day_after_the_switch() -> None:
    alice = opened()
    [pack] = buy(alice, "traffic-down-1tb", "2026-03-01T10:00")

    use(alice, "traffic.down", 200 * GB, "2026-03-05T10:00")
    use(alice, "bandwidth.down", 100 * MBPS, "2026-03-05T10:00")
    switch_mode(account_id=alice.pk, mode=TRAFFIC, now=at("2026-03-05T15:00"))
    use(alice, "traffic.down", 200 * GB, "2026-03-06T10:00")
    use(alice, "bandwidth.down", 100 * MBPS, "2026-03-06T10:00")

    night("2026-03-06T02:00")
    pack.refresh_from_db()
    assert pack.remaining == TB
    assert bill_of(alice, "2026-03-05").amount_due == yuan("70.00")
    assert [row.item.code for row in bill_of(alice, "2026-03-05").lines.all()] == ["bandwidth.down"]

    night("2026-03-07T02:00")
    pack.refresh_from_db()
    assert pack.remaining == 800 * GB
    assert bill_of(alice, "2026-03-06").amount_due == 0
    assert [row.item.code for row in bill_of(alice, "2026-03-06").lines.all()] == ["traffic.down"]


def test_three_face_calls_a_day_carry_their_small_change_until_it_makes_a_fen() -> None:
    alice = opened()
    for day in ("05", "06", "07", "08"):
        use(alice, "ai.face", 3, f"2026-03-{day}T10:00")
    night("2026-03-09T02:00")
    assert [(bill.amount_due, bill.carry_out) for bill in bills_of(alice)] == [
        (0, 1500),
        (0, 3000),
        (0, 4500),
        (1, -4000),
    ]


def test_arrears_suspend_after_24_hours_and_end_at_zero() -> None:
    alice = opened(balance="10.00")
    use(alice, "ai.plate", 120, "2026-03-01T10:00")
    night("2026-03-02T02:00")
    alice.refresh_from_db()
    assert (alice.balance, alice.arrears_since) == (yuan("-2.00"), at("2026-03-02T02:00"))

    top_up(alice, "1.00", "2026-03-02T20:00")
    alice.refresh_from_db()
    assert alice.arrears_since == at("2026-03-02T02:00")
    assert alice.standing_at(at("2026-03-03T01:59:59")) == Standing.ARREARS
    assert alice.standing_at(at("2026-03-03T02:00")) == Standing.SUSPENDED

    top_up(alice, "1.00", "2026-03-03T03:00")
    alice.refresh_from_db()
    assert (alice.balance, alice.standing_at(at("2026-03-03T03:00"))) == (0, Standing.ACTIVE)


def test_late_usage_makes_a_supplementary_bill_before_the_later_day() -> None:
    alice = opened()
    use(alice, "ai.pet", 100, "2026-03-05T10:00")
    night("2026-03-06T02:00")
    assert bill_of(alice, "2026-03-05").amount_due == yuan("0.25")

    use(alice, "ai.pet", 40, "2026-03-05T11:00", received="2026-03-08T12:00")
    use(alice, "ai.pet", 7, "2026-03-08T11:00")
    night("2026-03-09T02:00")
    late = bill_of(alice, "2026-03-05", sequence=2)
    assert (late.lines.get().quantity, late.amount_due) == (40, yuan("0.10"))
    assert late.pk < bill_of(alice, "2026-03-08").pk
