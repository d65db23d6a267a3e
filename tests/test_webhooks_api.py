"""The webhook calls of the API: endpoints of accounts and of the platform, deliveries with their attempts."""

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from accounts.models import Account, User
from accounts.opening import open_account
from accounts.webhook_models import Delivery, Endpoint, EventType
from accounts.webhooks import MOST_ENDPOINTS, turn_off
from tests.api_client import Api, problem
from tests.hooks import Receiver, deliver, listen, receiving, status
from tests.worlds import assert_books, opened, top_up

pytestmark = pytest.mark.django_db

URL = "https://example.com/hook"


@pytest.fixture(autouse=True)
def proven() -> Iterator[None]:
    """Every test leaves true books."""
    yield
    assert_books()


@pytest.fixture
def receiver(settings: Settings) -> Iterator[Receiver]:
    settings.WEBHOOK_ALLOW_NETS = [ip_network("127.0.0.0/8")]
    with receiving() as it:
        yield it


def added(api: Api, **body: Any) -> Any:
    """The answer to adding an endpoint."""
    response = api.call("POST", "webhooks/", {"url": URL, **body})
    assert response.status_code == 201, response.content
    return response.json()


def test_the_secret_is_in_the_answer_of_post_and_of_rotate_only() -> None:
    alice = Api(opened())
    made = added(alice, events=["bill.ready", "order.placed"])
    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    assert made.items() >= {"url": URL, "events": ["bill.ready", "order.placed"], "disabled_at": None}.items()
    path = f"webhooks/{made['webhook_id']}/"
    assert alice.get("webhooks/")["results"] == [made]
    assert alice.get(path) == made
    rotated = alice.call("POST", path + "rotate/").json()
    assert rotated.pop("secret") not in ("", secret)
    assert rotated == made
    top_up(Account.objects.get(), "1.00", "2026-03-01T10:00")
    for shown in ("webhooks/", path, path + "deliveries/"):
        assert "whsec_" not in str(alice.get(shown))
    assert alice.call("DELETE", path).status_code == 204
    assert alice.get("webhooks/")["results"] == []
    assert alice.refusal("DELETE", path) == (404, "not_found")


def test_events_left_out_are_all_and_a_repeated_one_counts_once() -> None:
    alice = Api(opened())
    assert added(alice)["events"] == EventType.values
    assert added(alice, events=["pack.low", "bill.ready", "pack.low"])["events"] == ["bill.ready", "pack.low"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (None, "url"),
        ([], "url"),
        ({"events": ["bill.ready"]}, "url"),
        ({"url": 5}, "url"),
        ({"url": "http://"}, "url"),
        ({"url": "https://10.0.0.1/"}, "url"),
        ({"url": URL, "events": []}, "events"),
        ({"url": URL, "events": "bill.ready"}, "events"),
        ({"url": URL, "events": ["bill.made"]}, "events"),
        ({"url": URL, "events": [None]}, "events"),
        ({"url": URL + "\u0000"}, "url"),
    ],
)
def test_bad_bodies_are_invalid_and_say_where_in_english(body: Any, field: str) -> None:
    shown = problem(Api(opened()).call("POST", "webhooks/", body))
    assert (shown["status"], shown["code"], list(shown["errors"])) == (400, "invalid", [field])
    assert str(shown["errors"]).isascii()
    assert Endpoint.objects.count() == 0


def test_an_account_has_ten_at_most() -> None:
    account = opened()
    alice = Api(account)
    for _ in range(MOST_ENDPOINTS):
        added(alice)
    assert alice.refusal("POST", "webhooks/", {"url": URL}) == (409, "too_many_webhooks")
    added(Api(None))
    first = alice.get("webhooks/")["results"][-1]["webhook_id"]
    alice.call("DELETE", f"webhooks/{first}/")
    added(alice)


def test_nobody_reaches_anothers_endpoints_not_even_the_platform() -> None:
    account = opened("alice")
    alice, bob, platform = Api(account), Api(opened("bob")), Api(None)
    hers, ours = added(alice)["webhook_id"], added(platform)["webhook_id"]
    top_up(account, "1.00", "2026-03-01T10:00")
    delivery = Delivery.objects.get(endpoint_id=hers).pk
    for caller, webhook in ((bob, hers), (platform, hers), (alice, ours), (bob, ours), (alice, "x"), (alice, "9" * 30)):
        for method, path in (
            ("GET", ""),
            ("DELETE", ""),
            ("POST", "rotate/"),
            ("POST", "enable/"),
            ("GET", "deliveries/"),
            ("POST", f"deliveries/{delivery}/resend/"),
        ):
            assert caller.refusal(method, f"webhooks/{webhook}/{path}") == (404, "not_found"), (webhook, path)
    second = added(alice)["webhook_id"]
    assert alice.refusal("POST", f"webhooks/{second}/deliveries/{delivery}/resend/") == (404, "not_found")
    assert [one["webhook_id"] for one in bob.get("webhooks/")["results"]] == []
    assert [one["webhook_id"] for one in platform.get("webhooks/")["results"]] == [ours]


