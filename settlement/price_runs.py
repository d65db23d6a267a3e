"""Runs over all accounts at other prices: the rehearsal of a proposal, and the notices of rises that it published.

Shards are rows, each one transaction with its done mark in it: killed, a run has done a shard or has not, and beat
hands out what is left. A notice is unique by proposal, so that nobody hears of one twice.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import InterfaceError, OperationalError, connection, transaction

from accounts.models import User
from accounts.waking import wake
from iss_billing import bulk
from iss_billing.days import day_of
from packs import proposals
from packs.proposal_models import PriceProposal
from settlement.histories import settled_window, window_rules
from settlement.price_models import PriceEffect, PriceRun, PriceShard
from settlement.replay import Window
from settlement.repricing import Repriced, proposed_prices, reprice
from settlement.rises import called_off, published_rises, tell

log = logging.getLogger(__name__)

SHARD = 2_000
"""Accounts in one transaction."""
KEPT = timedelta(days=90)
"""So long it is kept which account a rehearsal touches, and how."""
STEPS = (-500, -200, -100, -50, 0, 50, 100, 200, 500)
"""The change of what an account pays, in thousandths, at which one bar of the picture ends and the next begins."""

Result = dict[str, Any]
Purpose = PriceRun.Purpose


def rehearse(*, proposal_id: int, now: datetime, started_by: User | None) -> PriceRun:
    """Begin to rate everybody's last 30 settled days under a proposal; the page of the run tells how far it is.

    A rehearsal of it that still runs is answered with instead. What earlier ones kept of each account goes.
    """
    with transaction.atomic():
        proposal = PriceProposal.objects.select_for_update().get(pk=proposal_id)
        running = proposal.runs.filter(purpose=Purpose.REHEARSE, finished_at=None, error="").first()
        if running is not None:
            return running
        PriceEffect.objects.filter(run__proposal=proposal).delete()
        return _begin(Purpose.REHEARSE, proposal, now, started_by)


def announce(proposal: PriceProposal, now: datetime) -> None:
    """Begin to tell the customers whom a published proposal's rises concern, or ends of sale; in its transaction.

    Of a rise that does not come those are told who have heard of it.
    """
    if any(published_rises(proposal)) or called_off(proposal).stays:
        _begin(Purpose.ANNOUNCE, proposal, now, None)


def _begin(purpose: Purpose, proposal: PriceProposal, now: datetime, started_by: User | None) -> PriceRun:
    window = settled_window(now)
    run = PriceRun.objects.create(
        purpose=purpose,
        proposal=proposal,
        first_day=window.first,
        last_day=window.last,
        started_at=now,
        started_by=started_by,
    )
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT min(id), max(id) FROM (
                SELECT id, (row_number() OVER (ORDER BY id) - 1) / %s AS shard FROM accounts_account
            ) AS account GROUP BY shard ORDER BY shard""",
            [SHARD],
        )
        ranges = cursor.fetchall()
    # a run over nobody has one shard, which finishes it
    shards = PriceShard.objects.bulk_create(
        PriceShard(run=run, first_account=first, last_account=last) for first, last in ranges or [(0, 0)]
    )
    ids = [shard.pk for shard in shards]
    transaction.on_commit(lambda: _hand_out(ids))
    return run


def _hand_out(shard_ids: Iterable[int]) -> None:
    from settlement.tasks import price_shard  # tasks import this module

    for shard_id in shard_ids:
        wake(price_shard, shard_id)


def do_shard(shard_id: int, clock: datetime) -> None:
    """Do a shard, and finish its run with the last one; nothing when it is done or somebody has it in hand.

    What cannot be rated stops the run, whose page says why.
    """
    try:
        with transaction.atomic():
            rows = PriceShard.objects.select_for_update(skip_locked=True, of=("self",)).select_related("run__proposal")
            shard = rows.filter(pk=shard_id, done_at=None, run__error="").first()
            if shard is not None:
                shard.result = _rehearsed(shard) if shard.run.purpose == Purpose.REHEARSE else _told(shard, clock)
                shard.done_at = clock
                shard.save(update_fields=["result", "done_at"])
    except (OperationalError, InterfaceError):
        raise  # the server is gone or gave up: it is taken up again
    except Exception as error:
        PriceRun.objects.filter(shards=shard_id).update(error=f"{type(error).__name__}: {error}"[:500])
        log.exception("the price run of shard %s is stopped", shard_id)
        return
    if shard is not None:
        _finish(shard.run_id, clock)


