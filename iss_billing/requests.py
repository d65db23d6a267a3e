"""Every request has an id, is counted by its route, and in production is a line of the log."""

import logging
import re
import time
from collections.abc import Callable
from typing import Any, Final
from uuid import uuid4

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from prometheus_client import Counter, Histogram

from iss_billing import logs
from iss_billing.probes import PROBES

log = logging.getLogger(__name__)

REQUESTS: Final = Counter("iss_http_requests", "Requests answered.", ["method", "route", "status"])
SECONDS: Final = Histogram(
    "iss_http_request_seconds",
    "Time until an answer began.",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
HEADER: Final = "X-Request-ID"
SENT_ID: Final = re.compile(r"[A-Za-z0-9._-]{8,64}")


class Requests:
    """The outermost middleware."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """The answer, with the id that the request was sent with, or with a new one."""
        begun = time.perf_counter()
        sent = request.headers.get(HEADER, "")
        request_id = sent if SENT_ID.fullmatch(sent) else uuid4().hex
        with logs.belonging(request_id=request_id):
            response = self.get_response(request)
            response[HEADER] = request_id
            _note(request, response, time.perf_counter() - begun)
        return response


def _note(request: HttpRequest, response: HttpResponse, seconds: float) -> None:
    method = request.method if request.method in METHODS else "other"
    route = route_of(request)
    REQUESTS.labels(method, route, str(response.status_code)).inc()
    SECONDS.labels(method, route).observe(seconds)
    if not settings.DEBUG and request.path not in PROBES:  # those come every few seconds
        facts = {
            "method": method,
            "route": route,
            "status": response.status_code,
            "ms": round(seconds * 1000, 1),
            **_who(request),
        }
        level = logging.ERROR if response.status_code >= 500 else logging.INFO
        log.log(level, "%s %s %s", method, route, response.status_code, extra={"facts": facts})


def route_of(request: HttpRequest) -> str:
    """The route as the URLconf has it: never an id, a token or what somebody made up, so that they stay few."""
    match = request.resolver_match
    if match is not None:
        return match.route or "/"
    return "static" if request.path.startswith(f"/{settings.STATIC_URL.strip('/')}/") else "unknown"


def _who(request: HttpRequest) -> dict[str, Any]:
    """The ids of the account and the login that asked, as far as somebody has looked them up."""
    key = getattr(request, "api_key", None)
    user = getattr(request, "_cached_user", None)
    account_id = getattr(key, "account_id", None)
    if user is not None and user.is_authenticated:
        account = user._state.fields_cache.get("account")
        return {"account_id": account_id or getattr(account, "pk", None), "login_id": user.pk}
    return {"account_id": account_id, "key_id": key.pk} if key is not None else {}
