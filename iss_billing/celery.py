"""Wires Celery: `celery -A iss_billing worker`, `celery -A iss_billing beat`."""

import os
from typing import Any

from celery import Celery
from celery.signals import beat_init, celeryd_init
from kombu.transport import TRANSPORT_ALIASES

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "iss_billing.settings")

TRANSPORT_ALIASES |= dict.fromkeys(("redis", "rediss"), "iss_billing.broker:Transport")
app = Celery("iss_billing")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@celeryd_init.connect
@beat_init.connect
def hold_servers(**_: Any) -> None:
    """Have the embedded servers up, where those are used."""
    from iss_billing.servers import hold  # needs the settings, which name this app

    hold()
