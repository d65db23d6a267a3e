"""API edges of webhooks: a customer's key keeps its account's endpoints, a platform key the platform's own."""

import json
from typing import TYPE_CHECKING, Any

from django.utils import timezone, translation
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import webhook_schema
from accounts.ledger import AccountClosed
from accounts.models import Account
from accounts.pagination import find, paged
from accounts.shapes import moment
from accounts.webhook_models import Delivery, DeliveryStatus, Endpoint, EventType
from accounts.webhooks import (
    EndpointOff,
    EndpointRefused,
    add_endpoint,
    endpoints_of,
    remove_endpoint,
    resend,
    rotate_secret,
    turn_on,
)
from iss_billing.problems import Problem, invalid

if TYPE_CHECKING:
    from django.db.models import QuerySet


class KeepsEndpoints(BasePermission):
    """A customer, or a key of the platform."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """True, False without any key (401); raises a 403 `wrong_role` for staff without an account."""
        if not request.user.is_authenticated:
            return False
        if _account(request) is None and not getattr(request.user, "is_platform", False):
            raise Problem(403, "wrong_role", "this needs the key of an account or of the platform")
        return True


def _account(request: Request) -> Account | None:
    """The account that the caller acts for; None is the platform."""
    account: Account | None = getattr(request.user, "account", None)
    return account


def _endpoint(request: Request, pk: str) -> Endpoint:
    return find(endpoints_of(_account(request)), pk)


def endpoint_shape(endpoint: Endpoint) -> dict[str, Any]:
    """An endpoint, without its secret."""
    return {
        "webhook_id": str(endpoint.pk),
        "url": endpoint.url,
        "events": endpoint.events,
        "created_at": moment(endpoint.created_at),
        "failing_since": moment(endpoint.failing_since),
        "disabled_at": moment(endpoint.disabled_at),
    }


def delivery_shape(delivery: Delivery) -> dict[str, Any]:
    """A message to an endpoint, with every attempt and its answer."""
    return {
        "delivery_id": str(delivery.pk),
        "message_id": delivery.message_id,
        "type": delivery.type,
        "status": delivery.status,
        "created_at": moment(delivery.created_at),
        "next_attempt_at": moment(delivery.next_attempt_at),
        "delivered_at": moment(delivery.delivered_at),
        "body": json.loads(delivery.body),
        "attempts": [
            {
                "time": moment(attempt.time),
                "status": attempt.status,
                "answer": attempt.answer,
                "error": attempt.error or None,
                "milliseconds": attempt.milliseconds,
            }
            for attempt in delivery.attempts.all()
        ],
    }


def _refused(refusal: EndpointRefused) -> Problem:
    if refusal.field:
        return invalid({refusal.field: [str(refusal)]})
    return Problem(409, "too_many_webhooks", str(refusal))


class WebhooksView(APIView):
    """The caller's endpoints."""

    permission_classes = (KeepsEndpoints,)

    @webhook_schema.GET_WEBHOOKS
    def get(self, request: Request) -> Response:
        """Newest first, without secrets."""
        rows = endpoints_of(_account(request))
        return paged(request, rows, ("-id",), lambda page: [endpoint_shape(endpoint) for endpoint in page])

    @webhook_schema.POST_WEBHOOK
    def post(self, request: Request) -> Response:
        """Add an endpoint; `events` left out are all of them. The answer alone holds the secret."""
        fields = request.data if isinstance(request.data, dict) else {}
        url, events = fields.get("url"), fields.get("events", EventType.values)
        errors: dict[str, list[str]] = {}
        if not isinstance(url, str):
            errors["url"] = ["an address such as https://example.com/hooks"]
        if not isinstance(events, list) or not all(isinstance(event, str) for event in events):
            errors["events"] = ["a list of event types"]
        if errors:
            raise invalid(errors)
        try:
            with translation.override("en"):  # as every other detail of the API
                endpoint, secret = add_endpoint(
                    account=_account(request), url=str(url), events=events, now=timezone.now()
                )
        except EndpointRefused as refusal:
            raise _refused(refusal) from refusal
        except AccountClosed as error:
            raise Problem(403, "account_closed", str(error)) from error
        return Response(endpoint_shape(endpoint) | {"secret": secret}, status=201)


class WebhookView(APIView):
    """One endpoint of the caller."""

    permission_classes = (KeepsEndpoints,)

    @webhook_schema.GET_WEBHOOK
    def get(self, request: Request, pk: str) -> Response:
        """The endpoint, without its secret."""
        return Response(endpoint_shape(_endpoint(request, pk)))

    @webhook_schema.DELETE_WEBHOOK
    def delete(self, request: Request, pk: str) -> Response:
        """Remove it: nothing more is sent."""
        remove_endpoint(_endpoint(request, pk), timezone.now())
        return Response(status=204)


class WebhookRotateView(APIView):
    """A new secret."""

    permission_classes = (KeepsEndpoints,)

    @webhook_schema.ROTATE_WEBHOOK
    def post(self, request: Request, pk: str) -> Response:
        """The answer alone holds it; the one before signs beside it for 24 hours."""
        endpoint = _endpoint(request, pk)
        return Response(endpoint_shape(endpoint) | {"secret": rotate_secret(endpoint, timezone.now())})


class WebhookEnableView(APIView):
    """Turning an endpoint on again that was turned off because it failed for days."""

    permission_classes = (KeepsEndpoints,)

    @webhook_schema.ENABLE_WEBHOOK
    def post(self, request: Request, pk: str) -> Response:
        """The endpoint; one that is on stays as it is."""
        endpoint = _endpoint(request, pk)
        turn_on(endpoint)
        return Response(endpoint_shape(endpoint))


class DeliveriesView(APIView):
    """What an endpoint was sent in the last 30 days."""

    permission_classes = (KeepsEndpoints,)

    @webhook_schema.GET_DELIVERIES
    def get(self, request: Request, pk: str) -> Response:
        """Newest first; `?status=` and `?type=` narrow it."""
        rows: QuerySet[Delivery] = _endpoint(request, pk).deliveries.prefetch_related("attempts")
        if (status := request.query_params.get("status")) is not None:
            if status not in DeliveryStatus.values:
                raise invalid({"status": [f"one of {', '.join(DeliveryStatus.values)}"]})
            rows = Delivery.with_status(rows, DeliveryStatus(status))
        if (event := request.query_params.get("type")) is not None:
            if event not in EventType.values:
                raise invalid({"type": [f"one of {', '.join(EventType.values)}"]})
            rows = rows.filter(type=event)
        return paged(request, rows, ("-id",), lambda page: [delivery_shape(delivery) for delivery in page])


class ResendView(APIView):
    """Sending a message again."""

    permission_classes = (KeepsEndpoints,)

    @webhook_schema.RESEND
    def post(self, request: Request, pk: str, delivery_pk: str) -> Response:
        """With the same `webhook-id` and body, at once, whatever became of it before."""
        rows = _endpoint(request, pk).deliveries.select_related("endpoint").prefetch_related("attempts")
        delivery = find(rows, delivery_pk)
        try:
            with translation.override("en"):
                resend(delivery, timezone.now())
        except EndpointOff as error:
            raise Problem(409, "webhook_disabled", str(error)) from error
        return Response(delivery_shape(delivery), status=202)
