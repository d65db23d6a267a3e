"""Prove the books."""

from datetime import datetime
from typing import Any

from django.core.management.base import CommandError

from iss_billing.commands import ClockCommand
from settlement.audit import audit


class Command(ClockCommand):
    """`audit_books`"""

    help = "Proves each equation of the books from the raw rows; exit 1 names the first rows that break one."
    clock = False

    def work(self, now: datetime, options: dict[str, Any]) -> dict[str, Any]:
        """Audit."""
        outcome = audit()
        shown = {
            "ok": outcome.ok,
            "waiting_account_days": outcome.waiting,
            "expired_days": outcome.expired_days,
            "checks": [
                {"name": check.name, "rows_checked": check.rows_checked, "broken": check.broken}
                for check in outcome.checks
            ],
        }
        if not outcome.ok:
            self.report(shown)
            worst = next(check for check in outcome.checks if check.breaks)
            raise CommandError(f"{worst.name}: {worst.breaks} broken, the first: {worst.broken[0]}")
        return shown

    def describe(self, result: dict[str, Any]) -> None:
        """One line a check, and the rows that break it."""
        for check in result["checks"]:
            mark = "broken" if check["broken"] else "holds"
            self.stdout.write(f"{mark:7} {check['name']} ({check['rows_checked']} rows)")
            for row in check["broken"]:
                self.stdout.write(f"        {row}")
        self.stdout.write(f"{result['waiting_account_days']} account-days have usage that no run has read yet")
        self.stdout.write(f"{result['expired_days']} days are proved against what is kept of their expired usage")
