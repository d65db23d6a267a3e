"""Seal webhook secrets anew, after SECRET_KEY was changed."""

from datetime import datetime
from typing import Any

from django.core.management.base import CommandError

from accounts.webhook_secrets import SecretLost, reseal_all
from iss_billing.commands import ClockCommand


class Command(ClockCommand):
    """`reseal_secrets`"""

    help = "Seals every webhook secret with SECRET_KEY, so that SECRET_KEY_FALLBACKS need not know the one before it."
    clock = False

    def work(self, now: datetime, options: dict[str, Any]) -> dict[str, Any]:
        """Reseal; exit 1, with nothing changed, when neither SECRET_KEY nor a fallback opens one of them."""
        try:
            return {"resealed": reseal_all()}
        except SecretLost as error:
            raise CommandError(str(error)) from error
