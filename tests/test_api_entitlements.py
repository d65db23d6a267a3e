"""May an account be served: by standing, with what packs have left; one, all, and what changed since a moment."""

from collections.abc import Iterator
from typing import Any

import pytest
import time_machine

from accounts.models import Account
from accounts.modes import switch_mode
from packs.refunds import refund_pack
from tests.api_client import BASE, Api, problem, yuan_of
from tests.worlds import GB, TB, at, buy, night, opened, top_up, use

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def clock() -> Iterator[time_machine.Traveller]:
    """Noon of 8 March 2026, until a test moves it."""
    with time_machine.travel(at("2026-03-08T12:00"), tick=False) as coordinates:
        yield coordinates


@pytest.fixture
def platform() -> Api:
    return Api(None)


def indebted(name: str = "debtor", night_of: str = "2026-03-06") -> Account:
    """An account 2.00 below 0 since 02:00 of a day."""
    account = opened(name, balance=None)
    use(account, "ai.plate", 20, f"{night_of}T00:00", received=f"{night_of}T01:00")
    night(f"{night_of[:8]}{int(night_of[8:]) + 1:02}T02:00")
    return account


def test_an_entitlement_to_the_letter(platform: Api) -> None:
    alice = opened("alice")
    buy(alice, "pet-100k", "2026-03-01T10:00", 2)
    buy(alice, "traffic-down-1tb", "2026-03-01T10:00")
    use(alice, "ai.pet", 400, "2026-03-05T10:00")
    use(alice, "ai.pet", 90, "2026-03-08T10:00")  # not settled
    night("2026-03-06T02:00")
    answer = platform.get(f"entitlements/{alice.pk}/")
    items = {row["item"]: row for row in answer.pop("items")}
    assert answer == {
        "account_id": str(alice.pk),
        "allowed": True,
        "reason": None,
        "status": "active",
        "suspends_at": None,
        "amount_to_clear": yuan_of("0.00"),
        "balance": platform_balance(alice),
        "billing_mode": "bandwidth",
        "as_of_day": "2026-03-08",
    }
    assert items["ai.pet"] == {"item": "ai.pet", "pack_remaining": 199_600, "pack_frozen": 0}
    assert items["traffic.down"] == {"item": "traffic.down", "pack_remaining": 0, "pack_frozen": TB}
    assert items["ai.face"] == {"item": "ai.face", "pack_remaining": 0, "pack_frozen": 0}
    assert "bandwidth.down" not in items


def platform_balance(account: Account) -> Any:
    return Api(account).get("account/")["balance"]


def test_only_the_item_asked_for_and_only_where_packs_count(platform: Api) -> None:
    alice = opened("alice")
    [pack] = buy(alice, "kitchen-100k", "2026-03-05T10:00")
    path = f"entitlements/{alice.pk}/"

    def left(**query: str) -> list[Any]:
        return [
            (row["item"], row["pack_remaining"], row["pack_frozen"]) for row in platform.get(path, **query)["items"]
        ]

    assert left(item="ai.kitchen.hat") == [("ai.kitchen.hat", 100_000, 0)]
    assert left(item="ai.pet", region="cn-mainland") == [("ai.pet", 0, 0)]
    assert left(item="bandwidth.down") == [("bandwidth.down", 0, 0)]
    for query in (
        {"item": "ai.cat"},
        {"region": "moon"},
        {"item": "ai.pet", "region": "moon"},
        {"item": ""},
        {"item": "\x00"},
    ):
        answer = problem(platform.client.get(BASE + path, query))
        assert (answer["status"], answer["code"]) == (400, "invalid")
        assert set(answer["errors"]) <= set(query)
    refund_pack(account_id=alice.pk, pack_id=pack.pk, now=at("2026-03-05T11:00"))
    assert left(item="ai.kitchen.hat") == [("ai.kitchen.hat", 0, 0)]


def test_a_pack_thaws_with_the_mode(platform: Api, clock: time_machine.Traveller) -> None:
    alice = opened("alice")
    buy(alice, "traffic-down-1tb", "2026-03-05T10:00")
    switch_mode(account_id=alice.pk, mode="traffic", now=at("2026-03-08T12:00"))
    path = f"entitlements/{alice.pk}/?item=traffic.down"
    assert platform.get(path)["items"] == [{"item": "traffic.down", "pack_remaining": 0, "pack_frozen": TB}]
    clock.move_to(at("2026-03-09T00:00"))
    answer = platform.get(path)
    assert answer["items"] == [{"item": "traffic.down", "pack_remaining": TB, "pack_frozen": 0}]
    assert (answer["billing_mode"], answer["as_of_day"]) == ("traffic", "2026-03-09")


