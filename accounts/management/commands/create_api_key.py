"""Make an API key."""

from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts.keys import TooManyKeys, make_key
from accounts.ledger import AccountClosed, find_account
from iss_billing.commands import ClockCommand


class Command(ClockCommand):
    """`create_api_key (--account ID | --platform) [--name N]`"""

    help = "Makes a key and prints it, this once."
    clock = False

    def add_arguments(self, parser: CommandParser) -> None:
        """Whose key, and its name."""
        whose = parser.add_mutually_exclusive_group(required=True)
        whose.add_argument("--account", metavar="ID")
        whose.add_argument("--platform", action="store_true")
        parser.add_argument("--name", default="")
        super().add_arguments(parser)

    def work(self, now: datetime, options: dict[str, Any]) -> dict[str, Any]:
        """Make it."""
        account = None
        if options["account"] is not None:
            account = find_account(options["account"])
            if account is None:
                raise CommandError(f"there is no account {options['account']}")
        try:
            _, plain = make_key(account_id=account.pk if account else None, name=options["name"][:120], now=now)
        except (TooManyKeys, AccountClosed) as error:
            raise CommandError(str(error)) from error
        return {"key": plain}
