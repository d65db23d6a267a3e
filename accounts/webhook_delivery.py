"""Sending webhook messages: who is due, one slice of an endpoint at a time, again with growing pauses for 3 days."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import NamedTuple

from django.db import connection, transaction
from django.db.models import Q, QuerySet

from accounts import notices
from accounts.models import Notice
from accounts.webhook_http import Answer, post
from accounts.webhook_models import Attempt, Delivery, Endpoint
from accounts.webhook_secrets import SecretLost, signed_headers
from accounts.webhooks import secrets_in_force, turn_off

log = logging.getLogger(__name__)

FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(hours=6)
GIVE_UP_AFTER = timedelta(days=3)
AT_ONCE = 8
"""Requests to one endpoint at a time; to one whose last attempt failed, one."""
KEPT_FOR = timedelta(days=30)
"""Settled deliveries are shown for so long."""
GONE = 410
"""The receiver wants no more (Standard Webhooks): the endpoint is turned off."""


def next_attempt(attempted: int, since: datetime, now: datetime) -> datetime | None:
    """When to try again after `attempted` (1…) failures since a moment: 1, 2, 4 … minutes, at most 6 hours.

    The last attempt is made when the 3 days end; after it None.
    """
    if now >= since + GIVE_UP_AFTER:
        return None
    doublings: int = min(attempted - 1, 10)
    pause = min(LONGEST_PAUSE, FIRST_PAUSE * (1 << doublings))
    return min(now + pause, since + GIVE_UP_AFTER)


class Slice(Enum):
    """How the sending of a slice went."""

    SENT = auto()
    NOTHING_DUE = auto()
    NO_ANSWER = auto()
    """A dead endpoint has one request, and one timeout, of each minute."""


def due(now: datetime) -> QuerySet[Delivery]:
    """What is to be sent: what was never tried, by whatever clock it was written, and what it is time to try again."""
    waits = Delivery.objects.filter(
        next_attempt_at__isnull=False, endpoint__disabled_at=None, endpoint__deleted_at=None
    )
    return waits.filter(Q(next_attempt_at__lte=now) | Q(trying_since=None)).order_by("next_attempt_at", "id")


def due_endpoints(now: datetime) -> list[int]:
    """The endpoints that something is to be sent to."""
    return list(due(now).order_by("endpoint_id").values_list("endpoint_id", flat=True).distinct())


@contextmanager
def only_sender(endpoint_id: int) -> Iterator[bool]:
    """Whether nobody else sends to the endpoint; the database forgets a sender that died."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended('webhook', %s))", [endpoint_id])
        [alone] = cursor.fetchone()
    try:
        yield alone
    finally:
        if alone:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(hashtextextended('webhook', %s))", [endpoint_id])


def send_slice(endpoint_id: int, now: datetime) -> Slice:
    """Send an endpoint its next few due messages.

    The caller is its only sender. A message is sent before it is recorded: one whose sender dies in between is sent
    again, with the same id.
    """
    endpoint = Endpoint.objects.get(pk=endpoint_id)
    width = 1 if endpoint.failing_since else AT_ONCE
    deliveries = list(due(now).filter(endpoint=endpoint)[:width])
    if not deliveries:
        return Slice.NOTHING_DUE
    sealed = secrets_in_force(endpoint, now)
    with ThreadPoolExecutor(len(deliveries)) as threads:
        answers = list(threads.map(lambda delivery: _send(endpoint, delivery, sealed, now), deliveries))
    _record(endpoint, [Sent(*pair) for pair in zip(deliveries, answers, strict=True)], now)
    return Slice.SENT if any(answer.status is not None for answer in answers) else Slice.NO_ANSWER


def _send(endpoint: Endpoint, delivery: Delivery, sealed: list[str], now: datetime) -> Answer:
    """One request; asks the database nothing, for it runs in a thread."""
    try:
        headers = signed_headers(sealed, delivery.message_id, delivery.body, now.astimezone(UTC))
    except SecretLost as error:
        return Answer(None, "", str(error), 0)
    return post(endpoint.url, delivery.body, headers)


class Sent(NamedTuple):
    """A delivery and what came of its request."""

    delivery: Delivery
    answer: Answer

    @property
    def ok(self) -> bool:
        """2xx is taken, everything else is not."""
        return self.answer.status is not None and 200 <= self.answer.status < 300


def _record(endpoint: Endpoint, sent: list[Sent], now: datetime) -> None:
    """Keep each attempt with its answer, and say what becomes of the delivery and the endpoint."""
    gave_up = gone = False
    with transaction.atomic():
        for one in sent:
            delivery, answer = one
            Attempt.objects.create(
                delivery=delivery,
                time=now,
                milliseconds=answer.milliseconds,
                status=answer.status,
                answer=answer.body,
                error=answer.error,
            )
            gone |= answer.status == GONE
            since = delivery.trying_since or now
            again = None if one.ok else next_attempt(delivery.attempted + 1, since, now)
            # the endpoint has taken nothing since the first attempt of this one
            gave_up |= not one.ok and again is None and (endpoint.failing_since or now) <= since
            # one that was sent again by hand meanwhile, or whose endpoint was removed, keeps what was said then
            mine = Delivery.objects.filter(pk=delivery.pk, next_attempt_at=delivery.next_attempt_at)
            mine.update(
                trying_since=since,
                attempted=delivery.attempted + 1,
                next_attempt_at=again,
                delivered_at=now if one.ok else delivery.delivered_at,
            )
        well = any(one.ok for one in sent)
        if well and endpoint.failing_since:
            Endpoint.objects.filter(pk=endpoint.pk).update(failing_since=None)
        elif not well and endpoint.failing_since is None:
            Endpoint.objects.filter(pk=endpoint.pk).update(failing_since=now)
        if gone or (gave_up and not well):
            _disable(endpoint, now, gone=gone)


def _disable(endpoint: Endpoint, now: datetime, *, gone: bool) -> None:
    """Turn off an endpoint that asked for it, or took nothing for the 3 days of a message; and say so."""
    turn_off(endpoint, now)
    log.warning(
        "webhook endpoint %s is turned off: %s", endpoint.pk, "410 Gone" if gone else "nothing taken for 3 days"
    )
    if endpoint.account_id is not None:
        reference = f"endpoint:{endpoint.pk}:{now.isoformat()}"
        data = {"url": endpoint.url, "gone": gone}
        notices.write([(endpoint.account_id, Notice.Type.ENDPOINT_DISABLED.value, reference, data)], now)


def forget_old(now: datetime, at_once: int = 10_000) -> int:
    """Delete deliveries that were last begun a month ago, with their attempts; how many."""
    ago = now - KEPT_FOR
    old = Delivery.objects.filter(created_at__lt=ago, next_attempt_at=None).exclude(trying_since__gte=ago)
    forgotten = 0
    while some := list(old.values_list("pk", flat=True)[:at_once]):
        Delivery.objects.filter(pk__in=some).delete()
        forgotten += len(some)
    return forgotten
