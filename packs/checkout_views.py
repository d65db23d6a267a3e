"""Pages of a purchase that waits for money: begun at the confirmation, paid at the gateway, completed by the ledger."""

import logging
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts.customers import customer_page
from accounts.models import Account
from accounts.notice_texts import checkout_reason
from accounts.payments import gateway as gateways
from accounts.payments.chasing import give_up
from accounts.payments.gateway import GatewayTrouble
from accounts.payments.models import MOST
from accounts.payments.paying import ReportRefused
from accounts.payments.views import payment_context
from iss_billing import formats
from packs import cart
from packs import checkout as checkouts
from packs.models import Checkout, Order, Sku
from packs.orders import OrderRefused
from packs.views import refused, shown_form

log = logging.getLogger(__name__)


@customer_page
@require_POST
def begin(request: HttpRequest, account: Account) -> HttpResponse:
    """The confirmation's form, sent where the balance is short: top up the difference, and the purchase completes."""
    shown = shown_form(request)
    if shown is None:
        messages.error(request, _("The form was incomplete: nothing was bought. Please confirm again."))
        return redirect("confirm")
    key, lines = shown
    try:
        begun = checkouts.begin_checkout(
            account_id=account.pk, lines=lines, key=key, gateway=gateways.active(), now=timezone.now()
        )
    except OrderRefused as refusal:
        return refused(request, account, refusal, lines)
    if isinstance(begun, Order):
        cart.clear_bought(request, lines)
        return redirect("order", begun.pk)
    cart.expect(request, key, lines)
    return redirect("checkout", begun.pk)


def _own(account: Account, pk: int) -> Checkout:
    return get_object_or_404(Checkout.objects.select_related("payment"), account=account, pk=pk)


@customer_page
@require_GET
@never_cache
def show(request: HttpRequest, account: Account, pk: int) -> HttpResponse:
    """What waits, for how much and how long; then the order, or why there is none."""
    found = _own(account, pk)
    asks = "HX-Request" in request.headers
    if found.order_id:
        target = reverse("order", args=[found.order_id])
        return HttpResponse(headers={"HX-Redirect": target}) if asks else redirect(target)
    payment, now = found.payment, timezone.now()
    stale = checkouts.would_end(found, account, now) if found.waits else None
    seen = f"{found.state}.{account.balance}.{payment.state if payment else ''}.{stale or ''}"
    if asks and request.GET.get("seen") == seen:
        return HttpResponse(status=204)  # nothing new: nothing is swapped, and nothing is read out
    chosen = Sku.objects.filter(code__in=[line[0] for line in found.lines]).select_related("pack_type")
    skus = {sku.code: sku for sku in chosen}
    missing = max(found.total - account.balance, 0)
    words = {"total": formats.money(found.total), "until": formats.moment(found.lapses_at, now)}
    gateway = gateways.active()
    context: dict[str, Any] = {
        "checkout": found,
        "seen": seen,
        "lines": [cart.CartLine(skus[code], quantity, price) for code, quantity, price in found.lines],
        "missing": missing,
        "why": checkout_reason(reason, words) if (reason := found.reason or stale) else "",
        "payable": found.waits and not stale,
        "can_pay": gateway is not None,
        "contact": settings.DEFAULT_FROM_EMAIL,
    }
    if payment is not None:
        context |= payment_context(payment)
        # one for another amount is of another balance
        context["open"] = context["open"] and payment.amount == min(missing, MOST)
    return render(request, "packs/checkout.html", context)


@customer_page
@require_POST
def pay_rest(request: HttpRequest, account: Account, pk: int) -> HttpResponse:
    """Begin a payment of what is still missing."""
    found, gateway = _own(account, pk), gateways.active()
    if gateway is not None and found.waits:
        found = checkouts.pay_rest(found, gateway=gateway, now=timezone.now())
    return redirect("checkout", found.pk)


@customer_page
@require_POST
def cancel(request: HttpRequest, account: Account, pk: int) -> HttpResponse:
    """The customer wants it no more: the cart is there again; its payment is closed, if it was not made meanwhile."""
    found = checkouts.cancel(_own(account, pk), timezone.now())
    if found.state != Checkout.State.CANCELLED:
        return redirect("checkout", found.pk)
    if found.payment is not None and found.payment.waits:
        try:
            give_up(found.payment, timezone.now())
        except (GatewayTrouble, ReportRefused) as error:
            log.warning("payment %s was not closed: %s", found.payment.number, error)
    messages.success(request, _("The purchase is cancelled. Should its payment still arrive, it goes to the balance."))
    return redirect("buy")
