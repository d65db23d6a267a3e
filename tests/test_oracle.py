"""The model on its own: the rules' worked examples (rules 8) and what else can be said by hand."""

from __future__ import annotations

from datetime import datetime, timedelta
from fractions import Fraction

from tests.oracle import SHANGHAI, Json, World, round_half_up

A = "Account 1"


def at(day: int, hour: int = 12, minute: int = 0) -> datetime:
    """A moment of March 2026."""
    return datetime(2026, 3, day, hour, minute, tzinfo=SHANGHAI)


def world(day: int = 1, balance: str = "100000") -> World:
    made = World()
    made.open_account(A, at(day, 0))
    if balance != "0":
        assert made.top_up(A, balance, "first", at(day, 0)) == 0
    return made


def use(made: World, item: str, quantity: int, when: datetime, now: datetime | None = None, **more: str) -> Json:
    made.count += 1
    event: Json = {"specversion": "1.0", "type": "iss.usage", "id": f"e{made.count}", "source": "/s", "subject": A}
    event |= {"time": when.isoformat(), "data": {"item": item, "quantity": quantity, **more}}
    answer = made.report([event], now or when)
    return {**answer, "code": answer["rejected"][0]["code"] if answer["rejected"] else ""}


def buy(made: World, sku: str, when: datetime, quantity: int = 1, key: str = "") -> tuple[int, str, str]:
    made.count += 1
    return made.place_order(A, key or f"k{made.count}", [{"sku": sku, "quantity": quantity}], when)


def settle(made: World, when: datetime) -> list[Json]:
    bills = made.settle(when)
    assert bills is not None
    return bills


def test_two_pet_packs() -> None:
    made = world()
    assert buy(made, "pet-100k", at(1))[0] == buy(made, "pet-100k", at(3))[0] == 201
    use(made, "ai.pet", 150_000, at(5))
    [bill] = settle(made, at(6, 2))
    first, second = made.accounts[A].packs
    assert [row["quantity"] for row in bill["lines"][0]["drawdowns"]] == [100_000, 50_000]
    assert (bill["amount_due"]["amount"], first.remaining, second.remaining) == ("0.00", 0, 50_000)
    use(made, "ai.pet", 80_000, at(6))
    [bill] = settle(made, at(7, 2))
    line = bill["lines"][0]
    assert (line["drawn"], line["charged"], bill["amount_due"]["amount"]) == (50_000, 30_000, "75.00")


def test_a_frozen_traffic_pack() -> None:
    made = world()
    buy(made, "traffic-down-1tb", at(1))
    use(made, "traffic.down", 200 * 10**9, at(1))
    use(made, "bandwidth.down", 100 * 10**6, at(1))
    assert made.packs_json(A, at(1))[0]["status"] == "frozen"
    assert made.switch_mode(A, "traffic", at(1, 15)) == (200, "")
    assert made.account_json(A, at(1, 16))["pending_billing_mode"] == {"mode": "traffic", "effective_day": "2026-03-02"}
    [bill] = settle(made, at(2, 2))
    assert [(line["item"], line["amount"]["amount"]) for line in bill["lines"]] == [("bandwidth.down", "70.000000")]
    use(made, "traffic.down", 200 * 10**9, at(2))
    use(made, "bandwidth.down", 100 * 10**6, at(2))
    [bill] = settle(made, at(3, 2))
    assert [(line["item"], line["drawn"]) for line in bill["lines"]] == [("traffic.down", 200 * 10**9)]
    assert made.packs_json(A, at(3))[0]["remaining"] == 800 * 10**9


def test_small_change_is_carried() -> None:
    made = world()
    for day in range(1, 5):
        use(made, "ai.face", 3, at(day))
        settle(made, at(day + 1, 2))
    shown = [(bill["amount_due"]["amount"], bill["carry_out"]["amount"]) for bill in made.accounts[A].bills]
    assert shown == [("0.00", "0.001500"), ("0.00", "0.003000"), ("0.00", "0.004500"), ("0.01", "-0.004000")]


