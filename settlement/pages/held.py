"""Held packs: by type in drawing order, with their drawdowns and their refund."""

from datetime import date, datetime
from typing import Any

from django.contrib import messages
from django.db.models import F, Max, Window
from django.db.models.functions import RowNumber
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from accounts.customers import customer_page, page_of
from accounts.models import MODES, Account
from accounts.modes import mode_on, mode_since, pending_mode
from iss_billing import formats
from iss_billing.days import day_of
from packs.holdings import Holding, holdings
from packs.models import Pack, PackStatus
from packs.refunds import RefundRefused, refund_pack
from settlement.estimate import Estimate, load_unsettled, rate_unsettled
from settlement.models import Drawdown

PACKS_SHOWN = 20
"""Of one type, on the page of packs: the next in drawing order."""
ENDED_SHOWN = 50
MOST_WEEK = 7
WARN_BELOW = 10
"""Percent of a type's last pack below which its bar warns."""


@customer_page
@require_GET
def packs(request: HttpRequest, account: Account) -> HttpResponse:
    """Every pack: by type in drawing order, with its latest drawdowns and its refund; then the ended ones."""
    now = timezone.now()
    today = day_of(now)
    mode = mode_on(account.pk, today)
    held = holdings(account.pk, today, mode)
    shown = [pack for holding in held for pack in holding.packs[:PACKS_SHOWN]]
    drawdowns = _latest_drawdowns([pack.pk for pack in shown])
    open_packs = [pack.pk for holding in held for pack in holding.packs]
    ended = Pack.objects.filter(account=account).exclude(pk__in=open_packs).select_related("pack_type", "sku")
    context = {
        "panels": [_panel(holding, drawdowns, now) for holding in held],
        "ended": _ended(
            ended.annotate(last_day=Max("drawdowns__line__bill__day")).order_by("-id")[:ENDED_SHOWN], today
        ),
        "mode": mode,
        "pending": pending_mode(account.pk, today),
        "since": mode_since(account.pk, today),
        "mode_name": dict(MODES)[mode],
    }
    return render(request, "settlement/packs.html", context)


def _panel(holding: Holding, drawdowns: dict[int, list[Drawdown]], now: datetime) -> dict[str, Any]:
    covers = [item.name for item in holding.pack_type.covers.all()]
    rows = [
        {
            "pack": pack,
            "first": place == 0,
            "drawdowns": drawdowns.get(pack.pk, []),
            "refundable_until": pack.refundable_until(now),
            "low": pack.remaining * 100 < pack.total * WARN_BELOW and len(holding.packs) == 1,
        }
        for place, pack in enumerate(holding.packs[:PACKS_SHOWN])
    ]
    more = len(holding.packs) - len(rows)
    return {"holding": holding, "covers": covers if len(covers) > 1 else [], "rows": rows, "more": more}


def _latest_drawdowns(pack_ids: list[int]) -> dict[int, list[Drawdown]]:
    """The latest drawdowns of each pack, newest first."""
    newest = Window(RowNumber(), partition_by=F("pack_id"), order_by=F("id").desc())
    rows = Drawdown.objects.filter(pack_id__in=pack_ids).annotate(place=newest).filter(place__lte=MOST_WEEK)
    found: dict[int, list[Drawdown]] = {}
    for drawn in rows.select_related("line__bill", "line__item").order_by("-id"):
        found.setdefault(drawn.pack_id, []).append(drawn)
    return found


def _ended(rows: Any, today: date) -> list[dict[str, Any]]:
    """Packs that are over, with how they ended."""
    found = []
    for pack in rows:
        status = pack.status_on(today, "")
        on = day_of(pack.refunded_at) if status == PackStatus.REFUNDED else pack.last_day
        found.append({"pack": pack, "status": status, "on": on or pack.valid_until})
    return found


@customer_page
@require_GET
def pack(request: HttpRequest, account: Account, pk: int) -> HttpResponse:
    """One pack with every drawdown, newest first."""
    rows = Pack.objects.filter(account=account).select_related("pack_type", "sku", "order_line")
    found = get_object_or_404(rows, pk=pk)
    now = timezone.now()
    drawdowns = found.drawdowns.select_related("line__bill", "line__item").order_by("-id")
    context = {
        "pack": found,
        "status": found.status_on(day_of(now), mode_on(account.pk, day_of(now))),
        "page": page_of(request, drawdowns),
        "refundable_until": found.refundable_until(now),
    }
    return render(request, "settlement/pack.html", context)


@customer_page
@require_http_methods(["GET", "POST"])
def refund(request: HttpRequest, account: Account, pk: int) -> HttpResponse:
    """What a refund gives back and what it would cost (rules 4.7); then the refund itself."""
    found = get_object_or_404(Pack.objects.filter(account=account).select_related("pack_type", "sku"), pk=pk)
    now = timezone.now()
    if request.method == "POST":
        return _refund(request, account, found, now)
    until = found.refundable_until(now)
    if until is None:
        return render(request, "settlement/not_refundable.html", {"pack": found}, status=409)
    unsettled = load_unsettled(account.pk, now)
    with_it, without_it = rate_unsettled(unsettled), rate_unsettled(unsettled, without_pack=found.pk)
    context = {
        "pack": found,
        "until": until,
        "after": account.balance + found.price,
        "cost": with_it.balance_after - without_it.balance_after,
        "days": _days_concerned(with_it, found),
    }
    return render(request, "settlement/refund.html", context)


def _days_concerned(expected: Estimate, found: Pack) -> list[date]:
    """The days whose unsettled usage would draw from this pack."""
    bills = expected.pending + ([expected.today] if expected.today else [])
    return [
        bill.day
        for bill in bills
        if any(drawn.pack_id == found.pk for line in bill.statement.lines for drawn in line.draws)
    ]


def _refund(request: HttpRequest, account: Account, found: Pack, now: datetime) -> HttpResponse:
    try:
        refund_pack(account_id=account.pk, pack_id=found.pk, now=now)
    except RefundRefused as refusal:
        found.refresh_from_db()
        return render(request, "settlement/not_refundable.html", {"pack": found, "code": refusal.code}, status=409)
    messages.success(request, _("%(amount)s are back on the balance.") % {"amount": formats.money(found.price)})
    return redirect("packs")
