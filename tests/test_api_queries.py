"""No call's queries grow with the rows that it answers with: the same number for 1 row and for 50."""

from collections.abc import Iterator
from datetime import date, timedelta

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import Account
from packs.models import Order, Pack
from settlement.models import Bill
from tests.api_client import Api
from tests.worlds import at, buy, event, night, opened, send, top_up, use

pytestmark = pytest.mark.django_db
FIRST = date(2026, 3, 1)


@pytest.fixture(autouse=True)
def clock() -> Iterator[None]:
    """Noon of the day after fifty."""
    with time_machine.travel(at("2026-04-20T12:00"), tick=False):
        yield


@pytest.fixture
def small() -> Account:
    """One of each."""
    return world("small", 1)


@pytest.fixture
def large() -> Account:
    """Fifty of each."""
    return world("large", 50)


def world(name: str, number: int) -> Account:
    account = opened(name, on="2026-03-01", balance="1000000")
    items = [f"ai.{kind}" for kind in ("pet", "face", "body")][:number]

    days = [FIRST + timedelta(days=n) for n in range(number)]
    for day in days:
        buy(account, "pet-100k", f"{day}T00:00")
        if number > 1:
            top_up(account, "1.00", f"{day}T00:01")
        send(
            [event(account, item, 40, f"{day}T10:00:00") for item in items],
            f"{day}T12:00",
        )
        use(account, "traffic.down", 5, f"{day}T10:00")
        night(f"{day + timedelta(days=1)}T02:00")
    use(account, "ai.pet", 1, "2026-04-20T10:00")
    return account


def queries(api: Api, path: str, rows: int | None) -> int:
    api.get(path)  # the key's use is written once a minute
    with CaptureQueriesContext(connection) as captured:
        answer = api.get(path)
    if rows is not None:
        assert len(answer["results"]) >= rows, path
    return len(captured)


def test_the_number_of_queries_is_the_same(small: Account, large: Account) -> None:
    counted: dict[str, dict[int, int]] = {}
    for account, rows in ((small, 1), (large, 50)):
        api = Api(account)
        one = {
            "orders/ID/": Order.objects.filter(account=account).latest("pk").pk,
            "packs/ID/": Pack.objects.filter(account=account).earliest("pk").pk,
            "packs/ID/drawdowns/": Pack.objects.filter(account=account).earliest("pk").pk,
            "bills/ID/": Bill.objects.filter(account=account).latest("pk").pk,
        }
        for path in ("orders/", "packs/", "bills/", "ledger/", "usage/", "packs/ID/drawdowns/"):
            real = path.replace("ID", str(one.get(path)))
            counted.setdefault(path, {})[rows] = queries(api, real, rows)
        for path in ("account/", "catalogue/", "estimate/", "orders/ID/", "packs/ID/", "bills/ID/"):
            counted.setdefault(path, {})[rows] = queries(api, path.replace("ID", str(one.get(path))), None)
    assert {path: numbers for path, numbers in counted.items() if numbers[1] != numbers[50]} == {}
    assert max(numbers[50] for numbers in counted.values()) <= 20


def test_an_order_and_a_refund_ask_no_more_for_fifty_packs() -> None:
    numbers = []
    for packs in (1, 50):
        account = opened(f"buyer of {packs}", on="2026-04-20", balance="100000")
        api = Api(account)
        api.get("account/")
        with CaptureQueriesContext(connection) as captured:
            order = api.order([{"sku": "pet-100k", "quantity": packs}]).json()
        with CaptureQueriesContext(connection) as more:
            assert api.call("POST", f"packs/{order['packs'][0]['pack_id']}/refund/").status_code == 200
        numbers.append((len(captured), len(more)))
    assert numbers[0] == numbers[1]


def test_entitlements_ask_no_more_for_fifty_accounts_or_a_thousand_events() -> None:
    platform, numbers = Api(None), []
    accounts = [opened("a")]
    for more in (0, 49):
        accounts += [opened(f"b{n}") for n in range(more)]
        numbers.append(queries(platform, "entitlements/", len(accounts)))
    assert numbers[0] == numbers[1]
    before = queries(platform, f"entitlements/{accounts[0].pk}/", None)
    send([event(accounts[0], "ai.pet", 1, "2026-04-20T10:00:00") for _ in range(1_000)], "2026-04-20T11:00")
    with CaptureQueriesContext(connection) as captured:
        platform.get(f"entitlements/{accounts[0].pk}/")
    assert len(captured) == before
    assert not [query for query in captured if "usage" in query["sql"]]
