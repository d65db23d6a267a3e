"""Back the database up."""

import time
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from iss_billing.backup import BackupError, forget_backups, make_backup
from iss_billing.commands import ClockCommand, WrongArguments


class Command(ClockCommand):
    """`backup`"""

    help = "Writes the database, as it is at one moment, to a file (pg_dump's custom format), and reads it back."
    clock = False

    def add_arguments(self, parser: CommandParser) -> None:
        """Where to, and how many stay."""
        parser.add_argument("--folder", type=Path, default=settings.BACKUPS, help=f"default: {settings.BACKUPS}")
        parser.add_argument("--keep", type=int, metavar="N", help="delete all but the newest N of the folder")
        super().add_arguments(parser)

    def work(self, now: datetime, options: dict[str, Any]) -> dict[str, Any]:
        """Back up; exit 1 when there is no whole backup."""
        if options["keep"] is not None and options["keep"] < 1:
            raise WrongArguments("--keep must be 1 or more")
        begun = time.monotonic()
        try:
            file = make_backup(options["folder"], now)
        except BackupError as error:
            raise CommandError(str(error)) from error
        went = forget_backups(options["folder"], options["keep"]) if options["keep"] else []
        return {
            "file": str(file),
            "bytes": file.stat().st_size,
            "seconds": round(time.monotonic() - begun, 1),
            "deleted": [str(old) for old in went],
        }
