"""A backup is put back whole, and the nights go on from it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection

from accounts.models import Account, Transfer
from iss_billing import backup
from packs.models import Pack
from settlement.models import Bill
from tests.conftest import ROOT, database_url
from tests.worlds import assert_books, at, buy, event, night, opened, use

OTHER = f"restored_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"


@pytest.fixture
def other() -> Iterator[str]:
    """The URL of a second, empty database on the same server."""

    def drop() -> None:
        with psycopg.connect(database_url(), autocommit=True) as db:
            db.execute(f"DROP DATABASE IF EXISTS {OTHER} WITH (FORCE)")

    drop()
    with psycopg.connect(database_url(), autocommit=True) as db:
        db.execute(f"CREATE DATABASE {OTHER} TEMPLATE template0")
    name = connection.settings_dict["NAME"]
    yield database_url().replace(f"/{name}", f"/{OTHER}")
    drop()


def manage(url: str, *arguments: object, given: str = "") -> Any:
    """What a command on another database says, as JSON; a refusal is what it says of it."""
    done = subprocess.run(
        [sys.executable, "manage.py", *map(str, arguments), "--json", "--skip-checks"],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": url},
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        assert "Traceback" not in done.stderr
        return done.stderr.strip().splitlines()[-1]
    return json.loads(done.stdout)


def world() -> Account:
    """An account with a pack, a bill, usage that waits, and usage of today."""
    account = opened(name="云岚 'quoted' \\ \t连锁")
    buy(account, "pet-100k", "2026-03-01T10:00")
    use(account, "ai.pet", 120_000, "2026-03-01T11:00")
    night("2026-03-02T02:00")
    use(account, "ai.pet", 7, "2026-03-02T11:00")
    return account


@pytest.mark.django_db(transaction=True)
def test_a_backup_is_put_back_and_the_night_goes_on(tmp_path: Path, other: str) -> None:
    account = world()
    assert_books()
    counts = [model.objects.count() for model in (Account, Transfer, Pack, Bill)]
    call_command("backup", folder=tmp_path, json=True)
    [file] = tmp_path.iterdir()
    assert file.stat().st_mode & 0o077 == 0, "it holds everything"

    restored = manage(other, "restore", file)
    assert not isinstance(restored, str), restored
    assert restored["audit"] == {"ok": True, "broken": []}
    with psycopg.connect(other) as db:
        tables = ("accounts_account", "accounts_transfer", "packs_pack", "settlement_bill")
        assert [db.execute(f"SELECT count(*) FROM {table}").fetchone() for table in tables] == [(n,) for n in counts]
        assert db.execute("SELECT name FROM accounts_account").fetchone() == (account.name,)
        with pytest.raises(psycopg.errors.RaiseException):
            db.execute("UPDATE accounts_transfer SET amount = 1")

    # usage that waited is billed, what came before is a duplicate, new rows take new numbers
    late = [event(account, "ai.pet", 5, "2026-03-03T11:00:00", id=name) for name in ("late", "later")]
    told = "\n".join(map(json.dumps, [*late, late[0]]))
    done = manage(other, "import_usage", "-", "--now", "2026-03-03T12:00", given=told)
    assert (done["accepted"], done["duplicates"]) == (2, 1)
    settled = manage(other, "settle", "--now", "2026-03-04T02:00")
    assert (settled["days"], settled["bills"], settled["failed"]) == (["2026-03-02", "2026-03-03"], 2, [])
    assert manage(other, "audit_books")["ok"]

    # what it holds now is lost only if somebody says so; whoever is connected is named
    assert "not empty" in manage(other, "restore", file)
    with psycopg.connect(other, application_name="somebody"):
        assert "somebody" in manage(other, "restore", file, "--overwrite")
    assert manage(other, "restore", file, "--overwrite")["audit"]["ok"]
    with psycopg.connect(other) as db:
        assert db.execute("SELECT count(*) FROM settlement_bill").fetchone() == (1,)


@pytest.mark.django_db(transaction=True)
def test_what_is_no_backup_changes_nothing(tmp_path: Path, other: str) -> None:
    world()
    [good] = [backup.make_backup(tmp_path, at("2026-03-02T04:30"))]
    manage(other, "restore", good)
    cut = tmp_path / "cut.dump"
    cut.write_bytes(good.read_bytes()[: good.stat().st_size * 2 // 3])
    text = tmp_path / "text.dump"
    text.write_text("CREATE TABLE x ();")
    for file, why in ((cut, "pg_restore failed"), (text, "pg_restore failed"), (tmp_path / "none", "no such file")):
        assert why in manage(other, "restore", file, "--overwrite")
    assert manage(other, "audit_books")["ok"]
    with psycopg.connect(other) as db:
        assert db.execute("SELECT count(*) FROM settlement_bill").fetchone() == (1,)


@pytest.mark.django_db(transaction=True)
def test_a_reader_that_dies_half_way_commits_nothing(
    tmp_path: Path, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world()
    file = backup.make_backup(tmp_path, at("2026-03-02T04:30"))
    program = backup._program
    half = tmp_path / "half"
    half.write_text(f'#!/bin/sh\n{program("pg_restore")} "$@" | head -c 60000\nexit 1\n')
    half.chmod(0o755)
    monkeypatch.setattr(backup, "_program", lambda name: str(half) if name == "pg_restore" else program(name))
    known = backup._environment()
    monkeypatch.setattr(backup, "_environment", lambda: known | {"PGDATABASE": OTHER})
    with pytest.raises(backup.BackupError, match="nothing was changed"):
        backup.put_back(file, overwrite=False)
    with psycopg.connect(other) as db:
        assert db.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)


@pytest.mark.django_db(transaction=True)
def test_a_backup_of_a_newer_release_is_refused(tmp_path: Path, other: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('packs', '9999_later', now())")
    try:
        file = backup.make_backup(tmp_path, at("2026-03-02T04:30"))
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM django_migrations WHERE name = '9999_later'")
    assert "packs.9999_later" in manage(other, "restore", file)


@pytest.mark.django_db
def test_a_backup_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "NAME", "no_such_database")
    with pytest.raises(CommandError, match="no_such_database"):
        call_command("backup", folder=tmp_path, json=True)
    assert list(tmp_path.iterdir()) == []


def test_the_newest_stay(tmp_path: Path) -> None:
    for day in range(1, 6):
        (tmp_path / f"iss-2026030{day}T203000Z.dump").touch()
    (tmp_path / "notes.txt").touch()
    assert [file.name[:12] for file in backup.forget_backups(tmp_path, 2)] == [f"iss-2026030{n}" for n in (1, 2, 3)]
    assert len(list(tmp_path.iterdir())) == 3


def test_the_password_is_on_no_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "hunter2"
    monkeypatch.setitem(connection.settings_dict, "PASSWORD", secret)
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {"sslmode": "verify-full"})
    known = backup._environment()
    assert (known["PGPASSWORD"], known["PGSSLMODE"]) == (secret, "verify-full")
    assert settings.BACKUPS.name == "backups"


def test_making_a_backup_turns_no_production_into_development() -> None:
    """A `.env` that says DEBUG=1 is read by whoever starts beside it."""
    for target in ("backup", "restore"):
        done = subprocess.run(
            ["make", "--dry-run", "--always-make", target, "FILE=x"], cwd=ROOT, capture_output=True, text=True
        )
        assert "manage.py" in done.stdout, done.stderr
        assert ".env" not in done.stdout.replace(".venv", "")
    assert "DEBUG=0" in (ROOT / "deploy" / "env.example").read_text().splitlines()
