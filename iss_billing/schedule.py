"""What Celery's beat does and when; the seconds of a pause, or the hour in Asia/Shanghai.

Everything but the night at 02:00 only makes up for what was lost or waits: a tick missed is a tick late.
"""

from typing import Any, Final

from celery.schedules import crontab

BEAT: Final[dict[str, dict[str, Any]]] = {
    "settle": {"task": "settlement.tasks.settle_night", "schedule": crontab(hour="2", minute="0")},
    "settle what was missed": {"task": "settlement.tasks.settle_missed", "schedule": 15.0, "options": {"expires": 15}},
    "watch runs": {"task": "settlement.tasks.watch_runs", "schedule": 300.0},
    "tell operators": {"task": "settlement.tasks.tell_operators", "schedule": 60.0},
    "sweep arrears": {"task": "settlement.tasks.sweep_arrears", "schedule": 300.0},
    "deliver notices": {"task": "accounts.tasks.deliver_notices", "schedule": 60.0},
    "deliver letters": {"task": "accounts.tasks.deliver_letters", "schedule": 60.0},
    "forget old letters": {"task": "accounts.tasks.forget_old_letters", "schedule": crontab(hour="5", minute="25")},
    "forget old sign-ins": {"task": "accounts.tasks.forget_old_sign_ins", "schedule": crontab(hour="5", minute="30")},
    "deliver webhooks": {"task": "accounts.tasks.deliver_webhooks", "schedule": 60.0},
    "forget old webhooks": {"task": "accounts.tasks.forget_old_webhooks", "schedule": crontab(hour="5", minute="20")},
    "query payments": {"task": "accounts.tasks.query_payments", "schedule": 60.0},
    "complete checkouts": {"task": "packs.tasks.complete_checkouts", "schedule": 60.0},
    "look for silence": {"task": "settlement.tasks.look_for_silence", "schedule": 300.0},
    "sum the books up": {"task": "settlement.tasks.count_books", "schedule": 300.0},
    "collect usage": {"task": "settlement.tasks.collect_usage", "schedule": 60.0},
    "go on with prices": {"task": "settlement.tasks.go_on_with_prices", "schedule": 60.0, "options": {"expires": 60}},
    "make partitions": {"task": "settlement.tasks.make_partitions", "schedule": crontab(hour="*/6", minute="10")},
}
