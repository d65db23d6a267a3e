"""Expire raw usage."""

import sys
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser

from iss_billing.commands import ClockCommand, WrongArguments, day
from settlement.expiry import Outcome, StillAccepted, expire_usage


class Command(ClockCommand):
    """`expire_usage --before DAY`"""

    help = (
        "Drops the usage events of days before DAY that are past the late window, each once it proves billed; keeps "
        "their aggregate and curves. A day that does not prove stays, and is named with the first rows that keep it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """The first day that stays, and how."""
        parser.add_argument("--before", type=day, metavar="DAY", required=True, help="the first day that stays")
        parser.add_argument("--dry-run", action="store_true", help="prove and measure, and change nothing")
        parser.add_argument("--detach", action="store_true", help="keep the events, in a table of their own")
        super().add_arguments(parser)

    def work(self, now: datetime, options: dict[str, Any]) -> dict[str, Any]:
        """Expire; exit 1 when a day stays, the others being done."""
        told = _tell if sys.stderr.isatty() else None
        how = {"detach": options["detach"], "dry_run": options["dry_run"]}
        try:
            outcomes = expire_usage(before=options["before"], now=now, told=told, **how)
        except StillAccepted as error:
            raise WrongArguments(error) from error
        shown = {
            "dry_run": options["dry_run"],
            "expired": [_expired(one) for one in outcomes if one.stays is None],
            "stays": [
                {"day": one.day.isoformat(), "why": one.stays.why, "rows": [_row(row) for row in one.stays.rows]}
                for one in outcomes
                if one.stays
            ],
        }
        if shown["stays"]:
            self.report(shown)
            first = shown["stays"][0]
            named = f", the first row: {first['rows'][0]}" if first["rows"] else ""
            raise CommandError(f"{len(shown['stays'])} days stay: {first['day']} {first['why']}{named}")
        return shown

    def describe(self, result: dict[str, Any]) -> None:
        """One line a day, and the rows that keep it."""
        mark = "would go" if result["dry_run"] else "expired"
        for one in result["expired"]:
            figures = f"{one['events']:,} events, {one['bytes'] / 10**6:,.1f} MB; {one['kept']:,} rows kept"
            self.stdout.write(f"{one['day']} {mark}: {figures}")
        for one in result["stays"]:
            self.stdout.write(f"{one['day']} stays: it {one['why']}")
            for row in one["rows"]:
                self.stdout.write(f"        {row}")
        if not result["expired"] and not result["stays"]:
            self.stdout.write("no usage before that day")


def _expired(one: Outcome) -> dict[str, Any]:
    return {"day": one.day.isoformat(), "events": one.events, "bytes": one.bytes, "kept": one.kept}


def _row(row: dict[str, Any]) -> dict[str, Any]:
    """A row as JSON has it: ids are strings, quantities integers."""
    return {
        name: str(value)
        if name == "account"
        else int(value)
        if name in ("used", "kept", "billed") and value is not None
        else value
        for name, value in row.items()
    }


def _tell(one: Outcome) -> None:
    print(f"{one.day} {'stays' if one.stays else 'done'}", file=sys.stderr, flush=True)
