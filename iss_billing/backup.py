"""Backups of the database in pg_dump's custom format, and putting one back, whole or not at all."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final, cast

from django.db import connection

from iss_billing.keeper import postgres_programs

ENDING: Final = ".dump"
LOCK_WAIT: Final = "60s"
"""How long a backup waits for who changes a table."""
_VARIABLES: Final = {
    "host": "PGHOST",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "dbname": "PGDATABASE",
    "service": "PGSERVICE",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "channel_binding": "PGCHANNELBINDING",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}
"""What the programs need to know of the connection, by the variables that they read."""


class BackupError(Exception):
    """A backup cannot be made or put back; the message says why and what to do."""


def make_backup(folder: Path, now: datetime) -> Path:
    """Write a backup of the database, as it is at one moment, into a folder; the file. Raises BackupError.

    It has its name once it is whole, on the disk, and has been read back.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = folder / f"iss-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}{ENDING}"
    part = file.with_suffix(".part")
    try:
        part.touch(mode=0o600)
        _run(
            "pg_dump", "--format=custom", "--no-owner", "--no-acl", f"--lock-wait-timeout={LOCK_WAIT}", f"--file={part}"
        )
        read_through(part)
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(file)
    except OSError as error:
        raise BackupError(f"{error.filename or folder}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
    return file


def forget_backups(folder: Path, keep: int) -> list[Path]:
    """Delete all but the newest `keep` backups of a folder; those that went."""
    old = sorted(folder.glob(f"iss-*{ENDING}"))[:-keep]
    for file in old:
        file.unlink()
    return old


def read_through(file: Path) -> None:
    """Read a backup to its end, into nowhere. Raises BackupError where it is none, or cut off."""
    _run("pg_restore", "--file=/dev/null", str(file))


def migrations_in(file: Path) -> set[tuple[str, str]]:
    """The migrations (app, name) that had been applied when a backup was made. Raises BackupError."""
    rows = _run("pg_restore", "--data-only", "--table=django_migrations", "--file=-", str(file))
    return {(app, name) for app, name in re.findall(r"(?m)^\d+\t(\w+)\t(\w+)\t", rows)}


def others_connected() -> list[str]:
    """Who else is connected to the database, by the name and address that it gives."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT coalesce(nullif(application_name, ''), 'unnamed') || ' (server process ' || pid || ')'
            FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
            AND backend_type = 'client backend' ORDER BY pid"""
        )
        return [name for (name,) in cursor.fetchall()]


def is_empty() -> bool:
    """Whether the database holds no table of ours or anybody's."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT NOT EXISTS (SELECT FROM pg_tables WHERE schemaname = 'public')")
        return bool(cursor.fetchone()[0])


def put_back(file: Path, *, overwrite: bool) -> None:
    """Replace what the database holds by a backup, in one transaction: whole, or not at all. Raises BackupError.

    The transaction is committed by the last statement sent, and that is sent only when the whole backup was.
    """
    connection.close()
    first = "DROP SCHEMA public CASCADE; CREATE SCHEMA public;" if overwrite else ""
    with (
        _started("pg_restore", "--no-owner", "--no-acl", "--file=-", str(file), stdout=subprocess.PIPE) as reader,
        _started(
            "psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        ) as writer,
    ):
        try:
            with cast("IO[bytes]", writer.stdin) as sink:
                sink.write(f"BEGIN; SET LOCAL client_min_messages = warning; {first}\n".encode())
                shutil.copyfileobj(cast("IO[bytes]", reader.stdout), sink)
                if reader.wait() == 0:
                    sink.write(b"\nCOMMIT;\n")
        except BrokenPipeError:
            pass  # psql has said why
        finally:
            cast("IO[bytes]", reader.stdout).close()  # who still writes there is not waited for
        said = [cast("IO[bytes]", process.stderr).read().decode(errors="replace") for process in (writer, reader)]
    if writer.returncode or reader.returncode:
        raise BackupError(f"{file} was not put back, and nothing was changed: {_last_words(''.join(said))}")


# ── PostgreSQL's programs ────────────────────────────────────────────────────────────────────────────


def _program(name: str) -> str:
    """One of PostgreSQL's programs, not older than the server: the wheel's, or of the PATH for a newer server."""
    folder = postgres_programs()
    ours = re.search(r"\d+$", folder.parent.name)
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version_num')::int / 10000")
        [server] = cursor.fetchone()
    if ours and int(ours[0]) >= server:
        return str(folder / name)
    found = shutil.which(name)
    if found is None:
        raise BackupError(f"the server is PostgreSQL {server}: put its {name} into the PATH")
    return found


def _environment() -> dict[str, str]:
    """How the programs find the database; the password is not on their command line, where all could read it."""
    known: dict[str, Any] = connection.get_connection_params()
    given = {variable: known.get(name) for name, variable in _VARIABLES.items()} | {"PGAPPNAME": "iss-billing backup"}
    return os.environ | {name: str(value) for name, value in given.items() if value}


@contextmanager
def _started(name: str, *arguments: str, stdin: int | None = None, stdout: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [_program(name), *arguments]
    process = subprocess.Popen(  # noqa: S603 - a program of PostgreSQL's
        command, env=_environment(), stdin=stdin, stdout=stdout, stderr=subprocess.PIPE
    )
    with process:
        yield process


def _run(name: str, *arguments: str) -> str:
    command = [_program(name), *arguments]
    done = subprocess.run(command, env=_environment(), capture_output=True, check=False)  # noqa: S603 - as above
    if done.returncode:
        raise BackupError(f"{name} failed: {_last_words(done.stderr.decode(errors='replace'))}")
    return done.stdout.decode(errors="replace")


def _last_words(text: str) -> str:
    return " / ".join(text.strip().splitlines()[-3:]) or "it said nothing"
