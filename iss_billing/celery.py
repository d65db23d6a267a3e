"""Wires Celery: `celery -A iss_billing worker`, `celery -A iss_billing beat`."""

import logging.config
import os
from typing import Any

from celery import Celery
from celery.signals import beat_init, before_task_publish, celeryd_init, setup_logging, task_postrun, task_prerun
from kombu.transport import TRANSPORT_ALIASES

from iss_billing import logs

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


@beat_init.connect
def say_ready(**_: Any) -> None:
    """Beat has its schedule open: a SIGTERM from now on keeps it, one before only ends the start."""
    logging.getLogger("celery.beat").info("beat: ready")


@setup_logging.connect
def log_as_all_do(**_: Any) -> None:
    """Celery's lines are lines like all others."""
    from django.conf import settings

    logging.config.dictConfig(settings.LOGGING)


@before_task_publish.connect
def send_request_id(headers: dict[str, Any], **_: Any) -> None:
    """A task remembers the request that it was called from, and tells the tasks that it calls."""
    if request_id := logs.belongs_to("request_id"):
        headers["request_id"] = request_id


@task_prerun.connect
def begin_lines(task: Any, task_id: str, **_: Any) -> None:
    """What a task logs belongs to it, and to the request that it was called from."""
    request_id = task.request.get("request_id")
    logs.belong(task=task.name, task_id=task_id, **({"request_id": request_id} if request_id else {}))
    _drop_old_connections(task)


@task_postrun.connect
def end_lines(task: Any, **_: Any) -> None:
    """What comes after it does not."""
    _drop_old_connections(task)
    logs.belong()


def _drop_old_connections(task: Any) -> None:
    """Close what is broken or too old, as Django does around every request; a kept one is asked before it is used."""
    from django.db import close_old_connections

    if not task.request.is_eager:  # an eager task is part of somebody else's transaction
        close_old_connections()
