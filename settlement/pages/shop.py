"""Buying: what would be cheapest, the catalogue, and the cart beside them."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from accounts.customers import customer_page
from accounts.models import Account
from iss_billing.days import day_of, next_day
from packs import cart
from packs.offers import shelf_of, tables
from packs.views import checkout_context
from packs.whole import whole_catalogue
from settlement.advice import HORIZONS, advise
from settlement.histories import position
from settlement.replay import DAYS


@customer_page
@require_GET
def buy(request: HttpRequest, account: Account) -> HttpResponse:
    """The advice of the last 30 days, pack types by sizes beside pay-as-you-go, and the cart."""
    now = timezone.now()
    today = day_of(now)
    waiting = cart.waiting(request, account)
    shelf, at = shelf_of(whole_catalogue(now)), position(account.pk, now)
    chosen = cart.load(request, shelf)
    modes = at.modes.on(account.pk, today), at.modes.on(account.pk, next_day(today))
    context: dict[str, Any] = {
        "advice": advise(account, at, shelf, now, horizon=_horizon(request)),
        "horizons": HORIZONS,
        "tables": tables(shelf),
        "chosen": {line.sku.code: line.quantity for line in chosen.lines},
        "waiting": waiting,
    }
    return render(request, "packs/buy.html", context | checkout_context(account, chosen, today, modes))


def _horizon(request: HttpRequest) -> int:
    """The days that `?days=` asks for; 30 where it asks for none of ours."""
    asked = request.GET.get("days", "")
    return next((days for days in HORIZONS if str(days) == asked), DAYS)
