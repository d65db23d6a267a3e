"""API edges of packs: the catalogue, buying, holding and refunding."""

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.auth import IsCustomer, account_of
from accounts.modes import mode_on
from accounts.pagination import find, paged
from accounts.shapes import fen
from iss_billing.days import day_of
from iss_billing.money import parse_decimal
from iss_billing.problems import STATUSES, Problem, invalid
from packs import api_schema
from packs.models import Order, Pack, PackStatus, PackType
from packs.orders import MOST_LINES, MOST_PER_LINE, LineRequest, OrderRefused, place_order
from packs.refunds import PackUnknown, RefundRefused, refund_pack
from packs.shapes import catalogue_shape, order_shapes, pack_shapes


class CatalogueView(APIView):
    """What is sold and what it costs otherwise; for anyone."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @api_schema.GET_CATALOGUE
    def get(self, request: Request) -> Response:
        """Packs and tariff in force now; names by Accept-Language."""
        return Response(catalogue_shape(timezone.now()))


class OrdersView(APIView):
    """The caller's orders."""

    permission_classes = (IsCustomer,)

    @api_schema.GET_ORDERS
    def get(self, request: Request) -> Response:
        """Newest first."""
        account, now = account_of(request), timezone.now()
        rows = Order.objects.filter(account=account).prefetch_related("lines__sku")
        return paged(request, rows, ("-id",), lambda page: order_shapes(page, account.pk, now))

    @api_schema.POST_ORDER
    def post(self, request: Request) -> Response:
        """Buy packs; the same Idempotency-Key and body again answers with the same order."""
        account, now = account_of(request), timezone.now()
        key = request.headers.get("Idempotency-Key", "")
        if not key:
            raise Problem(400, "idempotency_key_required", "send an Idempotency-Key header of 1 to 255 characters")
        lines = _lines(request.data, key)
        try:
            order, new = place_order(account_id=account.pk, lines=lines, key=key, now=now)
        except OrderRefused as refusal:
            raise _problem(refusal) from refusal
        return Response(order_shapes([order], account.pk, now)[0], status=201 if new else 200)


def _lines(body: Any, key: str) -> list[LineRequest]:
    """The form of an order (shape, counts, key); raises a 400 `invalid` that names each fault."""
    errors: dict[str, list[str]] = {}
    if len(key) > 255 or not key.isprintable():
        errors["Idempotency-Key"] = ["1 to 255 printable characters"]
    entries = body.get("lines") if isinstance(body, dict) else None
    if not isinstance(entries, list) or not 1 <= len(entries) <= MOST_LINES:
        errors["lines"] = [f"a list of 1 to {MOST_LINES} lines"]
        entries = []
    lines = [_line(entry, f"lines[{place}]", errors) for place, entry in enumerate(entries)]
    if errors:
        raise invalid(errors)
    return lines


def _line(entry: Any, where: str, errors: dict[str, list[str]]) -> LineRequest:
    fields = entry if isinstance(entry, dict) else {}
    sku, quantity, expected = fields.get("sku"), fields.get("quantity"), None
    if not isinstance(sku, str) or not sku or "\x00" in sku:
        errors[f"{where}.sku"] = ["the code of a pack, as text"]
    if type(quantity) is not int or not 1 <= quantity <= MOST_PER_LINE:
        errors[f"{where}.quantity"] = [f"a whole number from 1 to {MOST_PER_LINE}"]
    if "expected_price" in fields:
        try:
            expected = parse_decimal(_text(fields["expected_price"]), 2)
        except ValueError as error:
            errors[f"{where}.expected_price"] = [str(error)]
    return LineRequest(str(sku), quantity if type(quantity) is int else 0, expected)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a decimal string such as “250.00” is expected")
    return value


def _problem(refusal: OrderRefused) -> Problem:
    extra = dict(refusal.extra)
    if "prices" in extra:
        extra["prices"] = [{"sku": sku, "price": fen(price)} for sku, price in sorted(extra["prices"].items())]
    if "missing" in extra:
        extra["missing"] = fen(extra["missing"])
    return Problem(STATUSES[refusal.code], refusal.code, str(refusal), **extra)


class OrderView(APIView):
    """One order of the caller."""

    permission_classes = (IsCustomer,)

    @api_schema.GET_ORDER
    def get(self, request: Request, pk: str) -> Response:
        """The order with its lines and packs."""
        account = account_of(request)
        order = find(Order.objects.filter(account=account).prefetch_related("lines__sku"), pk)
        return Response(order_shapes([order], account.pk, timezone.now())[0])


def _packs_of(account_id: int) -> QuerySet[Pack]:
    return Pack.objects.filter(account_id=account_id).select_related("sku", "pack_type", "order_line")


class PacksView(APIView):
    """The caller's packs."""

    permission_classes = (IsCustomer,)

    @api_schema.GET_PACKS
    def get(self, request: Request) -> Response:
        """All statuses, in drawing order; `?status=` and `?pack_type=` narrow it."""
        account, now = account_of(request), timezone.now()
        rows = _packs_of(account.pk)
        if (code := request.query_params.get("pack_type")) is not None:
            if "\x00" in code or not PackType.objects.filter(code=code).exists():
                raise invalid({"pack_type": ["no such pack type"]})
            rows = rows.filter(pack_type__code=code)
        if (status := request.query_params.get("status")) is not None:
            if status not in PackStatus.values:
                raise invalid({"status": [f"one of {', '.join(PackStatus.values)}"]})
            rows = Pack.with_status(rows, PackStatus(status), day_of(now), mode_on(account.pk, day_of(now)))
        return paged(request, rows, ("id",), lambda page: pack_shapes(page, account.pk, now))


class PackView(APIView):
    """One pack of the caller."""

    permission_classes = (IsCustomer,)

    @api_schema.GET_PACK
    def get(self, request: Request, pk: str) -> Response:
        """The pack."""
        account = account_of(request)
        return Response(pack_shapes([find(_packs_of(account.pk), pk)], account.pk, timezone.now())[0])


class PackRefundView(APIView):
    """Giving an unused pack back."""

    permission_classes = (IsCustomer,)

    @api_schema.POST_REFUND
    def post(self, request: Request, pk: str) -> Response:
        """Refund the full price to the balance; the repeat says `already_refunded` and carries the pack."""
        account, now = account_of(request), timezone.now()
        pack = find(_packs_of(account.pk), pk)
        try:
            refund_pack(account_id=account.pk, pack_id=pack.pk, now=now)
        except RefundRefused as refusal:
            [shape] = pack_shapes([find(_packs_of(account.pk), pk)], account.pk, now)
            raise Problem(409, refusal.code, str(refusal), pack=shape) from refusal
        except PackUnknown as error:
            raise Problem(404, "not_found", str(error)) from error
        return Response(pack_shapes([find(_packs_of(account.pk), pk)], account.pk, now)[0])
