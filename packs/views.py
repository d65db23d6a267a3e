"""Pages of buying: the cart, the confirmation, orders, the price list. `settlement` has the catalogue beside advice."""

import uuid
from datetime import date, datetime
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.customers import customer_page, page_of
from accounts.ledger import AccountClosed
from accounts.models import MODES, Account
from accounts.modes import Pending, mode_on, mode_today_and_next
from accounts.payments import gateway as gateways
from iss_billing.days import day_of, next_day
from packs import cart
from packs.models import Item, Order
from packs.offers import Shelf, on_sale, tables
from packs.orders import MOST_LINES, MOST_PER_LINE, LineRequest, OrderRefused, place_order
from packs.tariff import tariff_on

REFUSAL_STATUS = {"insufficient_balance": 402, "account_in_arrears": 403, "price_changed": 409}


def checkout_context(account: Account, chosen: cart.Cart, today: date, modes: tuple[str, str]) -> dict[str, Any]:
    """What a buyer is to know before paying: the sums, and which packs would be frozen (rules 3.3).

    `modes` are today's and tomorrow's as announced.
    """
    mode, then = modes
    after = account.balance - chosen.total
    return {
        "cart": chosen,
        "after": after,
        "missing": -min(after, 0),
        "missing_to_zero": -min(account.balance, 0),
        "pays_online": gateways.active() is not None,
        "arrears": account.balance < 0,
        "mode": mode,
        "mode_name": dict(MODES)[mode],
        "pending": Pending(then, next_day(today)) if then != mode else None,
        "frozen": [line for line in chosen.lines if line.sku.pack_type.requires_billing_mode not in (None, mode)],
        "today": today,
        "most": MOST_PER_LINE,
    }


@customer_page
@require_POST
def change_cart(request: HttpRequest, account: Account) -> HttpResponse:
    """Put one in (`add`), have as many as advised (`advised`, each `SKU:quantity`), take one kind out (`take-out`), or
    set the quantities (`quantity-SKU`), then go on.
    """
    form = request.POST
    before = cart.quantities(request)
    for code in before:
        asked = form.get(f"quantity-{code}", "")
        if asked.isascii() and asked.isdigit():
            cart.change(request, code, int(asked[:5]))
    now = timezone.now()
    shelf = on_sale(now)
    known = shelf.by_code()
    if (wanted := form.get("add")) and wanted in known:
        cart.add(request, wanted)
    for text in form.get("advised", "").split():
        code, _colon, number = text.partition(":")
        if code in known and number.isascii() and number.isdigit():
            cart.change(request, code, int(number[:5]))
    if unwanted := form.get("take-out"):
        cart.change(request, unwanted, 0)
    if "HX-Request" in request.headers:
        return _changed_cart(request, account, shelf, before, now)
    if "confirm" in form:
        return redirect("confirm")
    return redirect(reverse("buy") + ("#cart" if "add" not in form else f"#{form['add']}"))


def _changed_cart(
    request: HttpRequest, account: Account, shelf: Shelf, before: dict[str, int], now: datetime
) -> HttpResponse:
    """The cart, and the prices whose number in it changed: what a page with script puts in their places."""
    today = day_of(now)
    chosen = cart.load(request, shelf)
    numbers = {line.sku.code: line.quantity for line in chosen.lines}
    touched = {code for code in {*before, *numbers} if before.get(code) != numbers.get(code)}
    cells = [
        {"table": table, "row": row, "offer": offer}
        for table in tables(shelf)
        for row in table.rows
        for offer in row.offers
        if offer and offer.sku.code in touched
    ]
    context = {"chosen": numbers, "cells": cells, "removed": "take-out" in request.POST}
    modes = mode_today_and_next(account.pk, today)
    return render(request, "packs/cart_answer.html", context | checkout_context(account, chosen, today, modes))


@customer_page
@require_http_methods(["GET", "POST"])
def confirm(request: HttpRequest, account: Account) -> HttpResponse:
    """What is bought, what it costs, what is left; then buy it, once however often the form is sent."""
    if request.method == "POST":
        return _buy(request, account)
    now = timezone.now()
    cart.waiting(request, account)
    chosen = cart.load(request, on_sale(now))
    if not chosen.lines:
        return redirect("buy")
    context = {"key": str(uuid.uuid4()), "shown_prices": {}} | _checkout(account, chosen, now)
    return render(request, "packs/confirm.html", context)


def _checkout(account: Account, chosen: cart.Cart, now: datetime) -> dict[str, Any]:
    today = day_of(now)
    return checkout_context(account, chosen, today, mode_today_and_next(account.pk, today))


