"""Databases of the bench: one is built, every measurement runs on a copy of it."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from iss_billing import embedded

ROOT = Path(__file__).resolve().parent.parent.parent
VAR = ROOT / "var"
EMPTY, BASE, COPY = "iss_bench_empty", "iss_bench_base", "iss_bench"


def url(name: str) -> str:
    """The DATABASE_URL of one of the bench's databases on the embedded PostgreSQL."""
    return f"postgres://{embedded.USER}@/{name}?host={embedded.Place(VAR).sockets}"


def environment(name: str) -> dict[str, str]:
    """The environment of a process that works on a bench database."""
    settings = {
        "DEBUG": "1",
        "SECRET_KEY": "a secret of the bench, which guards nothing: it is not kept",
        "DATABASE_URL": url(name),
        "REDIS_URL": f"{embedded.redis_url(VAR)}?db=15",
        "API_RATE_LIMITS": "off",
        "DJANGO_SETTINGS_MODULE": "iss_billing.settings",
        "EMAIL_URL": "dummymail://",
    }
    return dict(os.environ) | settings


def connect(name: str) -> "psycopg.Connection[tuple[Any, ...]]":
    """A connection without Django."""
    host = str(embedded.Place(VAR).sockets)
    return psycopg.connect(host=host, user=embedded.USER, dbname=name, autocommit=True)


def create(name: str, template: str = "template0") -> None:
    """Make a database, in place of one of that name; a copy when `template` is one of ours."""
    drop(name)
    with connect("postgres") as admin:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY")
        admin.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))


def drop(name: str) -> None:
    """Remove a database."""
    with connect("postgres") as admin:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def build(accounts: int, events: int, *, name: str = BASE, giant: int = 0) -> None:
    """Make a base database with its world, and in it one account with so many packs and 1,000 events for each."""
    create(name, _migrated())
    code = "from tests.bench.world import build; build(*map(int, sys.argv[1:]))"
    python(code, str(accounts), str(events), str(giant), database=name)


@cache
def _migrated() -> str:
    """A database with tables and catalogue and nothing else, made once in a process; its name."""
    create(EMPTY)
    call("migrate", "--verbosity", "0", database=EMPTY)
    call("load_catalogue", database=EMPTY)
    return EMPTY


def call(*command: str, database: str = BASE) -> str:
    """A management command on a bench database; its standard output."""
    arguments = [sys.executable, "manage.py", *command]
    return subprocess.run(
        arguments, cwd=ROOT, env=environment(database), check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def python(code: str, *arguments: str, database: str = BASE, settings: dict[str, str] | None = None) -> str:
    """A line of Python with Django set up, in a process of its own, with other `settings`; its standard output."""
    full = f"import sys, django; django.setup(); {code}"
    done = subprocess.run(
        [sys.executable, "-c", full, *arguments],
        cwd=ROOT,
        env=settings or environment(database),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout


BEGAN_WITH = (
    "CREATE INDEX began_notice_account ON accounts_notice (account_id)",
    "CREATE INDEX began_transfer_account ON accounts_transfer (account_id)",
    "CREATE INDEX began_transfer_made_by ON accounts_transfer (made_by_id)",
    "CREATE INDEX began_pack_account ON packs_pack (account_id)",
    "DROP INDEX transfer_time",
    "ALTER TABLE accounts_account SET (fillfactor = 60)",
    "VACUUM FULL ANALYZE accounts_account",
    "ALTER TABLE packs_pack SET (fillfactor = 60)",
    "VACUUM FULL ANALYZE packs_pack",
)
"""Makes the indexes, and the room in pages, those that the schema had when the floor was first measured (migrations
`fewer_indexes` and `room_for_a_night`, later)."""


@contextmanager
def fresh_copy(base: str = BASE, schema: Iterable[str] = ()) -> Iterator[str]:
    """A copy of a base for one measurement, with what `schema` makes of its tables; its name."""
    create(COPY, base)
    with connect(COPY) as connection:
        for statement in (*schema, "CHECKPOINT"):
            connection.execute(statement.encode())
    os.sync()  # what the copy still has to write is not the measurement's
    try:
        yield COPY
    finally:
        drop(COPY)


def processor() -> str:
    """What the machine calls its processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
