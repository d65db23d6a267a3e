"""`GET usage/`: what is settled, pending and not billable, and that no day's partition is scanned for it."""

from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
import time_machine
from django.db import connection

from accounts.models import Account
from accounts.modes import switch_mode
from settlement.expiry import expire_usage
from tests.api_client import BASE, Api, problem
from tests.worlds import GB, MBPS, at, event, night, opened, send, use

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def clock() -> Iterator[None]:
    """Noon of 8 March 2026."""
    with time_machine.travel(at("2026-03-08T12:00"), tick=False):
        yield


@pytest.fixture
def alice() -> Account:
    return opened("alice")


def shown(account: Account, **query: Any) -> list[tuple[str, str, int, str]]:
    rows = Api(account).get("usage/", **query)["results"]
    return [(row["day"][-2:], row["item"], row["quantity"], row["state"]) for row in rows]


def test_a_row_to_the_letter(alice: Account) -> None:
    use(alice, "ai.pet", 400, "2026-03-05T10:00")
    assert Api(alice).get("usage/") == {
        "next": None,
        "previous": None,
        "results": [
            {
                "day": "2026-03-05",
                "item": "ai.pet",
                "region": "cn-mainland",
                "quantity": 400,
                "unit": "call",
                "state": "pending",
            }
        ],
    }


def test_a_billed_day_with_late_usage_has_a_row_for_each_part(alice: Account) -> None:
    use(alice, "ai.pet", 100, "2026-03-05T10:00")
    night("2026-03-06T02:00")
    assert shown(alice) == [("05", "ai.pet", 100, "settled")]
    use(alice, "ai.pet", 40, "2026-03-05T10:00", received="2026-03-08T10:00")
    assert shown(alice) == [("05", "ai.pet", 100, "settled"), ("05", "ai.pet", 40, "pending")]
    night("2026-03-09T02:00")
    assert shown(alice) == [("05", "ai.pet", 140, "settled")]


def test_what_the_days_mode_does_not_bill_is_not_billable_before_and_after_the_night(alice: Account) -> None:
    for day in ("06", "07", "08"):
        use(alice, "traffic.down", GB, f"2026-03-{day}T10:00")
        use(alice, "bandwidth.down", 5 * MBPS, f"2026-03-{day}T10:00")
        if day == "06":
            switch_mode(account_id=alice.pk, mode="traffic", now=at("2026-03-06T12:00"))
    before = {("06", "traffic.down"), ("07", "bandwidth.down"), ("08", "bandwidth.down")}
    for settled in (False, True):
        if settled:
            night("2026-03-08T02:00")
        rows = shown(alice)
        assert {(day, item) for day, item, _, state in rows if state == "not_billable"} == before
        billable = {state for day, item, _, state in rows if (day, item) not in before and day != "08"}
        assert billable == {"settled" if settled else "pending"}
        assert len(rows) == 6


def test_the_quantity_is_the_items_own_aggregate(alice: Account) -> None:
    for minute, quantity in ((0, 3), (1, 5), (7, 4)):
        use(alice, "bandwidth.down", quantity * MBPS, f"2026-03-05T10:{minute:02}")
    use(alice, "device.gb28181", None, "2026-03-05T10:00", resource="a")
    use(alice, "device.gb28181", None, "2026-03-05T11:00", resource="a")
    assert shown(alice) == [("05", "bandwidth.down", 5 * MBPS, "pending"), ("05", "device.gb28181", 1, "pending")]


