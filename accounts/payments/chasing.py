"""Asking the gateway about payments that wait: a notification may be lost, and what lapsed is closed there.

No lock is held while the gateway thinks: a payment is claimed by moving its next query on, with back-off.
"""

import logging
from datetime import datetime, timedelta

from django.db.models import F, Q

from accounts.payments import gateway as gateways
from accounts.payments.gateway import Gateway, GatewayTrouble, Report, Trade
from accounts.payments.models import Payment
from accounts.payments.paying import ReportRefused, take_report

log = logging.getLogger(__name__)

FIRST_WAIT, LAST_WAIT = timedelta(minutes=1), timedelta(hours=1)
PAUSE = timedelta(seconds=5)
"""A payer who comes back makes us ask at once, but not more often than this."""
TROUBLES = 3
"""So many failures in a row, and the others wait for the next tick."""


def chase(now: datetime, limit: int = 100) -> int:
    """Ask about the payments whose time has come; how many were asked."""
    due = Payment.objects.filter(state=Payment.State.WAITING, next_query_at__lte=now).order_by("next_query_at")
    asked = troubles = 0
    for payment in list(due[:limit]):
        asked += 1
        troubles = 0 if ask(payment, now) else troubles + 1
        if troubles == TROUBLES:
            log.warning("%s payments in a row could not be asked about: the others wait", TROUBLES)
            break
    return asked


def ask(payment: Payment, now: datetime) -> bool:
    """Ask the gateway about a payment that waits, and make the answer true; False where there was none."""
    claimed = Payment.objects.filter(
        Q(asked_at=None) | Q(asked_at__lte=now - PAUSE), pk=payment.pk, state=Payment.State.WAITING
    ).update(
        asked_at=now,
        queries=F("queries") + 1,
        next_query_at=now + min(LAST_WAIT, FIRST_WAIT * 2 ** min(payment.queries, 10)),
    )
    if not claimed:
        return True
    gateway = gateways.named(payment.gateway)
    try:
        if gateway is None:
            raise GatewayTrouble(f"the gateway {payment.gateway} is not in use")
        _settle(payment, gateway, now, give_up=now >= payment.lapses_at)
    except (GatewayTrouble, ReportRefused) as error:
        Payment.objects.filter(pk=payment.pk).update(trouble=str(error)[:500])
        log.warning("payment %s: %s", payment.number, error)
        return False
    return True


def give_up(payment: Payment, now: datetime) -> Payment:
    """The payer cancels: close it at the gateway, unless it was paid. Raises GatewayTrouble, ReportRefused."""
    gateway = gateways.named(payment.gateway)
    if gateway is None:
        raise GatewayTrouble(f"the gateway {payment.gateway} is not in use")
    _settle(payment, gateway, now, give_up=True)
    payment.refresh_from_db()
    return payment


def _settle(payment: Payment, gateway: Gateway, now: datetime, *, give_up: bool) -> None:
    report = gateway.query(payment.number, now)
    # paid between the question and the closing, it cannot be closed: the next query hears of it
    if report.trade in (Trade.WAITING, Trade.ABSENT) and give_up and gateway.close(payment.number, now):
        report = Report(payment.number, Trade.CLOSED)
    if report.trade in (Trade.PAID, Trade.CLOSED):
        take_report(report, gateway=gateway.name, now=now)
