"""Errors of the API as RFC 9457 problem details with stable codes."""

import sys
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.defaults import server_error
from rest_framework import exceptions
from rest_framework.response import Response

MEDIA_TYPE = "application/problem+json"

TITLES = {
    "invalid": "The request is not valid",
    "not_authenticated": "A valid key is needed",
    "wrong_role": "This key may not do that",
    "not_found": "There is no such thing",
    "method_not_allowed": "This address does not take that method",
    "not_acceptable": "No answer in the media type asked for",
    "unsupported_media_type": "This media type is not read",
    "too_large": "Too much at once",
    "too_many_requests": "Too many requests",
    "csrf_failed": "The CSRF token is missing or wrong",
    "idempotency_key_required": "The Idempotency-Key header is missing",
    "idempotency_key_reused": "The Idempotency-Key was used for something else",
    "unknown_sku": "A SKU is not on sale",
    "account_in_arrears": "The account is in arrears",
    "account_closed": "The account is closed",
    "price_changed": "A price has changed",
    "insufficient_balance": "The balance is too low",
    "already_refunded": "The pack was refunded before",
    "pack_used": "The pack has been used",
    "refund_window_over": "The time to refund is over",
    "too_many_webhooks": "There are as many endpoints as may be",
    "webhook_disabled": "The endpoint is turned off",
    "server_error": "Something failed on our side",
    "unavailable": "Not available for a moment, please try again",
}

STATUSES = {
    "invalid": 400,
    "not_authenticated": 401,
    "wrong_role": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "not_acceptable": 406,
    "unsupported_media_type": 415,
    "too_large": 413,
    "too_many_requests": 429,
    "csrf_failed": 403,
    "idempotency_key_required": 400,
    "idempotency_key_reused": 422,
    "unknown_sku": 400,
    "account_in_arrears": 403,
    "account_closed": 403,
    "price_changed": 409,
    "insufficient_balance": 402,
    "already_refunded": 409,
    "pack_used": 409,
    "refund_window_over": 409,
    "too_many_webhooks": 409,
    "webhook_disabled": 409,
    "server_error": 500,
    "unavailable": 503,
}
"""The one HTTP status of every code."""


class Problem(exceptions.APIException):
    """Raise to answer with a problem; `extra` members go beside the standard ones."""

    def __init__(self, status: int, code: str, detail: str, **extra: Any) -> None:
        super().__init__(detail=detail, code=code)
        self.status_code = status
        self.code = code
        self.extra = extra


def invalid(errors: Mapping[str, list[str]], detail: str = "") -> Problem:
    """A 400 `invalid` with messages per field."""
    return Problem(400, "invalid", detail or _first(errors), errors=dict(errors))


def _first(errors: Mapping[str, list[str]]) -> str:
    return "; ".join(f"{name}: {messages[0]}" for name, messages in errors.items() if messages)


def body(status: int, code: str, detail: str, **extra: Any) -> dict[str, Any]:
    """The members of a problem."""
    title = TITLES.get(code, code)
    return {
        "type": f"urn:iss-billing:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
    } | extra


_CODES: tuple[tuple[type[Exception], str], ...] = (
    (exceptions.AuthenticationFailed, "not_authenticated"),
    (exceptions.NotAuthenticated, "not_authenticated"),
    (exceptions.PermissionDenied, "wrong_role"),
    (PermissionDenied, "wrong_role"),
    (exceptions.NotFound, "not_found"),
    (Http404, "not_found"),
    (exceptions.MethodNotAllowed, "method_not_allowed"),
    (exceptions.NotAcceptable, "not_acceptable"),
    (exceptions.UnsupportedMediaType, "unsupported_media_type"),
    (exceptions.Throttled, "too_many_requests"),
    (exceptions.ParseError, "invalid"),
)


def handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler: every error of the API becomes a problem; faults of ours stay exceptions."""
    from rest_framework.views import exception_handler  # imports the authentication classes, which import this module

    extra: dict[str, Any] = {}
    if isinstance(exc, RequestDataTooBig):
        exc = Problem(413, "too_large", "the body is too large")
    if isinstance(exc, exceptions.ValidationError):
        detail = exc.detail
        errors = detail if isinstance(detail, dict) else {"non_field_errors": detail}
        exc = invalid({name: [str(message) for message in _flat(messages)] for name, messages in errors.items()})
    response = exception_handler(exc, context)
    if response is None:
        return None
    if isinstance(exc, Problem):
        code, extra = exc.code, exc.extra
    else:
        code = next((code for kind, code in _CODES if isinstance(exc, kind)), "invalid")
        if code == "wrong_role" and str(exc).startswith("CSRF"):
            code = "csrf_failed"
        if code == "invalid":
            extra = {"errors": {}}
    said = str(exc.detail) if isinstance(exc, exceptions.APIException) else TITLES[code]
    response.data = body(response.status_code, code, said, **extra)
    response.content_type = MEDIA_TYPE
    return response


def _flat(messages: Any) -> list[Any]:
    if isinstance(messages, dict):
        return [f"{name}: {message}" for name, inner in messages.items() for message in _flat(inner)]
    if isinstance(messages, list):
        return [message for inner in messages for message in _flat(inner)]
    return [messages]


def problem_response(status: int, code: str, detail: str) -> JsonResponse:
    """A problem where no view of the API answers."""
    return JsonResponse(body(status, code, detail), status=status, content_type=MEDIA_TYPE)


def failed(request: HttpRequest) -> HttpResponse:
    """Django's handler of our own faults: a problem for programs, a page for people.

    A database that is away is no fault: 503, to be asked again.
    """
    away = isinstance(sys.exc_info()[1], OperationalError | InterfaceError)
    if not request.path.startswith("/api/v1/"):
        page: HttpResponse = server_error(request)
        page.status_code = 503 if away else 500
        return page
    code = "unavailable" if away else "server_error"
    answer = problem_response(STATUSES[code], code, TITLES[code].lower())
    if away:
        answer["Retry-After"] = "5"
    return answer


def not_found(request: HttpRequest, exception: Exception | None = None) -> JsonResponse:
    """A problem for addresses below the API that do not exist."""
    return problem_response(404, "not_found", "there is nothing at this address")
