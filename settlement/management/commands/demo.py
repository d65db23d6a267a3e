"""Make the demo data."""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from iss_billing.commands import ClockCommand
from settlement.demo import CUSTOMER, IN_ARREARS, PASSWORD, STAFF, make_demo


class Command(ClockCommand):
    """`demo`"""

    help = "A demo customer with 60 days of usage, one in arrears, and a staff login; again it changes nothing."

    def work(self, now: datetime, options: dict[str, Any]) -> dict[str, Any]:
        """Make it, unless this is production: its passwords are known."""
        if not settings.DEBUG:
            raise CommandError("demo data has known passwords and is not made where DEBUG is 0")
        make_demo(now)
        return {}

    def describe(self, result: dict[str, Any]) -> None:
        """The logins."""
        self.stdout.write("Demo logins, all with the password " + PASSWORD)
        self.stdout.write(f"  customer            {CUSTOMER}")
        self.stdout.write(f"  customer in arrears {IN_ARREARS}")
        self.stdout.write(f"  staff (/admin/)     {STAFF}")
