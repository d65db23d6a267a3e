"""The API's ledger, bills and estimate: shapes to the letter."""

from collections.abc import Iterator

import pytest
import time_machine

from accounts.models import Account
from tests.api_client import BASE, Api, problem, yuan_of
from tests.worlds import GB, at, bill_of, bills_of, buy, event, night, opened, send, use

pytestmark = pytest.mark.django_db

NOW = "2026-03-08T12:00"


@pytest.fixture(autouse=True)
def clock() -> Iterator[None]:
    """Noon of 8 March 2026."""
    with time_machine.travel(at(NOW), tick=False):
        yield


@pytest.fixture
def alice() -> Account:
    return opened("alice")


def test_the_ledger_shows_what_moves_the_balance(alice: Account) -> None:
    [pack] = buy(alice, "pet-100k", "2026-03-01T10:00")
    use(alice, "ai.pet", 100_400, "2026-03-05T10:00")
    night("2026-03-06T02:00")
    rows = Api(alice).get("ledger/")["results"]
    assert [(row["kind"], row["amount"]["amount"], row["balance_after"]["amount"]) for row in rows] == [
        ("usage", "-1.00", "99749.00"),
        ("purchase", "-250.00", "99750.00"),
        ("top_up", "100000.00", "100000.00"),
    ]
    assert rows[1] == {
        "transfer_id": str(alice.transfers.get(kind="purchase").pk),
        "time": "2026-03-01T10:00:00+08:00",
        "kind": "purchase",
        "amount": yuan_of("-250.00"),
        "balance_after": yuan_of("99750.00"),
        "reference": f"order:{pack.order_line.order_id}",
    }


def test_a_bill_to_the_letter(alice: Account) -> None:
    [pack] = buy(alice, "pet-100k", "2026-03-01T10:00")
    use(alice, "ai.face", 3, "2026-03-05T10:00")
    use(alice, "ai.pet", 100_100, "2026-03-05T10:00")
    night("2026-03-06T02:00")
    [bill] = bills_of(alice)
    api = Api(alice)
    head = {
        "bill_id": str(bill.pk),
        "day": "2026-03-05",
        "sequence": 1,
        "rated_total": yuan_of("0.251500"),
        "carry_in": yuan_of("0.000000"),
        "amount_due": yuan_of("0.25"),
        "carry_out": yuan_of("0.001500"),
        "settled_at": "2026-03-06T02:00:00+08:00",
    }
    assert api.get("bills/")["results"] == [head]
    face = {"item": "ai.face", "region": "cn-mainland", "quantity": 3, "drawn": 0, "charged": 3, "per": 1000}
    pet = {
        "item": "ai.pet",
        "region": "cn-mainland",
        "quantity": 100_100,
        "drawn": 100_000,
        "charged": 100,
        "per": 1000,
    }
    drawdowns = [{"pack_id": str(pack.pk), "quantity": 100_000}]
    lines = [
        face | {"price": yuan_of("0.500000"), "amount": yuan_of("0.001500"), "drawdowns": []},
        pet | {"price": yuan_of("2.500000"), "amount": yuan_of("0.250000"), "drawdowns": drawdowns},
    ]
    assert api.get(f"bills/{bill.pk}/") == head | {"lines": lines}


def test_bills_come_newest_day_first_and_within_days_both_inclusive(alice: Account) -> None:
    for day in (4, 5, 6):
        use(alice, "ai.pet", 400, f"2026-03-0{day}T10:00", received="2026-03-06T12:00")
    night("2026-03-07T02:00")
    use(alice, "ai.pet", 800, "2026-03-05T10:00", received="2026-03-07T12:00")
    night("2026-03-08T02:00")
    api = Api(alice)

    def shown(**query: str) -> list[tuple[str, int]]:
        return [(row["day"][-2:], row["sequence"]) for row in api.get("bills/", **query)["results"]]

    assert shown() == [("06", 1), ("05", 2), ("05", 1), ("04", 1)]
    assert shown(**{"from": "2026-03-05"}) == [("06", 1), ("05", 2), ("05", 1)]
    assert shown(**{"from": "2026-03-05", "to": "2026-03-05"}) == [("05", 2), ("05", 1)]
    assert shown(to="2026-03-04", page_size="1") == [("04", 1)]
    late = api.get(f"bills/{bill_of(alice, '2026-03-05', 2).pk}/")
    assert (late["amount_due"], late["lines"][0]["quantity"]) == (yuan_of("2.00"), 800)
    for query in ("from=2026-3-5", "to=yesterday", "from=2026-02-30"):
        answer = problem(api.client.get(f"{BASE}bills/?{query}"))
        assert (answer["code"], list(answer["errors"])) == ("invalid", [query.split("=")[0]])


def test_the_estimate_settles_pending_days_and_today_without_changing_anything(alice: Account) -> None:
    [pack] = buy(alice, "pet-100k", "2026-03-01T10:00")
    for day, calls in ((6, 60_000), (7, 60_000), (8, 400)):
        use(alice, "ai.pet", calls, f"2026-03-0{day}T10:00")
    send([event(alice, "traffic.down", GB, "2026-03-08T10:00:00")], NOW)
    shown = Api(alice).get("estimate/")
    assert (shown["as_of"], shown["balance_after"]) == ("2026-03-08T12:00:00+08:00", yuan_of("99699.00"))
    assert [(bill["day"], bill["amount_due"]["amount"]) for bill in shown["pending_days"]] == [
        ("2026-03-06", "0.00"),
        ("2026-03-07", "50.00"),
    ]
    money = {"price": yuan_of("2.500000"), "per": 1000, "amount": yuan_of("1.000000"), "drawdowns": []}
    pet = {"item": "ai.pet", "region": "cn-mainland", "quantity": 400, "drawn": 0, "charged": 400}
    assert shown["today"] == {
        "day": "2026-03-08",
        "sequence": 1,
        "rated_total": yuan_of("1.000000"),
        "carry_in": yuan_of("0.000000"),
        "amount_due": yuan_of("1.00"),
        "carry_out": yuan_of("0.000000"),
        "lines": [pet | money],
    }
    pack.refresh_from_db()
    assert (bills_of(alice), pack.remaining) == ([], 100_000)
    night("2026-03-09T02:00")
    assert Api(alice).get("account/")["balance"] == shown["balance_after"]


def test_the_estimate_of_a_day_without_usage_is_empty(alice: Account) -> None:
    shown = Api(alice).get("estimate/")
    assert (shown["pending_days"], shown["today"], shown["balance_after"]) == ([], None, yuan_of("100000.00"))
