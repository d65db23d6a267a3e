"""Rules 5.1 to 5.5: which days a run settles, what it writes, late usage, and changes of tariff."""

from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from accounts.models import Account, User
from packs.models import Item, Pack, Sku, SkuPrice, TariffPrice
from packs.tariff import PriceRefused, sku_prices
from settlement.models import Bill, BillLine, Drawdown
from settlement.runs import DayNotEnded, settle
from tests.worlds import assert_books, at, bill_of, bills_of, buy, event, night, opened, send, set_tariff, use, yuan

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def proven() -> Iterator[None]:
    """Every test leaves true books."""
    yield
    assert_books()


def days_and_dues(account: Account) -> list[tuple[str, int, int]]:
    """Day, sequence and due of an account's bills in the order settled."""
    return [(str(bill.day), bill.sequence, bill.amount_due) for bill in bills_of(account)]


def tariff(price: str, day: str, made: str, by: User | None = None, item: str = "ai.pet") -> TariffPrice:
    """A change of an item's price per 1000 in the home region."""
    return set_tariff(
        item=Item.objects.get(code=item),
        region="cn-mainland",
        price=yuan(price) * 10_000,
        per=1000,
        effective_day=date.fromisoformat(day),
        reason=f"made {made}",
        now=at(made),
        made_by=by,
    )


def test_rule_5_1_a_day_is_settled_after_it_ended() -> None:
    alice = opened()
    use(alice, "ai.pet", 400, "2026-03-05T10:00")
    assert night("2026-03-05T23:59:59.999999").days == []
    with pytest.raises(DayNotEnded):
        settle(now=at("2026-03-05T23:59:59.999999"), through=date(2026, 3, 5))
    assert bills_of(alice) == []
    assert night("2026-03-06T00:00").days == [date(2026, 3, 5)]
    assert days_and_dues(alice) == [("2026-03-05", 1, 100)]


def test_rule_5_1_missed_nights_are_made_up_for_oldest_day_first() -> None:
    alice = opened()
    [pack] = buy(alice, "pet-100k", "2026-03-01T10:00")
    for day in ("07", "04", "06"):  # reported in another order
        use(alice, "ai.pet", 40_000, f"2026-03-{day}T10:00", received="2026-03-07T12:00")
        use(alice, "ai.face", 9, f"2026-03-{day}T10:00", received="2026-03-07T12:00")
    use(alice, "ai.pet", 1, "2026-03-08T00:30")
    result = night("2026-03-08T02:00")
    assert result.days == [date(2026, 3, 4), date(2026, 3, 6), date(2026, 3, 7)]
    # the pack lasts for the first two days and half the third; the carries are 0.0045, 0.009 - 0.01, 0.0035
    assert days_and_dues(alice) == [("2026-03-04", 1, 0), ("2026-03-06", 1, 1), ("2026-03-07", 1, yuan("50.00"))]
    assert [bill.carry_out for bill in bills_of(alice)] == [4500, -1000, 3500]
    drawn = Drawdown.objects.filter(pack=pack).order_by("id").values_list("line__bill__day", "quantity")
    assert list(drawn) == [(date(2026, 3, 4), 40_000), (date(2026, 3, 6), 40_000), (date(2026, 3, 7), 20_000)]


def test_rule_5_1_late_days_come_before_new_ones_and_up_to_the_day_asked_for() -> None:
    alice, bob = opened(), opened("bob")
    use(alice, "ai.pet", 400, "2026-03-06T10:00")
    use(alice, "ai.pet", 800, "2026-03-05T10:00", received="2026-03-06T11:00")
    use(bob, "ai.pet", 1200, "2026-03-06T10:00")
    result = settle(now=at("2026-03-08T02:00"), through=date(2026, 3, 5))
    assert (result.days, result.accounts, days_and_dues(bob)) == ([date(2026, 3, 5)], {alice.pk}, [])
    night("2026-03-08T03:00")
    assert days_and_dues(alice) == [("2026-03-05", 1, 200), ("2026-03-06", 1, 100)]
    assert days_and_dues(bob) == [("2026-03-06", 1, 300)]


