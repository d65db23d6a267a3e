"""Announce what time has changed of accounts in arrears."""

from datetime import datetime
from typing import Any

from iss_billing.commands import ClockCommand
from settlement.arrears import sweep


class Command(ClockCommand):
    """`sweep_arrears`"""

    help = "Tells accounts that have been below 0 for 24 hours (suspended) or 8 days (reclaimed), each once."

    def work(self, now: datetime, options: dict[str, Any]) -> dict[str, Any]:
        """Sweep."""
        return {
            "changed": [{"account_id": str(account_id), "status": str(standing)} for account_id, standing in sweep(now)]
        }
