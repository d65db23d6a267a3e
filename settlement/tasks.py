"""Celery tasks of settlement; beat's schedule is in the settings."""

import logging
import time
from datetime import timedelta

from celery import shared_task
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from iss_billing.days import SHANGHAI, day_of
from settlement import alarms, arrears, book_days, certificate, metering, price_runs, reporting, runs
from settlement.models import SettlementRun
from settlement.partitions import make_partitions_ahead
from settlement.yielding import give_way

log = logging.getLogger(__name__)

NIGHT_HOUR = 2
LOST_AFTER = timedelta(seconds=10)
"""A run without progress for so long, of which nobody has a shard in hand, lost its tasks."""


@shared_task
def settle_night() -> None:
    """Begin to settle everything that has ended and is not billed; every shard is a task of its own."""
    _begin_night(missed_only=False)


@shared_task
def settle_missed() -> None:
    """Hand out again what is left of a run whose workers or broker were lost; begin one if beat was away at 02:00."""
    now = timezone.now()
    yesterday = day_of(now) - timedelta(days=1)
    for run_id, shard_ids in runs.left_behind(now - LOST_AFTER, yesterday).items():
        log.warning("run %s stands still: handing out its %s shards left", run_id, len(shard_ids))
        _send(shard_ids)
        _hand_out(run_id)
    if now.astimezone(SHANGHAI).hour >= NIGHT_HOUR:
        _begin_night(missed_only=True)


def _begin_night(*, missed_only: bool) -> None:
    """Of two beats at once one begins it; what that one does not hand out any more, `settle_missed` does."""
    if run := runs.begin_night(now=timezone.now(), missed_only=missed_only):
        _hand_out(run.pk)


@shared_task
def hand_out(run_id: int) -> None:
    """Hand out a run that staff began; no matter if this is lost, `settle_missed` makes up for it."""
    _hand_out(run_id)


@shared_task(autoretry_for=(OperationalError, InterfaceError), retry_backoff=1, max_retries=10)
def settle_shard(shard_id: int) -> None:
    """Settle one shard; whoever settles the last one of a day hands out the next day's.

    A broker may deliver it days late, after its workers were away. It would post at the clock of a night long over, so
    a shard of any night but the last is left to the run that begins anew.
    """
    now = timezone.now()
    run = SettlementRun.objects.get(shards=shard_id)
    if run.through_day < day_of(now) - timedelta(days=1):
        log.warning("shard %s of run %s came after its day: the next run takes it up", shard_id, run.pk)
        return
    begun = time.monotonic()
    runs.settle_shard(shard_id, now, as_run=False)
    _hand_out(run.pk)
    give_way(time.monotonic() - begun)


def _hand_out(run_id: int) -> None:
    """Make a task of each shard of the run's next day, once the day before is done."""
    _send(runs.advance(run_id, timezone.now()))
    run = SettlementRun.objects.get(pk=run_id)
    if run.finished_at:
        for failure in run.failures.all():
            log.error("account %s, %s was not settled: %s", failure.account_id, failure.day, failure.error)
        log.info("run %s settled %s account-days", run.pk, run.accounts)
        certify.delay(run_id)


@shared_task(autoretry_for=(OperationalError, InterfaceError), retry_backoff=5, max_retries=8)
def certify(run_id: int) -> None:
    """Write a finished run's certificate; no matter if this is lost, `watch_runs` makes up for it."""
    certificate.certify(run_id, timezone.now())


@shared_task
def watch_runs() -> None:
    """Write the certificates that are missing, and tell of a night that stands still."""
    now = timezone.now()
    runs.sound_standstill(now)
    certificate.certify_due(now, runs.PATIENCE)


@shared_task
def tell_operators() -> int:
    """Mail the alarms that are due; how many."""
    return alarms.deliver(timezone.now())


def _send(shard_ids: list[int]) -> None:
    for shard_id in shard_ids:
        settle_shard.delay(shard_id)


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


@shared_task
def look_for_silence() -> None:
    """Note who reported usage, and tell the operators of whom they hear nothing any more; once a day."""
    reporting.look_if_due(timezone.now())


@shared_task
def count_books() -> None:
    """Sum the ledger up for the reports: once a day, and after much has moved."""
    book_days.count_if_due(timezone.now())


@shared_task(autoretry_for=(OperationalError, InterfaceError), retry_backoff=1, max_retries=5)
def price_shard(shard_id: int) -> None:
    """Rate a range of accounts at proposed or published prices; whoever does the last one finishes the run."""
    price_runs.do_shard(shard_id, timezone.now())


@shared_task
def go_on_with_prices() -> None:
    """Hand out what is left of rehearsals and notices whose tasks were lost, and drop the rows of old rehearsals."""
    for shard_id in price_runs.left():
        price_shard.delay(shard_id)
    price_runs.forget(timezone.now())
