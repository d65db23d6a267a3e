"""What every test stands on: the catalogue, a served site, a browser, a Celery worker."""

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
import time_machine
from django.conf import settings
from django.core.servers.basehttp import WSGIRequestHandler
from django.db import connection, transaction
from playwright.sync_api import Browser, Page, sync_playwright
from pytest_django.live_server_helper import LiveServer
from redis import Redis

from tests.browser import launch
from tests.database import test_database

ROOT = Path(__file__).resolve().parent.parent

Made = TypeVar("Made")


def pytest_configure(config: pytest.Config) -> None:
    """Quick password hashes: the tests make many logins and attack none."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    # or the second packet of an answer waits 40 ms for the first one's receipt
    WSGIRequestHandler.disable_nagle_algorithm = True


LONG = ("test_torture", "test_make_run", "test_api_schema", "test_security", "test_backup", "test_journey_account",
        "test_journey_bills", "test_quality", "test_api_keys", "test_static", "test_stopping")  # fmt: skip
"""Modules with tests of many seconds each, the longest first."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest come first of their kind, so that none is left over when the other workers are done."""
    rank = {name: number for number, name in enumerate(LONG)}

    def turn(item: pytest.Item) -> tuple[int, int]:
        place = rank.get(item.nodeid.partition("::")[0].rpartition("/")[2].removesuffix(".py"), len(LONG))
        transactional = _is_transactional(item)
        if transactional is None:
            return (0, place) if place < len(LONG) else (3, 0)
        return (2, place) if transactional else (1, 0)  # as pytest-django has them

    items.sort(key=turn)


def pytest_collection_finish() -> None:
    """The collector of garbage need not look at what stays: the code and all tests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _is_transactional(item: pytest.Item) -> bool | None:
    """Whether a test commits; None for one without a database, by its mark or by what it asks for."""
    marker = item.get_closest_marker("django_db")
    names = getattr(item, "fixturenames", ())
    if marker is None and "db" not in names and "transactional_db" not in names:
        return None
    return "transactional_db" in names or bool(marker and marker.kwargs.get("transaction"))


@pytest.fixture(autouse=True)
def nothing_in_its_way(request: pytest.FixtureRequest) -> None:
    """A test that commits would commit what is made once a module."""
    assert not (_is_transactional(request.node) and connection.in_atomic_block), "a test that commits has no made_once"


@pytest.fixture(scope="session")
def django_db_setup(
    django_test_environment: None, django_db_modify_db_settings: None, django_db_blocker: Any
) -> Iterator[None]:
    """The test database of this process, with the launch catalogue in it before every test."""
    database = test_database()
    with django_db_blocker.unblock():
        database.__enter__()
    yield
    with django_db_blocker.unblock():
        database.__exit__(None, None, None)


def made_once(make: Callable[[], Made]) -> Any:
    """A module's fixture: what `make` makes in the database, for all tests of the module from the first that wants it.

    Each undoes its own changes there, not those to the objects: give a test a deep copy. The module's tests may have no
    transactions of their own.
    """

    @pytest.fixture(scope="module")
    def made(django_db_setup: None, django_db_blocker: Any) -> Iterator[Made]:
        with django_db_blocker.unblock():
            all_tests = transaction.atomic()
            all_tests._from_testcase = True  # type: ignore[attr-defined]  # so does Django's TestCase
            all_tests.__enter__()
        try:
            with django_db_blocker.unblock():
                it = make()
                connection.check_constraints()
                connection.run_on_commit.clear()
            yield it
        finally:  # where it cannot be made, too: or the tests after it would be in its transaction
            with django_db_blocker.unblock():
                transaction.set_rollback(True)
                all_tests.__exit__(None, None, None)

    return made


@pytest.fixture
def redis() -> Iterator[Redis]:
    """The Redis of this test process, empty before and after."""
    client = Redis.from_url(settings.REDIS_URL)
    client.flushdb()
    yield client
    client.flushdb()
    client.close()


class Clock:
    """The clock of this process, and so of the site that it serves; it stands still between moves."""

    def __init__(self) -> None:
        self._traveller: time_machine.travel | None = None
        self.now: datetime | None = None

    def move(self, to: datetime) -> None:
        """Set the clock."""
        self.stop()
        self._traveller = time_machine.travel(to, tick=True)
        self._traveller.start()
        self.now = to

    def stop(self) -> None:
        """Back to the real clock."""
        if self._traveller is not None:
            self._traveller.stop()
            self._traveller = None


@pytest.fixture
def clock() -> Iterator[Clock]:
    """A clock to move."""
    it = Clock()
    yield it
    it.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for all tests of this process."""
    with sync_playwright() as playwright:
        it = launch(playwright)
        yield it
        it.close()


@pytest.fixture
def page(browser: Browser, live_server: LiveServer) -> Iterator[Page]:
    """A page of the served site at 1440 px, in Chinese; any complaint of the browser's console fails the test."""
    context = browser.new_context(
        base_url=live_server.url, locale="zh-CN", timezone_id="Asia/Shanghai", viewport={"width": 1440, "height": 900}
    )
    context.set_default_timeout(15_000)
    complaints: list[str] = []
    it = context.new_page()
    it.on("pageerror", lambda error: complaints.append(str(error)))
    it.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    yield it
    context.close()
    expected = ("404 (Not Found)", "403 (Forbidden)", "402 (Payment Required)", "409 (Conflict)", "410 (Gone)")
    unexpected = [text for text in complaints if not text.strip().endswith(expected)]
    assert not unexpected, unexpected


def database_url() -> str:
    """The test database's URL, for processes that we start."""
    name = connection.settings_dict["NAME"]
    if os.environ["DATABASE_URL"]:
        return os.environ["DATABASE_URL"].rpartition("/")[0] + f"/{name}"
    return f"postgres://{settings.DATABASES['default']['USER']}@/{name}?host={connection.settings_dict['HOST']}"


@contextmanager
def celery_worker(*arguments: str, said: list[str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A real worker process on the test's database and broker, ready to work; its lines come into `said`."""
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "iss_billing",
        "worker",
        "--loglevel",
        "info",
        "--concurrency",
        "1",
    ]
    worker = subprocess.Popen(
        [*command, "--without-mingle", "--without-gossip", *arguments],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": database_url()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    said = [] if said is None else said
    ready = threading.Event()

    def read() -> None:
        assert worker.stdout is not None
        for line in worker.stdout:
            said.append(line)
            if " ready." in line:
                ready.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        if not ready.wait(60):
            raise AssertionError("the worker did not start:\n" + "".join(said))
        yield worker
    finally:
        worker.terminate()
        try:
            worker.wait(30)
        except subprocess.TimeoutExpired:
            worker.kill()
        reader.join(5)


def eventually(true: Callable[[], bool], seconds: float = 30) -> bool:
    """Whether something comes true within a time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.1)
    return true()
