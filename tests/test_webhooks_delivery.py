"""Delivering webhooks: signatures, growing pauses for 3 days, sending again, two secrets, turning dead ones off."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from itertools import pairwise
from typing import Any

import pytest
import time_machine
from pytest_django import Settings

from accounts import webhook_delivery
from accounts.models import Account, Notice
from accounts.notice_texts import text_of
from accounts.webhook_delivery import due_endpoints, forget_old, next_attempt, only_sender, send_slice
from accounts.webhook_http import AGENT, Answer
from accounts.webhook_models import Attempt, Delivery, DeliveryStatus, Endpoint, EndpointSecret
from accounts.webhooks import EndpointOff, remove_endpoint, resend, rotate_secret, turn_on
from tests.hooks import Receiver, deliver, listen, receiving, status
from tests.worlds import assert_books, at, opened, top_up

pytestmark = pytest.mark.django_db

START = at("2026-03-01T10:00")


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


def pay(account: Account, when: datetime = START) -> Delivery:
    """A top-up, and the message that tells of it."""
    top_up(account, "1.00", when.isoformat())
    return Delivery.objects.latest("id")


def work(when: datetime) -> None:
    """What beat and the workers do at a moment, by a clock that says so."""
    with time_machine.travel(when, tick=False):
        deliver(when)


def test_a_message_is_signed_by_the_specification(receiver: Receiver) -> None:
    alice = opened()
    _, secret = listen(alice, receiver.url)
    delivery = pay(alice)
    with time_machine.travel(START, tick=False):
        deliver(START)
        [got] = receiver.got
        assert got.verified_by(secret)
        assert not got.verified_by("whsec_" + "A" * 43 + "=")
    assert got.id == f"msg_{delivery.message.hex}"
    assert got.headers["webhook-timestamp"] == str(int(START.timestamp()))
    assert (got.headers["content-type"], got.headers["user-agent"]) == ("application/json", AGENT)
    assert got.raw == delivery.body
    assert (got.path, got.body["type"]) == ("/hook", "payment.received")
    delivery.refresh_from_db()
    [attempt] = delivery.attempts.all()
    assert (delivery.status, delivery.delivered_at, delivery.next_attempt_at) == ("delivered", START, None)
    assert (attempt.status, attempt.answer, attempt.error, attempt.ok) == (204, "", "", True)
    assert due_endpoints(START + timedelta(days=30)) == []


def test_the_signature_is_of_the_moment_in_utc_wherever_the_server_is(receiver: Receiver) -> None:
    alice = opened()
    _, secret = listen(alice, receiver.url)
    pay(alice)
    local = datetime.fromisoformat("2026-03-01T10:00:00+08:00")
    work(local)
    with time_machine.travel(local, tick=False):
        assert receiver.got[0].verified_by(secret)


def test_pauses_double_from_a_minute_to_six_hours_and_the_last_attempt_ends_the_three_days() -> None:
    now, times = START, [START]
    while (again := next_attempt(len(times), START, now)) is not None:
        now = again
        times.append(now)
    minutes = [(time - START) // timedelta(minutes=1) for time in times]
    assert minutes[:11] == [0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 871]
    pauses = [later - earlier for earlier, later in pairwise(minutes)]
    assert max(pauses) == 360
    assert times[-1] == START + timedelta(days=3)
    assert len(times) == 21


def test_the_three_days_begin_with_the_first_attempt_and_any_clock_may_have_written_it(receiver: Receiver) -> None:
    alice = opened()
    listen(alice, receiver.url)
    receiver.answer = status(500)
    old, ahead = pay(alice), pay(alice, START + timedelta(days=60))
    workers_back = START + timedelta(days=20)
    work(workers_back)
    for delivery in (old, ahead):
        delivery.refresh_from_db()
        assert delivery.next_attempt_at == workers_back + timedelta(minutes=1)


def test_a_failing_endpoint_is_tried_for_three_days_with_every_attempt_kept_and_then_turned_off(
    receiver: Receiver,
) -> None:
    alice = opened()
    endpoint, secret = listen(alice, receiver.url)
    receiver.answer = status(500, b"out of order")
    delivery = pay(alice)
    moment = START
    for _ in range(100):
        work(moment)
        with time_machine.travel(moment, tick=False):
            assert receiver.got[-1].verified_by(secret), "each attempt has its own timestamp"
        delivery.refresh_from_db()
        if delivery.next_attempt_at is None:
            break
        count = len(receiver.got)
        work(delivery.next_attempt_at - timedelta(seconds=1))
        assert len(receiver.got) == count, "not before its time"
        moment = delivery.next_attempt_at
    attempts = list(delivery.attempts.all())
    assert (len(attempts), len(receiver.got), delivery.attempted) == (21, 21, 21)
    assert len({got.id for got in receiver.got}) == 1
    assert len({got.raw for got in receiver.got}) == 1
    assert len({got.headers["webhook-timestamp"] for got in receiver.got}) == 21
    assert {(attempt.status, attempt.answer) for attempt in attempts} == {(500, "out of order")}
    assert (delivery.status, attempts[-1].time - attempts[0].time) == ("failed", timedelta(days=3))
    endpoint.refresh_from_db()
    assert (endpoint.failing_since, endpoint.disabled_at) == (START, START + timedelta(days=3))
    [notice] = Notice.objects.filter(account=alice)
    assert notice.kind == "endpoint_disabled"
    assert receiver.url in text_of(notice)[1]
    pay(alice, moment)
    assert Delivery.objects.count() == 1, "nothing more is written for it"


def test_an_endpoint_that_took_something_meanwhile_stays_on(receiver: Receiver) -> None:
    alice = opened()
    endpoint, _ = listen(alice, receiver.url)
    receiver.answer = status(400)
    poison = pay(alice)
    work(START)
    later = START + timedelta(minutes=1)
    receiver.answer = lambda handler: status(
        400 if handler.headers["webhook-id"] == f"msg_{poison.message.hex}" else 200
    )(handler)
    pay(alice, later)
    for _ in range(40):
        work(later)
        poison.refresh_from_db()
        if poison.next_attempt_at is None:
            break
        later = poison.next_attempt_at
    endpoint.refresh_from_db()
    assert (poison.status, endpoint.disabled_at) == ("failed", None)


def test_it_recovers(receiver: Receiver) -> None:
    alice = opened()
    endpoint, _ = listen(alice, receiver.url)
    receiver.answer = status(503)
    deliveries = [pay(alice) for _ in range(3)]
    work(START)
    endpoint.refresh_from_db()
    assert endpoint.failing_since == START
    receiver.answer = status(200, b"thanks")
    work(START + timedelta(minutes=1))
    endpoint.refresh_from_db()
    assert endpoint.failing_since is None
    for delivery in deliveries:
        delivery.refresh_from_db()
        assert delivery.status == "delivered"
        assert [attempt.status for attempt in delivery.attempts.all()] == [503, 200]


def test_410_turns_the_endpoint_off_at_once_and_gives_up_what_waits(receiver: Receiver) -> None:
    alice = opened()
    endpoint, _ = listen(alice, receiver.url)
    receiver.answer = status(503)
    waiting = pay(alice)
    work(START)
    receiver.answer = status(410)
    work(START + timedelta(minutes=1))
    endpoint.refresh_from_db()
    waiting.refresh_from_db()
    assert (endpoint.disabled_at, waiting.status) == (START + timedelta(minutes=1), "failed")
    assert [notice.kind for notice in Notice.objects.all()] == ["endpoint_disabled"]
    with pytest.raises(EndpointOff):
        resend(Delivery.objects.select_related("endpoint").get(pk=waiting.pk), START)
    turn_on(endpoint)
    receiver.answer = status(200)
    later = START + timedelta(hours=1)
    resend(Delivery.objects.select_related("endpoint").get(pk=waiting.pk), later)
    work(later)
    waiting.refresh_from_db()
    assert (waiting.status, waiting.delivered_at) == ("delivered", later)


def test_a_dead_platform_endpoint_is_turned_off_without_a_message_to_anybody(receiver: Receiver) -> None:
    alice = opened()
    endpoint, _ = listen(None, receiver.url)
    receiver.answer = status(410)
    pay(alice)
    work(START)
    endpoint.refresh_from_db()
    assert (endpoint.disabled_at, Notice.objects.count()) == (START, 0)


def test_sent_again_it_is_the_same_message_for_three_more_days(receiver: Receiver) -> None:
    alice = opened()
    _, secret = listen(alice, receiver.url)
    delivery = pay(alice)
    work(START)
    later = START + timedelta(days=10)
    resend(Delivery.objects.select_related("endpoint").get(pk=delivery.pk), later)
    delivery.refresh_from_db()
    assert delivery.status == "pending"
    receiver.answer = status(500)
    work(later)
    delivery.refresh_from_db()
    assert (delivery.status, delivery.next_attempt_at) == ("pending", later + timedelta(minutes=1))
    receiver.answer = status(200)
    work(later + timedelta(minutes=1))
    first, again, last = receiver.got
    assert first.id == again.id == last.id
    assert first.raw == again.raw == last.raw
    with time_machine.travel(later, tick=False):
        assert again.verified_by(secret)
        assert not first.verified_by(secret), "its timestamp is ten days old"


def test_after_a_rotation_both_secrets_sign_for_24_hours(receiver: Receiver) -> None:
    alice = opened()
    endpoint, old = listen(alice, receiver.url)
    new = rotate_secret(endpoint, START)
    newest = rotate_secret(endpoint, START + timedelta(hours=1))
    assert len({old, new, newest}) == 3
    for hours, holders in (
        (2, {old, new, newest}),
        (23.99, {old, new, newest}),
        (24, {new, newest}),
        (25, {newest}),
        (1000, {newest}),
    ):
        moment = START + timedelta(hours=hours)
        pay(alice, moment)
        work(moment)
        with time_machine.travel(moment, tick=False):
            assert {secret for secret in (old, new, newest) if receiver.got[-1].verified_by(secret)} == holders
    rotate_secret(endpoint, START + timedelta(hours=1000))
    assert EndpointSecret.objects.count() == 2, "what signs no more is forgotten"


def test_rotating_without_end_keeps_five(receiver: Receiver) -> None:
    endpoint, _ = listen(opened(), receiver.url)
    for _ in range(9):
        rotate_secret(endpoint, START)
    assert EndpointSecret.objects.count() == 5
    assert EndpointSecret.objects.filter(expires_at=None).count() == 1


def test_secrets_are_kept_sealed_and_written_nowhere_else(
    receiver: Receiver, caplog: pytest.LogCaptureFixture, settings: Settings
) -> None:
    alice = opened()
    with caplog.at_level(logging.DEBUG):
        endpoint, secret = listen(alice, receiver.url)
        second = rotate_secret(endpoint, START)
        delivery = pay(alice)
        work(START)
    kept = [*EndpointSecret.objects.values(), *Endpoint.objects.values(), *Delivery.objects.values()]
    everything = caplog.text + str(kept) + str(list(Attempt.objects.values()))
    for plain in (secret, second):
        assert plain.removeprefix("whsec_") not in everything
    # another SECRET_KEY cannot read them, and says so where the customer looks; the old one as a fallback can
    former, settings.SECRET_KEY = settings.SECRET_KEY, "another"
    resend(Delivery.objects.select_related("endpoint").get(pk=delivery.pk), START)
    work(START)
    assert len(receiver.got) == 1
    assert "rotate it" in Attempt.objects.latest("id").error
    settings.SECRET_KEY_FALLBACKS = [former]
    work(START + timedelta(minutes=1))
    assert len(receiver.got) == 2


def test_a_removed_endpoint_is_sent_nothing_more(receiver: Receiver) -> None:
    alice = opened()
    endpoint, _ = listen(alice, receiver.url)
    delivery = pay(alice)
    remove_endpoint(endpoint, START)
    work(START)
    delivery.refresh_from_db()
    assert (receiver.got, delivery.status, endpoint.secrets.count()) == ([], "failed", 0)


def test_a_dead_endpoint_takes_one_timeout_of_a_turn(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = opened()
    listen(alice, receiver.url)
    for _ in range(20):
        pay(alice)
    sent: list[str] = []

    def unanswered(url: str, body: str, headers: dict[str, str]) -> Answer:
        sent.append(headers["webhook-id"])
        return Answer(None, "", "timed out", 15_000)

    monkeypatch.setattr(webhook_delivery, "post", unanswered)
    work(START)
    assert len(sent) == webhook_delivery.AT_ONCE
    work(START + timedelta(seconds=60))
    assert len(sent) == webhook_delivery.AT_ONCE + 1
    monkeypatch.undo()
    work(START + timedelta(seconds=120))
    assert len(receiver.got) == 20, "back at once when it answers"
    assert len({got.id for got in receiver.got}) == 20


@pytest.mark.django_db(transaction=True)
def test_two_workers_never_send_to_one_endpoint_at_once(receiver: Receiver) -> None:
    import threading

    from django.db import connection

    endpoint, _ = listen(opened(), receiver.url)
    seen: list[bool] = []

    def other() -> None:
        with only_sender(endpoint.pk) as alone:
            seen.append(alone)
        with only_sender(endpoint.pk + 1) as alone:
            seen.append(alone)
        connection.close()

    with only_sender(endpoint.pk) as alone:
        assert alone
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert seen == [False, True, True, True]


def test_what_was_sent_again_while_it_was_on_its_way_is_sent_again(receiver: Receiver) -> None:
    alice = opened()
    listen(alice, receiver.url)
    delivery = pay(alice)
    later = START + timedelta(seconds=5)

    def meanwhile(url: str, body: str, headers: dict[str, str]) -> Answer:
        return Answer(200, "", "", 5)

    real = webhook_delivery._record

    def record(endpoint: Endpoint, sent: list[Any], now: datetime) -> None:
        resend(Delivery.objects.select_related("endpoint").get(pk=delivery.pk), later)
        real(endpoint, sent, now)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(webhook_delivery, "post", meanwhile)
        patch.setattr(webhook_delivery, "_record", record)
        send_slice(delivery.endpoint_id, START)
    delivery.refresh_from_db()
    assert (delivery.status, delivery.next_attempt_at) == (DeliveryStatus.PENDING, later)
    assert delivery.attempts.count() == 1
    work(later)
    assert len(receiver.got) == 1


def test_deliveries_are_forgotten_after_a_month_with_their_attempts(receiver: Receiver) -> None:
    alice = opened()
    listen(alice, receiver.url)
    old, again = pay(alice), pay(alice)
    work(START)
    resend(Delivery.objects.select_related("endpoint").get(pk=again.pk), START + timedelta(days=20))
    work(START + timedelta(days=20))
    pay(alice, START + timedelta(days=25))
    assert forget_old(START + timedelta(days=30)) == 0
    assert forget_old(START + timedelta(days=31)) == 1
    assert not Delivery.objects.filter(pk=old.pk).exists()
    assert (Delivery.objects.count(), Attempt.objects.count()) == (2, 2)


def test_every_body_says_type_timestamp_and_account(receiver: Receiver) -> None:
    alice = opened()
    listen(alice, receiver.url)
    body = json.loads(pay(alice).body)
    assert list(body) == ["type", "timestamp", "data"]
    assert datetime.fromisoformat(body["timestamp"]) == START.astimezone(UTC)
    assert next(iter(body["data"])) == "account_id"
