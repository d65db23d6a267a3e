"""The night gives way to people: while the site serves, it rests as long as it has worked, and holds nothing."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from accounts.models import Account
from iss_billing.links import PAGES
from settlement import certificate, runs, yielding
from settlement.tasks import settle_shard
from settlement.yielding import LONGEST_SECONDS, give_way
from tests.conftest import database_url
from tests.worlds import assert_books, at, night, opened, use

SLEEP = "settlement.yielding.sleep"


@pytest.fixture
def rests(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """For how many seconds the night rested, each time; nobody waits for it here."""
    found: list[float] = []
    monkeypatch.setattr(SLEEP, found.append)
    return found


@pytest.fixture(autouse=True)
def long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, what a test has served counts as served just now."""
    monkeypatch.setattr(yielding, "LATELY_SECONDS", 600)


@contextmanager
def served(name: str = PAGES, url: str | None = None) -> Iterator[psycopg.Connection]:
    """Somebody was answered just now by a process of that name."""
    with psycopg.connect(url or database_url(), autocommit=True, application_name=name) as process:
        process.execute("SELECT 1")
        yield process


@pytest.mark.django_db
def test_it_rests_as_long_as_it_worked_while_the_site_serves(rests: list[float]) -> None:
    give_way(0.5)
    assert rests == []
    with served():
        give_way(0.5)
        give_way(60)
    assert rests == [0.5, LONGEST_SECONDS]


@pytest.mark.django_db
def test_a_site_that_serves_nobody_keeps_nothing_up(rests: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    with served() as process:
        monkeypatch.setattr(yielding, "LATELY_SECONDS", 1)
        with psycopg.connect(database_url()) as clock:
            clock.execute("SELECT pg_sleep(1.1)")
        give_way(0.5)
        monkeypatch.setattr(yielding, "LATELY_SECONDS", 600)
        process.execute("SELECT 1")
        give_way(0.25)
    assert rests == [0.25]


@pytest.mark.django_db
def test_workers_and_other_databases_are_no_people(rests: list[float]) -> None:
    elsewhere = database_url().replace(f"/{psycopg.conninfo.conninfo_to_dict(database_url())['dbname']}", "/postgres")
    with served("iss worker"), served(url=elsewhere):
        give_way(0.5)
    assert rests == []


@pytest.mark.django_db(transaction=True)
def test_a_worker_rests_after_a_shard_and_locks_nobody_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    account = opened("alice")
    use(account, "ai.pet", 100, "2026-03-05T10:00")
    run = runs.begin(now=at("2026-03-06T02:00"))
    [shard] = runs.advance(run.pk, at("2026-03-06T02:00"))
    monkeypatch.setattr("settlement.tasks.timezone.now", lambda: at("2026-03-06T02:00:05"))
    free: list[bool] = []
    with served() as process:

        def rest(seconds: float) -> None:
            assert 0 < seconds <= time.monotonic() - begun
            process.execute("SELECT FROM accounts_account WHERE id = %s FOR UPDATE NOWAIT", [account.pk])
            process.execute("SELECT FROM settlement_settlementshard WHERE id = %s FOR UPDATE NOWAIT", [shard])
            free.append(True)

        monkeypatch.setattr(SLEEP, rest)
        begun = time.monotonic()
        settle_shard(shard)
    assert free == [True]
    assert Account.objects.get(pk=account.pk).bills.count() == 1
    assert_books()


@pytest.mark.django_db(transaction=True)
def test_a_night_by_hand_and_its_certificate_rest_too(rests: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "PIECE", 1)
    monkeypatch.setattr(certificate, "ACCOUNTS", 1)
    for name in ("alice", "bob", "carol"):
        use(opened(name), "ai.pet", 100, "2026-03-05T10:00")
    with served() as process:

        def rest(seconds: float) -> None:
            rests.append(seconds)
            process.execute("SELECT 1")

        monkeypatch.setattr(SLEEP, rest)
        night("2026-03-06T02:00")
    shards, parts = 3, 4  # the last part holds whoever opens an account meanwhile
    assert len(rests) == shards + parts
    assert_books()
