"""Celery tasks of the packs."""

from celery import shared_task
from django.utils import timezone

from packs.checkout import sweep


@shared_task
def complete_checkouts() -> int:
    """Complete or end the purchases whose money or time has come; how many were looked at."""
    return sweep(timezone.now())
