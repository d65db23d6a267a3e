"""How many requests a caller of the API may make: counted in Redis, said on every answer, 429 beyond.

Every caller has a window of its own that begins with its first request. Where Redis is gone nobody is refused:
answers then come without `RateLimit` headers, and the log says so. `API_RATE_LIMITS=off` turns the limits off.

The forms that strangers may send are counted by address too: each makes a hash, a mail or an account. Wrong passwords
are counted elsewhere, by login and address and in the database (django-axes); its refusal is the page made here.
"""

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from typing import NamedTuple

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from accounts.auth import key_of
from iss_billing.problems import problem_response
from iss_billing.proxies import client_address

log = logging.getLogger(__name__)

PREFIX = "/api/v1/"
PATIENCE_SECONDS = 0.2
"""How long Redis may take to answer."""
REST_SECONDS = 5
"""How long Redis is not asked again after it failed: a dead one must not slow every request down."""


class Policy(NamedTuple):
    """So many requests in so many seconds."""

    name: str
    requests: int
    seconds: int


CUSTOMER = Policy("customer", 1_200, 60)
PLATFORM = Policy("platform", 1_000, 10)
ADDRESS = Policy("address", 1_200, 60)
"""Of an address that sends no valid key: the catalogue's readers, and whoever guesses keys."""
FORMS = Policy("forms", 30, 60)
STRANGERS_FORMS = ("/sign-in/", "/sign-up/", "/sign-up/sent/", "/password-reset/", "/admin/login/")


class Window(NamedTuple):
    """What is left of a caller's window; below 0 the request is one too many."""

    policy: Policy
    left: int
    ends_in: int

    @property
    def headers(self) -> dict[str, str]:
        """The `RateLimit` fields (draft-ietf-httpapi-ratelimit-headers-10)."""
        policy = self.policy
        return {
            "RateLimit-Policy": f'"{policy.name}";q={policy.requests};w={policy.seconds}',
            "RateLimit": f'"{policy.name}";r={max(self.left, 0)};t={self.ends_in}',
        }


class RateLimits:
    """Middleware of the API: counts the request, refuses it or lets it pass, and says what is left."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.rests_until = 0.0

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """The answer, with the headers."""
        if not settings.API_RATE_LIMITS:
            return self.get_response(request)
        if request.method == "POST" and request.path in STRANGERS_FORMS:
            window = self._count(FORMS, client_address(request))
            if window is not None and window.left < 0:
                return _refused_page(request, window.ends_in)
        if not request.path.startswith(PREFIX):
            return self.get_response(request)
        window = self._count(*caller_of(request))
        if window is None:
            return self.get_response(request)
        response = self.get_response(request) if window.left >= 0 else _refusal(window)
        for name, value in window.headers.items():
            response[name] = value
        return response

    def _count(self, policy: Policy, caller: str) -> Window | None:
        """Count one request of a caller; None while Redis is gone."""
        if time.monotonic() < self.rests_until:
            return None
        key = f"rate:{policy.name}:{caller}"
        try:
            with _redis(settings.REDIS_URL).pipeline() as pipe:
                pipe.set(key, 0, ex=policy.seconds, nx=True)
                pipe.incr(key)
                pipe.pttl(key)
                _, used, left_ms = pipe.execute()
        except RedisError as error:
            self.rests_until = time.monotonic() + REST_SECONDS
            log.warning("requests are not counted for %s s: Redis: %s", REST_SECONDS, error)
            return None
        return Window(policy, policy.requests - used, max(-(-left_ms // 1000), 1))


def caller_of(request: HttpRequest) -> tuple[Policy, str]:
    """Who asks, as far as limits go: a valid key, a signed-in login, or an address."""
    key = key_of(request)
    if key is not None:
        return (CUSTOMER if key.account_id else PLATFORM), str(key.pk)
    if settings.SESSION_COOKIE_NAME in request.COOKIES and request.user.is_authenticated:
        return CUSTOMER, f"login-{request.user.pk}"
    return ADDRESS, client_address(request)


def _refusal(window: Window) -> HttpResponse:
    policy = window.policy
    detail = f"{policy.requests:,} requests in {policy.seconds} s are allowed; try again in {window.ends_in} s"
    response = problem_response(429, "too_many_requests", detail)
    response["Retry-After"] = str(window.ends_in)
    return response


def locked_out(request: HttpRequest, *_: object) -> HttpResponse:
    """The page that says that wrong passwords have locked a login out of this address, and for how long."""
    cooloff: timedelta = settings.AXES_COOLOFF_TIME  # type: ignore[misc]  # of a module of the settings
    return _refused_page(request, int(cooloff.total_seconds()), locked_out=True)


def _refused_page(request: HttpRequest, seconds: int, **context: bool) -> HttpResponse:
    response = render(request, "429.html", {"minutes": -(-seconds // 60), **context}, status=429)
    response["Retry-After"] = str(seconds)
    return response


@lru_cache(maxsize=2)
def _redis(url: str) -> Redis:
    patience = {"socket_timeout": PATIENCE_SECONDS, "socket_connect_timeout": PATIENCE_SECONDS}
    return Redis.from_url(url, retry=Retry(NoBackoff(), 0), **patience)
