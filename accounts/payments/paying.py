"""Beginning a payment, and taking what its gateway reports: credited to the balance exactly once.

The ledger's reference is the payment's number, so that a notification, its repetition and a query's answer are one
top-up whoever comes first; all of them hold the account's lock.
"""

import logging
from datetime import datetime, timedelta

from django.db import transaction
from django.utils.crypto import get_random_string

from accounts.ledger import AccountClosed, ReferenceReused, lock_account, record_top_up
from accounts.payments.gateway import Gateway, Report, Trade
from accounts.payments.models import LEAST, MOST, WAITS, Payment
from iss_billing.days import SHANGHAI
from iss_billing.money import format_decimal

log = logging.getLogger(__name__)

FIRST_QUERY = timedelta(minutes=1)


class AmountOutOfBounds(Exception):
    """A payment is of 0.01 to 1,000,000.00 CNY."""


class ReportRefused(Exception):
    """A genuine report that fits no payment of ours: nothing is credited, staff must look."""


def start_payment(
    *,
    account_id: int,
    amount: int,
    gateway: Gateway,
    key: str,
    now: datetime,
    cause: str = "",
    lapses_at: datetime | None = None,
) -> Payment:
    """Begin a payment of `amount` fen; the same key of the same account again is the same payment.

    A closed account pays only what it owes: late usage of its last days. Raises AccountUnknown, AmountOutOfBounds,
    AccountClosed.
    """
    if not LEAST <= amount <= MOST:
        raise AmountOutOfBounds(f"a payment is of {format_decimal(LEAST, 2)} to {format_decimal(MOST, 2)} CNY")
    with transaction.atomic():
        account = lock_account(account_id)
        known = Payment.objects.filter(account=account, key=key).first()
        if known is not None:
            return known
        if account.closed_at is not None and amount > -account.balance:
            raise AccountClosed("a closed account pays no more than it owes")
        return Payment.objects.create(
            account=account,
            number=f"{now.astimezone(SHANGHAI):%Y%m%d}{get_random_string(16, '0123456789')}",
            gateway=gateway.name,
            amount=amount,
            key=key,
            cause=cause,
            started_at=now,
            lapses_at=lapses_at or now + WAITS,
            next_query_at=now + FIRST_QUERY,
        )


def take_report(report: Report, *, gateway: str, now: datetime) -> Payment:
    """Make a gateway's verified report true here: credit what was paid, close what was closed; again changes nothing.

    What arrives after the payment was given up is credited all the same. Raises ReportRefused.
    """
    known = report.number.isascii() and report.number.isalnum()
    found = Payment.objects.filter(number=report.number, gateway=gateway).first() if known else None
    if found is None:
        raise ReportRefused(f"there is no payment {report.number[:64]!r}")
    if report.trade == Trade.PAID and report.amount != found.amount:
        paid, asked = format_decimal(report.amount or 0, 2), format_decimal(found.amount, 2)
        raise _refuse(found, f"paid {paid} instead of {asked} CNY")
    try:
        return _take(found, report, now)
    except ReferenceReused as error:  # staff recorded it by hand, for another account or amount
        raise _refuse(found, str(error)) from error


def _take(found: Payment, report: Report, now: datetime) -> Payment:
    with transaction.atomic():
        lock_account(found.account_id)
        payment = Payment.objects.get(pk=found.pk)
        if report.trade == Trade.PAID and payment.state != Payment.State.PAID:
            _end(payment, Payment.State.PAID, report, now)
            record_top_up(account_id=payment.account_id, amount=payment.amount, reference=payment.reference, now=now)
        elif report.trade == Trade.CLOSED and payment.waits:
            _end(payment, Payment.State.CLOSED, report, now)
        elif report.trade == Trade.CLOSED and payment.state == Payment.State.PAID:
            payment.trouble = "closed at the gateway after it was received: refunded there?"
            payment.save(update_fields=["trouble"])
    return payment


def _refuse(payment: Payment, trouble: str) -> ReportRefused:
    Payment.objects.filter(pk=payment.pk).update(trouble=trouble[:500])
    return ReportRefused(f"payment {payment.number}: {trouble}")


def _end(payment: Payment, state: Payment.State, report: Report, now: datetime) -> None:
    payment.state, payment.ended_at, payment.gateway_reference = state, now, report.reference
    payment.save(update_fields=["state", "ended_at", "gateway_reference"])
    log.info("payment %s: %s", payment.number, state)
