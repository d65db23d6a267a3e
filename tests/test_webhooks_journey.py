"""Webhooks as a program elsewhere lives with them: the API over HTTP, a real Celery worker, a verifying receiver."""

import json
import urllib.request
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer
from redis import Redis

from accounts.keys import make_key
from accounts.models import Account
from accounts.opening import open_account
from accounts.tasks import deliver_webhooks
from accounts.webhook_models import Delivery
from tests.conftest import celery_worker, eventually
from tests.hooks import Receiver, receiving, status
from tests.worlds import assert_books, top_up

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def receiver(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    settings.WEBHOOK_ALLOW_NETS = [ip_network("127.0.0.0/8")]
    monkeypatch.setenv("WEBHOOK_ALLOW_NETS", "127.0.0.0/8")
    with receiving() as it:
        yield it


class Program:
    """A program that holds a key."""

    def __init__(self, site: LiveServer, account: Account | None) -> None:
        self.base = f"{site.url}/api/v1/"
        _, self.key = make_key(account_id=account.pk if account else None, name="program", now=timezone.now())

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        request = urllib.request.Request(
            self.base + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.key}", "Content-Type": "application/json", **headers},
        )
        with urllib.request.urlopen(request) as response:
            said = response.read()
        return json.loads(said) if said else None


def test_a_program_registers_buys_and_hears_of_it_verifies_and_asks_for_it_again(
    live_server: LiveServer, receiver: Receiver, redis: Redis
) -> None:
    account = open_account(name="alice", now=timezone.now())
    program, platform = Program(live_server, account), Program(live_server, None)
    hers = program.call("POST", "webhooks/", {"url": receiver.url, "events": ["order.placed", "payment.received"]})
    with receiving() as ours:
        theirs = platform.call("POST", "webhooks/", {"url": ours.url})
        with celery_worker("--queues", "webhooks", "--pool", "threads"):
            top_up(account, "1000.00", timezone.now().isoformat())
            assert eventually(lambda: len(receiver.got) == 1 and len(ours.got) == 1)
            order = program.call(
                "POST", "orders/", {"lines": [{"sku": "pet-100k", "quantity": 1}]}, **{"Idempotency-Key": "k-1"}
            )
            assert eventually(lambda: len(receiver.got) == 2 and len(ours.got) == 2)
            open_account(name="bob", now=timezone.now())
            assert eventually(lambda: len(ours.got) == 3)
            path = f"webhooks/{hers['webhook_id']}/deliveries/"
            assert eventually(lambda: {one["status"] for one in program.call("GET", path)["results"]} == {"delivered"})
            [told, _payment] = program.call("GET", path)["results"]
            program.call("POST", f"{path}{told['delivery_id']}/resend/")
            assert eventually(lambda: len(receiver.got) == 3)
    assert all(got.verified_by(hers["secret"]) for got in receiver.got)
    assert all(got.verified_by(theirs["secret"]) for got in ours.got)
    assert not ours.got[0].verified_by(hers["secret"])
    assert receiver.types() == ["payment.received", "order.placed", "order.placed"]
    assert ours.types() == ["payment.received", "order.placed", "account.opened"]
    assert receiver.got[1].id == receiver.got[2].id == told["message_id"]
    assert receiver.got[1].body["data"] == {"account_id": str(account.pk), **order}
    assert_books()


def test_a_broker_that_was_wiped_loses_nothing(live_server: LiveServer, receiver: Receiver, redis: Redis) -> None:
    account = open_account(name="alice", now=timezone.now())
    program = Program(live_server, account)
    secret = program.call("POST", "webhooks/", {"url": receiver.url})["secret"]
    for _ in range(25):
        top_up(account, "1.00", timezone.now().isoformat())
    redis.flushdb()
    with celery_worker("--queues", "webhooks", "--pool", "threads"):
        assert (receiver.got, Delivery.objects.filter(next_attempt_at__isnull=False).count()) == ([], 25)
        deliver_webhooks.delay()  # what beat does each minute
        assert eventually(lambda: Delivery.objects.filter(delivered_at__isnull=False).count() == 25)
    assert len({got.id for got in receiver.got if got.verified_by(secret)}) == 25
    assert_books()


def test_a_worker_that_was_killed_while_sending_is_followed_by_another(
    live_server: LiveServer, receiver: Receiver, redis: Redis
) -> None:
    account = open_account(name="alice", now=timezone.now())
    secret = Program(live_server, account).call("POST", "webhooks/", {"url": receiver.url})["secret"]
    hung: list[bool] = []

    def hang(handler: Any) -> None:
        hung.append(True)
        handler.rfile.read(1)  # until the sender is gone

    receiver.answer = hang
    with celery_worker("--queues", "webhooks", "--pool", "threads") as worker:
        top_up(account, "1.00", timezone.now().isoformat())
        assert eventually(lambda: bool(hung))
        worker.kill()
        worker.wait(10)
    receiver.answer = status(200)
    redis.flushdb()
    with celery_worker("--queues", "webhooks", "--pool", "threads"):
        deliver_webhooks.delay()
        assert eventually(lambda: Delivery.objects.filter(delivered_at__isnull=False).exists())
    first, second = receiver.got
    assert first.id == second.id
    assert second.verified_by(secret)
    assert_books()
