"""Reset a login's second factor from the server, when no administrator is left who could."""

from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from accounts import audit_log, second_factor
from accounts.models import User
from iss_billing.commands import ClockCommand


class Command(ClockCommand):
    """`reset_second_factor EMAIL --reason R`"""

    help = "Forgets the telephone and the codes on paper of a login; it sets them up again at its next sign-in."
    clock = False

    def add_arguments(self, parser: CommandParser) -> None:
        """Whose, and why."""
        parser.add_argument("email")
        parser.add_argument("--reason", required=True)
        super().add_arguments(parser)

    def work(self, now: datetime, options: dict[str, Any]) -> dict[str, Any]:
        """Forget them, and keep that in the audit log."""
        user = User.objects.filter(email=options["email"].strip().lower()).first()
        if user is None:
            raise CommandError(f"there is no login {options['email']}")
        with transaction.atomic():
            if not second_factor.reset(user):
                raise CommandError(f"{user.email} has no second factor")
            audit_log.record("login.reset_second_factor", by=None, now=now, subject=user, reason=options["reason"])
        return {"login": user.email}
