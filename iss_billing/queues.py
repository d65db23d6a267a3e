"""The settings of Celery: its broker, its queues, and what becomes of a task whose worker or broker is gone."""

import sys
from typing import Any, Final

from iss_billing import links, schedule

BROKER_OPTIONS: Final[dict[str, Any]] = links.REDIS | {
    "visibility_timeout": 6 * 3600,
    # who calls a task while the broker is away hears of it at once: what must be done is in the database
    "max_retries": 1,
    "interval_start": 0,
}
OUTWARD: Final = (
    "accounts.tasks.deliver_webhooks*",
    "accounts.tasks.deliver_letters",
    "accounts.tasks.deliver_notices",
    "accounts.tasks.query_payments",
    "settlement.tasks.tell_operators",
)
"""Tasks that wait for somebody else's server, which may be slow or gone: the night is not to stand behind them."""


def celery(*, redis_url: str, time_zone: str) -> dict[str, Any]:
    """Celery's settings on a Redis, as Django names them."""
    return {
        # kombu calls a socket's URL and its database otherwise than redis-py
        "CELERY_BROKER_URL": redis_url.replace("unix://", "redis+socket://").replace("?db=", "?virtual_host="),
        "CELERY_TIMEZONE": time_zone,
        # connections stay open from task to task as from request to request: iss_billing.celery asks whether they are
        # sound, where Celery by itself closes them with every task
        "CELERY_DB_REUSE_MAX": sys.maxsize,
        "CELERY_TASK_IGNORE_RESULT": True,
        "CELERY_TASK_ROUTES": {name: {"queue": "webhooks"} for name in OUTWARD},
        "CELERY_TASK_ACKS_LATE": True,  # a task whose worker was killed runs again; each is idempotent
        "CELERY_TASK_REJECT_ON_WORKER_LOST": True,
        "CELERY_WORKER_PREFETCH_MULTIPLIER": 1,
        "CELERY_WORKER_HIJACK_ROOT_LOGGER": False,
        "CELERY_WORKER_REDIRECT_STDOUTS": False,
        "CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP": True,
        # a worker comes back by itself, however long its Redis was away
        "CELERY_BROKER_CONNECTION_MAX_RETRIES": None,
        "CELERY_BROKER_TRANSPORT_OPTIONS": BROKER_OPTIONS,
        "CELERY_BEAT_SCHEDULE": schedule.BEAT,
    }