def test_standing_decides_and_packs_do_not(platform: Api, clock: time_machine.Traveller) -> None:
    alice = opened("alice", balance="250.00")
    buy(alice, "pet-100k", "2026-03-01T10:00")
    use(alice, "ai.plate", 20, "2026-03-05T10:00")
    night("2026-03-06T02:00")
    for when, allowed, status in (
        ("06T02:00", True, "arrears"),
        ("07T01:59:59", True, "arrears"),
        ("07T02:00", False, "suspended"),
        ("14T02:00", False, "reclaimed"),
    ):
        clock.move_to(at(f"2026-03-{when}"))
        answer = platform.get(f"entitlements/{alice.pk}/")
        assert (answer["allowed"], answer["status"]) == (allowed, status)
        assert answer["reason"] == (None if allowed else status)
        assert (answer["suspends_at"], answer["amount_to_clear"]) == ("2026-03-07T02:00:00+08:00", yuan_of("2.00"))
    top_up(alice, "2.00", "2026-03-14T02:00")
    answer = platform.get(f"entitlements/{alice.pk}/")
    assert (answer["allowed"], answer["reason"], answer["suspends_at"]) == (True, None, None)


@pytest.mark.parametrize("account", ["0", "999999999", "x", "-1", "٣", "9" * 30])
def test_an_unknown_account_is_404(platform: Api, account: str) -> None:
    assert platform.refusal("GET", f"entitlements/{account}/") == (404, "not_found")


def listed(platform: Api, **query: str) -> list[str]:
    return [row["account_id"] for row in platform.get("entitlements/", **query)["results"]]


def test_the_list_has_the_same_objects_by_status_and_in_pages(platform: Api, clock: time_machine.Traveller) -> None:
    alice, bob = opened("alice"), indebted()
    both = [str(alice.pk), str(bob.pk)]
    assert listed(platform) == both
    assert platform.get("entitlements/")["results"] == [platform.get(f"entitlements/{pk}/") for pk in both]
    for when, status in (("07T02:00", "arrears"), ("08T02:00", "suspended"), ("15T02:00", "reclaimed")):
        clock.move_to(at(f"2026-03-{when}"))
        for asked in ("arrears", "suspended", "reclaimed"):
            assert listed(platform, status=asked) == ([str(bob.pk)] if asked == status else [])
        assert listed(platform, status="active") == [str(alice.pk)]
    first = platform.get("entitlements/", page_size=1)
    assert [row["account_id"] for row in platform.get(first["next"])["results"]] == both[1:]
    assert platform.refusal("GET", "entitlements/?status=fine") == (400, "invalid")


def test_what_changed_since_a_moment(platform: Api, clock: time_machine.Traveller) -> None:
    still, debtor, new = opened("still"), indebted(), opened("new", on="2026-03-08", balance=None)
    switcher = opened("switcher")
    switch_mode(account_id=switcher.pk, mode="traffic", now=at("2026-03-08T10:00"))
    use(still, "ai.pet", 400, "2026-03-07T10:00")  # a bill is no change of what may be served
    night("2026-03-08T02:00")
    clock.move_to(at("2026-03-20T00:00"))

    def since(moment: str) -> set[int]:
        return {int(pk) for pk in listed(platform, changed_since=f"2026-03-{moment}+08:00")}

    every = {still.pk, debtor.pk, new.pk, switcher.pk}
    assert since("01T00:00:00") == every
    assert since("01T00:00:01") == {debtor.pk, new.pk, switcher.pk}
    assert since("07T02:00:00") == {debtor.pk, new.pk, switcher.pk}  # fell into arrears
    assert since("08T02:00:00") == {debtor.pk, switcher.pk}  # suspended by time alone; the switch of the 9th
    assert since("09T00:00:00") == {debtor.pk}
    assert since("15T02:00:00") == {debtor.pk}  # reclaimed
    assert since("15T02:00:01") == set()
    top_up(debtor, "1.00", "2026-03-19T10:00")
    assert since("15T02:00:01") == set()
    top_up(debtor, "1.00", "2026-03-19T11:00")
    assert since("15T02:00:01") == {debtor.pk}
    top_up(debtor, "1.00", "2026-03-19T12:00")
    assert since("19T11:00:01") == set()
    for wrong in ("yesterday", "2026-03-08", "2026-03-08T10:00:00", ""):
        assert problem(platform.client.get(f"{BASE}entitlements/", {"changed_since": wrong}))["code"] == "invalid"


def test_a_short_debt_between_two_looks_is_a_change(platform: Api) -> None:
    debtor = indebted()
    top_up(debtor, "10.00", "2026-03-07T03:00")
    assert listed(platform, changed_since="2026-03-07T02:30:00+08:00") == [str(debtor.pk)]
    assert listed(platform, changed_since="2026-03-07T02:30:00 08:00") == [str(debtor.pk)], "a + that was not encoded"
    assert listed(platform, changed_since="2026-03-07T04:00:00+08:00") == []


def test_frozen_and_other_regions_units_are_told_apart(platform: Api) -> None:
    alice = opened("alice")
    buy(alice, "traffic-down-1tb", "2026-03-05T10:00")
    switch_mode(account_id=alice.pk, mode="traffic", now=at("2026-03-05T12:00"))
    use(alice, "traffic.down", 200 * GB, "2026-03-06T10:00")
    night("2026-03-07T02:00")
    answer = platform.get(f"entitlements/{alice.pk}/", item="traffic.down")
    assert answer["items"] == [{"item": "traffic.down", "pack_remaining": 800 * GB, "pack_frozen": 0}]
