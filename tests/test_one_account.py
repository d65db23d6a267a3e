"""What is asked about one account never scans a day's usage, and a question about one day reads that day alone."""

import re
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any, NamedTuple

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from accounts.models import Account, User
from packs.models import Item
from settlement.estimate import estimate
from settlement.expiry import expire_usage
from settlement.models import Bill
from settlement.usage import day_quantities, day_slots
from tests.api_client import Api
from tests.worlds import MBPS, at, buy, night, opened, use

pytestmark = pytest.mark.django_db

NOW = "2026-03-07T12:00"
EXPIRED, SETTLED, YESTERDAY, TODAY = "20260105", "20260305", "20260306", "20260307"
OTHERS = 40
MOST_ROWS = 100
"""Of usage that one page may read: a crowded day has 12,000, and Alice a handful."""

CROWD = """
INSERT INTO settlement_usageevent
SELECT %(day)s, '/crowd', 'c' || n, (%(accounts)s::bigint[])[1 + n %% %(others)s], %(item)s, 'cn-mainland', 'r' || n,
       1000, %(day)s::date + interval '10 hours', %(day)s::date + interval '10 hours'
FROM generate_series(1, 12000) AS n
"""
KEPT_CROWD = """
INSERT INTO settlement_dayusage
SELECT account, date '2026-01-05' - n, item.id, 'cn-mainland', 1000, NULL
FROM unnest(%(accounts)s::bigint[]) AS account, generate_series(0, 14) AS n, packs_item AS item
"""


class World(NamedTuple):
    """Alice, in a crowd, and the key of each object in an address."""

    alice: Account
    keys: dict[str, list[int]]


@pytest.fixture
def world() -> Iterator[World]:
    """Alice's days: one expired, one settled, one pending and today; in each the usage of many others beside hers."""
    alice = opened("alice", on="2026-01-01")
    alice.user = User.objects.create_user("alice@example.com", "secret")
    alice.save(update_fields=["user"])
    [pack] = buy(alice, "pet-100k", "2026-03-06T10:00")
    for day in ("2026-01-05", "2026-03-05", "2026-03-06", "2026-03-07"):
        for item in ("ai.pet", "bandwidth.down", "storage.standard"):
            use(alice, item, 30 * MBPS, f"{day}T10:00", resource="a")
        if day == "2026-01-05":
            night("2026-01-06T02:00")
            expire_usage(before=date(2026, 1, 6), now=at("2026-02-10T10:00"))
    night("2026-03-06T02:00")
    crowd: dict[str, Any] = {"accounts": [opened(f"other {n}").pk for n in range(OTHERS)], "others": OTHERS}
    with connection.cursor() as cursor:
        for day in ("2026-03-05", "2026-03-06", "2026-03-07"):
            cursor.execute(CROWD, crowd | {"day": day, "item": Item.objects.get(code="bandwidth.down").pk})
        cursor.execute(KEPT_CROWD, crowd)
        cursor.execute("SET LOCAL lock_timeout = 0")  # what expires days is impatient until the transaction ends
        cursor.execute("ANALYZE settlement_usageevent")
        cursor.execute("ANALYZE settlement_dayusage")
    bills = list(Bill.objects.filter(account=alice).order_by("day").values_list("pk", flat=True))
    assert len(bills) == 2
    with time_machine.travel(at(NOW)):
        yield World(alice, {"bills": bills, "packs": [pack.pk], "orders": [pack.order_line.order_id]})


class Reads(NamedTuple):
    """What was read of a table: sequential scans, index scans, and rows by either."""

    scans: int
    lookups: int
    rows: int


def reads(act: Callable[[], Any]) -> dict[str, Reads]:
    """What an act read of usage, by day (`kept` for what is kept of expired ones)."""
    before = _counters()
    act()
    after = _counters()
    nothing = Reads(0, 0, 0)
    found = {
        name: Reads(*(new - old for new, old in zip(counts, before.get(name, nothing), strict=True)))
        for name, counts in after.items()
    }
    return {name: counts for name, counts in found.items() if counts.scans or counts.rows}


