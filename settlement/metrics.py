"""`/metrics`: what this host's web processes have counted, and what the database says, for Prometheus."""

import os
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from hmac import compare_digest
from ipaddress import ip_address
from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest, multiprocess
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from iss_billing.problems import problem_response
from iss_billing.proxies import came_through_a_proxy
from settlement.figures import figures

FRESH_SECONDS: Final = 5
"""Whoever asks again so soon gets the same figures: several may watch."""


class Figures(Collector):
    """The figures of the database and the broker, asked for once in a while."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._kept: list[Metric] = []
        self._until = 0.0

    def collect(self) -> Iterator[Metric]:
        """The figures, at most FRESH_SECONDS old."""
        yield from self.at(timezone.now())

    def at(self, now: datetime) -> list[Metric]:
        """The figures of `now`, or those of just before."""
        with self._turn:
            begun = time.monotonic()
            if begun >= self._until:
                found = figures(now)
                took = time.monotonic() - begun
                found.append(
                    GaugeMetricFamily("iss_figures_seconds", "Time it took to ask for these figures.", value=took)
                )
                self._kept, self._until = found, time.monotonic() + FRESH_SECONDS
            return self._kept


FIGURES: Final = Figures()


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus text, for who has METRICS_TOKEN; without a token, for this host while no proxy stands before it."""
    if not _may_look(request):
        response = problem_response(401, "not_authenticated", "send Authorization: Bearer and METRICS_TOKEN")
        response["WWW-Authenticate"] = 'Bearer realm="metrics"'
        return response
    return HttpResponse(exposition(), content_type=CONTENT_TYPE_LATEST)


def exposition() -> bytes:
    """Everything that is watched, as Prometheus text."""
    registry = CollectorRegistry()
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(REGISTRY)
    registry.register(FIGURES)
    return generate_latest(registry)


def _may_look(request: HttpRequest) -> bool:
    if settings.METRICS_TOKEN:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and compare_digest(token.strip().encode(), settings.METRICS_TOKEN.encode())
    if settings.TRUSTED_PROXIES or came_through_a_proxy(request):
        return False  # what comes from this host may come from anywhere
    try:
        return ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False