def test_rule_5_2_a_bill_has_a_line_an_item_and_region_and_a_drawdown_a_pack() -> None:
    alice = opened()
    [first, second] = buy(alice, "pet-100k", "2026-03-01T10:00", 2)
    use(alice, "ai.pet", 260_000, "2026-03-05T10:00")
    use(alice, "ai.face", 2000, "2026-03-05T10:00")
    night("2026-03-06T02:00")
    bill = bill_of(alice, "2026-03-05")
    columns = ("position", "item__code", "region", "quantity", "drawn", "charged", "price", "per", "amount")
    assert list(BillLine.objects.filter(bill=bill).values_list(*columns)) == [
        (1, "ai.face", "cn-mainland", 2000, 0, 2000, 500_000, 1000, 1_000_000),
        (2, "ai.pet", "cn-mainland", 260_000, 200_000, 60_000, 2_500_000, 1000, 150_000_000),
    ]
    draws = Drawdown.objects.values_list("pack_id", "quantity", "remaining_after", "recognised")
    assert list(draws) == [(first.pk, 100_000, 0, 25_000), (second.pk, 100_000, 0, 25_000)]
    posted = alice.transfers.filter(reference=f"bill:{bill.pk}").order_by("kind")
    assert list(posted.values_list("kind", "amount")) == [("recognition", 50_000), ("usage", 15_100)]
    assert (bill.rated_total, bill.amount_due, bill.balance_after) == (151_000_000, 15_100, yuan("99349"))


def test_rule_5_2_a_day_is_settled_whole_or_not_at_all_and_a_failure_stops_nobody_else() -> None:
    alice, bob = opened(), opened("bob")
    [pack] = buy(alice, "pet-100k", "2026-03-01T10:00")
    use(alice, "ai.face", 2000, "2026-03-05T10:00")
    use(alice, "ai.pet", 1000, "2026-03-05T10:00")
    use(alice, "ai.pet", 1000, "2026-03-06T10:00")
    use(bob, "ai.pet", 400, "2026-03-05T10:00")
    Pack.objects.filter(pk=pack.pk).update(recognised=20_000)  # a damaged row: its drawdown would recognise below 0
    result = night("2026-03-07T02:00")
    assert [(one.account_id, one.day) for one in result.failed] == [(alice.pk, date(2026, 3, 5))]
    alice.refresh_from_db()
    assert (bills_of(alice), alice.balance, alice.carry) == ([], yuan("99750"), 0)
    assert days_and_dues(bob) == [("2026-03-05", 1, 100)]
    Pack.objects.filter(pk=pack.pk).update(recognised=0)
    night("2026-03-07T03:00")
    assert days_and_dues(alice) == [("2026-03-05", 1, 100), ("2026-03-06", 1, 0)]


def test_rule_5_3_a_quantity_of_zero_makes_no_line_and_no_line_no_bill() -> None:
    alice = opened()
    use(alice, "ai.pet", 0, "2026-03-05T10:00")
    use(alice, "device.gb28181", 0, "2026-03-05T10:00", resource="camera-1")
    use(alice, "ai.pet", 0, "2026-03-06T10:00")
    use(alice, "ai.face", 20, "2026-03-06T10:00")
    night("2026-03-07T02:00")
    assert days_and_dues(alice) == [("2026-03-06", 1, 1)]
    assert [line.item.code for line in BillLine.objects.all()] == ["ai.face"]


def test_rule_5_3_a_bill_that_packs_cover_is_a_bill_over_nothing() -> None:
    alice = opened()
    buy(alice, "pet-100k", "2026-03-01T10:00")
    use(alice, "ai.pet", 100, "2026-03-05T10:00")
    night("2026-03-06T02:00")
    assert days_and_dues(alice) == [("2026-03-05", 1, 0)]
    assert not alice.transfers.filter(kind="usage").exists()


