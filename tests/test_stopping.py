"""SIGTERM loses nothing: what is in hand is finished, what waits is kept for who comes next."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from django.utils import timezone
from redis import Redis

from accounts.keys import make_key
from iss_billing.celery import app
from settlement import runs
from settlement.models import Bill, SettlementShard, UsageEvent
from settlement.tasks import settle_shard
from tests.conftest import ROOT, celery_worker, database_url, eventually
from tests.worlds import assert_books, at, event, opened, use


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def web(port: int, counts: Path) -> Iterator[subprocess.Popen[str]]:
    """The web processes of the Procfile on the test's database, ready to answer."""
    command = [sys.executable, "-m", "gunicorn", "-c", "python:iss_billing.serving", "iss_billing.wsgi"]
    environment = os.environ | {"DATABASE_URL": database_url(), "PORT": str(port), "WEB_CONCURRENCY": "1"}
    environment |= {"PROMETHEUS_MULTIPROC_DIR": str(counts), "TRUSTED_PROXIES": "127.0.0.1"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert eventually(lambda: bool(answer(port, b"GET /healthz HTTP/1.0\r\n\r\n")))
        yield process
    finally:
        process.kill()
        process.wait()


def answer(port: int, request: bytes) -> bytes:
    """What the site says to a request; nothing while nobody listens."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as to:
            to.sendall(request)
            return read(to)
    except OSError:
        return b""


def read(of: socket.socket) -> bytes:
    return b"".join(iter(lambda: of.recv(65536), b""))


@pytest.mark.django_db(transaction=True)
def test_a_request_in_hand_is_answered_and_stored(redis: Redis, tmp_path: Path) -> None:
    account, now = opened(), timezone.now()
    key = make_key(account_id=None, name="edge", now=now)[1]
    body = json.dumps([event(account, "ai.pet", 12, now.isoformat())]).encode()
    head = (
        f"POST /api/v1/usage/ HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n"
        f"Content-Type: application/cloudevents-batch+json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    port = free_port()
    with web(port, tmp_path) as process, socket.create_connection(("127.0.0.1", port), timeout=20) as slow:
        moved = answer(port, b"GET /x/healthz HTTP/1.0\r\nHost: localhost\r\nSCRIPT_NAME: /x\r\n\r\n")
        assert moved.split()[1] == b"404", "no proxy passes on where the site is"
        slow.sendall(head + body[:20])
        time.sleep(0.5)  # until a thread has it in hand
        process.send_signal(signal.SIGTERM)
        time.sleep(1)
        assert process.poll() is None, "it waits for the request"
        slow.sendall(body[20:])
        said = read(slow)
        assert said.startswith(b"HTTP/1.1 200"), said
        assert b'"accepted": 1' in said or b'"accepted":1' in said
        assert process.wait(20) == 0
    assert UsageEvent.objects.count() == 1
    assert answer(port, head + body) == b"", "nobody listens any more"


@pytest.mark.django_db(transaction=True)
def test_a_task_in_hand_is_finished_and_those_that_wait_stay(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "PIECE", 1)
    accounts = [opened(name) for name in ("alice", "bob")]
    for account in accounts:
        use(account, "ai.pet", 400, "2026-03-01T11:00")
    night = at("2026-03-02T02:00")
    run = runs.begin(now=night)
    first, second = runs.advance(run.pk, night)
    # the task's day must be last night's, or it leaves the shard to the next run
    yesterday = timezone.localdate() - timedelta(days=1)
    type(run).objects.filter(pk=run.pk).update(through_day=yesterday)

    with celery_worker() as worker, psycopg.connect(database_url()) as holder:
        holder.execute("SELECT FROM accounts_account WHERE id = %s FOR UPDATE", [accounts[0].pk])
        settle_shard.delay(first)
        assert eventually(lambda: SettlementShard.objects.filter(pk=first, started_at__isnull=False).exists())
        worker.send_signal(signal.SIGTERM)
        time.sleep(1)
        settle_shard.delay(second)
        time.sleep(1)
        assert worker.poll() is None, "it waits for the task"
        threading.Timer(0.2, holder.rollback).start()
        assert worker.wait(30) == 0
    assert list(Bill.objects.values_list("account_id", flat=True)) == [accounts[0].pk]
    assert redis.hlen("unacked") == 0, "what was finished is acknowledged"
    # who comes next does what waited
    with celery_worker():
        assert eventually(lambda: Bill.objects.count() == 2)
    assert_books()


def test_beat_leaves_at_once(redis: Redis, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "celery", "-A", "iss_billing", "beat", "--schedule", str(tmp_path / "kept")]
    beat = subprocess.Popen([*command, "--pidfile="], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert beat.stderr is not None
    for line in beat.stderr:
        if "beat: ready" in line:
            break
    beat.send_signal(signal.SIGTERM)
    assert beat.wait(10) == 0
    assert list(tmp_path.iterdir()), "it has kept when it did what"
    assert app.conf.task_acks_late
