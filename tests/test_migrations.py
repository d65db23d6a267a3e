"""Migrations are applied while the product runs."""

import threading
import time
from typing import Any

import psycopg
import pytest
from django.contrib.postgres.operations import AddConstraintNotValid, AddIndexConcurrently, ValidateConstraint
from django.core.management import call_command
from django.core.management.commands import migrate as djangos
from django.db import OperationalError, connection, models
from django.db.migrations import Migration, operations
from django.db.migrations.loader import MigrationLoader
from django.db.models.functions import Now

from accounts.management.commands import migrate
from tests.conftest import database_url
from tests.migration_rules import OURS, objections

LAUNCH = {"accounts": "0011_price_rise", "packs": "0005_payments", "settlement": "0007_plain_usage_batch"}
"""Up to these there was nothing that could wait."""


def since_launch(loader: MigrationLoader) -> list[tuple[str, str]]:
    return sorted(key for key in loader.disk_migrations if key[0] in OURS and key[1] > LAUNCH[key[0]])


def test_no_migration_since_the_launch_locks_a_big_table() -> None:
    loader = MigrationLoader(None)
    assert set(LAUNCH.items()) <= set(loader.disk_migrations)
    found = [
        why
        for key in since_launch(loader)
        for why in objections(loader.disk_migrations[key], loader.project_state(key, at_end=False))
    ]
    assert not found, "\n".join(found)


def over_all_bills(apps: Any, schema_editor: Any) -> None:
    apps.get_model("settlement", "Bill").objects.update(sequence=1)


def over_items(apps: Any, schema_editor: Any) -> None:
    apps.get_model("packs", "Item").objects.update(unit="call")


INDEX = models.Index(fields=["settled_at"], name="bill_settled")
CHECK = models.CheckConstraint(name="bill_some", condition=models.Q(sequence__gt=0))
REFUSED: list[tuple[str, Any]] = [
    ("AddIndexConcurrently", operations.AddIndex("bill", INDEX)),
    ("RemoveIndexConcurrently", operations.RemoveIndex("pendingday", "pending_day_by_day")),
    ("NotValid", operations.AddConstraint("bill", CHECK)),
    ("db_default", operations.AddField("bill", "x", models.IntegerField(default=0))),
    ("constant", operations.AddField("bill", "x", models.DateTimeField(db_default=Now()))),
    ("NOT VALID", operations.AddField("bill", "x", models.ForeignKey("packs.Item", models.PROTECT, null=True))),
    ("index", operations.AddField("bill", "x", models.IntegerField(null=True, db_index=True))),
    ("written anew", operations.AlterField("bill", "sequence", models.IntegerField())),
    ("written anew", operations.AlterField("billline", "region", models.CharField(max_length=20))),
    ("index", operations.AlterField("bill", "settled_at", models.DateTimeField(db_index=True))),
    ("still uses it", operations.RemoveField("bill", "sequence")),
    ("still uses it", operations.RenameField("bill", "sequence", "number")),
    ("still uses it", operations.RenameModel("Alarm", "Siren")),
    ("settlement_bill", operations.RunPython(over_all_bills)),
    ("settlement_bill", operations.RunSQL("UPDATE settlement_bill SET sequence = 1")),
    ("settlement_bill", operations.RunSQL("ALTER TABLE settlement_bill ADD CONSTRAINT c CHECK (sequence > 0)")),
    (
        "AddIndexConcurrently",
        operations.SeparateDatabaseAndState(database_operations=[operations.AddIndex("bill", INDEX)]),
    ),
]
ALLOWED: list[Any] = [
    AddIndexConcurrently("bill", INDEX),
    AddConstraintNotValid("bill", CHECK),
    ValidateConstraint("bill", "bill_sequence"),
    operations.AddField("bill", "x", models.IntegerField(null=True)),
    operations.AddField("bill", "x", models.IntegerField(db_default=0)),
    operations.AlterField("billline", "region", models.CharField(max_length=80)),
    operations.AlterField("bill", "day", models.DateField("another name")),
    operations.AddIndex("alarm", models.Index(fields=["created_at"], name="alarm_age")),
    operations.CreateModel("Thing", [("id", models.BigAutoField(primary_key=True))]),
    operations.RunPython(over_items),
    operations.RunSQL("CREATE INDEX CONCURRENTLY x ON settlement_bill (settled_at)"),
    operations.RunSQL("ALTER TABLE settlement_bill ADD CONSTRAINT c CHECK (sequence > 0) NOT VALID"),
    operations.SeparateDatabaseAndState(state_operations=[operations.RemoveField("bill", "sequence")]),
]


def judged(operation: Any) -> list[str]:
    class Try(Migration):
        operations = [operation]

    return objections(Try("9999_try", "settlement"), MigrationLoader(None).project_state())


@pytest.mark.parametrize(("word", "operation"), REFUSED)
def test_what_would_stop_the_product_is_refused(word: str, operation: Any) -> None:
    assert word in " ".join(judged(operation))


@pytest.mark.parametrize("operation", ALLOWED)
def test_what_would_not_is_allowed(operation: Any) -> None:
    assert judged(operation) == []


@pytest.fixture
def wants_a_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Migrating means to lock a table, for the time being."""

    def lock(self: Any, *args: Any, **options: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            try:
                cursor.execute("LOCK TABLE packs_item")
            finally:
                cursor.execute("ROLLBACK")

    monkeypatch.setattr(djangos.Command, "handle", lock)
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT", "50ms")
    monkeypatch.setattr(migrate, "PAUSE_SECONDS", 0.05)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("wants_a_lock")
def test_migrating_leaves_the_queue_and_comes_back(capsys: pytest.CaptureFixture[str]) -> None:
    with psycopg.connect(database_url()) as reader:
        reader.execute("SELECT count(*) FROM packs_item")
        threading.Timer(0.4, reader.rollback).start()
        begun = time.monotonic()
        call_command("migrate")
    assert time.monotonic() - begun >= 0.3
    assert "a table is in use" in capsys.readouterr().err
    with connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone() == ("0",)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("wants_a_lock")
def test_migrating_gives_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "ATTEMPTS", 2)
    with psycopg.connect(database_url()) as reader:
        reader.execute("SELECT count(*) FROM packs_item")
        with pytest.raises(OperationalError, match="lock timeout"):
            call_command("migrate")
