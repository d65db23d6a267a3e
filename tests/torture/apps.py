"""Switches the product's processes to the world of a torture: its clock, small shards, slow statements, names."""

import os
import random
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.apps import AppConfig
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

PIECE = 3
LOST_AFTER = PATIENCE = timedelta(seconds=2)


class TortureConfig(AppConfig):
    """The app of the tests."""

    name = "tests.torture"

    def ready(self) -> None:
        """Patch what production sets by its size and its clock."""
        from django.utils import timezone

        from settlement import runs, tasks
        from tests.torture import clock, plants

        for module, name, value in (
            (runs, "PIECE", PIECE),
            (runs, "PATIENCE", PATIENCE),
            (tasks, "LOST_AFTER", LOST_AFTER),
        ):
            assert hasattr(module, name), f"{name} has another name now"
            setattr(module, name, value)
        if "TORTURE_CLOCK" in os.environ:
            timezone.now = clock.now
        connection_created.connect(introduce, dispatch_uid="torture")
        if plant := os.environ.get("TORTURE_PLANT"):
            plants.PLANTS[plant]()


def introduce(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """Tell PostgreSQL which process a connection belongs to, and slow its statements down."""
    name = f"{os.environ.get('TORTURE_ROLE', 'other')}-{os.getpid()}"
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('application_name', %s, false)", [name])
    if os.environ.get("TORTURE_STRETCH") and stretch not in connection.execute_wrappers:
        connection.execute_wrappers.append(stretch)


def stretch(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
    """Wait a little before a statement, so that a kill finds transactions open at each of them."""
    time.sleep(random.random() * float(os.environ["TORTURE_STRETCH"]))
    return execute(sql, params, many, context)
