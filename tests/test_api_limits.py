"""Rate limits: per caller, exact, said on every answer; Redis gone, nobody is refused."""

import re
import threading
from collections import Counter
from typing import Any

import pytest
from django.conf import LazySettings
from django.test import Client
from pytest_django.live_server_helper import LiveServer
from redis import Redis

from accounts import rate_limits
from accounts.models import Account
from accounts.rate_limits import ADDRESS, CUSTOMER, PLATFORM, Policy
from tests.api_client import BASE, Api, problem
from tests.worlds import opened

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def limits(settings: LazySettings, redis: Redis) -> None:
    """Limits on, and nobody counted yet."""
    settings.API_RATE_LIMITS = True


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of ten requests."""
    for name in ("CUSTOMER", "PLATFORM", "ADDRESS"):
        policy: Policy = getattr(rate_limits, name)
        monkeypatch.setattr(rate_limits, name, policy._replace(requests=10))


def left(response: Any) -> int:
    found = re.fullmatch(r'"\w+";r=(\d+);t=(\d+)', response["RateLimit"])
    assert found, response["RateLimit"]
    assert 1 <= int(found[2]) <= 60
    return int(found[1])


def keys(redis: Redis) -> list[str]:
    return [bytes(key).decode() for key in redis.keys("rate:*")]  # type: ignore[arg-type]  # bytes, as we ask


def test_the_limits_are_at_least_what_the_contract_says() -> None:
    assert CUSTOMER.requests * 60 >= 1_200 * CUSTOMER.seconds
    assert PLATFORM.requests >= 100 * PLATFORM.seconds
    assert ADDRESS.requests * 60 >= 1_200 * ADDRESS.seconds


def test_every_answer_says_what_is_left() -> None:
    alice = opened()
    customer, platform, bad = Api(alice), Api(None), Api(alice, key="nonsense")
    for number, path in enumerate(
        ("account/", "bills/", "bills/7/", "nothing/", "entitlements/", "ledger/?page_size=0")
    ):
        response = customer.call("GET", path)
        assert left(response) == CUSTOMER.requests - number - 1, path
        assert response["RateLimit-Policy"] == '"customer";q=1200;w=60'
    assert left(customer.call("DELETE", "account/")) == CUSTOMER.requests - 7
    assert platform.call("GET", "entitlements/")["RateLimit-Policy"] == '"platform";q=1000;w=10'
    for response in (bad.call("GET", "account/"), Client().get(BASE + "catalogue/"), Client().get(BASE + "schema/")):
        assert response["RateLimit-Policy"] == '"address";q=1200;w=60'


@pytest.mark.usefixtures("narrow")
def test_beyond_the_limit_is_429_and_each_caller_has_a_window_of_its_own() -> None:
    alice, bob = opened("alice"), opened("bob")
    api, other, beside = Api(alice), Api(alice), Api(bob)
    assert [api.call("GET", "account/").status_code for _ in range(12)] == [200] * 10 + [429] * 2
    response = api.call("GET", "nothing/")
    assert (problem(response)["code"], left(response)) == ("too_many_requests", 0)
    assert 1 <= int(response["Retry-After"]) <= 60
    assert other.call("GET", "account/").status_code == 200
    assert beside.call("GET", "account/").status_code == 200
    assert Client().get(BASE + "catalogue/").status_code == 200


@pytest.mark.usefixtures("narrow")
def test_a_window_ends(redis: Redis) -> None:
    api = Api(opened())
    assert [api.call("GET", "account/").status_code for _ in range(11)][-1] == 429
    [key] = redis.keys("rate:*")
    assert 0 < redis.pttl(key) <= 60_000
    redis.pexpire(key, 1)
    while redis.exists(key):
        pass
    assert api.call("GET", "account/").status_code == 200


@pytest.mark.usefixtures("narrow")
def test_a_wrong_secret_uses_up_nothing_of_the_keys_window() -> None:
    alice = opened()
    api = Api(alice)
    guess = Api(alice, key=api.key.partition(".")[0] + ".guess")
    assert [guess.call("GET", "account/").status_code for _ in range(12)] == [401] * 10 + [429] * 2
    assert left(api.call("GET", "account/")) == 9


@pytest.mark.django_db(transaction=True)
def test_the_count_is_exact_when_requests_race(live_server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    import urllib.error
    import urllib.request

    monkeypatch.setattr(rate_limits, "CUSTOMER", CUSTOMER._replace(requests=40))
    key, statuses = Api(opened()).key, Counter[int]()

    def ask() -> None:
        for _ in range(10):
            request = urllib.request.Request(
                f"{live_server.url}/api/v1/ledger/", headers={"Authorization": f"Bearer {key}"}
            )
            try:
                with urllib.request.urlopen(request) as response:
                    statuses[response.status] += 1
            except urllib.error.HTTPError as error:
                statuses[error.code] += 1

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == {200: 40, 429: 20}


@pytest.mark.usefixtures("narrow")
def test_without_redis_requests_are_served_and_the_log_says_so(
    settings: LazySettings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    api = Api(opened())
    answers = [api.call("GET", "account/") for _ in range(15)]
    assert {answer.status_code for answer in answers} == {200}
    assert not any("RateLimit" in answer for answer in answers)
    assert len([line for line in caplog.messages if "not counted" in line]) == 1, "asked once, then left alone"


def test_limits_can_be_turned_off(settings: LazySettings, redis: Redis) -> None:
    settings.API_RATE_LIMITS = False
    response = Api(opened()).call("GET", "account/")
    assert (response.status_code, "RateLimit" in response, redis.keys("rate:*")) == (200, False, [])


def test_a_trusted_proxy_names_the_client(settings: LazySettings, redis: Redis) -> None:
    Client().get(BASE + "catalogue/", headers={"X-Forwarded-For": "198.51.100.1, 203.0.113.7"})
    settings.TRUSTED_PROXIES = ["127.0.0.1"]
    Client().get(BASE + "catalogue/", headers={"X-Forwarded-For": "198.51.100.1, 203.0.113.7"})
    assert sorted(keys(redis)) == [
        "rate:address:127.0.0.1",
        "rate:address:203.0.113.7",
    ]


def test_a_browser_session_is_counted_by_its_login(redis: Redis) -> None:
    from accounts.opening import open_account
    from tests.worlds import at

    account = open_account(name="a", now=at("2026-03-01T00:00"), email="a@example.com", password="x")
    assert isinstance(account, Account)
    assert account.user is not None
    client = Client()
    client.force_login(account.user)
    assert client.get(BASE + "account/")["RateLimit-Policy"].startswith('"customer"')
    assert keys(redis) == [f"rate:customer:login-{account.user.pk}"]
