"""The nightly schedule and the outbox, with a real Celery worker where Celery is the point."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import date, datetime, timedelta
from typing import Any

import psycopg
import pytest
import time_machine
from django.core import mail
from django.db import connection, transaction
from redis import Redis

from accounts import mailing, notices
from accounts.ledger import lock_account, post
from accounts.models import Account, Kind, Notice
from iss_billing.celery import app
from iss_billing.days import SHANGHAI
from settlement import runs
from settlement.models import Bill, SettlementRun, SettlementShard
from settlement.tasks import settle_missed, settle_night, settle_shard
from tests.conftest import celery_worker, database_url, eventually
from tests.worlds import assert_books, at, buy, night, opened, top_up, use


def next_run(name: str, moment: datetime) -> datetime:
    """When beat will next start an entry, asked at a moment right after its last run."""
    schedule = app.conf.beat_schedule[name]["schedule"]
    with time_machine.travel(moment, tick=False):
        remaining: timedelta = schedule.remaining_estimate(schedule.now())
    return moment + remaining


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("2026-03-05T17:59:00+00:00", "2026-03-06T02:00:00+08:00"),
        ("2026-03-05T18:01:00+00:00", "2026-03-07T02:00:00+08:00"),
    ],
)
def test_settlement_is_due_at_two_in_shanghai(asked: str, expected: str) -> None:
    found = next_run("settle", datetime.fromisoformat(asked)).astimezone(SHANGHAI)
    assert found.replace(microsecond=0) == datetime.fromisoformat(expected)


def test_the_schedule_runs_what_must_run() -> None:
    entries = app.conf.beat_schedule.values()
    every = {entry["task"]: entry["schedule"] for entry in entries}
    assert every["settlement.tasks.sweep_arrears"] == 300
    app.loader.import_default_modules()
    assert set(every) <= set(app.tasks), "every entry names a task that exists"


@pytest.fixture
def at_once() -> Iterator[None]:
    """Tasks run where they are called; what a real worker does with them is tested below."""
    app.conf.task_always_eager = app.conf.task_eager_propagates = True
    yield
    app.conf.task_always_eager = app.conf.task_eager_propagates = False


@pytest.mark.django_db
def test_a_missed_night_is_caught_up_once_it_is_past_two(at_once: None) -> None:
    account = opened()
    use(account, "ai.pet", 100, "2026-03-05T10:00")
    use(account, "ai.pet", 100, "2026-03-06T10:00")
    with time_machine.travel(at("2026-03-07T01:59"), tick=False):
        settle_missed()
    assert Bill.objects.count() == 0, "not before the night"
    with time_machine.travel(at("2026-03-07T09:30"), tick=False):
        settle_missed()
        assert [f"{bill.day}" for bill in Bill.objects.order_by("pk")] == ["2026-03-05", "2026-03-06"]
        settle_missed()
    assert SettlementRun.objects.count() == 1, "tonight's run is done"
    assert_books()


@pytest.mark.django_db(transaction=True)
def test_two_beats_begin_one_night(at_once: None) -> None:
    account = opened()
    use(account, "ai.pet", 100, "2026-03-05T10:00")

    def begin(missed_only: bool) -> SettlementRun | None:
        try:
            return runs.begin_night(now=at("2026-03-06T02:00"), missed_only=missed_only)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as beats:
        begun = [run for run in beats.map(begin, [False, True, False, True]) if run]
    assert [run.pk for run in begun] == [run.pk for run in SettlementRun.objects.all()], "one"
    with time_machine.travel(at("2026-03-06T02:00:03"), tick=False):
        settle_night()  # of a beat whose clock is late
        assert not Bill.objects.exists(), "it has left it to the other"
    with time_machine.travel(at("2026-03-06T02:00:15"), tick=False):
        settle_missed()
        settle_night()
    assert (Bill.objects.count(), SettlementRun.objects.count()) == (1, 1)
    use(account, "ai.pet", 100, "2026-03-05T11:00")
    with time_machine.travel(at("2026-03-06T02:00:30"), tick=False):
        settle_night()
        settle_night()
    assert (Bill.objects.count(), SettlementRun.objects.count()) == (2, 2), "what is new is settled"
    with time_machine.travel(at("2026-03-06T02:20"), tick=False):
        settle_night()
    assert SettlementRun.objects.count() == 3, "asked for again later, it looks again"
    assert_books()


@pytest.mark.django_db
def test_a_run_that_was_cut_off_is_taken_up_again(at_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "PIECE", 2)
    for number in range(5):
        account = opened(f"account {number}")
        use(account, "ai.pet", 100, "2026-03-05T10:00")
        use(account, "ai.pet", 100, "2026-03-06T10:00")
    run = runs.begin(now=at("2026-03-07T02:00"))
    first, _second, _third = runs.advance(run.pk, at("2026-03-07T02:00"))
    runs.settle_shard(first, at("2026-03-07T02:01"))
    assert Bill.objects.count() == 2
    with time_machine.travel(at("2026-03-07T02:01:09"), tick=False):
        settle_missed()
    assert Bill.objects.count() == 2, "it may still be at work"
    with time_machine.travel(at("2026-03-07T02:01:11"), tick=False):
        settle_missed()
    assert Bill.objects.count() == 10, "the day after, too"
    run.refresh_from_db()
    assert (run.finished_at, run.bills) == (at("2026-03-07T02:01:11"), 10)
    assert SettlementRun.objects.count() == 1, "it is the same run"
    assert_books()


@pytest.mark.django_db
def test_a_run_whose_next_day_nobody_planned_goes_on(at_once: None) -> None:
    account = opened()
    use(account, "ai.pet", 100, "2026-03-05T10:00")
    use(account, "ai.pet", 100, "2026-03-06T10:00")
    run = runs.begin(now=at("2026-03-07T02:00"))
    [shard] = runs.advance(run.pk, at("2026-03-07T02:00"))
    runs.settle_shard(shard, at("2026-03-07T02:00"))  # and then its worker died
    with time_machine.travel(at("2026-03-07T02:05"), tick=False):
        settle_missed()
    assert Bill.objects.count() == 2
    run.refresh_from_db()
    assert run.finished_at


@pytest.mark.django_db
def test_what_a_run_posts_after_it_stood_for_hours_is_of_then(at_once: None) -> None:
    account = opened(balance=None)
    use(account, "ai.pet", 100, "2026-03-05T10:00")
    run = runs.begin(now=at("2026-03-06T02:00"))
    runs.advance(run.pk, at("2026-03-06T02:00"))
    with time_machine.travel(at("2026-03-06T21:00"), tick=False):
        settle_missed()
    account.refresh_from_db()
    assert account.arrears_since == at("2026-03-06T21:00"), "the 24 hours of grace begin with the posting"
    assert_books()


@pytest.mark.django_db
def test_a_second_fall_in_one_night_is_told_and_has_its_own_24_hours() -> None:
    account = opened(balance=None)
    use(account, "ai.pet", 100, "2026-03-04T10:00")
    use(account, "ai.pet", 8_000, "2026-03-05T10:00")
    with time_machine.travel(at("2026-03-06T02:00"), tick=False):
        run = runs.begin(now=at("2026-03-06T02:00"))
        [first] = runs.advance(run.pk, at("2026-03-06T02:00"))
        settle_shard(first)
    top_up(account, "1", "2026-03-06T02:03")
    with time_machine.travel(at("2026-03-06T02:05"), tick=False):
        [second] = SettlementShard.objects.filter(run=run, done_at=None)
        settle_shard(second.pk)
    account.refresh_from_db()
    assert account.arrears_since == at("2026-03-06T02:05")
    told = Notice.objects.filter(account=account, kind=Notice.Type.ARREARS).order_by("pk")
    assert [notice.created_at for notice in told] == [at("2026-03-06T02:00"), at("2026-03-06T02:05")]
    assert_books()


@pytest.mark.django_db
def test_a_shard_delivered_days_late_is_left_to_the_next_run(at_once: None) -> None:
    account = opened(balance=None)
    use(account, "ai.pet", 100, "2026-03-05T10:00")
    run = runs.begin(now=at("2026-03-06T02:00"))
    [shard] = runs.advance(run.pk, at("2026-03-06T02:00"))
    with time_machine.travel(at("2026-03-08T09:00"), tick=False):
        settle_shard(shard)
        assert not Bill.objects.exists(), "it would begin the 24 hours of grace two days ago"
        settle_missed()
    assert Bill.objects.get().settled_at == at("2026-03-08T09:00")
    assert_books()


@pytest.mark.django_db(transaction=True)
def test_a_run_is_left_alone_while_somebody_has_a_shard_in_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "PIECE", 1)
    for number in range(2):
        use(opened(f"account {number}"), "ai.pet", 100, "2026-03-05T10:00")
    run = runs.begin(now=at("2026-03-06T02:00"))
    shards = runs.advance(run.pk, at("2026-03-06T02:00"))
    asked = at("2026-03-06T02:10"), at("2026-03-05T00:00").date()
    with transaction.atomic():
        SettlementShard.objects.select_for_update().get(pk=shards[0])
        with ThreadPoolExecutor() as elsewhere:
            assert elsewhere.submit(_left_behind, *asked).result() == {}
    assert runs.left_behind(*asked) == {run.pk: shards}


@pytest.mark.django_db(transaction=True)
def test_a_run_that_a_command_settles_is_left_alone_whatever_its_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "PIECE", 1)
    for number in range(2):
        use(opened(f"account {number}"), "ai.pet", 100, "2026-03-05T10:00")
    asked = at("2026-03-06T09:00"), at("2026-03-05T00:00").date()
    seen = []

    def between_shards(_: float) -> None:
        with ThreadPoolExecutor() as elsewhere:
            seen.append(elsewhere.submit(_left_behind, *asked).result())

    with monkeypatch.context() as watched:
        watched.setattr(runs, "give_way", between_shards)
        assert runs.settle(now=at("2026-03-06T02:00")).bills == 2
    assert seen == [{}, {}], "hours behind the clock of the night, and at work"

    def killed(_: float) -> None:
        connection.close()
        raise KeyboardInterrupt

    for account in Account.objects.all():
        use(account, "ai.pet", 100, "2026-03-05T11:00", received="2026-03-06T03:00")
    monkeypatch.setattr(runs, "give_way", killed)
    with pytest.raises(KeyboardInterrupt):
        runs.settle(now=at("2026-03-06T04:00"))
    [(_, left)] = runs.left_behind(*asked).items()
    assert len(left) == 1, "and taken up as soon as its process is gone"


def _left_behind(since: datetime, through: date) -> dict[int, list[int]]:
    """Asked in a thread, so on a connection of its own."""
    try:
        return runs.left_behind(since, through)
    finally:
        connection.close()


@pytest.mark.django_db
def test_a_shard_is_handed_out_and_settled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "PIECE", 2)
    for number in range(5):
        account = opened(f"account {number}")
        use(account, "ai.pet", 100, "2026-03-05T10:00")
        use(account, "ai.pet", 100, "2026-03-06T10:00")
    now = at("2026-03-07T02:00")
    run = runs.begin(now=now)
    shards = runs.advance(run.pk, now)
    assert len(shards) == 3
    assert runs.advance(run.pk, now) == [], "a day follows once the day before is done"
    for shard in (*shards, *shards):
        runs.settle_shard(shard, now)
    assert Bill.objects.count() == 5
    [*next_day] = runs.advance(run.pk, now)
    assert len(next_day) == 3
    for shard in next_day:
        runs.settle_shard(shard, now)
    assert runs.advance(run.pk, now) == []
    run.refresh_from_db()
    assert (run.finished_at, run.accounts, run.bills, run.due) == (now, 10, 10, 250)
    assert [f"{day}" for day in run.days] == ["2026-03-05", "2026-03-06"]
    assert_books()


@pytest.mark.django_db(transaction=True)
def test_the_night_runs_in_a_real_worker(redis: Redis) -> None:
    account = opened(on="2026-01-01")
    use(account, "ai.pet", 100, "2026-01-01T10:00")
    with celery_worker():
        settle_night.apply_async()
        assert eventually(lambda: SettlementRun.objects.filter(finished_at__isnull=False, balances=True).exists())
    assert Bill.objects.get().amount_due == 25
    assert_books()


@pytest.mark.django_db(transaction=True)
def test_notices_are_delivered_once_although_redis_was_wiped(redis: Redis, settings: Any, tmp_path: Any) -> None:
    account = opened(on="2026-03-01", balance="1")
    use(account, "ai.plate", 30, "2026-03-01T10:00")
    night("2026-03-02T02:00")
    assert Notice.objects.get().kind == Notice.Type.ARREARS
    assert redis.llen("webhooks") >= 1, "a worker was called"
    redis.flushdb()
    # what beat does every minute, in two workers at once
    outward = ("--queues", "webhooks")
    with celery_worker(*outward), celery_worker(*outward, "--hostname", "second@%h"):
        for _ in range(4):
            app.send_task("accounts.tasks.deliver_notices")
        assert eventually(lambda: not Notice.objects.filter(sent_at=None).exists())
    notice = Notice.objects.get()
    assert (notice.attempts, notice.last_error) == (1, "")


@pytest.mark.django_db(transaction=True)
def test_the_night_does_not_stand_behind_mails(redis: Redis) -> None:
    account = opened(on="2026-01-01", balance=None)
    use(account, "ai.pet", 100, "2026-01-01T10:00")
    for _ in range(50):
        app.send_task("accounts.tasks.deliver_notices")
        app.send_task("settlement.tasks.tell_operators")
    settle_night.apply_async()
    assert (redis.llen("celery"), redis.llen("webhooks")) == (1, 100)


@pytest.mark.django_db(transaction=True)
def test_only_a_few_deliver_at_once() -> None:
    with ExitStack() as others:
        for place in range(mailing.DELIVERERS):
            db = others.enter_context(psycopg.connect(database_url()))
            db.execute("SELECT pg_advisory_lock(hashtextextended('notices', %s))", [place])
        with mailing.a_turn("notices") as mine:
            assert not mine
    with mailing.a_turn("notices") as mine:
        assert mine
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
        assert cursor.fetchone() == (0,)


@pytest.mark.django_db(transaction=True)
def test_what_is_rolled_back_is_not_told() -> None:
    account = opened(balance="1")
    with transaction.atomic():
        post(lock_account(account.pk), kind=Kind.USAGE, amount=500, reference="bill:0", now=at("2026-03-02T02:00"))
        assert Notice.objects.exists()
        transaction.set_rollback(True)
    assert not Notice.objects.exists()


@pytest.mark.django_db
def test_each_notice_is_mailed_once_in_the_accounts_language() -> None:
    from accounts.opening import open_account

    account = open_account(name="alice", now=at("2026-03-01T00:00"), email="alice@example.com", password="x")
    top_up(account, "600", "2026-03-01T00:00")
    buy(account, "pet-100k", "2026-03-01T09:00")
    use(account, "ai.pet", 100_000, "2026-03-01T10:00")
    use(account, "ai.plate", 4_000, "2026-03-01T10:00")
    night("2026-03-02T02:00")
    assert notices.deliver(at("2026-03-02T02:01")) == 2
    assert notices.deliver(at("2026-03-02T02:02")) == 0
    assert sorted(sent.subject for sent in mail.outbox) == ["宠物识别资源包：一个包已用完", "账户已欠费"]
    arrears = next(sent for sent in mail.outbox if sent.subject == "账户已欠费")
    assert "服务继续到 2026年3月3日 02:00" in str(arrears.body)
    assert arrears.to == ["alice@example.com"]


@pytest.mark.django_db
def test_a_mail_that_fails_is_tried_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    from accounts.opening import open_account

    account = open_account(name="alice", now=at("2026-03-01T00:00"), email="alice@example.com", password="x")
    use(account, "ai.plate", 10, "2026-03-01T10:00")
    night("2026-03-02T02:00")

    def fail(*_: Any, **__: Any) -> int:
        raise OSError("the mail server is away")

    with monkeypatch.context() as broken:
        broken.setattr("django.core.mail.EmailMessage.send", fail)
        assert notices.deliver(at("2026-03-02T02:00")) == 0
        assert notices.deliver(at("2026-03-02T02:00:30")) == 0, "not before its time"
    notice = Notice.objects.get()
    assert (notice.attempts, notice.last_error) == (1, "the mail server is away")
    assert notices.deliver(at("2026-03-02T02:01")) == 1
    assert len(mail.outbox) == 1
