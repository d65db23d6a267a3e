"""A purchase that waits for money: begun when the balance is short, completed when it is not.

A top-up completes it in its own transaction, under the same lock, so nothing comes between the money and the packs;
beat completes what other postings made possible. The order has the checkout's key: it is placed once, whoever tries.
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, Q

from accounts import notices
from accounts.ledger import lock_account
from accounts.models import Account, Notice
from accounts.modes import mode_today_and_next
from accounts.payments.gateway import Gateway
from accounts.payments.models import MOST, Payment
from accounts.payments.paying import start_payment
from iss_billing.days import day_of
from packs.models import Checkout, Order, Sku
from packs.orders import LineRequest, OrderRefused, place_order
from packs.tariff import sku_prices

log = logging.getLogger(__name__)

WAITS = timedelta(hours=24)
LAPSED, MODE_CHANGED, SHORT = "lapsed", "mode_changed", "short"
BOUGHT, LATE = "bought", "late"


def begin_checkout(
    *, account_id: int, lines: Sequence[LineRequest], key: str, gateway: Gateway | None, now: datetime
) -> Order | Checkout:
    """Buy, or where only money is missing wait for it and begin the payment of what is missing.

    The same key again is the same purchase. An older one that waits is cancelled: its payment, should it still come,
    goes to the balance. Each line has an `expected_price`. Raises AccountUnknown, OrderRefused.
    """
    with transaction.atomic():
        account = lock_account(account_id)
        known = Checkout.objects.filter(account=account, key=key).first()
        if known is not None:
            if _lines(known) != list(lines):
                raise OrderRefused("idempotency_key_reused", "the key was used for a purchase of other packs")
            return known.order or known
        try:
            return place_order(account_id=account_id, lines=lines, key=key, now=now)[0]
        except OrderRefused as refusal:
            if refusal.code != "insufficient_balance":
                raise
        _end_waiting(account, now)
        mode, next_mode = mode_today_and_next(account.pk, day_of(now))
        checkout = Checkout.objects.create(
            account=account,
            key=key,
            lines=[list(line) for line in lines],
            total=sum((line.expected_price or 0) * line.quantity for line in lines),
            mode=mode,
            next_mode=next_mode,
            started_at=now,
            lapses_at=now + WAITS,
        )
        if gateway is not None:
            _begin_payment(checkout, account, gateway, now)
        return checkout


def pay_rest(checkout: Checkout, *, gateway: Gateway, now: datetime) -> Checkout:
    """Begin a payment of what is still missing; one that is open for just that is kept."""
    with transaction.atomic():
        account = lock_account(checkout.account_id)
        checkout = Checkout.objects.select_related("payment").get(pk=checkout.pk)
        if checkout.waits and _attempt(checkout, account, now) == SHORT:
            _begin_payment(checkout, account, gateway, now)
    return checkout


def _begin_payment(checkout: Checkout, account: Account, gateway: Gateway, now: datetime) -> None:
    amount = min(checkout.total - account.balance, MOST)
    last = checkout.payment
    if last is not None and last.open_at(now) and (last.amount, last.gateway) == (amount, gateway.name):
        return
    checkout.payment = start_payment(
        account_id=account.pk,
        amount=amount,
        gateway=gateway,
        key=f"checkout:{checkout.pk}:{last.pk if last else 0}",
        cause=f"checkout:{checkout.pk}",
        lapses_at=checkout.lapses_at,
        now=now,
    )
    checkout.save(update_fields=["payment"])


def complete_waiting(account_id: int, now: datetime) -> None:
    """Complete the account's waiting purchase if its money is there, or end it; both are told to the customer."""
    with transaction.atomic():
        account = lock_account(account_id)
        _tell_of_late_money(account, now)
        checkout = Checkout.objects.filter(account=account, state=Checkout.State.WAITING).first()
        if checkout is not None and _attempt(checkout, account, now) == SHORT:
            _tell(checkout, account, SHORT, now)


def complete_after_top_up(account_id: int, now: datetime) -> None:
    """As `complete_waiting`, for the ledger: money received stays received whatever becomes of the purchase."""
    try:
        complete_waiting(account_id, now)
    except Exception:  # the credit must not fail with it; told to staff, and beat tries again
        log.exception("the waiting purchase of account %s was not completed", account_id)