def test_days_items_and_faults(alice: Account) -> None:
    for day in (4, 5, 6):
        use(alice, "ai.pet", day, f"2026-03-0{day}T10:00")
        use(alice, "ai.face", day, f"2026-03-0{day}T10:00")
    night("2026-03-06T02:00")
    assert [row[:2] for row in shown(alice)] == [
        (day, item) for day in ("06", "05", "04") for item in ("ai.face", "ai.pet")
    ]
    assert [row[0] for row in shown(alice, item="ai.pet")] == ["06", "05", "04"]
    assert [row[0] for row in shown(alice, item="ai.pet", to="2026-03-05")] == ["05", "04"]
    assert shown(alice, **{"from": "2026-03-06"}, item="ai.face") == [("06", "ai.face", 6, "pending")]
    assert shown(alice, **{"from": "0001-01-01"}, to="0001-01-02") == shown(alice, **{"from": "9999-12-31"}) == []
    assert shown(alice, to="9999-12-31", **{"from": "0001-01-01"}) == shown(alice)
    for query in ("item=ai.cat", "item=", "item=%00", "from=x", "page_size=0", "cursor=x", "cursor=YWZ0ZXIgMSAyIDMgeA"):
        answer = problem(Api(alice).client.get(f"{BASE}usage/?{query}"))
        assert (answer["status"], answer["code"], list(answer["errors"])) == (400, "invalid", [query.partition("=")[0]])


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7])
def test_pages_both_ways_lose_and_repeat_nothing(alice: Account, size: int) -> None:
    bob = opened("bob")
    use(bob, "ai.pet", 1, "2026-03-05T10:00")
    for day in range(1, 9):
        for item in ("ai.pet", "ai.face", "traffic.up")[: 1 + day % 3]:
            use(alice, item, day * GB, f"2026-03-0{day}T10:00")
        use(alice, "ai.body", 0, f"2026-03-0{day}T10:00")
    night("2026-03-06T02:00")
    use(alice, "ai.pet", 3, "2026-03-03T10:00", received="2026-03-08T10:00")
    api = Api(alice)
    whole = api.get("usage/")["results"]
    assert len(whole) == 18
    forward, pages, page = [], [], api.get("usage/", page_size=size)
    assert page["previous"] is None
    while True:
        forward += page["results"]
        pages.append(page["results"])
        if page["next"] is None:
            break
        page = api.get(page["next"])
    assert forward == whole
    assert {len(rows) for rows in pages[:-1]} == {size}
    backward = [pages[-1]]
    while page["previous"] is not None:
        page = api.get(page["previous"])
        backward.append(page["results"])
    assert [row for rows in reversed(backward) for row in rows] == whole


def test_days_that_count_as_nothing_hide_no_others(alice: Account) -> None:
    use(alice, "ai.pet", 7, "2026-03-01T10:00")
    for day in range(2, 9):
        use(alice, "ai.pet", 0, f"2026-03-0{day}T10:00")
    first = Api(alice).get("usage/", page_size=1)
    assert [row["quantity"] for row in first["results"]] == [7]


def test_no_days_partition_is_scanned(alice: Account) -> None:
    others = [opened(f"other {n}") for n in range(40)]
    events = [
        event(other, "ai.pet", 1, f"2026-03-0{day}T10:00:00", source=f"/edge/{n}")
        for other in others
        for day in (4, 5)
        for n in range(60)
    ]
    send(events, "2026-03-05T12:00")
    use(alice, "ai.pet", 7, "2026-03-04T10:00", received="2026-03-05T12:00")
    use(alice, "traffic.down", GB, "2026-03-05T10:00")
    night("2026-03-06T02:00")
    use(alice, "ai.pet", 7, "2026-03-05T10:00", received="2026-03-07T12:00")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE settlement_usageevent")
    asked: list[tuple[str, Any]] = []

    def note(execute: Any, statement: str, values: Any, many: bool, context: Any) -> Any:
        asked.append((statement, values))
        return execute(statement, values, many, context)

    with connection.execute_wrapper(note):
        assert len(shown(alice)) == 3
    touching = [(statement, values) for statement, values in asked if "settlement_usageevent" in statement]
    assert len(touching) == 2
    for statement, values in touching:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {statement}", values)
            plan = "\n".join(line for (line,) in cursor.fetchall())
        assert "Seq Scan on settlement_usageevent" not in plan, plan
        assert "account_id = " in plan


def test_a_day_whose_events_have_expired_reads_as_before() -> None:
    alice = opened(on="2026-01-05")
    use(alice, "ai.pet", 7, "2026-01-05T10:00")
    use(alice, "traffic.down", GB, "2026-01-05T10:00")
    use(alice, "bandwidth.down", 5 * MBPS, "2026-01-05T10:00")
    night("2026-01-06T02:00")
    before = shown(alice)
    assert [row[1] for row in before if row[3] == "not_billable"] == ["traffic.down"]
    assert len(before) == 3
    [expired] = expire_usage(before=date(2026, 1, 6), now=at("2026-03-08T12:00"))
    assert expired.kept == 3
    assert shown(alice) == before
    assert shown(alice, item="traffic.down") == [("05", "traffic.down", GB, "not_billable")]
