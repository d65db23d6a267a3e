"""PostgreSQL and Redis on the base host, on TCP only, and the databases of the nights."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import psycopg
import redis

from iss_billing import embedded, keeper
from iss_billing.days import SHANGHAI
from tests.scaleout.hosts import BASE, NETWORK, PASSWORD

NIGHT, BUILT = "iss", "built"
"""The database that the workers know, and the one it is a fresh copy of."""


@contextmanager
def running() -> Iterator[None]:
    """Both servers out of the wheels, with the embedded ones' settings but for where they listen."""
    place = embedded.Place(BASE.folder / "var")
    owner, programs = keeper._system_user(), keeper.postgres_programs()
    keeper._init_postgres(place, programs, owner)
    data = place.var / "postgres"
    with (data / "iss.conf").open("a") as conf:
        conf.write(f"listen_addresses = '{BASE.address}'\nunix_socket_directories = ''\n")
    with (data / "pg_hba.conf").open("a") as access:
        access.write(f"host all all {NETWORK} trust\n")
    listen = ["--bind", BASE.address, "--port", "6379", "--requirepass", PASSWORD, "--save", ""]
    servers = {}
    try:
        servers["PostgreSQL"] = keeper._spawn([str(programs / "postgres"), "-D", str(data)], owner, place, "postgres")
        folder = keeper._owned(place.folder("redis"), owner)
        servers["Redis"] = keeper._spawn([keeper._redis_program(), *listen], owner, place, "redis", cwd=folder)
        keeper._wait_for(servers["PostgreSQL"], "PostgreSQL", place, _postgres_up)
        keeper._wait_for(servers["Redis"], "Redis", place, _redis_up)
        yield
    finally:
        keeper._stop_servers(place, servers)


def connect(database: str = NIGHT) -> "psycopg.Connection[tuple[Any, ...]]":
    """A connection without Django."""
    return psycopg.connect(host=BASE.address, user="iss", dbname=database, autocommit=True)


def broker() -> redis.Redis:
    """The Redis."""
    return redis.Redis.from_url(os.environ["REDIS_URL"])


def build(accounts: int, events: int) -> None:
    """Make the database that every night begins with."""
    with connect("postgres") as admin:
        admin.execute(f"CREATE DATABASE {BUILT}")
    manage("migrate", "--verbosity", "0", database=BUILT)
    manage("load_catalogue", database=BUILT)
    built = f"import django; django.setup(); from tests.bench.world import build; build({accounts}, {events})"
    _python("-c", built, database=BUILT)


def fresh() -> None:
    """A new copy of what was built, and an empty Redis."""
    with connect("postgres") as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {NIGHT} WITH (FORCE)")
        admin.execute(f"CREATE DATABASE {NIGHT} TEMPLATE {BUILT} STRATEGY FILE_COPY")
    broker().flushdb()


def manage(*command: str, database: str = NIGHT) -> str:
    """A management command on the base host; its standard output."""
    return _python("manage.py", *command, database=database)


def report_late_usage(database: "psycopg.Connection[tuple[Any, ...]]", accounts: int) -> int:
    """One event of the day before yesterday for each of the first accounts; of how many."""
    day = datetime.now(SHANGHAI).date() - timedelta(days=2)
    query = "SELECT id FROM accounts_account ORDER BY id LIMIT %s"
    events = [
        {
            "specversion": "1.0",
            "type": "iss.usage",
            "id": f"late {account}",
            "source": "/late",
            "subject": str(account),
            "time": f"{day}T10:00:00+08:00",
            "data": {"item": "ai.pet", "quantity": 100},
        }
        for (account,) in database.execute(query, [accounts]).fetchall()
    ]
    file = BASE.folder / "var" / "late.jsonl"
    file.write_text("\n".join(map(json.dumps, events)))
    manage("import_usage", str(file))
    return len(events)


def _python(*arguments: str, database: str) -> str:
    url = os.environ["DATABASE_URL"].rpartition("/")[0]
    environment = os.environ | {"DATABASE_URL": f"{url}/{database}"}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=BASE.folder, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def _postgres_up() -> bool:
    try:
        connect("postgres").close()
    except psycopg.OperationalError:
        return False
    return True


def _redis_up() -> bool:
    try:
        return bool(broker().ping())
    except redis.ConnectionError:
        return False
