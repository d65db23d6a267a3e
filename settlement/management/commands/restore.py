"""Put a backup back."""

import time
from datetime import datetime
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import CommandError, CommandParser
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from iss_billing.backup import BackupError, is_empty, migrations_in, others_connected, put_back, read_through
from iss_billing.commands import ClockCommand
from settlement.audit import audit
from settlement.partitions import make_partitions_ahead


class Command(ClockCommand):
    """`restore FILE`"""

    help = (
        "Puts a backup into the empty database, in one transaction, brings it to the migrations of this release and "
        "audits the books. Nobody else may be connected; a database that holds something is refused unless told."
    )
    clock = False

    def add_arguments(self, parser: CommandParser) -> None:
        """Which, and over what."""
        parser.add_argument("file", type=Path)
        parser.add_argument("--overwrite", action="store_true", help="lose what the database holds now")
        super().add_arguments(parser)

    def work(self, now: datetime, options: dict[str, Any]) -> dict[str, Any]:
        """Restore; exit 1 when nothing was changed, or when what was restored does not balance."""
        begun, file = time.monotonic(), options["file"]
        try:
            self._refuse_what_cannot_be(file, overwrite=options["overwrite"])
            put_back(file, overwrite=options["overwrite"])
        except BackupError as error:
            raise CommandError(str(error)) from error
        # a release that came after the backup may have added migrations
        call_command("migrate", verbosity=0, interactive=False)
        make_partitions_ahead(now)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        outcome = audit()
        broken = [check.name for check in outcome.checks if check.breaks]
        result = {
            "file": str(file),
            "seconds": round(time.monotonic() - begun, 1),
            "audit": {"ok": outcome.ok, "broken": broken},
        }
        if not outcome.ok:
            self.report(result)
            raise CommandError(f"restored, but the books do not hold: {', '.join(broken)}; see audit_books")
        return result

    def _refuse_what_cannot_be(self, file: Path, *, overwrite: bool) -> None:
        if not file.is_file():
            raise BackupError(f"{file}: there is no such file")
        read_through(file)
        unknown = migrations_in(file) - set(MigrationLoader(None).disk_migrations)
        if unknown:
            app, name = min(unknown)
            raise BackupError(f"{file} is of a newer release than this one: it has the migration {app}.{name}")
        if others := others_connected():
            raise BackupError(f"stop web, worker, webhooks and beat first; connected are {', '.join(others[:5])}")
        if not overwrite and not is_empty():
            raise BackupError("the database is not empty: --overwrite (make restore OVERWRITE=1) loses what it holds")

    def describe(self, result: dict[str, Any]) -> None:
        """Say it, and what is left to do."""
        self.stdout.write(f"{result['file']} is back, in {result['seconds']} s, and the books hold")
        self.stdout.write("empty Redis before the processes start: its tasks are of the time after the backup")
