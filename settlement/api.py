"""API edges of settlement: bills, the estimate, pack drawdowns, and usage from the platform."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import msgspec
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.auth import IsCustomer, IsPlatform, account_of
from accounts.pagination import day_range, find, paged, paged_by_key
from iss_billing.days import day_of
from iss_billing.problems import Problem, invalid
from packs.models import Item, Pack
from settlement import api_schema
from settlement.estimate import estimate
from settlement.events import Event, Faulty, NotEvents, TooMany, decode_batch, decode_one
from settlement.figures import count_usage
from settlement.metering import meter
from settlement.models import Bill, Drawdown
from settlement.pages.exports import recheck_response
from settlement.recheck_schema import GET_RECHECK
from settlement.shapes import bill_head, bill_shape, estimate_shape, usage_shape
from settlement.used import Place, used

MOST_BYTES = 16 * 1024 * 1024
STRUCTURED, BATCH, BINARY = "application/cloudevents+json", "application/cloudevents-batch+json", "application/json"


class BillsView(APIView):
    """The caller's bills."""

    permission_classes = (IsCustomer,)

    @api_schema.GET_BILLS
    def get(self, request: Request) -> Response:
        """Newest day first; `?from=&to=` narrow it."""
        since, until = day_range(request)
        rows = Bill.objects.filter(account=account_of(request))
        rows = rows.filter(day__gte=since) if since else rows
        rows = rows.filter(day__lte=until) if until else rows
        return paged(request, rows, ("-day", "-sequence"), lambda page: [bill_head(bill) for bill in page])


class BillView(APIView):
    """One bill of the caller."""

    permission_classes = (IsCustomer,)

    @api_schema.GET_BILL
    def get(self, request: Request, pk: str) -> Response:
        """The bill with its lines and drawdowns."""
        return Response(bill_shape(find(Bill.objects.filter(account=account_of(request)), pk)))


class BillRecheckView(APIView):
    """One bill of the caller with all that it was made from."""

    permission_classes = (IsCustomer,)

    @GET_RECHECK
    def get(self, request: Request, pk: str) -> HttpResponseBase:
        """The recheck file, as the bill's page has it; `recheck.py` recomputes it offline."""
        return recheck_response(find(Bill.objects.filter(account=account_of(request)), pk))


class EstimateView(APIView):
    """What would be due if today ended now."""

    permission_classes = (IsCustomer,)

    @api_schema.GET_ESTIMATE
    def get(self, request: Request) -> Response:
        """Pending earlier days, then today; nothing is changed."""
        return Response(estimate_shape(estimate(account_of(request).pk, timezone.now())))


class PackDrawdownsView(APIView):
    """What was drawn from one pack of the caller."""

    permission_classes = (IsCustomer,)

    @api_schema.GET_DRAWDOWNS
    def get(self, request: Request, pk: str) -> Response:
        """Oldest first."""
        pack = find(Pack.objects.filter(account=account_of(request)), pk)
        rows = Drawdown.objects.filter(pack=pack).select_related("line__bill", "line__item")
        return paged(request, rows, ("id",), lambda page: [_drawdown(drawdown) for drawdown in page])


def _drawdown(drawdown: Drawdown) -> dict[str, Any]:
    line = drawdown.line
    return {
        "day": line.bill.day.isoformat(),
        "bill_id": str(line.bill_id),
        "item": line.item.code,
        "region": line.region,
        "quantity": drawdown.quantity,
        "remaining_after": drawdown.remaining_after,
    }


class AnyBody(BaseParser):
    """Leaves the body to the view, whatever its media type."""

    media_type = "*/*"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        """Nothing: the view reads the raw body."""
        return {}


class UsageView(APIView):
    """Usage: a customer reads it, the platform reports it."""

    parser_classes = (AnyBody,)

    def get_permissions(self) -> list[Any]:
        """By what is asked for."""
        return [IsPlatform()] if self.request.method == "POST" else [IsCustomer()]

    @api_schema.GET_USAGE
    def get(self, request: Request) -> Response:
        """Per day, item and region, newest day first; `?from=&to=&item=` narrow it."""
        account, today = account_of(request), day_of(timezone.now())
        first, last = day_range(request)
        item = None
        if (code := request.query_params.get("item")) is not None:
            item = None if "\x00" in code else Item.objects.filter(code=code).first()
            if item is None:
                raise invalid({"item": ["there is no such item"]})

        def read(beside: Place | None, backward: bool, number: int) -> list[tuple[Place, dict[str, Any]]]:
            rows = used(
                account, today, number=number, first=first, last=last, item=item, beside=beside, backward=backward
            )
            return [(row.place, usage_shape(row)) for row in rows]

        return paged_by_key(request, read, Place.parse, str)

    @api_schema.POST_USAGE
    def post(self, request: Request) -> Response:
        """Store CloudEvents (structured, batch or binary); what is called accepted is durable."""
        now = timezone.now()
        try:
            events = _events(request._request)
        except TooMany as error:
            raise Problem(413, "too_large", "more than 10,000 events in one batch") from error
        except NotEvents as error:
            raise invalid({"body": [str(error)]}) from error
        done = meter(events, now)
        count_usage(done)
        return Response(
            {
                "accepted": done.accepted,
                "duplicates": done.duplicates,
                "rejected": [refused.as_json() for refused in done.rejected],
            }
        )


def _events(request: HttpRequest) -> list[Event | Faulty]:
    """The events of a request, by its media type. Raises NotEvents, TooMany, and the problems 413 and 415."""
    # the SDK sends binary mode without a media type where the event names none: JSON is what the data then is
    media_type = (request.content_type or ("ce-specversion" in request.headers and BINARY) or "").lower()
    if media_type not in (STRUCTURED, BATCH, BINARY):
        raise Problem(415, "unsupported_media_type", f"send {STRUCTURED}, {BATCH}, or {BINARY} with ce- headers")
    body = _body(request)
    if media_type == BATCH:
        return decode_batch(body)
    return [decode_one(_from_headers(request, body) if media_type == BINARY else body)]


def _body(request: HttpRequest) -> bytes:
    too_large = Problem(413, "too_large", "the body is larger than 16 MiB")
    try:
        body = request.body
    except RequestDataTooBig as error:
        raise too_large from error
    if len(body) > MOST_BYTES:
        raise too_large
    return body


def _from_headers(request: HttpRequest, body: bytes) -> bytes:
    """A binary-mode event as a structured one: the percent-encoded `ce-` headers, and the body as data."""
    attributes: dict[str, Any] = {
        name[3:].lower(): unquote(value) for name, value in request.headers.items() if name.lower().startswith("ce-")
    }
    if "specversion" not in attributes:
        raise NotEvents("not a CloudEvent: application/json is binary mode, with ce- headers")
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotEvents(f"the data is not JSON: {error}") from error
    return msgspec.json.encode(attributes | {"data": msgspec.Raw(body)})