def _buy(request: HttpRequest, account: Account) -> HttpResponse:
    """Buy what the form showed, at the prices that it showed: the cart may have changed in another window."""
    now = timezone.now()
    shown = shown_form(request)
    if shown is None:
        messages.error(request, _("The form was incomplete: nothing was bought. Please confirm again."))
        return redirect("confirm")
    key, lines = shown
    try:
        order, _new = place_order(account_id=account.pk, lines=lines, key=key, now=now)
    except OrderRefused as refusal:
        return refused(request, account, refusal, lines)
    cart.clear_bought(request, lines)
    return redirect("order", order.pk)


def shown_form(request: HttpRequest) -> tuple[str, list[LineRequest]] | None:
    """The key and the lines of the confirmation's form; None where it is not one of ours."""
    key, lines = request.POST.get("key", ""), _shown_lines(request)
    if lines is None or not 1 <= len(key) <= 255 or not key.isprintable():
        return None
    return key, lines


def _shown_lines(request: HttpRequest) -> list[LineRequest] | None:
    """The lines of the confirmation's form, each `SKU:quantity:fen`; None where it is not one of ours."""
    lines = []
    for text in request.POST.getlist("line")[: MOST_LINES + 1]:
        sku, quantity, price = [*text.split(":"), "", ""][:3]
        if not (quantity.isascii() and quantity.isdigit() and price.isascii() and price.isdigit()):
            return None
        if not 1 <= int(quantity[:9]) <= MOST_PER_LINE or len(price) > 15 or "\x00" in sku:
            return None
        lines.append(LineRequest(sku, int(quantity), int(price)))
    return lines if 1 <= len(lines) <= MOST_LINES else None


def refused(request: HttpRequest, account: Account, refusal: OrderRefused, lines: list[LineRequest]) -> HttpResponse:
    """The confirmation again, with why nothing was bought; prices are the present ones, to be confirmed anew."""
    if refusal.code == "account_closed":
        raise AccountClosed(str(refusal)) from refusal
    account.refresh_from_db()
    now = timezone.now()
    if refusal.code in ("unknown_sku", "idempotency_key_reused"):
        for sku in refusal.extra.get("skus", ()):
            cart.change(request, sku, 0)
        messages.error(request, _("A pack is no longer on sale: nothing was bought. Please look at the cart again."))
        return redirect("buy")
    for line in lines:
        cart.change(request, line.sku, line.quantity)
    chosen = cart.load(request, on_sale(now))
    shown = {line.sku: line.expected_price for line in lines}
    context = {
        "key": str(uuid.uuid4()),
        "refusal": refusal.code,
        "shown_prices": {sku: price for sku, price in shown.items() if price != _present(chosen).get(sku)},
    }
    status = REFUSAL_STATUS.get(refusal.code, 400)
    return render(request, "packs/confirm.html", context | _checkout(account, chosen, now), status=status)


def _present(chosen: cart.Cart) -> dict[str, int]:
    return {line.sku.code: line.price for line in chosen.lines}


@customer_page
@require_GET
def orders(request: HttpRequest, account: Account) -> HttpResponse:
    """Every order, newest first."""
    rows = Order.objects.filter(account=account).prefetch_related("lines__sku__pack_type").order_by("-id")
    return render(request, "packs/orders.html", {"page": page_of(request, rows)})


@customer_page
@require_GET
def order(request: HttpRequest, account: Account, pk: int) -> HttpResponse:
    """One order: what was bought, what was paid, from when it counts."""
    rows = Order.objects.filter(account=account).prefetch_related("lines__sku__pack_type")
    found = get_object_or_404(rows, pk=pk)
    transfer = account.transfers.filter(kind="purchase", reference=f"order:{found.pk}").first()
    mode = mode_on(account.pk, day_of(timezone.now()))
    lines = list(found.lines.all())
    frozen = [line for line in lines if line.sku.pack_type.requires_billing_mode not in (None, mode)]
    context = {"order": found, "lines": lines, "transfer": transfer, "frozen": frozen, "day": day_of(found.placed_at)}
    return render(request, "packs/order.html", context)


@require_GET
def tariff(request: HttpRequest) -> HttpResponse:
    """The price list, for anyone: what is in force today, and what is scheduled."""
    today = day_of(timezone.now())
    rows = []
    items = {item.pk: item for item in Item.objects.all()}
    prices = tariff_on(today)
    for (item, region), price in sorted(prices.items(), key=lambda entry: (items[entry[0][0]].position, entry[0][1])):
        rows.append((items[item], region, price))
    return render(request, "packs/tariff.html", {"rows": rows, "today": today})
