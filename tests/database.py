"""The test database: copied from one that is made once for all workers, and emptied after each test that commits.

The original has all migrations and the launch catalogue. It is kept from run to run for as long as nothing changes that
it is made of.
"""

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import django
from django.apps import apps
from django.core.management import call_command
from django.db import connection, transaction
from django.test import TransactionTestCase
from django.utils import timezone
from psycopg import sql

from packs.catalogue import LAUNCH_CATALOGUE, load_catalogue
from tests.environment import VAR

ROOT: Final = Path(__file__).resolve().parent.parent
ORIGINAL: Final = "test_original"


@contextmanager
def test_database() -> Iterator[None]:
    """A copy of the original under the name of this worker's test database; gone afterwards."""
    usual, name = connection.settings_dict["NAME"], connection.creation._get_test_db_name()  # type: ignore[attr-defined]
    connection.close()
    with (VAR / "original.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one makes it, the others wait; it cannot be copied while it is connected to
        _see_to_original(usual)
        _administer("DROP DATABASE IF EXISTS {}", name)  # not by force: another run may be at work in it
        _administer("CREATE DATABASE {} TEMPLATE {}", name, ORIGINAL)
    _use(name)
    TransactionTestCase._fixture_teardown = _Emptying()  # type: ignore[attr-defined]
    yield
    _use(usual)
    _administer("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


def _use(name: str) -> None:
    connection.close()
    connection.settings_dict["NAME"] = name


def _administer(statement: str, *names: str) -> Any:
    with connection._nodb_cursor() as cursor:
        cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
        return cursor.fetchone() if cursor.description else None


def _see_to_original(usual: str) -> None:
    made_of = _made_of()
    known = f"SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '{ORIGINAL}'"
    if _administer(known) == (made_of,):
        return
    _administer("DROP DATABASE IF EXISTS {} WITH (FORCE)", ORIGINAL)
    _administer("CREATE DATABASE {}", ORIGINAL)
    _use(ORIGINAL)
    call_command("migrate", verbosity=0)
    load_catalogue(LAUNCH_CATALOGUE, timezone.now())
    _use(usual)
    _administer(f"COMMENT ON DATABASE {{}} IS '{made_of}'", ORIGINAL)


def _made_of() -> str:
    """A digest of all that may have a part in the original: our code, all migrations, the day (of the partitions)."""
    found = hashlib.sha256(f"{django.__version__} {timezone.localdate()}".encode())
    for config in apps.get_app_configs():
        place = Path(config.path)
        ours = place.is_relative_to(ROOT) and ".venv" not in place.parts
        for path in sorted((place if ours else place / "migrations").rglob("*.py")):
            found.update(path.read_bytes())
    found.update(LAUNCH_CATALOGUE.read_bytes())
    return found.hexdigest()


class _Emptying:
    """What Django calls in place of its own `flush`: rows that a test made go, rows that were there come back.

    Where nothing was written nothing is done. Foreign keys and triggers look away, for which one must be superuser;
    another's database is flushed as Django does it.
    """

    def __init__(self) -> None:
        tables = sorted(connection.introspection.django_table_names(only_existing=True, include_views=False))
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('is_superuser')")
            self.may = cursor.fetchone() == ("on",)
            cursor.execute(" UNION ALL ".join(f"SELECT '{name}', EXISTS(SELECT FROM {name})" for name in tables))
            full = dict(cursor.fetchall())
            self.kept = {name: _copied(cursor, name) for name in tables if full[name]}
            self.look = " UNION ALL ".join(
                f"(SELECT '{name}', coalesce(sum(hashtextextended(t::text, 0)), 0) FROM {name} t)"
                if full[name]
                else f"(SELECT '{name}', EXISTS(SELECT FROM {name})::int)"
                for name in tables
            )
            self.lock = f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE"
            cursor.execute(self.look)
            self.before = dict(cursor.fetchall())

    def __call__(self) -> None:
        """Back to the original."""
        if not self.may:
            call_command("flush", verbosity=0, interactive=False)
            load_catalogue(LAUNCH_CATALOGUE, timezone.now())
            return
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(self.lock)  # a process that a test left behind ends its transaction first, as with TRUNCATE
            cursor.execute(self.look)
            changed = [name for name, found in cursor.fetchall() if found != self.before[name]]
            if changed:
                cursor.execute("SET LOCAL session_replication_role = replica")
                cursor.execute(";".join(f"DELETE FROM {name}" for name in changed))
            for name in changed:
                if name in self.kept:
                    with cursor.copy(f"COPY {name} FROM STDIN") as copy:
                        copy.write(self.kept[name])


def _copied(cursor: Any, name: str) -> bytes:
    with cursor.copy(f"COPY {name} TO STDOUT") as copy:
        return b"".join(bytes(part) for part in copy)
