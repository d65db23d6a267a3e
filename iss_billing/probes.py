"""Who watches the product asks here: whether the process is up, and whether what it needs is."""

import logging
from collections.abc import Callable
from typing import Final

import redis
from django.conf import settings
from django.db import Error, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import resolve
from redis.backoff import NoBackoff
from redis.retry import Retry

log = logging.getLogger(__name__)

PROBES: Final = ("/healthz", "/readyz", "/metrics")
PATIENCE_SECONDS: Final = 2


class Probes:
    """Middleware that answers probes before anything asks for a host name, HTTPS, a session or a language.

    They come by address, over plain HTTP, from inside.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """The view's answer to a probe; everything else goes its way."""
        if request.path not in PROBES:
            return self.get_response(request)
        request.resolver_match = match = resolve(request.path)
        response: HttpResponse = match.func(request, *match.args, **match.kwargs)
        response["Cache-Control"] = "no-store"
        return response


def healthz(request: HttpRequest) -> HttpResponse:
    """The process is up: 200, whatever else is down."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> HttpResponse:
    """200 when the database and the broker answer, else 503 and which does not."""
    found = {"database": database_answers(), "broker": broker_answers()}
    ready = all(found.values())
    words = {name: "ok" if answers else "unreachable" for name, answers in found.items()}
    return JsonResponse({"status": "ok" if ready else "unready", **words}, status=200 if ready else 503)


def database_answers() -> bool:
    """Whether PostgreSQL does."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error as error:
        log.warning("the database does not answer: %s", error)
        connection.close()
        return False
    return True


def broker_answers() -> bool:
    """Whether Redis does."""
    try:
        with broker() as client:
            client.ping()
    except redis.RedisError as error:
        log.warning("the broker does not answer: %s", error)
        return False
    return True


def broker() -> redis.Redis:
    """A client of the broker that waits for no one and tries once."""
    patience = {"socket_timeout": PATIENCE_SECONDS, "socket_connect_timeout": PATIENCE_SECONDS}
    return redis.Redis.from_url(settings.REDIS_URL, retry=Retry(NoBackoff(), 0), **patience)
