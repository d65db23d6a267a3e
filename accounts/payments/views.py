"""Pages of paying: how much, the way to the gateway, what became of it; and the gateway's notification."""

import logging
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.customers import customer_page, page_of
from accounts.models import Account, Payment
from accounts.payments import gateway as gateways
from accounts.payments.chasing import ask, give_up
from accounts.payments.forms import TopUpForm
from accounts.payments.gateway import GatewayTrouble, NotificationRefused
from accounts.payments.models import LEAST, MOST
from accounts.payments.paying import ReportRefused, start_payment, take_report

log = logging.getLogger(__name__)

PRESETS = (10_000, 50_000, 100_000, 500_000)
"""Fen."""


@customer_page
@require_http_methods(["GET", "POST"])
def top_up(request: HttpRequest, account: Account) -> HttpResponse:
    """How much, and what the balance will be; then a payment of it."""
    gateway = gateways.active()
    debt = max(-account.balance, 0)
    if request.method == "POST":
        if gateway is None:
            raise Http404
        form = TopUpForm(request.POST)
        if form.is_valid():
            payment = start_payment(
                account_id=account.pk,
                amount=form.cleaned_data["amount"],
                gateway=gateway,
                key=f"form:{form.cleaned_data['key']}",
                now=timezone.now(),
            )
            return redirect("payment", payment.number)
    else:
        asked = request.GET.get("amount", "")
        form = TopUpForm(initial={"amount": asked or plain(_suggested(debt))})
    context = _amounts(form, account, debt) | {
        "form": form,
        "gateway": gateways.title(gateway.name) if gateway else None,
        "contact": settings.DEFAULT_FROM_EMAIL,
    }
    return render(request, "accounts/top_up.html", context)


def plain(fen: int) -> str:
    """Fen as one types them: 500, 71.79."""
    whole, rest = divmod(fen, 100)
    return f"{whole}.{rest:02d}" if rest else str(whole)


def _suggested(debt: int) -> int:
    """What a form begins with: the smallest preset that ends the arrears, else the debt; without one the second."""
    if not debt:
        return PRESETS[1]
    return min(next((preset for preset in PRESETS if preset >= debt), debt), MOST)


def _amounts(form: TopUpForm, account: Account, debt: int) -> dict[str, Any]:
    """The amounts to choose from, and the balance after the one that stands in the form."""
    typed = str(form["amount"].value() or "")
    judged = TopUpForm({"amount": typed, "key": form["key"].value()})
    fen = judged.cleaned_data["amount"] if judged.is_valid() else None
    presets = [(plain(preset), preset, preset == fen) for preset in PRESETS]
    if LEAST <= debt <= MOST and debt not in PRESETS:
        presets.insert(0, (plain(debt), debt, debt == fen))
    after = None if fen is None else account.balance + fen
    return {"presets": presets, "debt": debt, "after": after, "chosen": fen}


@customer_page
@require_GET
def payments(request: HttpRequest, account: Account) -> HttpResponse:
    """Every payment, newest first."""
    rows = account.payments.order_by("-id")
    return render(request, "accounts/payments.html", {"page": page_of(request, rows)})


def _own(account: Account, number: str) -> Payment:
    return get_object_or_404(Payment, account=account, number=number)


def page_of_payment(payment: Payment) -> str:
    """Where the payer sees what became of it: the page of its cause, else its own."""
    cause, _colon, pk = payment.cause.partition(":")
    return reverse(cause, args=[pk]) if cause else reverse("payment", args=[payment.number])


@customer_page
@require_GET
@never_cache
def payment(request: HttpRequest, account: Account, number: str) -> HttpResponse:
    """One payment: the way to the gateway while it waits, then what became of it."""
    found = _own(account, number)
    if found.cause:
        return redirect(page_of_payment(found))
    if "HX-Request" in request.headers and found.waits:
        return HttpResponse(status=204)  # nothing new: nothing is swapped, and nothing is read out
    transfer = account.transfers.filter(kind="top_up", reference=found.reference).first()
    context = payment_context(found) | {"transfer": transfer, "after": account.balance + found.amount}
    if transfer is not None and transfer.balance_after is not None:
        context["before"] = transfer.balance_after - transfer.amount
    return render(request, "accounts/payment.html", context)


def payment_context(found: Payment) -> dict[str, Any]:
    """What a page says of a payment that may still be made."""
    return {
        "payment": found,
        "open": found.open_at(timezone.now()),
        "gateway": gateways.title(found.gateway),
        "usable": gateways.named(found.gateway) is not None,
    }


@customer_page
@require_GET
@never_cache
def pay(request: HttpRequest, account: Account, number: str) -> HttpResponse:
    """On to the gateway's page. A link leads here, not a form: the content security policy holds forms on this site."""
    found = _own(account, number)
    gateway = gateways.named(found.gateway)
    now = timezone.now()
    if gateway is None or not found.open_at(now):
        return redirect(page_of_payment(found))
    address = gateway.page(
        found,
        return_url=settings.SITE_URL + reverse("payment-return", args=[number]),
        notify_url=settings.SITE_URL + reverse("payment-notify", args=[gateway.name]),
        now=now,
    )
    return HttpResponseRedirect(address)


@customer_page
@require_GET
@never_cache
def returned(request: HttpRequest, account: Account, number: str) -> HttpResponse:
    """The payer comes back. What the browser brings proves nothing and credits nothing: the gateway is asked."""
    found = _own(account, number)
    if found.waits:
        ask(found, timezone.now())
    return redirect(page_of_payment(found))


@customer_page
@require_POST
def cancel(request: HttpRequest, account: Account, number: str) -> HttpResponse:
    """The payer wants it no more: it is closed at the gateway, where it may have been paid meanwhile."""
    found = _own(account, number)
    if found.waits:
        try:
            found = give_up(found, timezone.now())
        except (GatewayTrouble, ReportRefused) as error:
            log.warning("payment %s was not closed: %s", number, error)
        if found.waits:
            messages.error(request, _("It could not be cancelled just now. Unpaid, it lapses by itself."))
    return redirect(page_of_payment(found))


@csrf_exempt
@require_POST
def notify(request: HttpRequest, gateway: str) -> HttpResponse:
    """The gateway tells of a payment; `success` only once it is in the ledger, anything else and it tells again."""
    told = gateways.named(gateway)
    if told is None:
        raise Http404
    try:
        report = told.read(request.POST.dict())
        take_report(report, gateway=told.name, now=timezone.now())
    except (NotificationRefused, ReportRefused) as refusal:
        log.warning("notification refused: %s", refusal)
        return HttpResponse("fail", content_type="text/plain", status=400)
    return HttpResponse("success", content_type="text/plain")
