"""Rules 2 and 3: how a day's usage is aggregated, and the two billing modes."""

from collections.abc import Iterator
from datetime import date

import pytest

from accounts.models import BANDWIDTH, TRAFFIC, Account
from accounts.modes import InArrears, Pending, mode_on, pending_mode, switch_mode
from packs.models import Pack, PackStatus
from settlement.models import BillLine
from tests.worlds import (
    GB,
    MBPS,
    TB,
    assert_books,
    at,
    bill_of,
    bills_of,
    buy,
    event,
    night,
    opened,
    send,
    top_up,
    use,
    yuan,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def proven() -> Iterator[None]:
    """Every test leaves true books."""
    yield
    assert_books()


def quantities(account: Account, day: str = "2026-03-05", sequence: int = 1) -> dict[str, int]:
    """The quantity of each item on a bill."""
    lines = BillLine.objects.filter(bill=bill_of(account, day, sequence))
    return dict(lines.values_list("item__code", "quantity"))


def switch(account: Account, mode: str, when: str) -> None:
    switch_mode(account_id=account.pk, mode=mode, now=at(when))


def status(pack: Pack, when: str, account: Account) -> PackStatus:
    pack.refresh_from_db()
    day = date.fromisoformat(when)
    return pack.status_on(day, mode_on(account.pk, day))


# 2: the four aggregations


def test_rule_2_sum_adds_the_events_of_the_day() -> None:
    alice, bob = opened(), opened("bob")
    for quantity, when in ((5, "00:00"), (7, "00:00"), (11, "23:59")):
        use(alice, "ai.pet", quantity, f"2026-03-05T{when}", resource="camera-1")
    use(alice, "ai.face", 100, "2026-03-05T10:00")
    use(bob, "ai.pet", 1000, "2026-03-05T10:00")
    night("2026-03-06T02:00")
    assert quantities(alice) == {"ai.pet": 23, "ai.face": 100}
    assert quantities(bob) == {"ai.pet": 1000}


def test_rule_2_peak_is_the_largest_slot_of_the_series_added() -> None:
    alice = opened()
    series = (
        {"source": "/edge/1", "resource": "a"},
        {"source": "/edge/1", "resource": "b"},
        {"source": "/edge/2", "resource": "a"},
    )
    # 10:00-10:05: the largest report of each series: 30 + 20 + 5 = 55
    use(alice, "bandwidth.down", 10 * MBPS, "2026-03-05T10:00", **series[0])
    use(
        alice, "bandwidth.down", 30 * MBPS, "2026-03-05T10:04:59.999999+08:00", received="2026-03-05T10:05", **series[0]
    )
    use(alice, "bandwidth.down", 20 * MBPS, "2026-03-05T10:02", **series[1])
    use(alice, "bandwidth.down", 5 * MBPS, "2026-03-05T10:03", **series[2])
    # the next slot has a larger single report, and a smaller sum
    use(alice, "bandwidth.down", 50 * MBPS, "2026-03-05T10:05", **series[0])
    # the other direction is another item
    use(alice, "bandwidth.up", 8 * MBPS, "2026-03-05T10:00", **series[0])
    night("2026-03-06T02:00")
    assert quantities(alice) == {"bandwidth.up": 8 * MBPS, "bandwidth.down": 55 * MBPS}
    assert bill_of(alice, "2026-03-05").amount_due == yuan("41.30")  # 8 x 0.35 + 55 x 0.7


def test_rule_2_peak_slots_begin_at_midnight_in_shanghai() -> None:
    alice = opened()
    use(alice, "bandwidth.down", 60 * MBPS, "2026-03-04T23:59", resource="a")
    use(alice, "bandwidth.down", 7 * MBPS, "2026-03-05T00:00", resource="b")
    use(alice, "bandwidth.down", 9 * MBPS, "2026-03-05T23:59", resource="a")
    night("2026-03-06T02:00")
    assert quantities(alice, "2026-03-04") == {"bandwidth.down": 60 * MBPS}
    assert quantities(alice, "2026-03-05") == {"bandwidth.down": 9 * MBPS}


@pytest.mark.parametrize(("total", "quantity"), [(144, 1), (431, 1), (432, 2), (288 * GB, GB)])
def test_rule_2_mean_is_a_288th_of_the_slots_rounded_half_up(total: int, quantity: int) -> None:
    alice = opened()
    use(alice, "storage.standard", total - 100, "2026-03-05T00:00", resource="a")
    use(alice, "storage.standard", 1, "2026-03-05T00:04", resource="a")  # a smaller report in the same slot
    use(alice, "storage.standard", 60, "2026-03-05T23:55", resource="a")
    use(alice, "storage.standard", 40, "2026-03-05T23:55", resource="b")
    night("2026-03-06T02:00")
    assert quantities(alice) == {"storage.standard": quantity}


def test_rule_2_mean_below_a_half_is_nothing() -> None:
    alice = opened()
    use(alice, "storage.standard", 143, "2026-03-05T00:00")
    night("2026-03-06T02:00")
    assert bills_of(alice) == []


def test_rule_2_mean_of_a_full_day_is_what_was_stored() -> None:
    alice = opened()
    for slot in range(288):
        use(alice, "storage.standard", 2 * TB, f"2026-03-05T{slot // 12:02}:{slot % 12 * 5:02}", resource="bucket")
    night("2026-03-06T02:00")
    assert quantities(alice) == {"storage.standard": 2 * TB}
    assert bill_of(alice, "2026-03-05").amount_due == yuan("10.00")


def test_rule_2_distinct_counts_resources_with_a_quantity_above_zero() -> None:
    alice = opened()
    use(alice, "device.gb28181", None, "2026-03-05T10:00", resource="camera-1")
    use(alice, "device.gb28181", 1, "2026-03-05T10:05", resource="camera-1", source="/edge/2")
    use(alice, "device.gb28181", 25, "2026-03-05T10:00", resource="camera-2")
    use(alice, "device.gb28181", 0, "2026-03-05T10:00", resource="camera-3")
    use(alice, "device.gb28181", 0, "2026-03-05T10:00", resource="camera-4")
    use(alice, "device.gb28181", 1, "2026-03-05T23:59", resource="camera-4")
    night("2026-03-06T02:00")
    assert quantities(alice) == {"device.gb28181": 3}
    assert bill_of(alice, "2026-03-05").amount_due == yuan("0.30")


def test_rule_2_late_usage_bills_only_what_an_aggregate_grew_by() -> None:
    alice = opened()
    use(alice, "bandwidth.down", 50 * MBPS, "2026-03-05T10:00", resource="a")
    use(alice, "storage.standard", 288 * GB, "2026-03-05T10:00", resource="a")
    use(alice, "device.gb28181", 1, "2026-03-05T10:00", resource="a")
    night("2026-03-06T02:00")
    for item, quantity in (("bandwidth.down", 30 * MBPS), ("storage.standard", 144 * GB), ("device.gb28181", 1)):
        use(
            alice, item, quantity, "2026-03-05T10:00", resource="a", received="2026-03-06T03:00"
        )  # nothing larger or new
        use(alice, item, quantity, "2026-03-05T10:01", resource="b", received="2026-03-06T03:00")
    night("2026-03-07T02:00")
    grown = {"bandwidth.down": 30 * MBPS, "storage.standard": GB // 2, "device.gb28181": 1}
    assert quantities(alice, sequence=2) == grown
    assert bill_of(alice, "2026-03-05", 2).rated_total == 21_000_000 + 2_500 + 100_000


# 3: the billing mode


def both_kinds(account: Account, day: str) -> None:
    """1 GB and a peak of 1 Mbps downstream on a day: 0.50 by traffic, 0.70 by bandwidth."""
    use(account, "traffic.down", GB, f"{day}T10:00")
    use(account, "bandwidth.down", MBPS, f"{day}T10:00")


def test_rule_3_1_a_new_account_is_billed_by_bandwidth_and_only_by_it() -> None:
    alice = opened()
    assert mode_on(alice.pk, date(2026, 3, 5)) == BANDWIDTH
    both_kinds(alice, "2026-03-05")
    night("2026-03-06T02:00")
    assert quantities(alice) == {"bandwidth.down": MBPS}
    assert (bill_of(alice, "2026-03-05").billing_mode, bill_of(alice, "2026-03-05").amount_due) == (BANDWIDTH, 70)


def test_rule_3_1_in_traffic_mode_only_traffic_is_billed() -> None:
    alice = opened()
    switch(alice, TRAFFIC, "2026-03-04T10:00")
    both_kinds(alice, "2026-03-05")
    use(alice, "ai.pet", 4, "2026-03-05T10:00")  # what no mode governs is billed in both
    night("2026-03-06T02:00")
    assert quantities(alice) == {"ai.pet": 4, "traffic.down": GB}
    assert (bill_of(alice, "2026-03-05").billing_mode, bill_of(alice, "2026-03-05").amount_due) == (TRAFFIC, 51)


def test_rule_3_1_what_the_mode_does_not_bill_is_not_drawn_either() -> None:
    alice = opened()
    [pack] = buy(alice, "traffic-down-1tb", "2026-03-05T09:00")
    use(alice, "traffic.down", GB, "2026-03-05T10:00")
    night("2026-03-06T02:00")
    pack.refresh_from_db()
    assert (bills_of(alice), pack.remaining) == ([], TB)


def test_rule_3_2_a_switch_takes_effect_at_the_next_midnight_for_a_whole_day() -> None:
    alice = opened()
    switch(alice, TRAFFIC, "2026-03-05T00:00")
    assert mode_on(alice.pk, date(2026, 3, 5)) == BANDWIDTH
    assert pending_mode(alice.pk, date(2026, 3, 5)) == Pending(TRAFFIC, date(2026, 3, 6))
    for day in ("2026-03-05", "2026-03-06"):
        both_kinds(alice, day)
    assert pending_mode(alice.pk, date(2026, 3, 6)) is None
    switch(alice, BANDWIDTH, "2026-03-06T23:59:59.999999")
    both_kinds(alice, "2026-03-07")
    night("2026-03-08T02:00")
    assert [bill.billing_mode for bill in bills_of(alice)] == [BANDWIDTH, TRAFFIC, BANDWIDTH]
    assert [bill.amount_due for bill in bills_of(alice)] == [70, 50, 70]


def test_rule_3_2_a_pending_switch_can_be_taken_back_and_the_last_word_counts() -> None:
    alice = opened()
    switch(alice, TRAFFIC, "2026-03-05T10:00")
    switch(alice, BANDWIDTH, "2026-03-05T11:00")
    assert pending_mode(alice.pk, date(2026, 3, 5)) is None
    assert mode_on(alice.pk, date(2026, 3, 6)) == BANDWIDTH
    switch(alice, TRAFFIC, "2026-03-05T12:00")
    switch(alice, BANDWIDTH, "2026-03-05T13:00")
    switch(alice, TRAFFIC, "2026-03-05T23:59:59.999999")
    assert mode_on(alice.pk, date(2026, 3, 6)) == TRAFFIC
    # a word of midnight is a word about the day after
    switch(alice, BANDWIDTH, "2026-03-06T00:00")
    assert (mode_on(alice.pk, date(2026, 3, 6)), mode_on(alice.pk, date(2026, 3, 7))) == (TRAFFIC, BANDWIDTH)


def test_rule_3_3_a_traffic_pack_is_bought_in_either_mode_and_frozen_in_bandwidth_mode() -> None:
    alice = opened()
    [first] = buy(alice, "traffic-down-1tb", "2026-03-05T10:00")
    [pet] = buy(alice, "pet-100k", "2026-03-05T10:00")
    switch(alice, TRAFFIC, "2026-03-05T15:00")
    assert status(first, "2026-03-05", alice) == PackStatus.FROZEN
    assert status(pet, "2026-03-05", alice) == PackStatus.ACTIVE
    [second] = buy(alice, "traffic-up-1tb", "2026-03-06T10:00")
    switch(alice, BANDWIDTH, "2026-03-06T15:00")
    switch(alice, TRAFFIC, "2026-03-08T15:00")
    for pack in (first, second):
        assert status(pack, "2026-03-06", alice) == PackStatus.ACTIVE
        assert status(pack, "2026-03-07", alice) == PackStatus.FROZEN
        assert status(pack, "2026-03-08", alice) == PackStatus.FROZEN
        assert (status(pack, "2026-03-09", alice), pack.remaining) == (PackStatus.ACTIVE, TB)


def test_rule_3_3_the_mode_of_the_usage_day_decides_and_not_that_of_the_night() -> None:
    alice = opened()
    [pack] = buy(alice, "traffic-down-1tb", "2026-03-04T10:00")
    switch(alice, TRAFFIC, "2026-03-04T10:00")
    both_kinds(alice, "2026-03-05")
    switch(alice, BANDWIDTH, "2026-03-05T23:00")
    both_kinds(alice, "2026-03-06")
    switch(alice, TRAFFIC, "2026-03-06T23:00")
    night("2026-03-06T02:00")
    pack.refresh_from_db()
    assert (quantities(alice), pack.remaining) == ({"traffic.down": GB}, TB - GB)
    night("2026-03-07T02:00")
    pack.refresh_from_db()
    assert (quantities(alice, "2026-03-06"), pack.remaining) == ({"bandwidth.down": MBPS}, TB - GB)
    # late usage of the 5th, settled in bandwidth mode, still draws
    use(alice, "traffic.down", GB, "2026-03-05T11:00", received="2026-03-06T12:00")
    night("2026-03-07T03:00")
    pack.refresh_from_db()
    assert (quantities(alice, "2026-03-05", 2), pack.remaining) == ({"traffic.down": GB}, TB - 2 * GB)


def test_rule_4_8_an_account_below_zero_makes_no_new_switch_but_takes_one_back() -> None:
    alice = opened(balance="0.69")
    both_kinds(alice, "2026-03-01")
    switch(alice, TRAFFIC, "2026-03-02T01:00")
    night("2026-03-02T02:00")  # 0.70 due: -0.01
    switch(alice, BANDWIDTH, "2026-03-02T03:00")
    assert mode_on(alice.pk, date(2026, 3, 3)) == BANDWIDTH
    with pytest.raises(InArrears):
        switch(alice, TRAFFIC, "2026-03-02T03:00")
    switch(alice, BANDWIDTH, "2026-03-02T03:00")  # what holds already is no switch
    top_up(alice, "0.01", "2026-03-02T04:00")
    switch(alice, TRAFFIC, "2026-03-02T05:00")
    assert mode_on(alice.pk, date(2026, 3, 3)) == TRAFFIC


def test_of_an_id_reported_twice_in_one_batch_the_first_counts() -> None:
    alice = opened()
    events = [
        event(alice, "ai.pet", quantity, "2026-03-05T10:00:00", id=f"same-{number}")
        for quantity in (1000, 1)
        for number in range(500)
    ]
    outcome = send(events, "2026-03-05T11:00")
    assert (outcome.accepted, outcome.duplicates) == (500, 500)
    night("2026-03-06T02:00")
    assert [line.quantity for line in BillLine.objects.all()] == [500_000]
    assert_books()
