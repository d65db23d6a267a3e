"""The API: who may ask, errors and lists, the catalogue and the account; shapes to the letter."""

from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest
import time_machine
from django.test import Client
from django.utils import timezone

from accounts.keys import make_key
from accounts.models import Account, ApiKey, User
from tests.api_client import BASE, Api, problem, yuan_of
from tests.worlds import at, bill_of, buy, night, opened, top_up, use, withdraw_from_sale

pytestmark = pytest.mark.django_db

NOW = "2026-03-08T12:00"


@pytest.fixture(autouse=True)
def clock() -> Iterator[time_machine.Traveller]:
    """Noon of 8 March 2026, until a test moves it."""
    with time_machine.travel(at(NOW), tick=False) as coordinates:
        yield coordinates


@pytest.fixture
def alice() -> Account:
    return opened("alice")


CUSTOMER = [
    ("GET", "account/"),
    ("PUT", "account/billing-mode/"),
    ("GET", "orders/"),
    ("POST", "orders/"),
    ("GET", "orders/1/"),
    ("GET", "packs/"),
    ("GET", "packs/1/"),
    ("POST", "packs/1/refund/"),
    ("GET", "packs/1/drawdowns/"),
    ("GET", "bills/"),
    ("GET", "bills/1/"),
    ("GET", "ledger/"),
    ("GET", "estimate/"),
]
EVERY = [*CUSTOMER, ("POST", "usage/")]


# who may ask


@pytest.mark.parametrize(("method", "path"), EVERY)
def test_without_a_key_or_with_a_bad_one_every_call_is_401(method: str, path: str, alice: Account) -> None:
    key = make_key(account_id=alice.pk, name="", now=timezone.now())[1]
    for header in (None, "Bearer nonsense", f"Bearer {key}x", f"Basic {key}", "Bearer", f"Bearer {key[:15]}."):
        response = Client(headers={"Authorization": header} if header else {}).generic(method, BASE + path)
        assert (response.status_code, problem(response)["code"]) == (401, "not_authenticated")
        assert response["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(("method", "path"), CUSTOMER)
def test_a_platform_key_may_not_ask_what_is_a_customers(method: str, path: str) -> None:
    assert Api(None).refusal(method, path, {}) == (403, "wrong_role")


def test_a_customers_key_may_not_send_usage(alice: Account) -> None:
    assert Api(alice).refusal("POST", "usage/", {}) == (403, "wrong_role")


@pytest.mark.parametrize("field", ["revoked_at", "expires_at"])
def test_a_key_that_is_revoked_or_expired_is_a_bad_key(alice: Account, field: str) -> None:
    api = Api(alice)
    assert api.get("account/")
    ApiKey.objects.update(**{field: timezone.now()})
    assert api.refusal("GET", "account/") == (401, "not_authenticated")


def test_only_a_hash_of_a_key_is_stored(alice: Account) -> None:
    secret = Api(alice).key.split(".")[1]
    [row] = ApiKey.objects.values()
    assert len(secret) >= 32
    assert not [name for name, value in row.items() if secret in str(value)]


def test_what_belongs_to_another_account_is_not_there(alice: Account) -> None:
    bob = opened("bob")
    [pack] = buy(alice, "pet-100k", "2026-03-01T10:00")
    use(alice, "ai.pet", 400, "2026-03-05T10:00")
    night("2026-03-06T02:00")
    paths = [f"orders/{pack.order_line.order_id}/", f"packs/{pack.pk}/", f"packs/{pack.pk}/drawdowns/"]
    paths.append(f"bills/{bill_of(alice, '2026-03-05').pk}/")
    for path in paths:
        assert Api(alice).get(path)
        assert Api(bob).refusal("GET", path) == (404, "not_found")
    assert Api(bob).refusal("POST", f"packs/{pack.pk}/refund/") == (404, "not_found")
    for path in ("orders/", "packs/", "bills/"):
        assert Api(bob).get(path)["results"] == []
    assert [row["kind"] for row in Api(bob).get("ledger/")["results"]] == ["top_up"]


def test_a_browser_session_may_ask_and_with_a_csrf_token_act() -> None:
    user = User.objects.create_user("a@example.com", "x")
    account = Account.objects.create(name="a", opened_at=timezone.now(), user=user)
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    assert client.get(BASE + "account/").json()["account_id"] == str(account.pk)

    def switch(**headers: str) -> Any:
        body = {"mode": "traffic"}
        return client.put(BASE + "account/billing-mode/", body, content_type="application/json", headers=headers)

    assert problem(switch())["code"] == "csrf_failed"
    assert client.get(BASE + "account/").json()["pending_billing_mode"] is None
    client.cookies["csrftoken"] = token = "a" * 32
    response = switch(**{"X-CSRFToken": token})
    assert (response.status_code, response.json()["pending_billing_mode"]["mode"]) == (200, "traffic")


def test_a_session_without_an_account_has_the_wrong_role() -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("staff@example.com", "x"))
    response = client.get(BASE + "account/")
    assert (response.status_code, problem(response)["code"]) == (403, "wrong_role")


