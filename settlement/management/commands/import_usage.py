"""Import usage from a file of CloudEvents."""

import os
import shutil
import stat
import sys
import time
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO

import msgspec
from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError

from iss_billing.commands import ClockCommand
from settlement.importing import import_lines
from settlement.partitions import DayExpired

BAR = 20
SPOOL_BYTES = 2**20


class Command(ClockCommand):
    """`import_usage FILE`"""

    help = "Imports CloudEvents, one a line; - is standard input. Refused lines are listed, the rest is kept."

    def add_arguments(self, parser: CommandParser) -> None:
        """The file."""
        parser.add_argument("file")
        super().add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Import; the refused lines, of which there may be millions, wait in a file until they are printed."""
        with SpooledTemporaryFile(SPOOL_BYTES) as self.refused:
            super().handle(*args, **options)

    def work(self, now: datetime, options: dict[str, Any]) -> dict[str, Any]:
        """Import it, block by block."""
        name = options["file"]
        done = {"accepted": 0, "duplicates": 0, "rejected": 0}
        try:
            with nullcontext(sys.stdin.buffer) if name == "-" else Path(name).open("rb") as file:
                bar = _Bar(_size(file)) if sys.stderr.isatty() else None
                for read, block in import_lines(file, now):
                    done["accepted"] += block.accepted
                    done["duplicates"] += block.duplicates
                    done["rejected"] += len(block.rejected)
                    self.refused.writelines(msgspec.json.encode(one.as_json()) + b"\n" for one in block.rejected)
                    if bar:
                        bar.draw(read, done)
        except OSError as error:
            raise CommandError(f"{name}: {error.strerror}") from error
        except (DatabaseError, DayExpired, KeyboardInterrupt) as error:
            why = str(error).strip().partition("\n")[0] or "interrupted"
            raise CommandError(
                f"{name}: stopped after {sum(done.values()):,} lines: {why}; again, what is stored is a duplicate"
            ) from error
        finally:
            if sys.stderr.isatty():
                print(file=sys.stderr)
        return done

    def report(self, result: dict[str, Any]) -> None:
        """The counts, and each refused line."""
        self.refused.seek(0)
        if self.quiet:
            counts = f'"accepted": {result["accepted"]}, "duplicates": {result["duplicates"]}'
            self.stdout.write(f'{{{counts}, "rejected": [', ending="")
            for place, line in enumerate(self.refused):
                self.stdout.write((", " if place else "") + line.decode().rstrip("\n"), ending="")
            self.stdout.write("]}")
            return
        self.stdout.write(f"{result['accepted']} accepted, {result['duplicates']} duplicates")
        for line in self.refused:
            refused = msgspec.json.decode(line)
            self.stdout.write(f"line {refused['index'] + 1}: {refused['code']}: {refused['detail']}")


def _size(file: BinaryIO) -> int | None:
    """The bytes of a regular file, also one that standard input was redirected from."""
    try:
        found = os.fstat(file.fileno())
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


class _Bar:
    """Progress on a terminal: a bar where the size is known, events a second, and the counts so far."""

    def __init__(self, size: int | None) -> None:
        self.size = size
        self.begun = time.monotonic()

    def draw(self, read: int, done: dict[str, int]) -> None:
        """Draw it over the line that was drawn before."""
        rate = sum(done.values()) / max(time.monotonic() - self.begun, 0.001)
        line = "".join(f", {count:,} {word}" for word, count in done.items())
        line = f"{rate:,.0f} events/s{line}"
        if self.size:
            filled = min(BAR * read // self.size, BAR)
            line = f"[{'█' * filled}{'·' * (BAR - filled)}] {min(100 * read // self.size, 100)}% {line}"
        columns = shutil.get_terminal_size().columns - 1
        print(f"\r{line[:columns]:{columns}}", end="", file=sys.stderr, flush=True)
