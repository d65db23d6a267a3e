"""Webhook events: written in the transaction of what they tell, one row for each endpoint that listens.

Where nobody listens an event costs one query and its data is never made. What is written here is sent by
`webhook_delivery.py`.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.db.models import Q

from accounts.waking import wake
from accounts.webhook_models import Endpoint, EventType
from iss_billing.days import SHANGHAI

CHUNK = 2000


class Event(NamedTuple):
    """Something that happened to an account; the type and `reference` name it once and for all.

    `data` makes the object as its GET shows it, and is called only where somebody listens.
    """

    account_id: int
    type: EventType
    reference: str
    data: Callable[[], Mapping[str, Any]]


class Listeners:
    """The endpoints that are on, of the accounts in an id range and of the platform."""

    def __init__(self, first: int, last: int) -> None:
        self._of: dict[tuple[int | None, str], list[int]] = defaultdict(list)
        whose = Q(account_id__gte=first, account_id__lte=last) | Q(account_id=None)
        rows = Endpoint.objects.filter(whose, deleted_at=None, disabled_at=None)
        for pk, account_id, events in rows.values_list("pk", "account_id", "events"):
            for event in events:
                self._of[account_id, event].append(pk)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._of)

    def of(self, account_id: int, event: EventType) -> list[int]:
        """The ids of the endpoints that hear of an event of an account."""
        return [*self._of.get((account_id, event), ()), *self._of.get((None, event), ())]


def write_events(events: Iterable[Event], now: datetime, listeners: Listeners | None = None) -> None:
    """Write what the listeners of `events` are to be told, in the caller's transaction; each event once.

    A bulk writer asks for `listeners` first, and makes no event that nobody hears.
    """
    if listeners is None:
        events = list(events)
        if not events:
            return
        ids = [event.account_id for event in events]
        listeners = Listeners(min(ids), max(ids))
    if listeners:
        _insert(_rows(events, listeners, now), now)


def write_to_all(event: EventType, reference: str, data: Mapping[str, Any], now: datetime) -> None:
    """Tell every endpoint that listens of what concerns all accounts, each with its own account's id."""
    rows = Endpoint.objects.filter(deleted_at=None, disabled_at=None, events__contains=[event])
    _insert(
        (
            (pk, event.value, reference, _body(event, account_id, data, now))
            for pk, account_id in rows.order_by("pk").values_list("pk", "account_id")
        ),
        now,
    )


def _rows(events: Iterable[Event], listeners: Listeners, now: datetime) -> Iterable[tuple[int, str, str, str]]:
    for event in events:
        endpoints = listeners.of(event.account_id, event.type)
        if endpoints:
            body = _body(event.type, event.account_id, event.data(), now)
            yield from ((pk, event.type.value, event.reference, body) for pk in endpoints)


def _body(event: EventType, account_id: int | None, data: Mapping[str, Any], now: datetime) -> str:
    """The body that is signed and sent, as it stands, at every attempt."""
    whose = None if account_id is None else str(account_id)
    body = {
        "type": event.value,
        "timestamp": now.astimezone(SHANGHAI).isoformat(),
        "data": {"account_id": whose, **data},
    }
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


INSERT = """
INSERT INTO accounts_delivery (endpoint_id, message, type, reference, body, created_at, attempted, next_attempt_at)
SELECT (new->>0)::bigint, gen_random_uuid(), new->>1, new->>2, new->>3, %s, 0, %s
FROM json_array_elements(%s) AS new
ON CONFLICT (endpoint_id, type, reference) DO NOTHING
"""


def _insert(rows: Iterable[tuple[int, str, str, str]], now: datetime) -> None:
    """Insert deliveries, due at once, and wake a worker when they are committed."""
    waiting = iter(rows)
    with connection.cursor() as cursor:
        written = 0
        while chunk := list(islice(waiting, CHUNK)):
            # as JSON: the driver would take longer to quote bodies for an array than all the rest takes
            cursor.execute(INSERT, [now, now, json.dumps(chunk)])
            written += len(chunk)
    if written:
        transaction.on_commit(wake_worker)


def wake_worker() -> None:
    """Have what is due sent."""
    from accounts.tasks import deliver_webhooks  # tasks import this module

    wake(deliver_webhooks)