# errors and lists


@pytest.mark.parametrize(
    "path", ["nothing/", "bills/abc/", "bills/-1/", f"bills/{10**30}/", "bills/٣/", "orders/0/", ""]
)
def test_what_does_not_exist_is_a_problem(alice: Account, path: str) -> None:
    assert Api(alice).refusal("GET", path) == (404, "not_found")


@pytest.mark.parametrize(("method", "path"), [("DELETE", "packs/1/"), ("PATCH", "account/"), ("POST", "catalogue/")])
def test_a_method_that_is_not_taken_is_a_problem(alice: Account, method: str, path: str) -> None:
    assert Api(alice).refusal(method, path, {}) == (405, "method_not_allowed")


def test_a_list_has_pages_both_ways(alice: Account) -> None:
    for number in range(4):
        top_up(alice, f"{number + 1}.00", "2026-03-02T10:00")  # in one instant
    api = Api(alice)
    whole = api.get("ledger/")
    amounts = [row["amount"]["amount"] for row in whole["results"]]
    assert (whole.keys(), whole["next"], whole["previous"]) == ({"next", "previous", "results"}, None, None)
    assert amounts == ["4.00", "3.00", "2.00", "1.00", "100000.00"]
    page, seen, pages = api.get("ledger/", page_size=2), [], []
    while True:
        seen += [row["amount"]["amount"] for row in page["results"]]
        pages.append(page["results"])
        if page["next"] is None:
            break
        page = api.get(page["next"])
    assert (seen, [len(rows) for rows in pages]) == (amounts, [2, 2, 1])
    assert api.get(page["previous"])["results"] == pages[1]


def test_a_page_has_100_rows_by_default_and_1000_at_most(alice: Account) -> None:
    for _ in range(100):
        top_up(alice, "1.00", "2026-03-02T10:00")
    api = Api(alice)
    first = api.get("ledger/")
    assert (len(first["results"]), len(api.get(first["next"])["results"])) == (100, 1)
    assert len(api.get("ledger/", page_size=1000)["results"]) == 101
    for size in ("0", "1001", "-1", "x", ""):
        shown = problem(api.client.get(f"{BASE}ledger/?page_size={size}"))
        assert (shown["status"], shown["code"], list(shown["errors"])) == (400, "invalid", ["page_size"])


@pytest.mark.parametrize("path", ["ledger/", "bills/", "orders/", "packs/"])
def test_a_cursor_that_is_none_is_the_callers_fault(alice: Account, path: str) -> None:
    buy(alice, "pet-100k", "2026-03-01T10:00")
    api = Api(alice)
    api.client.raise_request_exception = False
    answers = {}
    for position in ("p=abc", "p=2026-03-05", "p=99999999999999999999999", "p=a%00b", "r=1&p=", "o=x"):
        response = api.client.get(BASE + path, {"cursor": b64encode(position.encode()).decode()})
        answers[position] = response.status_code
    assert {position: status for position, status in answers.items() if status not in (200, 400, 404)} == {}


# the catalogue


