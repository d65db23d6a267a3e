"""The broker goes away: nobody who calls a task waits long, and a worker outlives it, tasks in hand and all."""

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from celery import Celery
from django.db import connection, transaction
from django.utils import timezone
from kombu.exceptions import OperationalError
from redis import ConnectionError as RedisAway
from redis import Redis

from accounts.ledger import lock_account
from accounts.models import Notice
from accounts.tasks import deliver_notices
from iss_billing import keeper
from iss_billing.celery import app
from settlement import runs
from settlement.models import Bill
from settlement.tasks import settle_shard
from tests.conftest import celery_worker, eventually
from tests.worlds import assert_books, night, opened, use


class Broker:
    """A Redis of the test's own that keeps nothing."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self.client = Redis.from_url(self.url)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [keeper._redis_program(), "--port", "0", "--unixsocket", str(self.socket), "--save", ""]
        self.process = subprocess.Popen(command, cwd=self.socket.parent, stdout=subprocess.DEVNULL)
        assert eventually(self.up)

    def up(self) -> bool:
        with suppress(RedisAway):
            return bool(self.client.ping())
        return False

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    with TemporaryDirectory() as folder:
        it = Broker(Path(folder))
        it.start()
        monkeypatch.setenv("REDIS_URL", it.url)
        yield it
        it.kill()


@pytest.fixture
def calling() -> Iterator[Any]:
    """Has this process call tasks over another broker."""
    before = app.conf.broker_url

    def use_broker(url: str) -> None:
        app.conf.broker_url = url
        app._pool = app.amqp._producer_pool = None

    yield use_broker
    use_broker(before)


def seconds_of(act: Any) -> float:
    begun = time.monotonic()
    act()
    return time.monotonic() - begun


def calls_nobody() -> None:
    with pytest.raises(OperationalError):
        settle_shard.delay(1)


def test_who_calls_a_task_without_a_broker_hears_of_it_at_once(calling: Any, tmp_path: Path) -> None:
    calling(f"redis+socket://{tmp_path}/nobody.sock")
    assert seconds_of(calls_nobody) < 1.5
    assert seconds_of(calls_nobody) < 1.5


def test_who_calls_a_task_over_a_mute_broker_is_not_held(calling: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        calling(f"redis://127.0.0.1:{mute.getsockname()[1]}/0")
        assert seconds_of(calls_nobody) < 8


@pytest.mark.django_db(transaction=True)
def test_a_posting_without_a_broker_stands_and_its_notice_waits(
    calling: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    account = opened(balance="1")
    use(account, "ai.plate", 30, "2026-03-01T10:00")
    calling(f"redis+socket://{tmp_path}/nobody.sock")
    assert seconds_of(lambda: night("2026-03-02T02:00")) < 3
    assert "the next tick does it" in caplog.text
    assert Notice.objects.get().sent_at is None
    assert deliver_notices() == 1
    assert_books()


@pytest.mark.django_db(transaction=True)
def test_a_worker_outlives_its_broker_with_a_shard_in_hand(broker: Broker) -> None:
    account = opened(balance="10")
    use(account, "ai.plate", 30, "2026-03-01T10:00")
    now = timezone.now()
    [shard] = runs.advance(runs.begin(now=now).pk, now)
    broker_app = Celery("caller", broker=broker.url.replace("unix://", "redis+socket://"), set_as_current=False)
    said: list[str] = []
    with celery_worker("--concurrency", "2", said=said) as worker:
        with transaction.atomic():
            lock_account(account.pk)
            broker_app.send_task("settlement.tasks.settle_shard", [shard])
            assert eventually(someone_waits), "the worker has the shard in hand, and waits for the account"
            broker.kill()
            time.sleep(0.5)  # it notices, and finds nobody at the address
            broker.start()
        assert eventually(lambda: Bill.objects.exists()), "what it had in hand it finishes"
        broker_app.send_task("settlement.tasks.collect_usage")
        assert eventually(lambda: not broker.client.llen("celery")), "it takes tasks again"
        assert worker.poll() is None
        # the database's connections are kept from task to task, and one that broke meanwhile costs no task
        time.sleep(0.5)  # the task is done
        cut = connections_of_others()
        assert cut, "a worker between two tasks stays connected"
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pid, 5000) FROM unnest(%s) AS pid", [list(cut)])
        done = "".join(said).count("succeeded")
        for _ in range(4):
            broker_app.send_task("settlement.tasks.collect_usage")
        assert eventually(lambda: "".join(said).count("succeeded") >= done + 4), "".join(said)
        assert not connections_of_others() & cut
    assert Bill.objects.count() == 1
    assert_books()


def connections_of_others() -> set[int]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND backend_type = 'client backend'"
        )
        return {pid for (pid,) in cursor.fetchall()}


def someone_waits() -> bool:
    """Whether somebody waits for this connection's transaction; other tests' databases have waiters of their own."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid)))")
        return bool(cursor.fetchone()[0])
