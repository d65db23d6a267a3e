"""The API's usage call: CloudEvents in three modes, every refusal in its order, and what is no usage at all."""

import json
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
import time_machine

from accounts.models import Account
from packs.models import Item
from settlement.models import UsageBatch, UsageEvent
from tests.api_client import BASE, Api, problem
from tests.worlds import at, bills_of, event, night, opened, yuan

pytestmark = pytest.mark.django_db

ONE, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
TIME = "2026-03-08T11:00:00"


@pytest.fixture(autouse=True)
def clock() -> Iterator[None]:
    """Noon of 8 March 2026."""
    with time_machine.travel(at("2026-03-08T12:00"), tick=False):
        yield


@pytest.fixture
def alice() -> Account:
    return opened("alice")


@pytest.fixture
def platform() -> Api:
    return Api(None)


def post(api: Api, body: Any, media_type: str = BATCH, headers: dict[str, str] | None = None) -> Any:
    """The response to a body, sent as it is when bytes."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return api.client.post(BASE + "usage/", data, content_type=media_type, headers=headers)


def counted(api: Api, body: Any, media_type: str = BATCH, headers: dict[str, str] | None = None) -> Any:
    """The answer of a 200."""
    response = post(api, body, media_type, headers)
    assert response.status_code == 200, response.content
    return response.json()


def nothing_refused(accepted: int, duplicates: int = 0) -> dict[str, Any]:
    return {"accepted": accepted, "duplicates": duplicates, "rejected": []}


# three modes


def test_a_structured_event_is_stored_with_its_defaults(platform: Api, alice: Account) -> None:
    one = event(alice, "ai.pet", 400, TIME, id="8f1c", source="/edge/gz-3")
    for media_type in (ONE, f"{ONE}; charset=utf-8"):
        expected = nothing_refused(1) if media_type == ONE else nothing_refused(0, 1)
        assert counted(platform, one, media_type) == expected
    row = UsageEvent.objects.get()
    assert (row.day, row.source, row.event_id) == (date(2026, 3, 8), "/edge/gz-3", "8f1c")
    assert (row.account_id, row.item.code, row.region, row.resource) == (alice.pk, "ai.pet", "cn-mainland", "")
    assert (row.quantity, row.occurred_at, row.received_at) == (400, at(TIME), at("2026-03-08T12:00"))


def test_attributes_and_data_that_we_do_not_use_are_ignored(platform: Api, alice: Account) -> None:
    one = event(alice, "ai.pet", 400, TIME, note="x") | {"datacontenttype": "application/json", "traceparent": "00"}
    assert counted(platform, one, ONE) == nothing_refused(1)


def test_a_batch_counts_accepted_duplicates_and_refused_in_index_order(platform: Api, alice: Account) -> None:
    first, second = event(alice, "ai.pet", 400, TIME), event(alice, "ai.pet", 400, TIME)
    bad, worse = event(alice, "ai.cat", 1, TIME, id="bad"), event("nobody", "ai.pet", 1, TIME, id="worse")
    answer = counted(platform, [worse, first, second, first, bad])
    assert (answer["accepted"], answer["duplicates"]) == (2, 1)
    assert [(row["index"], row["id"], row["code"]) for row in answer["rejected"]] == [
        (0, "worse", "unknown_account"),
        (4, "bad", "unknown_item"),
    ]
    assert all(row.keys() == {"index", "id", "code", "detail"} and row["detail"] for row in answer["rejected"])
    assert counted(platform, [second]) == nothing_refused(0, 1)
    night("2026-03-09T02:00")
    assert [bill.amount_due for bill in bills_of(alice)] == [yuan("2.00")]


def test_what_is_accepted_is_stored_and_marked_for_the_night(platform: Api, alice: Account) -> None:
    counted(platform, [event(alice, "ai.pet", 1, TIME), event(alice, "ai.pet", 1, "2026-03-07T10:00:00")])
    assert UsageEvent.objects.count() == 2
    [batch] = UsageBatch.objects.all()
    assert {*zip(batch.account_ids, batch.days, strict=True)} == {
        (alice.pk, date(2026, 3, 7)),
        (alice.pk, date(2026, 3, 8)),
    }


def binary(account: Account, **changed: str) -> dict[str, str]:
    """The headers of a binary-mode event."""
    attributes = {
        "specversion": "1.0",
        "type": "iss.usage",
        "id": "b1",
        "source": "/edge/1",
        "subject": str(account.pk),
    }
    attributes |= {"time": f"{TIME}+08:00"} | changed
    return {f"ce-{name}": value for name, value in attributes.items()}


def test_binary_mode_takes_attributes_from_percent_encoded_headers(platform: Api, alice: Account) -> None:
    data = {"item": "ai.pet", "quantity": 12, "resource": "摄像头-7"}
    headers = binary(alice, id="caf%C3%A9%201", source="/edge/%E5%B9%BF%E5%B7%9E")
    assert counted(platform, data, "application/json", headers) == nothing_refused(1)
    row = UsageEvent.objects.get()
    assert (row.event_id, row.source, row.resource, row.quantity) == ("café 1", "/edge/广州", "摄像头-7", 12)
    [refused] = counted(platform, {"item": "ai.cat", "quantity": 1}, "application/json", headers)["rejected"]
    assert (refused["index"], refused["id"], refused["code"]) == (0, "café 1", "unknown_item")


# refusals


def test_the_first_code_that_applies_is_told(platform: Api, alice: Account) -> None:
    bad = event("nobody", "ai.cat", -1, "2026-03-08T12:10:00.000001", region="moon") | {"type": "other"}
    faults: list[tuple[str, dict[str, Any]]] = [
        ("invalid_event", {"type": "iss.usage"}),
        ("unknown_account", {"subject": str(alice.pk)}),
        ("unknown_item", {"data": {"item": "device.gb28181", "quantity": -1, "region": "moon"}}),
        ("invalid_quantity", {"data": {"item": "device.gb28181", "region": "moon"}}),
        ("missing_resource", {"data": {"item": "device.gb28181", "region": "moon", "resource": "camera-1"}}),
        ("in_future", {"time": "2026-02-05T23:59:59+08:00"}),
        ("too_old", {"time": "2026-02-06T00:00:00+08:00"}),
        ("before_account", {"time": "2026-03-08T12:10:00+08:00"}),
        ("unknown_region", {"data": {"item": "device.gb28181", "resource": "camera-1"}}),
    ]
    for code, repair in faults:
        [refused] = counted(platform, [bad])["rejected"]
        assert (refused["code"], refused["id"]) == (code, bad["id"])
        bad |= repair
    assert counted(platform, [bad]) == nothing_refused(1)


@pytest.mark.parametrize(
    "change",
    [
        {"specversion": "0.3"},
        {"type": None},
        {"id": ""},
        {"id": 7},
        {"id": "x" * 256},
        {"source": ""},
        {"subject": 1},
        {"time": "2026-03-08T11:00:00"},
        {"time": "yesterday"},
        {"data": None},
        {"data": []},
        {"data": {"quantity": 1}},
        {"data": {"item": None, "quantity": 1}},
        {"data": {"item": "ai.pet", "quantity": 1, "region": None}},
        {"data": {"item": "ai.pet", "quantity": 1, "resource": None}},
        {"data": {"item": "ai.pet", "quantity": 1, "resource": "a\0b"}},
    ],
)
def test_what_is_not_an_event_of_ours_is_an_invalid_event(platform: Api, alice: Account, change: Any) -> None:
    good = event(alice, "ai.pet", 1, TIME)
    answer = counted(platform, [event(alice, "ai.pet", 1, TIME) | change, good, 5])
    assert answer["accepted"] == 1
    assert [(row["index"], row["code"]) for row in answer["rejected"]] == [(0, "invalid_event"), (2, "invalid_event")]
    [refused] = counted(platform, event(alice, "ai.pet", 1, TIME) | change, ONE)["rejected"]
    assert refused["code"] == "invalid_event"


@pytest.mark.parametrize("missing", ["specversion", "type", "id", "source", "subject", "time", "data"])
def test_every_attribute_of_an_event_is_needed(platform: Api, alice: Account, missing: str) -> None:
    bad = event(alice, "ai.pet", 1, TIME, id="e")
    del bad[missing]
    [refused] = counted(platform, [bad])["rejected"]
    assert (refused["code"], refused["id"]) == ("invalid_event", None if missing == "id" else "e")


@pytest.mark.parametrize(
    "quantity", ["12.0", '"12"', "true", "null", "-1", str(10**15 + 1), "1e3", "[]", "1" + "0" * 400]
)
def test_a_quantity_is_a_json_integer(platform: Api, alice: Account, quantity: str) -> None:
    body = json.dumps([event(alice, "ai.pet", 424242, TIME)]).replace("424242", quantity)
    answer = counted(platform, body.encode())
    assert (answer["accepted"], [row["code"] for row in answer["rejected"]]) == (0, ["invalid_quantity"])


@pytest.mark.parametrize("item", ["ai.pet", "bandwidth.down", "storage.standard"])
def test_only_distinct_items_have_a_quantity_by_default(platform: Api, alice: Account, item: str) -> None:
    assert Item.objects.get(code=item).aggregation != "distinct"
    bad = event(alice, item, None, TIME, resource="a")
    good = event(alice, "device.gb28181", None, TIME, resource="a")
    answer = counted(platform, [bad, good])
    assert (answer["accepted"], answer["rejected"][0]["code"]) == (1, "invalid_quantity")
    assert UsageEvent.objects.get().quantity == 1


# what is no usage at all


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b" ", BATCH),
        (b"{", BATCH),
        (b"\xff", BATCH),
        (b"{}", BATCH),
        (b"[]", BATCH),
        (b'"text"', BATCH),
        (b"[" * 100_000, BATCH),
        (b" ", ONE),
        (b"[]", ONE),
        (b"5", ONE),
        (b"{", ONE),
        (b'{"item": "ai.pet"}', "application/json"),
    ],
)
def test_what_is_not_json_or_no_cloudevents_is_invalid(platform: Api, body: bytes, media_type: str) -> None:
    answer = problem(post(platform, body, media_type))
    assert (answer["status"], answer["code"]) == (400, "invalid")


def test_binary_data_that_is_not_json_is_invalid(platform: Api, alice: Account) -> None:
    answer = problem(post(platform, b"{", "application/json", binary(alice)))
    assert (answer["status"], answer["code"]) == (400, "invalid")


@pytest.mark.parametrize("media_type", ["text/plain", "application/xml", "application/cloudevents+avro"])
def test_another_media_type_is_not_read(platform: Api, alice: Account, media_type: str) -> None:
    answer = problem(post(platform, [event(alice, "ai.pet", 1, TIME)], media_type))
    assert (answer["status"], answer["code"]) == (415, "unsupported_media_type")
    assert UsageEvent.objects.count() == 0


def test_a_batch_has_at_most_10_000_events(platform: Api, alice: Account) -> None:
    batch = [event(alice, "ai.pet", 1, TIME, id=f"n{number}") for number in range(10_001)]
    answer = problem(post(platform, batch))
    assert (answer["status"], answer["code"], UsageEvent.objects.count()) == (413, "too_large", 0)
    assert problem(post(platform, [{}] * 10_001))["code"] == "too_large"
    assert counted(platform, batch[:10_000]) == nothing_refused(10_000)


def test_a_body_has_at_most_16_mib(platform: Api, alice: Account) -> None:
    body = json.dumps([event(alice, "ai.pet", 1, TIME)]).encode()
    answer = problem(post(platform, body.ljust(16 * 2**20 + 1)))
    assert (answer["status"], answer["code"], UsageEvent.objects.count()) == (413, "too_large", 0)
    assert problem(post(platform, body.ljust(17 * 2**20)))["code"] == "too_large"
    assert counted(platform, body.ljust(16 * 2**20)) == nothing_refused(1)
