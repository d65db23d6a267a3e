"""What a payment gateway does for us, and which one is in use. Only what a gateway says, verified, moves money."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple, Protocol

from django.conf import settings
from django.utils.translation import gettext as _

from accounts.payments.models import Payment
from iss_billing.gateways import Alipay as AlipayConfig
from iss_billing.gateways import Payments


class Trade(StrEnum):
    """How a payment stands at its gateway; `ABSENT` where the payer never got as far as the gateway's page."""

    WAITING = "waiting"
    PAID = "paid"
    CLOSED = "closed"
    ABSENT = "absent"


class Report(NamedTuple):
    """What a gateway says of one payment, proven to come from it; `amount` in fen is known of what was paid."""

    number: str
    trade: Trade
    amount: int | None = None
    reference: str = ""


class NotificationRefused(Exception):
    """A notification that is not the gateway's, or not for us."""


class GatewayTrouble(Exception):
    """The gateway was not reached, or its answer makes no sense: nothing is known, ask again later."""


class Gateway(Protocol):
    """A gateway takes the money on a page of its own and tells of it by a notification, or when it is asked."""

    name: str

    def page(self, payment: Payment, *, return_url: str, notify_url: str, now: datetime) -> str:
        """The address of the page on which the payer pays."""

    def read(self, fields: Mapping[str, str]) -> Report:
        """What a notification says. Raises NotificationRefused."""

    def query(self, number: str, now: datetime) -> Report:
        """How a payment stands. Raises GatewayTrouble."""

    def close(self, number: str, now: datetime) -> bool:
        """See to it that it can no longer be paid; False where it was paid. Raises GatewayTrouble."""


def active() -> Gateway | None:
    """The gateway for new payments; None where customers pay by bank transfer only."""
    payments: Payments = settings.PAYMENTS
    if payments.alipay:
        return _alipay(payments.alipay)
    if payments.sandbox:
        from accounts.payments.sandbox import Sandbox

        return Sandbox()
    return None


def named(name: str) -> Gateway | None:
    """The gateway of that name, if it is the one in use: what another one says counts for nothing."""
    gateway = active()
    return gateway if gateway is not None and gateway.name == name else None


def title(name: str) -> str:
    """The gateway's name for a reader."""
    return {"alipay": _("Alipay"), "sandbox": _("the sandbox")}.get(name, name)


@lru_cache(maxsize=4)
def _alipay(config: AlipayConfig) -> Gateway:
    from accounts.payments.alipay import Alipay  # loads the keys and a library that others need not wait for

    return Alipay(config)