def test_arrears_begin_suspend_and_end() -> None:
    made = world(balance="10")
    use(made, "ai.pet", 4_800, at(1))
    settle(made, at(2, 2))
    shown = made.account_json(A, at(2, 2))
    assert (shown["balance"]["amount"], shown["status"], shown["arrears_since"]) == ("-2.00", "arrears", at(2, 2))
    made.top_up(A, "1", "second", at(2, 20))
    assert made.account_json(A, at(3, 1, 59))["status"] == "arrears"
    assert made.account_json(A, at(3, 2))["status"] == "suspended"
    assert made.sweep(at(3, 2)) == {A: "suspended"}
    assert made.sweep(at(3, 3)) == {}
    assert made.account_json(A, at(10, 2))["status"] == "reclaimed"
    made.top_up(A, "1", "third", at(10, 3))
    shown = made.account_json(A, at(10, 3))
    assert (shown["balance"]["amount"], shown["status"], shown["suspends_at"]) == ("0.00", "active", None)


def test_late_usage_makes_a_supplementary_bill_first() -> None:
    made = world()
    use(made, "ai.pet", 100, at(5))
    settle(made, at(6, 2))
    use(made, "ai.pet", 40, at(5, 13), now=at(8))
    use(made, "ai.pet", 10, at(8))
    late, own = settle(made, at(9, 2))
    assert (late["day"], late["sequence"], late["lines"][0]["quantity"]) == ("2026-03-05", 2, 40)
    assert (late["amount_due"]["amount"], own["day"], own["sequence"]) == ("0.10", "2026-03-08", 1)
    assert settle(made, at(9, 3)) == []


def test_half_goes_up() -> None:
    assert round_half_up(Fraction(1, 200), 2) == Fraction(1, 100)
    assert round_half_up(Fraction(5, 2), 0) == 3
    assert round_half_up(Fraction(-1, 200), 2) == 0


def test_peak_adds_the_series_of_a_slot() -> None:
    made = world()
    for quantity, minute, resource in ((5, 0, "a"), (7, 4, "a"), (6, 3, "b"), (12, 5, "a")):
        use(made, "bandwidth.down", quantity, at(1, 12, minute), resource=resource)
    assert made.accounts[A].rated(at(1).date(), "bandwidth.down", "cn-mainland") == 13


def test_mean_divides_by_all_slots_and_distinct_counts_resources() -> None:
    made = world()
    use(made, "storage.standard", 144, at(1))
    assert made.accounts[A].rated(at(1).date(), "storage.standard", "cn-mainland") == 1
    use(made, "storage.standard", 143, at(2))
    assert made.accounts[A].rated(at(2).date(), "storage.standard", "cn-mainland") == 0
    for quantity, resource in ((1, "x"), (5, "x"), (0, "y"), (1, "z")):
        use(made, "device.gb28181", quantity, at(1), resource=resource)
    assert made.accounts[A].rated(at(1).date(), "device.gb28181", "cn-mainland") == 2


def test_refusals() -> None:
    made = world(day=2)
    now = at(20)
    assert use(made, "ai.cat", -1, now)["code"] == "unknown_item"
    assert use(made, "ai.pet", -1, now)["code"] == "invalid_quantity"
    assert use(made, "device.gb28181", 1, now)["code"] == "missing_resource"
    assert use(made, "ai.pet", 1, now + timedelta(minutes=10), now)["code"] == ""
    assert use(made, "ai.pet", 1, now + timedelta(minutes=10, microseconds=1), now)["code"] == "in_future"
    assert use(made, "ai.pet", 1, at(2, 0) - timedelta(seconds=1), now)["code"] == "before_account"
    assert use(made, "ai.pet", 1, at(2, 0), now + timedelta(days=12))["code"] == ""
    assert use(made, "ai.pet", 1, at(2, 0), now + timedelta(days=13))["code"] == "too_old"
    assert use(made, "ai.pet", 1, now, region="moon-1")["code"] == "unknown_region"