def test_without_a_key_and_without_an_account() -> None:
    for method, path in (("GET", ""), ("POST", ""), ("GET", "1/"), ("POST", "1/rotate/"), ("GET", "1/deliveries/")):
        assert problem(Client().generic(method, f"/api/v1/webhooks/{path}"))["code"] == "not_authenticated"
    staff = Client()
    staff.force_login(User.objects.create_superuser(email="staff@example.com"))
    assert problem(staff.get("/api/v1/webhooks/"))["code"] == "wrong_role"
    owner = open_account(name="alice", now=timezone.now(), email="alice@example.com")
    browser = Client(enforce_csrf_checks=True)
    assert owner.user is not None
    browser.force_login(owner.user)
    assert browser.get("/api/v1/webhooks/").status_code == 200
    assert problem(browser.post("/api/v1/webhooks/", {"url": URL}, content_type="application/json"))["code"] == (
        "csrf_failed"
    )


def test_deliveries_show_each_attempt_and_its_answer_and_can_be_sent_again(receiver: Receiver) -> None:
    account = opened()
    alice = Api(account)
    webhook = added(alice, url=receiver.url)["webhook_id"]
    top_up(account, "1.00", "2026-03-01T10:00")
    receiver.answer = status(500, "坏了".encode())
    deliver(timezone.now())
    path = f"webhooks/{webhook}/deliveries/"
    [shown] = alice.get(path)["results"]
    assert (shown["type"], shown["status"]) == ("payment.received", "pending")
    assert shown["body"]["data"]["amount"] == {"amount": "1.00", "currency": "CNY"}
    assert shown["next_attempt_at"]
    [attempt] = shown["attempts"]
    assert (attempt["status"], attempt["answer"], attempt["error"]) == (500, "坏了", None)
    assert 0 <= attempt["milliseconds"] < 5000
    assert alice.get(path, status="failed")["results"] == []
    receiver.answer = status(200)
    again = alice.call("POST", f"{path}{shown['delivery_id']}/resend/")
    assert (again.status_code, again.json()["status"], again.json()["message_id"]) == (
        202,
        "pending",
        shown["message_id"],
    )
    deliver(timezone.now())
    [shown] = alice.get(path, status="delivered", type="payment.received")["results"]
    assert [attempt["status"] for attempt in shown["attempts"]] == [500, 200]
    assert [got.id for got in receiver.got] == [shown["message_id"]] * 2
    for query in ({"status": "lost"}, {"type": "bill.made"}, {"page_size": 0}):
        response = alice.client.get("/api/v1/" + path, query)
        assert problem(response)["code"] == "invalid", query


def test_an_endpoint_that_was_turned_off_is_turned_on_again() -> None:
    account = opened()
    alice = Api(account)
    webhook = added(alice)["webhook_id"]
    top_up(account, "1.00", "2026-03-01T10:00")
    turn_off(Endpoint.objects.get(), timezone.now())
    path = f"webhooks/{webhook}/"
    assert alice.get(path)["disabled_at"]
    [shown] = alice.get(path + "deliveries/")["results"]
    assert shown["status"] == "failed"
    resend = f"{path}deliveries/{shown['delivery_id']}/resend/"
    assert alice.refusal("POST", resend) == (409, "webhook_disabled")
    assert alice.call("POST", path + "enable/").json()["disabled_at"] is None
    assert alice.call("POST", resend).status_code == 202


def test_lists_are_paged_and_ask_no_more_for_fifty_than_for_one(receiver: Receiver) -> None:
    account = opened()
    alice = Api(account)
    endpoint, _ = listen(account, receiver.url)
    path = f"webhooks/{endpoint.pk}/deliveries/"

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            alice.get(path)
        return len(captured)

    top_up(account, "1.00", "2026-03-01T10:00")
    deliver(timezone.now())
    alice.get(path)
    few = queries()
    for _ in range(49):
        top_up(account, "1.00", "2026-03-01T10:00")
    deliver(timezone.now())
    assert queries() == few
    page = alice.get(path, page_size=30)
    rest = alice.get(page["next"])
    ids = [int(one["delivery_id"]) for one in page["results"] + rest["results"]]
    assert ids == sorted(ids, reverse=True)
    assert (len(set(ids)), rest["next"]) == (50, None)
