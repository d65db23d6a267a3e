"""Celery tasks of settlement; beat's schedule is in the settings."""

import logging
from datetime import datetime, timedelta

from celery import shared_task
from django.utils import timezone

from iss_billing.days import SHANGHAI, day_of
from settlement import arrears, engine, metering
from settlement.models import SettlementRun
from settlement.partitions import make_partitions_ahead

log = logging.getLogger(__name__)

NIGHT_HOUR = 2


@shared_task
def settle_night() -> None:
    """Settle everything that has ended and is not billed."""
    _settle(timezone.now())


@shared_task
def settle_missed() -> None:
    """Settle if tonight's run has not finished, be it that beat was away at 02:00 or that the worker died."""
    now = timezone.now()
    yesterday = day_of(now) - timedelta(days=1)
    late = now.astimezone(SHANGHAI).hour >= NIGHT_HOUR
    if late and not SettlementRun.objects.filter(through_day__gte=yesterday, finished_at__isnull=False).exists():
        _settle(now)


def _settle(now: datetime) -> None:
    result = engine.settle(now=now)
    for failure in result.failed:
        log.error("account %s, %s was not settled: %s", failure.account_id, failure.day, failure.error)
    log.info("settled %s account-days' bills in %s s", result.bills, result.seconds)


@shared_task
def sweep_arrears() -> None:
    """Announce suspensions and reclaims."""
    arrears.sweep(timezone.now())


@shared_task
def collect_usage() -> None:
    """Keep the list of pending account-days short."""
    metering.collect()


@shared_task
def make_partitions() -> None:
    """Make the usage partitions of the coming days."""
    make_partitions_ahead(timezone.now())
