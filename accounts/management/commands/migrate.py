"""`migrate` that waits for nobody for long."""

import sys
import time
from typing import Any, Final

from django.core.management.commands import migrate
from django.db import OperationalError, connection
from psycopg.errors import LockNotAvailable

LOCK_TIMEOUT: Final = "3s"
"""Whoever waits for a table's lock has everybody after it wait as well."""
ATTEMPTS: Final = 40
PAUSE_SECONDS: Final = 5


class Command(migrate.Command):
    """Django's own, with a lock timeout: a migration that cannot have its lock leaves the queue, and tries again.

    Each migration is a transaction, so what was applied before it stays, and what was not is whole undone.
    """

    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate; raises OperationalError when a lock could not be had for minutes."""
        for attempt in range(ATTEMPTS):
            with connection.cursor() as cursor:
                cursor.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
            try:
                super().handle(*args, **options)
            except OperationalError as error:
                if not isinstance(error.__cause__, LockNotAvailable) or attempt == ATTEMPTS - 1:
                    raise
                self.stderr.write(f"a table is in use, the next attempt in {PAUSE_SECONDS} s: {error}".strip())
                sys.stderr.flush()
                time.sleep(PAUSE_SECONDS)
            else:
                return
            finally:
                with connection.cursor() as cursor:
                    cursor.execute("RESET lock_timeout")