def test_the_same_event_again_is_a_duplicate_within_its_day() -> None:
    made = world()
    event: Json = {"specversion": "1.0", "type": "iss.usage", "id": "1", "source": "/s", "subject": A}
    event |= {"time": at(1).isoformat(), "data": {"item": "ai.pet", "quantity": 1}}
    restamped = {**event, "time": at(2).isoformat()}
    assert made.report([event, event, restamped], at(3)) == {"accepted": 2, "duplicates": 1, "rejected": []}


def test_a_pack_covers_its_day_and_its_region_only() -> None:
    made = world()
    made.set_tariff("ai.pet", "cn-hongkong", "9", 1000, at(2).date(), at(1))
    use(made, "ai.pet", 10, at(2))
    buy(made, "pet-100k", at(3, 0))
    use(made, "ai.pet", 10, at(3, 0))
    use(made, "ai.pet", 1000, at(3), region="cn-hongkong")
    before, own = settle(made, at(4, 2))
    assert [line["drawn"] for line in before["lines"]] == [0]
    assert [(line["region"], line["drawn"]) for line in own["lines"]] == [("cn-hongkong", 0), ("cn-mainland", 10)]
    assert own["amount_due"]["amount"] == "9.00"


def test_refunds_by_the_customer() -> None:
    made = world()
    buy(made, "pet-100k", at(1), quantity=3)
    one, two, three = (pack.pack_id for pack in made.accounts[A].packs)
    assert made.refund(A, two, at(6)) == (200, "")
    assert made.refund(A, two, at(6)) == (409, "already_refunded")
    assert made.refund(A, three, at(6) + timedelta(microseconds=1)) == (409, "refund_window_over")
    use(made, "ai.pet", 1, at(1))
    settle(made, at(2, 2))
    assert made.refund(A, one, at(7)) == (409, "pack_used")
    assert [pack["remaining"] for pack in made.packs_json(A, at(7))] == [99_999, 0, 100_000]


def test_orders_are_refused_in_order_and_keys_are_kept() -> None:
    made = world(balance="250")
    assert buy(made, "pet-1", at(1))[:2] == (400, "unknown_sku")
    assert buy(made, "pet-100k", at(1), quantity=2, key="k")[:2] == (402, "insufficient_balance")
    assert buy(made, "pet-100k", at(1), key="k")[0] == 201
    made.set_pack_price("pet-100k", "300")
    assert buy(made, "pet-100k", at(1), key="k")[0] == 200
    assert buy(made, "pet-100k", at(1), quantity=2, key="k")[:2] == (422, "idempotency_key_reused")
    stale = [{"sku": "pet-100k", "quantity": 1, "expected_price": "250"}]
    assert made.place_order(A, "n", stale, at(1))[:2] == (409, "price_changed")
    use(made, "ai.body", 10, at(1))
    settle(made, at(2, 2))
    assert made.place_order(A, "n", stale, at(2))[:2] == (403, "account_in_arrears")
    assert made.switch_mode(A, "traffic", at(2)) == (403, "account_in_arrears")
    assert made.switch_mode(A, "bandwidth", at(2)) == (200, "")


def test_an_estimate_changes_nothing() -> None:
    made = world()
    use(made, "ai.pet", 1000, at(1))
    use(made, "ai.pet", 2000, at(2))
    shown = made.estimate_json(A, at(2, 13))
    assert [bill["amount_due"]["amount"] for bill in shown["pending_days"]] == ["2.50"]
    assert (shown["today"]["amount_due"]["amount"], shown["balance_after"]["amount"]) == ("5.00", "99992.50")
    assert not made.accounts[A].bills
    assert made.accounts[A].balance == 100_000
