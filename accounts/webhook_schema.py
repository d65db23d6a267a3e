"""The webhooks' part of the API's schema."""

from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from iss_billing.openapi import (
    LIST,
    PAGES,
    WRITE,
    Id,
    Moment,
    operation,
    page_example,
    page_of,
    parameter,
    path_id,
    ref,
)

TAG = "Webhooks"
EventName = Literal[
    "account.opened",
    "account.arrears",
    "account.suspended",
    "account.resumed",
    "account.reclaimed",
    "account.closed",
    "account.reopened",
    "balance.low",
    "bill.ready",
    "pack.low",
    "pack.exhausted",
    "pack.refunded",
    "order.placed",
    "payment.received",
    "price.announced",
]

StatusName = Literal["pending", "delivered", "failed"]


class WebhookRequest(Struct):
    """Where to send, and which events; left out, all of them."""

    url: Annotated[str, Meta(max_length=2000, pattern="^https://[!-~]+$")]
    events: list[EventName] | msgspec.UnsetType = msgspec.UNSET


class WebhookShape(Struct):
    """An endpoint, without its secret."""

    webhook_id: Id
    url: str
    events: list[EventName]
    created_at: Moment
    failing_since: Moment | None
    disabled_at: Moment | None


class WebhookSecretShape(WebhookShape):
    """An endpoint with its secret, which is in this answer only."""

    secret: str


class AttemptShape(Struct):
    """One attempt to deliver, and what it was answered."""

    time: Moment
    status: int | None
    answer: str
    error: str | None
    milliseconds: int


class DeliveryShape(Struct):
    """A message to an endpoint, with every attempt."""

    delivery_id: Id
    message_id: str
    type: EventName
    status: StatusName
    created_at: Moment
    next_attempt_at: Moment | None
    delivered_at: Moment | None
    body: dict[str, Any]
    attempts: list[AttemptShape]


WEBHOOK = {
    "webhook_id": "12",
    "url": "https://example.com/hooks",
    "events": ["bill.ready", "pack.low"],
    "created_at": "2026-03-01T10:00:00+08:00",
    "failing_since": None,
    "disabled_at": None,
}
WITH_SECRET = WEBHOOK | {"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
DELIVERY = {
    "delivery_id": "871",
    "message_id": "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W",
    "type": "bill.ready",
    "status": "delivered",
    "created_at": "2026-03-06T02:00:03+08:00",
    "next_attempt_at": None,
    "delivered_at": "2026-03-06T02:00:04+08:00",
    "body": {"type": "bill.ready", "timestamp": "2026-03-06T02:00:03+08:00", "data": {"account_id": "1042"}},
    "attempts": [{"time": "2026-03-06T02:00:04+08:00", "status": 204, "answer": "", "error": None, "milliseconds": 41}],
}

GET_WEBHOOKS = operation(
    "webhooks",
    tag=TAG,
    summary="The endpoints, newest first, without secrets",
    parameters=PAGES,
    answers={200: (page_of(WebhookShape), page_example(WEBHOOK))},
    problems=LIST,
)
POST_WEBHOOK = operation(
    "add_webhook",
    tag=TAG,
    summary="Add an endpoint; this answer alone holds its secret",
    request={"application/json": (ref(WebhookRequest), {"url": WEBHOOK["url"], "events": WEBHOOK["events"]})},
    answers={201: (ref(WebhookSecretShape), WITH_SECRET)},
    problems=(*WRITE, "too_many_webhooks"),
)
GET_WEBHOOK = operation(
    "webhook",
    tag=TAG,
    summary="One endpoint",
    parameters=[path_id()],
    answers={200: (ref(WebhookShape), WEBHOOK)},
    problems=["not_found"],
)
DELETE_WEBHOOK = operation(
    "remove_webhook",
    tag=TAG,
    summary="Remove an endpoint: nothing more is sent",
    parameters=[path_id()],
    answers={204: None},
    problems=("not_found", "csrf_failed"),
)
ROTATE_WEBHOOK = operation(
    "rotate_webhook",
    tag=TAG,
    summary="A new secret; the one before signs beside it for 24 hours",
    parameters=[path_id()],
    answers={200: (ref(WebhookSecretShape), WITH_SECRET)},
    problems=("not_found", "csrf_failed"),
)
ENABLE_WEBHOOK = operation(
    "enable_webhook",
    tag=TAG,
    summary="Turn an endpoint on again that failed for days",
    parameters=[path_id()],
    answers={200: (ref(WebhookShape), WEBHOOK)},
    problems=("not_found", "csrf_failed"),
)
GET_DELIVERIES = operation(
    "deliveries",
    tag=TAG,
    summary="What an endpoint was sent in the last 30 days, newest first",
    parameters=[
        path_id(),
        parameter("status", "Only messages of this status.", {"type": "string", "enum": list(get_args(StatusName))}),
        parameter("type", "Only events of this type.", {"type": "string", "enum": list(get_args(EventName))}),
        *PAGES,
    ],
    answers={200: (page_of(DeliveryShape), page_example(DELIVERY))},
    problems=(*LIST, "not_found"),
)
RESEND = operation(
    "resend_delivery",
    tag=TAG,
    summary="Send a message again, with the same id and body",
    parameters=[path_id(), path_id("delivery_pk")],
    answers={202: (ref(DeliveryShape), DELIVERY)},
    problems=("not_found", "csrf_failed", "webhook_disabled"),
)
