"""What really races: separate connections meet at a barrier, fifty rounds each; the account's lock decides.

`RACE_WITHOUT_LOCK=1 pytest tests/test_races.py` takes the lock (and the claim of a day's pending rows) away: the
races of purchases, refunds, top-ups and nights then fail.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date, datetime
from typing import Any

import pytest
from django.db import connection, transaction

from accounts import ledger
from accounts.models import Account, Kind, Transfer
from packs.models import Order, Pack
from packs.orders import LineRequest, OrderRefused, place_order
from packs.refunds import RefundRefused, refund_pack
from settlement import engine, loading, runs
from settlement.events import decode_batch
from settlement.metering import meter
from settlement.models import Bill, BillLine, PendingDay
from tests.worlds import assert_books, at, bills_of, buy, event, night, opened, send, top_up, yuan

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = 50
NOW = "2026-03-06T02:00"


@pytest.fixture(autouse=True)
def perhaps_without_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """With RACE_WITHOUT_LOCK=1 accounts are read and not locked, and pending rows go after the day is billed."""
    if not os.environ.get("RACE_WITHOUT_LOCK"):
        return
    claim, lock_account = engine._claim, ledger.lock_account

    def look_only(account_ids: list[int], day: date) -> set[int]:
        pending = PendingDay.objects.filter(account_id__in=account_ids, day=day)
        transaction.on_commit(lambda: claim(account_ids, day))
        return set(pending.values_list("account_id", flat=True))

    def read_and_think(account_id: int) -> Account:
        account = lock_account(account_id)
        time.sleep(0.02)
        return account

    monkeypatch.setattr("django.db.models.query.QuerySet.select_for_update", lambda rows, **_: rows)
    monkeypatch.setattr("settlement.loading.LOCK_ACCOUNTS", loading.LOCK_ACCOUNTS.replace("FOR NO KEY UPDATE", ""))
    monkeypatch.setattr("settlement.engine._claim", look_only)
    for module in ("accounts.ledger", "packs.orders", "packs.refunds"):
        monkeypatch.setattr(f"{module}.lock_account", read_and_think)


def race(*acts: Callable[[], Any]) -> list[Any]:
    """Run acts at once, each in a thread with a connection of its own; what each returned or raised."""
    barrier = threading.Barrier(len(acts))
    outcomes: list[Any] = [None] * len(acts)

    def run(place: int, act: Callable[[], Any]) -> None:
        try:
            connection.ensure_connection()
            barrier.wait(timeout=20)
            outcomes[place] = act()
        except Exception as error:  # handed to the test, which judges it
            outcomes[place] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return outcomes


@pytest.fixture
def rounds() -> Iterator[range]:
    """Fifty rounds, then the books."""
    yield range(ROUNDS)
    assert_books()


def order(account: Account, key: str, sku: str = "pet-100k") -> Callable[[], Any]:
    return lambda: place_order(account_id=account.pk, lines=[LineRequest(sku, 1)], key=key, now=at(NOW))


def test_two_purchases_never_spend_the_same_money(rounds: range) -> None:
    for _ in rounds:
        account = opened(balance="300.00")
        outcomes = race(order(account, "a"), order(account, "b"))
        assert sorted(isinstance(one, OrderRefused) for one in outcomes) == [False, True], outcomes
        account.refresh_from_db()
        assert (account.balance, Pack.objects.filter(account=account).count()) == (yuan("50.00"), 1)


def test_the_same_key_at_the_same_instant_is_one_order(rounds: range) -> None:
    for _ in rounds:
        account = opened(balance="1000.00")
        outcomes = race(order(account, "a"), order(account, "a"))
        assert sorted(new for _, new in outcomes) == [False, True]
        assert Order.objects.filter(account=account).count() == 1


def test_the_same_refund_at_the_same_instant_is_one_refund(rounds: range) -> None:
    for _ in rounds:
        account = opened(on="2026-03-05", balance="250.00")
        [pack] = buy(account, "pet-100k", "2026-03-05T10:00")
        refund = lambda: refund_pack(account_id=account.pk, pack_id=pack.pk, now=at(NOW))  # noqa: B023, E731 - raced here
        outcomes = race(refund, refund)
        assert sorted(isinstance(one, RefundRefused) for one in outcomes) == [False, True], outcomes
        account.refresh_from_db()
        assert account.balance == yuan("250.00")


def test_a_refund_or_the_night_gets_the_pack(rounds: range) -> None:
    for _ in rounds:
        account = opened(on="2026-03-05", balance="250.00")
        [pack] = buy(account, "pet-100k", "2026-03-05T10:00")
        send([event(account, "ai.pet", 1000, "2026-03-05T11:00:00")], "2026-03-05T11:00")
        refund, _ = race(
            lambda: refund_pack(account_id=account.pk, pack_id=pack.pk, now=at(NOW)),  # noqa: B023
            lambda: night(NOW),
        )
        line = BillLine.objects.get(bill__account=account)
        pack.refresh_from_db()
        if isinstance(refund, RefundRefused):
            assert (refund.code, line.drawn, pack.remaining) == ("pack_used", 1000, 99_000)
        else:
            assert (line.charged, pack.refunded, pack.remaining) == (1000, yuan("250.00"), 0)


def top_up_ten_times(account: Account) -> None:
    for _ in range(10):
        top_up(account, "1.00", NOW)


def test_a_top_up_and_the_night_both_count(rounds: range) -> None:
    for _ in rounds:
        account = opened(balance="1.00")
        send([event(account, "ai.plate", 30, "2026-03-05T11:00:00")], "2026-03-05T11:00")
        race(
            lambda: top_up_ten_times(account),  # noqa: B023 - the race ends within the round
            lambda: night(NOW),
        )
        account.refresh_from_db()
        assert account.balance == yuan("8.00")


def test_two_nights_at_once_bill_every_account_day_once(rounds: range, monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[Exception] = []
    split = runs._split

    def note_and_split(shard_id: int, clock: datetime, error: Exception, **more: Any) -> Any:
        refused.append(error)
        return split(shard_id, clock, error, **more)

    monkeypatch.setattr(runs, "_split", note_and_split)
    for _ in rounds:
        accounts = [opened(balance="10.00") for _ in range(3)]
        events = [event(account, "ai.plate", 30, f"2026-03-0{day}T11:00:00") for account in accounts for day in (4, 5)]
        send(events, "2026-03-05T12:00")
        first, second = race(lambda: night(NOW), lambda: night(NOW))
        assert refused == [], "they took turns: no constraint had to stop one of them"
        assert first.failed + second.failed == []
        assert first.bills + second.bills == 6
        for account in accounts:
            account.refresh_from_db()
            assert account.balance == yuan("4.00")
            assert [(bill.day.day, bill.sequence) for bill in bills_of(account)] == [(4, 1), (5, 1)]


def test_the_same_top_up_at_the_same_instant_is_recorded_once(rounds: range) -> None:
    for number in rounds:
        account = opened(balance=None)
        record = lambda: ledger.record_top_up(  # noqa: E731
            account_id=account.pk,  # noqa: B023
            amount=100,
            reference=f"bank-{number}",  # noqa: B023
            now=at(NOW),
        )
        first, second = race(record, record)
        assert first.pk == second.pk
        assert Transfer.objects.filter(account=account, kind=Kind.TOP_UP).count() == 1


def test_the_same_events_in_two_batches_at_the_same_instant_are_stored_once(rounds: range) -> None:
    for _ in rounds:
        account = opened()
        events = [event(account, "ai.pet", 1, f"2026-03-05T10:{n:02}:00") for n in range(30)]
        first, second = race(
            lambda: send(events, "2026-03-05T12:00"),  # noqa: B023
            lambda: send(events[::-1], "2026-03-05T12:00"),  # noqa: B023
        )
        assert (first.accepted + second.accepted, first.duplicates + second.duplicates) == (30, 30)


def test_usage_of_an_ingest_held_open_across_a_whole_run_is_billed_by_the_next() -> None:
    account = opened()
    send([event(account, "ai.plate", 10, "2026-03-05T10:00:00")], "2026-03-05T12:00")
    stored, settled = threading.Event(), threading.Event()

    def slow_ingest() -> None:
        now = at("2026-03-05T23:59")
        late = [event(account, "ai.plate", 5, "2026-03-05T23:58:00")]
        with transaction.atomic():
            meter(decode_batch(json.dumps(late).encode()), now)
            stored.set()
            assert settled.wait(timeout=30)
        connection.close()

    thread = threading.Thread(target=slow_ingest)
    thread.start()
    assert stored.wait(timeout=30)
    assert night(NOW).bills == 1
    settled.set()
    thread.join(timeout=30)
    assert night("2026-03-07T02:00").bills == 1
    assert [line.quantity for line in BillLine.objects.filter(bill__account=account).order_by("bill_id")] == [10, 5]
    assert Bill.objects.filter(account=account, sequence=2).count() == 1
    assert_books()
