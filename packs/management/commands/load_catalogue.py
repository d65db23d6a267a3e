"""Load or complete the launch catalogue."""

from datetime import datetime
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from iss_billing.commands import ClockCommand
from packs.catalogue import LAUNCH_CATALOGUE, CatalogueFaulty, load_catalogue


class Command(ClockCommand):
    """`load_catalogue [FILE]`"""

    help = "Loads or completes the launch catalogue; again it changes nothing and undoes no price edited since."
    clock = False

    def add_arguments(self, parser: CommandParser) -> None:
        """The file, the project's own by default."""
        parser.add_argument("file", nargs="?", type=Path, default=LAUNCH_CATALOGUE)
        super().add_arguments(parser)

    def work(self, now: datetime, options: dict[str, Any]) -> dict[str, Any]:
        """Load it."""
        try:
            added = load_catalogue(options["file"], now)
        except CatalogueFaulty as error:
            raise CommandError(str(error)) from error
        if not options["json"]:
            self.stdout.write(", ".join(f"{number} {name}" for name, number in added.items()) + " added")
        return {}
