"""What moves money over HTTP happens once: at the same instant, and when the answer is lost with its process."""

import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from typing import Any

import pytest
from django.utils import timezone
from pytest_django.live_server_helper import LiveServer

from accounts.keys import make_key
from accounts.models import Account, Kind, Transfer
from packs.models import Order, Pack
from tests.conftest import ROOT, database_url, eventually
from tests.worlds import assert_books, opened, yuan

pytestmark = pytest.mark.django_db(transaction=True)

ORDER = {"lines": [{"sku": "pet-100k", "quantity": 2, "expected_price": "250.00"}]}
ROUNDS = 8


def post(url: str, key: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """Status and JSON of a POST; (0, None) when the answer never came."""
    sent = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, json.dumps(body).encode(), sent, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except (OSError, HTTPException):
        return 0, None


def at_once(number: int, act: Any) -> list[tuple[int, Any]]:
    """The outcomes of the same call made by so many threads at the same instant."""
    barrier, outcomes = threading.Barrier(number), []

    def run() -> None:
        barrier.wait(timeout=20)
        outcomes.append(act())

    threads = [threading.Thread(target=run) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return sorted(outcomes, key=lambda outcome: outcome[0])


def customer() -> tuple[Account, str]:
    """An account opened today, with 1,000.00 on it, and its key."""
    account = opened(on=str(timezone.localdate()), balance="1000.00")
    return account, make_key(account_id=account.pk, name="", now=timezone.now())[1]


def balance(account: Account) -> int:
    account.refresh_from_db()
    return account.balance


def test_the_same_order_at_the_same_instant_is_bought_once(live_server: LiveServer) -> None:
    for number in range(ROUNDS):
        account, key = customer()
        url = f"{live_server.url}/api/v1/orders/"
        outcomes = at_once(4, lambda: post(url, key, ORDER, Idempotency_Key=f"order-{number}"))  # noqa: B023
        assert [status for status, _ in outcomes] == [200, 200, 200, 201]
        assert len({shown["order_id"] for _, shown in outcomes}) == 1
        assert (Order.objects.filter(account=account).count(), balance(account)) == (1, yuan("500.00"))
        assert Pack.objects.filter(account=account).count() == 2
    assert_books()


def test_the_same_key_with_two_bodies_at_the_same_instant_buys_one(live_server: LiveServer) -> None:
    account, key = customer()
    url = f"{live_server.url}/api/v1/orders/"
    bodies = iter([ORDER, {"lines": [{"sku": "pet-100k", "quantity": 1}]}])
    outcomes = at_once(2, lambda: post(url, key, next(bodies), Idempotency_Key="one"))
    assert [status for status, _ in outcomes] == [201, 422]
    assert Order.objects.filter(account=account).count() == 1


def test_the_same_refund_at_the_same_instant_is_paid_once(live_server: LiveServer) -> None:
    for number in range(ROUNDS):
        account, key = customer()
        _, order = post(f"{live_server.url}/api/v1/orders/", key, ORDER, Idempotency_Key=str(number))
        url = f"{live_server.url}/api/v1/packs/{order['packs'][0]['pack_id']}/refund/"
        outcomes = at_once(4, lambda: post(url, key))  # noqa: B023
        assert [status for status, _ in outcomes] == [200, 409, 409, 409]
        assert {shown["code"] for _, shown in outcomes[1:]} == {"already_refunded"}
        assert {shown["pack"]["status"] for _, shown in outcomes[1:]} == {"refunded"}
        assert balance(account) == yuan("750.00")
        assert Transfer.objects.filter(account=account, kind=Kind.REFUND).count() == 1
    assert_books()


@pytest.fixture
def crashing_server() -> Iterator[str]:
    """A real server, two processes, each of which a request can kill after its work is committed."""
    port = 18_000 + os.getpid() % 1_000
    server = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-c", "python:iss_billing.serving", "iss_billing.wsgi"],
        cwd=ROOT,
        env=os.environ
        | {"DATABASE_URL": database_url(), "PORT": str(port), "DJANGO_SETTINGS_MODULE": "tests.crashing_settings"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            urllib.request.urlopen(f"{address}/api/v1/schema/", timeout=10).close()
        except OSError:
            return False
        return True

    try:
        assert eventually(answers, 60)
        yield address
    finally:
        server.terminate()
        server.wait(30)


def test_an_order_whose_answer_was_lost_is_answered_again_and_not_bought_again(crashing_server: str) -> None:
    account, key = customer()
    url = f"{crashing_server}/api/v1/orders/"
    assert post(url, key, ORDER, Idempotency_Key="lost", X_Crash="1") == (0, None)
    assert (Order.objects.count(), balance(account)) == (1, yuan("500.00"))
    status, shown = post(url, key, ORDER, Idempotency_Key="lost")
    assert (status, shown["order_id"]) == (200, str(Order.objects.get().pk))
    assert (len(shown["packs"]), balance(account)) == (2, yuan("500.00"))
    # and a refund
    url = f"{crashing_server}/api/v1/packs/{shown['packs'][0]['pack_id']}/refund/"
    assert post(url, key, X_Crash="1") == (0, None)
    assert balance(account) == yuan("750.00")
    status, shown = post(url, key)
    assert (status, shown["code"], shown["pack"]["remaining"]) == (409, "already_refunded", 0)
    assert balance(account) == yuan("750.00")
    assert_books()