def test_the_catalogue_is_for_anyone_and_says_what_is_in_force() -> None:
    shown = Client(headers={"Authorization": "Bearer nonsense"}).get(BASE + "catalogue/").json()
    assert (shown.keys(), len(shown["packs"]), len(shown["tariff"])) == ({"packs", "tariff"}, 34, 21)
    assert shown["packs"][0] == {
        "sku": "pet-100k",
        "name": "宠物识别资源包",
        "pack_type": "pet",
        "covers": ["ai.pet"],
        "quantity": 100_000,
        "unit": "call",
        "price": yuan_of("250.00"),
        "valid_until": "2099-12-31",
    }
    assert next(row for row in shown["tariff"] if row["item"] == "bandwidth.down") == {
        "item": "bandwidth.down",
        "name": "下行日峰值带宽",
        "region": "cn-mainland",
        "price": yuan_of("0.700000"),
        "per": 1_000_000,
        "unit": "bit/s",
        "aggregation": "peak",
        "requires_billing_mode": "bandwidth",
        "effective_from": "2020-01-01",
    }


def test_catalogue_names_follow_the_language_and_withdrawn_packs_are_gone(client: Client) -> None:
    withdraw_from_sale("pet-100k", timezone.now().isoformat())
    shown = client.get(BASE + "catalogue/", headers={"Accept-Language": "en"}).json()
    assert (shown["packs"][0]["sku"], shown["packs"][0]["name"]) == ("pet-1m", "Pet recognition pack")
    assert shown["tariff"][0]["name"] == "Face detection"


# the account


def test_the_account_to_the_letter(alice: Account) -> None:
    use(alice, "ai.face", 6, "2026-03-05T10:00")
    night("2026-03-06T02:00")
    api = Api(alice)
    expected: dict[str, Any] = {
        "account_id": str(alice.pk),
        "name": "alice",
        "opened_at": "2026-03-01T00:00:00+08:00",
        "balance": yuan_of("100000.00"),
        "carry": yuan_of("0.003000"),
        "status": "active",
        "arrears_since": None,
        "suspends_at": None,
        "reclaims_at": None,
        "billing_mode": "bandwidth",
        "pending_billing_mode": None,
    }
    assert api.get("account/") == expected
    pending = expected | {"pending_billing_mode": {"mode": "traffic", "effective_day": "2026-03-09"}}
    response = api.call("PUT", "account/billing-mode/", {"mode": "traffic"})
    assert (response.status_code, response.json()) == (200, pending)
    assert api.get("account/") == pending
    assert api.call("PUT", "account/billing-mode/", {"mode": "bandwidth"}).json() == expected


def test_an_account_in_arrears_says_since_when_and_until_when(clock: time_machine.Traveller) -> None:
    alice = opened(balance=None)
    use(alice, "ai.plate", 20, "2026-03-05T10:00")
    night("2026-03-06T02:00")
    api = Api(alice)
    times = {
        "arrears_since": "2026-03-06T02:00:00+08:00",
        "suspends_at": "2026-03-07T02:00:00+08:00",
        "reclaims_at": "2026-03-14T02:00:00+08:00",
    }
    for when, status in (("06T02:00", "arrears"), ("07T02:00", "suspended"), ("14T02:00", "reclaimed")):
        clock.move_to(at(f"2026-03-{when}"))
        shown = api.get("account/")
        assert (shown["status"], shown["balance"]) == (status, yuan_of("-2.00"))
        assert times.items() <= shown.items()
    for path in ("orders/", "packs/", "bills/", "ledger/", "estimate/"):  # it can always read
        assert api.get(path)


@pytest.mark.parametrize("body", [{}, {"mode": "both"}, {"mode": None}, {"mode": ["traffic"]}, [], "traffic", "{"])
def test_an_unknown_billing_mode_is_invalid(alice: Account, body: Any) -> None:
    assert Api(alice).refusal("PUT", "account/billing-mode/", body) == (400, "invalid")


def test_arrears_refuse_a_new_switch_and_not_the_taking_back() -> None:
    alice = opened(balance=None)
    api = Api(alice)
    assert api.call("PUT", "account/billing-mode/", {"mode": "traffic"}).status_code == 200
    use(alice, "ai.plate", 20, "2026-03-05T10:00")
    night("2026-03-08T12:00")
    assert api.call("PUT", "account/billing-mode/", {"mode": "bandwidth"}).json()["pending_billing_mode"] is None
    assert api.refusal("PUT", "account/billing-mode/", {"mode": "traffic"}) == (403, "account_in_arrears")
