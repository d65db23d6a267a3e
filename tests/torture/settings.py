"""The settings of the product's processes under torture: its own, with a schedule and a patience of seconds."""

from iss_billing.queues import BROKER_OPTIONS
from iss_billing.settings import *  # noqa: F403
from iss_billing.settings import INSTALLED_APPS, MIDDLEWARE

INSTALLED_APPS = [*INSTALLED_APPS, "tests.torture"]
MIDDLEWARE = ["tests.torture.clock.OwnClock", *MIDDLEWARE]
CELERY_BEAT_SCHEDULE = {
    "settle what was missed": {"task": "settlement.tasks.settle_missed", "schedule": 0.5, "options": {"expires": 2}},
    "watch runs": {"task": "settlement.tasks.watch_runs", "schedule": 1.5},
    "sweep arrears": {"task": "settlement.tasks.sweep_arrears", "schedule": 0.5},
    "deliver notices": {"task": "accounts.tasks.deliver_notices", "schedule": 1.0},
    "collect usage": {"task": "settlement.tasks.collect_usage", "schedule": 0.7},
    "make partitions": {"task": "settlement.tasks.make_partitions", "schedule": 5.0},
}
CELERY_BEAT_MAX_LOOP_INTERVAL = 0.5
# what a killed worker had in hand comes back within a round
CELERY_BROKER_TRANSPORT_OPTIONS = BROKER_OPTIONS | {
    "visibility_timeout": 4,
    "unacked_restore_interval": 2,
    "unacked_restore_throttle": 1,
}