def _finish(run_id: int, clock: datetime) -> None:
    with transaction.atomic():
        run = PriceRun.objects.select_for_update().get(pk=run_id)
        if run.finished_at or run.shards.filter(done_at=None).exists():
            return
        run.result = total(run.shards.values_list("result", flat=True))
        run.finished_at = clock
        run.save(update_fields=["result", "finished_at"])
        if run.purpose == Purpose.REHEARSE:
            proposals.mark_rehearsed(run.proposal_id)


def total(results: Iterable[Result | None]) -> Result:
    """The results of shards together: numbers add up, by the same names."""
    found: Result = {}
    for result in results:
        _add(found, result or {})
    return found


def _add(into: Result, more: Mapping[str, Any]) -> None:
    for name, value in more.items():
        if isinstance(value, Mapping):
            _add(into.setdefault(name, {}), value)
        elif isinstance(value, list):
            into[name] = [a + b for a, b in zip(into.get(name, [0] * len(value)), value, strict=True)]
        else:
            into[name] = into.get(name, 0) + value


def _window(run: PriceRun) -> Window:
    return Window(run.first_day, run.last_day)


def _rehearsed(shard: PriceShard) -> Result:
    """What a range of accounts would have paid; whoever would pay another sum is kept with it."""
    window = _window(shard.run)
    prices = proposed_prices(shard.run.proposal, day_of(shard.run.started_at))
    accounts = reprice(shard.first_account, shard.last_account, window, window_rules(window), prices)
    run = shard.run_id
    rows = [f"{run}\t{one.account_id}\t{one.paid}\t{more}" for one in accounts.values() if (more := one.change)]
    with connection.cursor() as cursor:
        bulk.copy(cursor, "settlement_priceeffect (run_id, account_id, before, change)", rows)
    return result_of(accounts.values())


def result_of(accounts: Iterable[Repriced]) -> Result:
    """What the accounts of a shard come to, in micro-yuan: in all, by item and region, by SKU, and how many pay more.

    `bars` counts those that would pay another sum by how much more or less it is, between `STEPS`.
    """
    counts = Counter[str]()
    items: dict[str, list[int]] = {}
    packs: dict[str, list[int]] = {}
    bars = [0] * (len(STEPS) + 1)
    before = charged = change = 0
    for one in accounts:
        counts["accounts"] += 1
        more = one.change
        before, charged, change = before + one.paid, charged + one.charged, change + more
        if more:
            counts["more" if more > 0 else "less"] += 1
            bars[bar_of(one.paid, more)] += 1
        for (item, region), (old, new) in one.items.items():
            _sum(items, f"{item} {region}", (1, old, new, int(new > old), int(new < old)))
        for sku, (number, old, new) in one.packs.items():
            _sum(packs, str(sku), (number, old, new, int(new > old), int(new < old)))
    sums = {"before": before, "charged": charged, "change": change, "items": items, "packs": packs, "bars": bars}
    return {"accounts": 0, "more": 0, "less": 0} | counts | sums


def _sum(table: dict[str, list[int]], name: str, values: tuple[int, ...]) -> None:
    table[name] = [a + b for a, b in zip(table.get(name, [0] * len(values)), values, strict=True)]


def bar_of(before: int, change: int) -> int:
    """The place among the bars of a change: below the first step is 0, above the last one the last."""
    if before <= 0:
        return len(STEPS) if change > 0 else 0
    return sum(change * 1000 > step * before - (step < 0) for step in STEPS)


def _told(shard: PriceShard, now: datetime) -> Result:
    """Write to each customer in a range whom the published prices concern."""
    found: Result = {}
    return found | tell(shard.run.proposal, shard.first_account, shard.last_account, _window(shard.run), now)


def left() -> list[int]:
    """The shards of unfinished runs that nobody has in hand; a task sent twice does no harm."""
    with transaction.atomic():
        undone = PriceShard.objects.filter(done_at=None, run__finished_at=None, run__error="").order_by("pk")
        free = list(undone.select_for_update(skip_locked=True, of=("self",)).values_list("pk", flat=True))
    if not free:
        # all done, and killed before it was finished
        for run_id in PriceRun.objects.filter(finished_at=None, error="").values_list("pk", flat=True):
            run = PriceRun.objects.get(pk=run_id)
            last = run.shards.order_by("-done_at").values_list("done_at", flat=True).first()
            if last is not None:
                _finish(run_id, last)
    return free


def forget(now: datetime) -> None:
    """Drop which accounts old rehearsals touch; their sums stay."""
    PriceEffect.objects.filter(run__started_at__lt=now - KEPT).delete()