def _counters() -> dict[str, Reads]:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT CASE relname WHEN 'settlement_dayusage' THEN 'kept' ELSE right(relname, 8) END,
                      coalesce(seq_scan, 0), coalesce(idx_scan, 0),
                      coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)
            FROM pg_stat_xact_user_tables
            WHERE relname LIKE 'settlement\\_usageevent\\_%' OR relname = 'settlement_dayusage'"""
        )
        return {name: Reads(*counts) for name, *counts in cursor.fetchall()}


def addresses(world: World) -> list[str]:
    """Every address of the site but the admin's, with Alice's own objects in it."""

    def flat(patterns: list[Any], prefix: str = "") -> Iterator[str]:
        for pattern in patterns:
            route = prefix + str(pattern.pattern)
            if isinstance(pattern, URLResolver):
                if pattern.app_name != "admin":
                    yield from flat(pattern.url_patterns, route)
            elif isinstance(pattern, URLPattern) and pattern.name:
                yield route

    found = []
    for route in flat(get_resolver().url_patterns):
        key = next((keys for name, keys in world.keys.items() if f"{name}/<" in route), [world.alice.pk])
        found += sorted({"/" + re.sub(r"<[^>]*>", str(one), route) for one in key})
    return found


def test_no_page_and_no_call_scans_a_day(world: World, client: Client) -> None:
    assert world.alice.user is not None
    client.force_login(world.alice.user)
    by_key, platform = Api(world.alice).client, Api(None).client
    seen = set()
    for address in addresses(world):
        for caller in (client, by_key, platform):
            answers: list[Any] = []
            found = reads(lambda: answers.append(caller.get(address)))  # noqa: B023
            assert answers[0].status_code < 500, address
            assert not [day for day, of in found.items() if of.scans], (address, found)
            assert sum(of.rows for of in found.values()) <= MOST_ROWS, (address, found)
            seen |= {(address, day) for day in found}
    expired, settled = world.keys["bills"]
    pack = world.keys["packs"][0]
    assert {
        ("/", YESTERDAY),
        ("/", TODAY),
        (f"/packs/{pack}/refund/", YESTERDAY),
        (f"/packs/{pack}/refund/", TODAY),
        (f"/bills/{settled}/", SETTLED),
        (f"/bills/{expired}/", "kept"),
        ("/api/v1/estimate/", YESTERDAY),
        ("/api/v1/estimate/", TODAY),
    } <= seen


def test_a_question_about_one_day_touches_that_day_alone(world: World) -> None:
    bandwidth = Item.objects.get(code="bandwidth.down").pk
    one = [world.alice.pk]
    assert list(reads(lambda: day_quantities(one, date(2026, 3, 5)))) == [SETTLED]
    assert list(reads(lambda: day_slots(one[0], bandwidth, "cn-mainland", date(2026, 3, 6)))) == [YESTERDAY]
    assert list(reads(lambda: day_quantities(one, date(2026, 1, 5)))) == ["kept"]
    assert list(reads(lambda: day_slots(one[0], bandwidth, "cn-mainland", date(2026, 1, 5)))) == ["kept"]
    assert sorted(reads(lambda: estimate(one[0], at(NOW)))) == [YESTERDAY, TODAY]


def test_the_counters_would_see_a_scan(world: World) -> None:
    scan = "SELECT count(*) FROM settlement_usageevent WHERE resource = 'r7' AND day = '2026-03-06'"

    def careless() -> None:
        with connection.cursor() as cursor:
            cursor.execute(scan)

    found = reads(careless)
    assert list(found) == [YESTERDAY]
    assert found[YESTERDAY].scans
    assert found[YESTERDAY].rows > MOST_ROWS