def test_rule_5_4_settling_again_changes_nothing() -> None:
    alice = opened()
    [pack] = buy(alice, "pet-100k", "2026-03-01T10:00")
    one = event(alice, "ai.pet", 150_000, "2026-03-05T10:00:00")
    assert send([one], "2026-03-05T10:00").accepted == 1
    night("2026-03-06T02:00")
    before = list(Bill.objects.values()), list(Drawdown.objects.values()), list(alice.transfers.values())
    assert send([one, one], "2026-03-06T03:00").duplicates == 2
    again = night("2026-03-06T03:00")
    assert (again.days, again.bills, again.due) == ([], 0, 0)
    assert (list(Bill.objects.values()), list(Drawdown.objects.values()), list(alice.transfers.values())) == before
    pack.refresh_from_db()
    assert pack.remaining == 0


def test_rule_5_4_late_usage_is_a_supplementary_bill_of_the_difference_with_its_own_rounding() -> None:
    tariff("0.01", "2026-03-05", "2026-03-01T10:00", item="ai.face")
    alice = opened()
    Item.objects.get(code="ai.face").tariff.update(price=1, per=2)  # half a millionth a call
    for hour, received in ((10, "2026-03-05T10:00"), (11, "2026-03-06T10:00"), (12, "2026-03-07T10:00")):
        use(alice, "ai.face", 1, f"2026-03-05T{hour}:00", received=received)
        night(f"{received[:8]}{int(received[8:10]) + 1:02}T02:00")
    rows = BillLine.objects.order_by("id").values_list("bill__day", "bill__sequence", "quantity", "amount")
    assert list(rows) == [(date(2026, 3, 5), sequence, 1, 1) for sequence in (1, 2, 3)]  # together 2 would be due


def test_rule_5_4_late_usage_is_charged_at_its_days_tariff_from_packs_effective_that_day() -> None:
    alice = opened()
    [same_day] = buy(alice, "pet-100k", "2026-03-05T12:00")
    use(alice, "ai.pet", 60_000, "2026-03-05T10:00")
    night("2026-03-06T02:00")
    tariff("9.00", "2026-03-07", "2026-03-06T09:00")
    [later] = buy(alice, "pet-100k", "2026-03-06T10:00")
    use(alice, "ai.pet", 50_000, "2026-03-05T11:00", received="2026-03-07T12:00")
    night("2026-03-08T02:00")
    line = BillLine.objects.get(bill=bill_of(alice, "2026-03-05", 2))
    assert (line.quantity, line.drawn, line.charged, line.price) == (50_000, 40_000, 10_000, 2_500_000)
    assert bill_of(alice, "2026-03-05", 2).amount_due == yuan("25.00")
    same_day.refresh_from_db()
    later.refresh_from_db()
    assert (same_day.remaining, later.remaining) == (0, 100_000)


@pytest.mark.parametrize(("received", "code"), [("2026-04-04T23:59:59.999999", None), ("2026-04-05T00:00", "too_old")])
def test_rule_5_4_usage_is_accepted_30_days_late_and_no_later(received: str, code: str | None) -> None:
    alice = opened()
    outcome = send([event(alice, "ai.pet", 400, "2026-03-05T00:00:00")], received)
    assert [refused.code for refused in outcome.rejected] == ([code] if code else [])
    # what was accepted is settled, however late the run
    night("2026-12-24T02:00")
    assert days_and_dues(alice) == ([] if code else [("2026-03-05", 1, 100)])


def test_rule_5_5_a_tariff_changes_at_a_coming_midnight_only() -> None:
    for day in ("2026-03-04", "2026-03-05"):
        with pytest.raises(PriceRefused):
            tariff("3.00", day, "2026-03-05T23:59:59.999999")
    tariff("3.00", "2026-03-06", "2026-03-05T23:59:59.999999")
    alice = opened()
    use(alice, "ai.pet", 1000, "2026-03-05T23:59")
    use(alice, "ai.pet", 1000, "2026-03-06T00:00")
    night("2026-03-09T02:00")  # long after the change
    assert days_and_dues(alice) == [("2026-03-05", 1, 250), ("2026-03-06", 1, 300)]


