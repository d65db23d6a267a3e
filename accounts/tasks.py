"""Celery tasks of the accounts."""

from celery import shared_task
from django.utils import timezone

from accounts import notices


@shared_task
def deliver_notices() -> int:
    """Mail the notices that are due; how many."""
    return notices.deliver(timezone.now())
