"""What the management commands share: `--json`, `--now`, and exit codes (0 done, 1 failed, 2 wrong arguments)."""

import argparse
import json
from collections.abc import Callable
from datetime import date, datetime
from typing import Any, TypeVar

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from iss_billing.days import parse_day, parse_moment
from iss_billing.money import parse_decimal

T = TypeVar("T")


class WrongArguments(CommandError):
    """The arguments make no sense: exit code 2."""

    def __init__(self, message: object) -> None:
        super().__init__(message, returncode=2)


def _argument(parse: Callable[[str], T]) -> Callable[[str], T]:
    """An argparse type from a parser that raises ValueError with a sentence for the reader."""

    def typed(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return typed


def _fen(text: str) -> int:
    value = parse_decimal(text, 2)
    if value == 0:
        raise ValueError("the amount must be above 0.00")
    return value


day: Callable[[str], date] = _argument(parse_day)
moment: Callable[[str], datetime] = _argument(parse_moment)
fen: Callable[[str], int] = _argument(_fen)
"""A decimal amount above 0 with at most 2 decimals, as fen."""
micro: Callable[[str], int] = _argument(lambda text: parse_decimal(text, 6))
"""A decimal price with at most 6 decimals, as micro-yuan."""


class ClockCommand(BaseCommand):
    """A command with `--json` and, unless `clock` is off, its own `--now`.

    Subclasses write `work`, which returns the JSON value; `describe` says it to a person.
    """

    clock = True

    def add_arguments(self, parser: CommandParser) -> None:
        """`--json` and `--now`; subclasses add theirs and call this."""
        parser.add_argument("--json", action="store_true", help="print exactly one JSON value on standard output")
        if self.clock:
            parser.add_argument("--now", type=moment, metavar="T", help="the clock of this command, ISO 8601")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run `work` at the command's clock and print what it returns."""
        now = options.pop("now", None) or timezone.now()
        if not settings.DEBUG and now > timezone.now():
            raise WrongArguments("--now lies beyond the clock, which only a development installation allows")
        self.quiet: bool = options["json"]
        result = self.work(now, options)
        self.report(result)

    def report(self, result: dict[str, Any]) -> None:
        """Print the result: one JSON value, or facts for a person."""
        if self.quiet:
            self.stdout.write(json.dumps(result, ensure_ascii=False))
        else:
            self.describe(result)

    def work(self, now: datetime, options: dict[str, Any]) -> dict[str, Any]:
        """Do it at `now`; raise CommandError where it failed."""
        raise NotImplementedError

    def describe(self, result: dict[str, Any]) -> None:
        """Say the result to a person, a line for each fact."""
        for key, value in result.items():
            self.stdout.write(f"{key}: {value}")


__all__ = [
    "ClockCommand",
    "CommandError",
    "WrongArguments",
    "day",
    "fen",
    "micro",
    "moment",
]
