"""Settle what is pending."""

import sys
from datetime import date, datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser

from iss_billing.commands import ClockCommand, WrongArguments, day
from iss_billing.money import format_decimal
from packs.models import Item
from settlement.runs import DayNotEnded, RunResult, settle

BAR = 30


class Command(ClockCommand):
    """`settle [--day D]`"""

    help = "Settles every account-day pending, or only days up to and including D; needs no worker."

    def add_arguments(self, parser: CommandParser) -> None:
        """The last day to settle."""
        parser.add_argument("--day", type=day, metavar="D")
        super().add_arguments(parser)

    def work(self, now: datetime, options: dict[str, Any]) -> dict[str, Any]:
        """Run it; exit 1 when an account failed, the others being settled."""
        try:
            result = settle(now=now, through=options["day"], progress=_bar if sys.stderr.isatty() else None)
        except DayNotEnded as error:
            raise WrongArguments(error) from error
        shown = _shape(result)
        if result.failed:
            if self.quiet:
                self.report(shown)
            first = result.failed[0]
            raise CommandError(
                f"{len(result.failed)} account-days were not settled, the first: account {first.account_id}, "
                f"{first.day}: {first.error.splitlines()[0]}"
            )
        return shown


def _shape(result: RunResult) -> dict[str, Any]:
    codes = dict(Item.objects.values_list("id", "code"))
    return {
        "days": [day.isoformat() for day in result.days],
        "accounts": len(result.accounts),
        "bills": result.bills,
        "due": format_decimal(result.due, 2),
        "drawn": {codes[item]: quantity for item, quantity in sorted(result.drawn.items())},
        "failed": [
            {"account_id": str(one.account_id), "day": one.day.isoformat(), "error": one.error} for one in result.failed
        ],
        "seconds": float(result.seconds),  # a duration, not a quantity
    }


def _bar(day: date, done: int, of: int) -> None:
    """Draw the progress of a day on a terminal."""
    filled = BAR * done // of
    end = "\n" if done == of else ""
    print(f"\r{day} [{'█' * filled}{'·' * (BAR - filled)}] {done:,}/{of:,}", end=end, file=sys.stderr, flush=True)
