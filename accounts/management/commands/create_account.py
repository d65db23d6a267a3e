"""Open an account."""

from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser
from django.core.validators import validate_email

from accounts.opening import EmailTaken, open_account
from iss_billing.commands import ClockCommand, WrongArguments


class Command(ClockCommand):
    """`create_account NAME [--email E]`"""

    help = "Opens an account, with a login when an e-mail address is given: its password is set by a reset mail."

    def add_arguments(self, parser: CommandParser) -> None:
        """The name and the login's address."""
        parser.add_argument("name")
        parser.add_argument("--email")
        super().add_arguments(parser)

    def work(self, now: datetime, options: dict[str, Any]) -> dict[str, Any]:
        """Open it."""
        name, email = options["name"].strip(), options["email"]
        if not 1 <= len(name) <= 120:
            raise WrongArguments("a name has 1 to 120 characters")
        try:
            if email is not None:
                validate_email(email)
            account = open_account(name=name, now=now, email=email)
        except ValidationError as error:
            raise WrongArguments(f"“{email}” is not an e-mail address") from error
        except EmailTaken as error:
            raise CommandError(str(error)) from error
        return {"account_id": str(account.pk)}
