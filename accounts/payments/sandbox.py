"""The built-in gateway: a cashier of our own that takes no money. It needs no account anywhere.

It is a gateway like another: it keeps its own word about a payment (in the cache), notifies with a signature, and
answers when it is asked. `settings.PAYMENTS.sandbox` turns it on: in development, or where PAYMENT_SANDBOX is 1.
"""

from collections.abc import Mapping
from datetime import datetime

from django.conf import settings
from django.core import signing
from django.core.cache import cache
from django.urls import reverse

from accounts.payments.gateway import NotificationRefused, Report, Trade
from accounts.payments.models import Payment

SALT = "accounts.payments.sandbox"


class SandboxOff(Exception):
    """Somebody asks for the sandbox where it is not turned on."""


class Sandbox:
    """The sandbox as a gateway, and behind it the cashier's side."""

    name = "sandbox"

    def __init__(self) -> None:
        if not settings.PAYMENTS.sandbox:
            raise SandboxOff("the payment sandbox is off: PAYMENT_SANDBOX=1 turns it on where DEBUG is 0")

    def page(self, payment: Payment, *, return_url: str, notify_url: str, now: datetime) -> str:
        """The cashier's page."""
        return reverse("sandbox-cashier", args=[payment.number])

    def read(self, fields: Mapping[str, str]) -> Report:
        """What a notification says, if the cashier signed it."""
        try:
            number, trade, amount = signing.loads(fields.get("message", ""), salt=SALT)
        except signing.BadSignature:
            raise NotificationRefused("its signature is not the sandbox's") from None
        return Report(number, Trade(trade), amount, f"sandbox-{number}")

    def query(self, number: str, now: datetime) -> Report:
        """What the cashier has noted."""
        trade, amount = cache.get(_key(number), (Trade.ABSENT, None))
        return Report(number, Trade(trade), amount, f"sandbox-{number}")

    def close(self, number: str, now: datetime) -> bool:
        """Note that it is closed, unless it was paid."""
        return self._note(number, Trade.CLOSED, None) == Trade.CLOSED

    def pay(self, payment: Payment) -> dict[str, str]:
        """The payer pays at the cashier: the notification to send, of what the payment now is."""
        trade = self._note(payment.number, Trade.PAID, payment.amount)
        return {"message": signing.dumps((payment.number, trade, payment.amount), salt=SALT)}

    @staticmethod
    def _note(number: str, trade: Trade, amount: int | None) -> Trade:
        """Note the end of a payment, once: the end that it has."""
        cache.add(_key(number), (trade.value, amount), timeout=None)
        return Trade(cache.get(_key(number))[0])


def _key(number: str) -> str:
    return f"sandbox:{number}"
