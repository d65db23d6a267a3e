"""Rules 5.6: which usage is refused, and what a refusal leaves behind."""

from datetime import date
from typing import Any

import pytest

from accounts.opening import open_account
from settlement.models import UsageEvent, UsageRefusal
from tests.worlds import at, bill_of, event, night, opened, send, top_up, use, yuan

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("quantity", [-1, 10**15 + 1, 12.0, "12", True, None])
def test_rule_5_6_a_bad_quantity_is_refused(quantity: Any) -> None:
    bad = event(opened(), "ai.pet", quantity, "2026-03-05T10:00:00")
    [refused] = send([bad], "2026-03-05T10:00").rejected
    assert (refused.code, refused.id, refused.index) == ("invalid_quantity", bad["id"], 0)


def test_rule_5_6_an_explicit_null_is_no_absent_quantity() -> None:
    bad = event(opened(), "device.gb28181", None, "2026-03-05T10:00:00", resource="camera-1")
    bad["data"]["quantity"] = None
    assert [refused.code for refused in send([bad], "2026-03-05T10:00").rejected] == ["invalid_quantity"]


@pytest.mark.parametrize("quantity", [0, 10**15])
def test_rule_5_6_quantities_from_zero_to_a_thousand_million_million_are_accepted(quantity: int) -> None:
    assert send([event(opened(), "ai.pet", quantity, "2026-03-05T10:00:00")], "2026-03-05T10:00").accepted == 1


def test_rule_5_6_unknown_accounts_items_and_regions_are_refused() -> None:
    alice = opened()
    batch = [
        event(str(alice.pk + 1_000_000), "ai.pet", 1, "2026-03-05T10:00:00"),
        event("alice", "ai.pet", 1, "2026-03-05T10:00:00"),
        event(alice, "ai.cat", 1, "2026-03-05T10:00:00"),
        event(alice, "ai.pet", 1, "2026-03-05T10:00:00", region="moon"),
        event(alice, "device.gb28181", 1, "2026-03-05T10:00:00"),
        event(alice, "ai.pet", 400, "2026-03-05T10:00:00"),
    ]
    outcome = send(batch, "2026-03-05T10:00")
    codes = ["unknown_account", "unknown_account", "unknown_item", "unknown_region", "missing_resource"]
    assert [(refused.index, refused.code) for refused in outcome.rejected] == list(enumerate(codes))
    # the rest of the batch is kept
    assert outcome.accepted == UsageEvent.objects.count() == 1
    night("2026-03-06T02:00")
    assert bill_of(alice, "2026-03-05").amount_due == yuan("1.00")


def test_rule_5_6_a_time_ten_minutes_ahead_is_accepted_and_no_later() -> None:
    alice = opened()
    batch = [event(alice, "ai.pet", 1, f"2026-03-05T10:10:00{fraction}") for fraction in ("", ".000001")]
    outcome = send(batch, "2026-03-05T10:00")
    assert (outcome.accepted, [(refused.index, refused.code) for refused in outcome.rejected]) == (
        1,
        [(1, "in_future")],
    )


def test_rule_5_6_a_day_before_the_account_is_refused_but_not_an_earlier_hour() -> None:
    alice = open_account(name="alice", now=at("2026-03-05T15:00"))
    batch = [event(alice, "ai.pet", 1, when) for when in ("2026-03-04T23:59:59.999999", "2026-03-05T00:00:00")]
    outcome = send(batch, "2026-03-05T16:00")
    assert (outcome.accepted, [refused.code for refused in outcome.rejected]) == (1, ["before_account"])


def test_rule_5_6_refusals_are_judged_before_duplicates() -> None:
    one = event(opened(), "ai.pet", 1, "2026-03-05T10:00:00")
    assert send([one], "2026-03-05T10:00").accepted == 1
    assert send([one], "2026-04-04T10:00").duplicates == 1
    late = send([one], "2026-04-05T10:00")
    assert (late.duplicates, [refused.code for refused in late.rejected]) == (0, ["too_old"])


def test_rule_5_6_a_refused_event_is_not_remembered_as_seen() -> None:
    early = event(opened(), "ai.pet", 1, "2026-03-05T10:11:00")
    assert [refused.code for refused in send([early], "2026-03-05T10:00").rejected] == ["in_future"]
    assert UsageEvent.objects.count() == 0
    assert send([early], "2026-03-05T10:01").accepted == 1


def test_rule_5_6_only_a_count_a_day_source_and_code_is_kept() -> None:
    alice = opened()
    bad = [event(alice, "ai.cat", 1, "2026-03-05T10:00:00") for _ in range(3)]
    other = [
        event(alice, "ai.cat", 1, "2026-03-05T10:00:00", source="/edge/2"),
        event("x", "ai.pet", 1, "2026-03-05T10:00:00"),
    ]
    send(bad + other, "2026-03-05T23:00")
    send(bad[:1], "2026-03-05T23:59:59")
    send(bad[:1], "2026-03-06T00:00")
    rows = UsageRefusal.objects.order_by("day", "source", "code").values_list("day", "source", "code", "events")
    assert list(rows) == [
        (date(2026, 3, 5), "/edge/1", "unknown_account", 1),
        (date(2026, 3, 5), "/edge/1", "unknown_item", 4),
        (date(2026, 3, 5), "/edge/2", "unknown_item", 1),
        (date(2026, 3, 6), "/edge/1", "unknown_item", 1),
    ]


def test_rule_5_6_an_event_is_known_by_source_and_id_within_its_day() -> None:
    alice = opened()
    same = {"id": "x", "source": "/edge/1"}
    first = event(alice, "ai.pet", 1, "2026-03-05T10:00:00", **same)
    again = [first, event(alice, "ai.pet", 1, "2026-03-05T10:00:00", id="x", source="/edge/2")]
    outcome = send([first, *again, event(alice, "ai.pet", 1, "2026-03-06T10:00:00", **same)], "2026-03-06T12:00")
    assert (outcome.accepted, outcome.duplicates) == (3, 1)


def test_rule_6_5_usage_is_accepted_and_billed_whatever_the_standing() -> None:
    alice = opened(balance=None)
    for day in (1, 3, 20):
        use(alice, "ai.pet", 400, f"2026-03-{day:02}T10:00")
        night(f"2026-03-{day + 1:02}T02:00")
    alice.refresh_from_db()
    assert (alice.balance, alice.standing_at(at("2026-03-21T02:00"))) == (yuan("-3.00"), "reclaimed")
    top_up(alice, "3.00", "2026-03-21T03:00")