def test_rule_5_5_a_later_change_for_a_day_replaces_the_earlier_and_touches_no_other_day() -> None:
    tariff("3.00", "2026-03-06", "2026-03-01T10:00")
    tariff("4.00", "2026-03-08", "2026-03-01T11:00")
    tariff("5.00", "2026-03-06", "2026-03-02T10:00")
    alice = opened()
    for day in (5, 6, 7, 8):
        use(alice, "ai.pet", 1000, f"2026-03-0{day}T10:00")
    night("2026-03-09T02:00")
    assert [due for _, _, due in days_and_dues(alice)] == [250, 500, 500, 400]
    history = TariffPrice.objects.filter(item__code="ai.pet").order_by("id")
    shown = history.values_list("effective_day", "from_price", "price", "reason")
    assert list(shown)[1:] == [
        (date(2026, 3, 6), 2_500_000, 3_000_000, "made 2026-03-01T10:00"),
        (date(2026, 3, 8), 3_000_000, 4_000_000, "made 2026-03-01T11:00"),
        (date(2026, 3, 6), 3_000_000, 5_000_000, "made 2026-03-02T10:00"),
    ]


def test_rule_5_5_every_change_is_kept_with_who_when_and_why() -> None:
    staff = User.objects.create_superuser("staff@example.com", "x")
    row = tariff("3.00", "2026-03-06", "2026-03-01T10:00", by=staff)
    row.refresh_from_db()
    assert (row.made_by, row.made_at, row.reason) == (staff, at("2026-03-01T10:00"), "made 2026-03-01T10:00")
    assert (row.from_price, row.from_per, row.price, row.per) == (2_500_000, 1000, 3_000_000, 1000)
    for reason in ("", "   "):
        with pytest.raises(PriceRefused):
            set_tariff(
                item=row.item,
                region="cn-mainland",
                price=1,
                per=1,
                effective_day=date(2026, 3, 6),
                reason=reason,
                now=at("2026-03-01T10:00"),
            )


def test_rule_5_5_a_tariff_may_open_a_region() -> None:
    alice = opened()
    pet = Item.objects.get(code="ai.pet")
    words: dict[str, Any] = {"region": "cn-hongkong", "per": 1000, "reason": "opening", "now": at("2026-03-05T10:00")}
    set_tariff(item=pet, price=4_000_000, effective_day=date(2026, 3, 6), **words)
    both = [event(alice, "ai.pet", 1000, f"2026-03-0{day}T10:00:00", region="cn-hongkong") for day in (5, 6)]
    outcome = send(both, "2026-03-06T12:00")
    assert [(refused.index, refused.code) for refused in outcome.rejected] == [(0, "unknown_region")]
    night("2026-03-07T02:00")
    assert days_and_dues(alice) == [("2026-03-06", 1, 400)]


def test_rule_5_5_the_launch_prices_are_in_force_from_2020() -> None:
    assert set(TariffPrice.objects.values_list("effective_day", flat=True)) == {date(2020, 1, 1)}
    assert set(SkuPrice.objects.values_list("effective_at", flat=True)) == {at("2020-01-01T00:00")}
    alice = opened(on="2019-12-31", balance=None)
    last = send([event(alice, "ai.pet", 400, "2019-12-31T23:59:59")], "2020-01-01T00:00")
    assert [refused.code for refused in last.rejected] == ["unknown_region"]
    use(alice, "ai.pet", 400, "2020-01-01T00:00")
    night("2020-01-02T02:00")
    assert days_and_dues(alice) == [("2020-01-01", 1, 100)]
    assert sku_prices(at("2019-12-31T23:59:59.999999")) == {}
    assert len(sku_prices(at("2020-01-01T00:00"))) == Sku.objects.count() == 34
