"""Gunicorn's settings."""

import os
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "iss_billing.settings")
try:
    port: int = settings.PORT
except ImproperlyConfigured as error:
    sys.exit(str(error))

bind = f"{os.environ.get('BIND', '127.0.0.1')}:{port}"
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
threads = 4
timeout = 60
# what is in hand at SIGTERM is finished; the slowest answers are exports
graceful_timeout = 30
# longer than the proxies keep an idle connection to us (60 s): whoever closes last loses no request that is on its way
keepalive = 75
accesslog = None
control_socket_disable = True
# X-Forwarded-Proto is believed from these proxies only, and nothing else of what gunicorn would: a proxy that passes
# SCRIPT_NAME on from its clients (Caddy does) lets them move every address from under the limits
forwarded_allow_ips = ",".join(settings.TRUSTED_PROXIES)
secure_scheme_headers = {"X-FORWARDED-PROTO": "https"}
forwarder_headers = ""
logconfig_dict = settings.LOGGING

counts = Path(os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", str(settings.VAR / f"metrics-{port}")))
"""Where the workers keep what they count, for whichever is asked at `/metrics`."""


def on_starting(server: Any) -> None:
    """Begin to count at 0; not so when gunicorn reads its settings again."""
    counts.mkdir(parents=True, exist_ok=True)
    for old in counts.glob("*.db"):
        old.unlink()


def child_exit(server: Any, worker: Any) -> None:
    """A worker that is gone counts no more."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
