"""Import usage from a file of CloudEvents."""

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from django.core.management.base import CommandError, CommandParser

from iss_billing.commands import ClockCommand
from settlement.events import Event, Faulty, decode_line, judge_all
from settlement.metering import store

CHUNK = 10_000
"""Lines in one transaction: memory stays flat, and a file cut short is taken up again by importing it again."""


class Command(ClockCommand):
    """`import_usage FILE`"""

    help = "Imports CloudEvents, one a line; - is standard input. Refused lines are listed, the rest is kept."

    def add_arguments(self, parser: CommandParser) -> None:
        """The file."""
        parser.add_argument("file")
        super().add_arguments(parser)

    def work(self, now: datetime, options: dict[str, Any]) -> dict[str, Any]:
        """Import it, chunk by chunk."""
        name = options["file"]
        accepted = duplicates = 0
        rejected: list[dict[str, Any]] = []
        try:
            with nullcontext(sys.stdin.buffer) if name == "-" else Path(name).open("rb") as file:
                for first, events in _chunks(file):
                    done = store(*judge_all(events, now, first), now)
                    accepted, duplicates = accepted + done.accepted, duplicates + done.duplicates
                    rejected += (refused.as_json() for refused in done.rejected)
                    if sys.stderr.isatty():
                        print(f"\r{first + len(events):,} lines", end="", file=sys.stderr, flush=True)
        except OSError as error:
            raise CommandError(f"{name}: {error.strerror}") from error
        if sys.stderr.isatty():
            print(file=sys.stderr)
        return {"accepted": accepted, "duplicates": duplicates, "rejected": rejected}

    def describe(self, result: dict[str, Any]) -> None:
        """The counts, and each refused line."""
        self.stdout.write(f"{result['accepted']} accepted, {result['duplicates']} duplicates")
        for refused in result["rejected"]:
            self.stdout.write(f"line {refused['index'] + 1}: {refused['code']}: {refused['detail']}")


def _chunks(file: BinaryIO) -> Iterator[tuple[int, list[Event | Faulty]]]:
    """Lines in chunks, each with the index of its first one; blank lines are passed over and not counted."""
    lines = (line for line in file if line.strip())
    first = 0
    while chunk := [decode_line(line) for line in islice(lines, CHUNK)]:
        yield first, chunk
        first += len(chunk)
