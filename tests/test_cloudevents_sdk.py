"""Usage sent by the official CloudEvents SDK, as a platform's own program does: structured, binary, in batches."""

import json
from datetime import datetime
from http.client import HTTPConnection
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from django.utils import timezone
from pytest_django.live_server_helper import LiveServer

from accounts.models import Account
from settlement.models import UsageEvent
from tests.api_client import Api
from tests.worlds import opened

pytestmark = pytest.mark.django_db(transaction=True)


def usage(account: Account, id: str, time: datetime, **data: Any) -> CloudEvent:
    """An event as the SDK makes it."""
    attributes: dict[str, Any] = {"type": "iss.usage", "source": "/edge/广州", "id": id, "subject": str(account.pk)}
    return CloudEvent(attributes | {"time": time}, {"item": "ai.pet", "quantity": 12} | data)


def send(server: LiveServer, key: str, message: HTTPMessage) -> Any:
    """The answer to a message, sent with its own headers and no others: urllib would add a media type."""
    connection = HTTPConnection(server.url.removeprefix("http://"))
    connection.request("POST", "/api/v1/usage/", message.body, message.headers | {"Authorization": f"Bearer {key}"})
    response = connection.getresponse()
    answer = json.load(response)
    connection.close()
    assert response.status == 200, answer
    return answer


def batch(*events: CloudEvent) -> HTTPMessage:
    """A batch: the SDK writes the events, the JSON batch format is an array of them."""
    body = b"[" + b",".join(to_structured_event(event).body for event in events) + b"]"
    return HTTPMessage({"content-type": "application/cloudevents-batch+json"}, body)


def test_the_sdk_is_understood_in_every_mode(live_server: LiveServer) -> None:
    now = timezone.now()
    alice, key = opened(on=str(timezone.localdate(now))), Api(None).key
    one = usage(alice, "a", now, resource="摄像头-7")
    assert send(live_server, key, to_structured_event(one)) == {"accepted": 1, "duplicates": 0, "rejected": []}
    for event, counted in ((one, "duplicates"), (usage(alice, "b %1", now), "accepted")):
        event.get_attributes()["datacontenttype"] = "application/json"
        assert send(live_server, key, to_binary_event(event))[counted] == 1
    answer = send(live_server, key, batch(one, usage(alice, "c", now), usage(alice, "d", now, item="ai.cat")))
    assert (answer["accepted"], answer["duplicates"]) == (1, 1)
    assert [(row["index"], row["id"], row["code"]) for row in answer["rejected"]] == [(2, "d", "unknown_item")]
    rows = UsageEvent.objects.order_by("event_id").values_list("event_id", "source", "resource", "occurred_at")
    assert list(rows) == [
        ("a", "/edge/广州", "摄像头-7", now),
        ("b %1", "/edge/广州", "", now),
        ("c", "/edge/广州", "", now),
    ]


def test_binary_mode_without_a_media_type_is_json() -> None:
    now = timezone.now()
    alice, api = opened(on=str(timezone.localdate(now))), Api(None)
    message = to_binary_event(usage(alice, "a", now))
    assert "content-type" not in message.headers
    response = api.client.generic("POST", "/api/v1/usage/", message.body, content_type="", headers=message.headers)
    assert response.json() == {"accepted": 1, "duplicates": 0, "rejected": []}
