"""Settle what is pending."""

import shutil
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser

from iss_billing.commands import ClockCommand, WrongArguments, day
from iss_billing.money import format_decimal
from packs.models import Item
from settlement.models import CertificateLine
from settlement.runs import DayNotEnded, RunResult, Step, settle


class Command(ClockCommand):
    """`settle [--day D]`"""

    help = "Settles every account-day pending, or only days up to and including D; needs no worker."

    def add_arguments(self, parser: CommandParser) -> None:
        """The last day to settle."""
        parser.add_argument("--day", type=day, metavar="D")
        super().add_arguments(parser)

    def work(self, now: datetime, options: dict[str, Any]) -> dict[str, Any]:
        """Run it; exit 1 when an account failed, the others being settled, or when the run does not balance."""
        try:
            result = settle(now=now, through=options["day"], progress=_bar if sys.stderr.isatty() else None)
        except DayNotEnded as error:
            raise WrongArguments(error) from error
        shown = _shape(result)
        if wrong := [*_failed(result), *_unbalanced(result)]:
            if self.quiet:
                self.report(shown)
            raise CommandError("; ".join(wrong))
        return shown


def _failed(result: RunResult) -> Iterator[str]:
    if result.failed:
        first = result.failed[0]
        yield (
            f"{len(result.failed)} account-days were not settled, the first: account {first.account_id}, "
            f"{first.day}: {first.error.splitlines()[0]}"
        )


def _unbalanced(result: RunResult) -> Iterator[str]:
    if result.balances is False:
        line = CertificateLine.objects.filter(run_id=result.run_id, breaks__gt=0).order_by("pk")[0]
        yield (
            f"run {result.run_id} does not balance, first on {line.day} in {line.item.code} "
            f"for account {line.broken[0]['account']}"
        )


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


def _bar(step: Step) -> None:
    """Draw how far a day is on a terminal, in one line; the bar takes what there is room for."""
    shards = f"{step.done:,}/{step.shards:,} " + ("shard" if step.shards == 1 else "shards")
    after = f"] {step.done * 100 // step.shards:3}%  {shards}  {step.per_second:,} account-days/s"
    before = f"{step.day} ["
    room = shutil.get_terminal_size().columns - len(before) - len(after) - 1
    width = max(5, min(40, room))
    filled = width * step.done // step.shards
    line = f"{before}{'█' * filled}{'·' * (width - filled)}{after}"
    end = "\n" if step.done == step.shards else ""
    print(f"\r{line}\x1b[K", end=end, file=sys.stderr, flush=True)
