"""Keys: made and revoked by customers in the console and by staff in the admin; shown once, hashed, noted when used."""

import re
from collections.abc import Iterator
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from playwright.sync_api import Page
from pytest_django.live_server_helper import LiveServer

from accounts.keys import MOST_KEYS, make_key
from accounts.models import Account, ApiKey, AuditEntry, User
from accounts.opening import open_account
from tests.api_client import Api
from tests.worlds import at, opened

pytestmark = pytest.mark.django_db


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    """Noon of 8 March 2026."""
    with time_machine.travel(at("2026-03-08T12:00"), tick=False) as coordinates:
        yield coordinates


def customer(name: str = "alice") -> tuple[Account, Client]:
    account = open_account(name=name, now=at("2026-03-01T00:00"), email=f"{name}@example.com", password="x")
    assert account.user is not None
    client = Client(headers={"Accept-Language": "en"})
    client.force_login(account.user)
    return account, client


def plain_in(response: Any) -> str:
    [found] = re.findall(r'id="plain">([^<]+)<', response.content.decode())
    return str(unescape(found))


def test_a_customer_makes_a_key_that_works_and_sees_it_once(clock: time_machine.Traveller) -> None:
    account, client = customer()
    response = client.post("/account/keys/", {"name": "night export", "days": "30"})
    plain = plain_in(response)
    assert "no-store" in response["Cache-Control"]
    assert Api(account, key=plain).get("account/")["account_id"] == str(account.pk)
    key = account.api_keys.get()
    assert (key.name, key.expires_at) == ("night export", at("2026-04-07T12:00"))
    later = client.get("/account/keys/").content.decode()
    assert plain not in later
    assert plain.partition(".")[2] not in "".join(map(str, ApiKey.objects.values_list()))
    assert key.prefix in later
    assert "night export" in later


def test_a_key_may_be_in_force_for_ever_and_an_expired_one_opens_nothing(clock: time_machine.Traveller) -> None:
    account, client = customer()
    ever, month = (plain_in(client.post("/account/keys/", {"name": "a", "days": days})) for days in ("", "30"))
    clock.move_to(at("2026-04-07T12:00"))
    assert Api(account, key=ever).get("account/")
    assert Api(account, key=month).refusal("GET", "account/") == (401, "not_authenticated")
    assert account.user is not None
    client.force_login(account.user)
    assert "expired" in client.get("/account/keys/").content.decode()


@pytest.mark.parametrize("entered", [{"name": ""}, {"name": "x" * 121}, {"name": "a", "days": "7"}])
def test_a_key_needs_a_name_and_one_of_the_lifetimes(entered: dict[str, str]) -> None:
    _, client = customer()
    assert "errorlist" in client.post("/account/keys/", entered).content.decode()
    assert not ApiKey.objects.exists()


def test_revoking_asks_first_and_then_is_at_once_and_for_good() -> None:
    account, client = customer()
    plain = plain_in(client.post("/account/keys/", {"name": "a"}))
    path = f"/account/keys/{account.api_keys.get().pk}/revoke/"
    assert client.get(path).status_code == 200
    assert Api(account, key=plain).get("account/")
    assert client.post(path)["Location"] == "/account/keys/"
    revoked_at = account.api_keys.get().revoked_at
    client.post(path)
    assert account.api_keys.get().revoked_at == revoked_at
    assert Api(account, key=plain).refusal("GET", "account/") == (401, "not_authenticated")


def test_an_account_has_so_many_keys_in_force_and_no_more() -> None:
    account, client = customer()
    for _ in range(MOST_KEYS):
        make_key(account_id=account.pk, name="", now=timezone.now())
    assert f"at most {MOST_KEYS} keys" in client.post("/account/keys/", {"name": "one more"}).content.decode()
    account.api_keys.filter(pk=account.api_keys.latest("pk").pk).update(revoked_at=timezone.now())
    assert plain_in(client.post("/account/keys/", {"name": "one more"}))


def test_use_is_noted_once_a_minute_at_most(clock: time_machine.Traveller) -> None:
    account = opened()
    api, now = Api(account), timezone.now()

    def writes() -> int:
        with CaptureQueriesContext(connection) as captured:
            api.get("account/")
        return len([query for query in captured if query["sql"].startswith("UPDATE")])

    assert [writes() for _ in range(3)] == [1, 0, 0]
    clock.move_to(now + timedelta(seconds=60))
    assert writes() == 0
    clock.move_to(now + timedelta(seconds=61))
    assert [writes() for _ in range(2)] == [1, 0]
    assert account.api_keys.get().last_used_at == now + timedelta(seconds=61)


@pytest.fixture
def desk() -> Client:
    """A browser in which staff are signed in."""
    client = Client(headers={"Accept-Language": "en"})
    client.force_login(User.objects.create_superuser("staff@example.com", "x"))
    return client


ADD = "/admin/accounts/apikey/add/"


def test_staff_make_keys_of_accounts_and_of_the_platform(desk: Client) -> None:
    account = opened()
    assert desk.get(ADD).status_code == 200
    of_account = plain_in(desk.post(ADD, {"account": str(account.pk), "name": "by staff", "reason": "asked for"}))
    assert Api(account, key=of_account).get("account/")
    edge = {"account": "", "name": "edge", "expires_at_0": "2099-01-01", "expires_at_1": "00:00"}
    assert "plain" not in desk.post(ADD, edge).context
    response = desk.post(ADD, edge | {"reason": "new box"})
    assert Api(None, key=plain_in(response)).get("entitlements/")["results"]
    assert "no-store" in response["Cache-Control"]
    assert [*AuditEntry.objects.order_by("pk").values_list("action", "account", "reason")] == [
        ("key.make", account.pk, "asked for"),
        ("key.make", None, "new box"),
    ]
    key = ApiKey.objects.get(account=None)
    assert key.expires_at == at("2099-01-01T00:00")
    page = desk.get(f"/admin/accounts/apikey/{key.pk}/change/").content.decode()
    assert key.prefix in page
    assert key.digest not in page


@pytest.mark.parametrize(
    "entered",
    [
        {"account": "999999", "name": "a"},
        {"account": "x", "name": "a"},
        {"account": "", "name": ""},
        {"account": "", "name": "a", "expires_at_0": "2020-01-01", "expires_at_1": "00:00"},
    ],
)
def test_staff_are_told_what_is_wrong(desk: Client, entered: dict[str, str]) -> None:
    assert "errorlist" in desk.post(ADD, entered | {"reason": "asked for"}).content.decode()
    assert not ApiKey.objects.exists()


def test_staff_revoke_a_key(desk: Client) -> None:
    account = opened()
    api = Api(account)
    path = f"/admin/accounts/apikey/{account.api_keys.get().pk}/revoke/"
    assert desk.get(path).status_code == 200
    assert "is revoked" in desk.post(path, {"reason": "leaked"}, follow=True).content.decode()
    assert api.refusal("GET", "account/") == (401, "not_authenticated")


@pytest.mark.django_db(transaction=True)
def test_the_page_in_a_browser_wide_and_narrow(page: Page, live_server: LiveServer) -> None:
    _, client = customer()
    page.context.add_cookies(
        [{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}]
    )
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        for language, name in (("zh-hans", "成本报表"), ("en", "cost report")):
            page.context.add_cookies([{"name": "django_language", "value": language, "url": live_server.url}])
            page.goto("/account/keys/")
            page.locator("#id_name").fill(f"{name} {width}")
            page.locator("#new ~ form button").click()
            assert page.locator("#plain").inner_text().startswith("ck_")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.get_by_text(f"{name} {width}").count() >= 2
            page.goto("/api/reference/")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
