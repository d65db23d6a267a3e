"""What signing in leaves behind."""

from datetime import datetime, timedelta

from axes.models import AccessAttempt
from django.contrib.sessions.models import Session

ATTEMPTS_KEPT = timedelta(days=30)


def forget_old(now: datetime) -> int:
    """Delete sessions that are over, and wrong passwords of a month ago, with their addresses; how many."""
    sessions: int = Session.objects.filter(expire_date__lt=now).delete()[0]
    attempts: int = AccessAttempt.objects.filter(attempt_time__lt=now - ATTEMPTS_KEPT).delete()[0]
    return sessions + attempts