def sweep(now: datetime) -> int:
    """Complete what has its money, end what has lapsed; how many were looked at."""
    due = Checkout.objects.filter(
        Q(lapses_at__lte=now) | Q(account__balance__gte=F("total")), state=Checkout.State.WAITING
    )
    accounts = list(due.order_by("account_id").values_list("account_id", flat=True))
    for account_id in accounts:
        complete_after_top_up(account_id, now)
    return len(accounts)


def cancel(checkout: Checkout, now: datetime) -> Checkout:
    """The customer wants it no more; a purchase that is made or ended stays so."""
    with transaction.atomic():
        account = lock_account(checkout.account_id)
        _end_waiting(account, now, only=checkout.pk)
    checkout.refresh_from_db()
    return checkout


def _end_waiting(account: Account, now: datetime, only: int | None = None) -> None:
    waiting = Checkout.objects.filter(account=account, state=Checkout.State.WAITING)
    if only is not None:
        waiting = waiting.filter(pk=only)
    waiting.update(state=Checkout.State.CANCELLED, ended_at=now)


def would_end(checkout: Checkout, account: Account, now: datetime) -> str | None:
    """Why money that came now would buy nothing of it, for whoever is about to pay; None where it would."""
    if reason := _changed(checkout, account, now):
        return reason
    in_force, lines = sku_prices(now), _lines(checkout)
    prices = {
        sku.code: in_force.get(sku.pk) for sku in Sku.objects.filter(code__in=[line.sku for line in lines]).only("code")
    }
    if any(prices.get(line.sku) is None for line in lines):
        return "unknown_sku"
    return "price_changed" if any(prices[line.sku] != line.expected_price for line in lines) else None


def _attempt(checkout: Checkout, account: Account, now: datetime) -> str:
    """Buy it under the account's lock, unless something is not as it was shown; SHORT, and it goes on waiting."""
    reason = _changed(checkout, account, now)
    if reason is None:
        try:
            checkout.order, _new = place_order(account_id=account.pk, lines=_lines(checkout), key=checkout.key, now=now)
        except OrderRefused as refusal:
            if refusal.code == "insufficient_balance":
                return SHORT
            reason = refusal.code
    checkout.state = Checkout.State.ENDED if reason else Checkout.State.BOUGHT
    checkout.reason, checkout.ended_at = reason or "", now
    checkout.save(update_fields=["state", "reason", "order", "ended_at"])
    _tell(checkout, account, reason or BOUGHT, now)
    return reason or BOUGHT


def _changed(checkout: Checkout, account: Account, now: datetime) -> str | None:
    """What is no longer as it was when it was confirmed: time, billing mode or standing; prices the order checks."""
    if now >= checkout.lapses_at:
        return LAPSED
    began, today = day_of(checkout.started_at), day_of(now)
    foreseen = checkout.mode if today == began else checkout.next_mode
    if mode_today_and_next(account.pk, today) != (foreseen, checkout.next_mode):
        return MODE_CHANGED
    # in arrears at any moment since, also when this very top-up ended them
    if account.transfers.filter(time__gte=checkout.started_at, balance_after__lt=0).exists():
        return "account_in_arrears"
    return None


def _lines(checkout: Checkout) -> list[LineRequest]:
    return [LineRequest(*line) for line in checkout.lines]


def _tell_of_late_money(account: Account, now: datetime) -> None:
    """Money that is here at this moment for a purchase that is made or ended: it is the balance's, and told."""
    paid = account.payments.filter(state=Payment.State.PAID, ended_at=now, cause__startswith="checkout:")
    causes = {int(payment.cause.partition(":")[2]): payment for payment in paid}
    for checkout in Checkout.objects.filter(pk__in=causes).exclude(state=Checkout.State.WAITING) if causes else ():
        _tell(checkout, account, LATE, now, causes[checkout.pk])


def _tell(checkout: Checkout, account: Account, outcome: str, now: datetime, payment: Payment | None = None) -> None:
    """The balance as it is after what happened; being short is told once for each balance, late money once."""
    account.refresh_from_db(fields=["balance"])
    data: dict[str, Any] = {
        "outcome": outcome,
        "total": checkout.total,
        "balance": account.balance,
        "lapses_at": checkout.lapses_at.isoformat(),
        "order": checkout.order_id,
    }
    reference = f"{checkout.pk}:{outcome}" + (f":{account.balance}" if outcome == SHORT else "")
    if payment is not None:
        reference += f":{payment.number}"
        data["amount"] = payment.amount
    notices.write([(account.pk, Notice.Type.CHECKOUT, reference, data)], now)
