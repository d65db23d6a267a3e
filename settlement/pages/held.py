"""Held packs: by type in drawing order, with their drawdowns and their refund."""

from datetime import date, datetime, timedelta
from typing import Any

from django.contrib import messages
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import OuterRef, Subquery, Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from accounts.customers import customer_page, page_of
from accounts.models import Account
from accounts.modes import mode_state
from iss_billing import formats
from iss_billing.days import day_of
from packs.models import Item, Pack, PackStatus, PackType
from packs.refunds import RefundRefused, refund_pack
from packs.tariff import tariff_on
from settlement.burn import LOOK_BACK, Burning, begins, burn
from settlement.estimate import Estimate, load_unsettled, rate_unsettled
from settlement.pace import runs_out
from settlement.panels import SOON, burn_chart, burn_table, by_urgency, panel
from settlement.queues import Record, drawn_daily, is_open, records, shown_packs
from settlement.recent import recent


@customer_page
@require_GET
def packs(request: HttpRequest, account: Account) -> HttpResponse:
    """Every type held, the soonest empty first: what is left, its burn-down, its queue; then the ended packs."""
    now = timezone.now()
    today = day_of(now)
    lately, state, tariff = recent(account.pk, today), mode_state(account.pk, today), tariff_on(today)
    shown = shown_packs(account.pk, today, now, _page_asked(request))
    drawn = records(
        [pack.pk for queue in shown.types.values() for pack in queue],
        lately.last - timedelta(days=LOOK_BACK),
        [pack.pk for pack in shown.ended],
    )
    panels = [
        panel(queue, mode=state.mode, today=today, now=now, lately=lately, tariff=tariff, records=drawn)
        for queue in shown.types.values()
    ]
    context = {
        "panels": by_urgency(panels),
        "ended": [_ended(pack, drawn.get(pack.pk, []), today) for pack in shown.ended],
        "page": shown.page,
        "state": state,
    }
    return render(request, "settlement/packs.html", context)


def _page_asked(request: HttpRequest) -> int:
    text = request.GET.get("page", "")
    return max(int(text), 1) if text.isascii() and text.isdigit() and len(text) <= 6 else 1


def _ended(pack: Pack, last: list[Record], today: date) -> dict[str, Any]:
    """A pack that is over: how it ended, on which day, by which bill."""
    status = pack.status_on(today, "")
    on = day_of(pack.refunded_at) if pack.refunded_at else last[0].day if last else pack.valid_until
    bill = last[0].bill_id if status == PackStatus.EXHAUSTED and last else None
    return {
        "pack": pack,
        "status": status,
        "on": pack.valid_until if status == PackStatus.EXPIRED else on,
        "bill": bill,
    }


@customer_page
@require_GET
def queue(request: HttpRequest, account: Account, kind: str) -> HttpResponse:
    """All open packs of one type in drawing order, page by page; of a type that was never held there is none."""
    now = timezone.now()
    today = day_of(now)
    pack_type = get_object_or_404(PackType, code=kind)
    rows = Pack.objects.filter(account=account, pack_type=pack_type).order_by("id")
    page = page_of(request, rows.filter(is_open(today)))
    if not page.paginator.count and not rows.exists():
        raise Http404
    state = mode_state(account.pk, today)
    context = {
        "pack_type": pack_type,
        "page": page,
        "rows": [
            {"pack": pack, "place": page.start_index() + place, "refundable_until": pack.refundable_until(now)}
            for place, pack in enumerate(page)
        ],
        "frozen": pack_type.requires_billing_mode not in (None, state.mode),
    }
    return render(request, "settlement/queue.html", context)


@customer_page
@require_GET
def pack(request: HttpRequest, account: Account, pk: int) -> HttpResponse:
    """One pack: what is left and until when, its burn-down, every drawdown, its refund."""
    now = timezone.now()
    today = day_of(now)
    ahead = Pack.objects.filter(is_open(today), account=account, pack_type=OuterRef("pack_type"), pk__lt=OuterRef("pk"))
    before = ahead.order_by().values("pack_type").annotate(units=Sum("remaining")).values("units")
    items = Item.objects.filter(pack_types=OuterRef("pack_type")).values("id")
    rows = Pack.objects.filter(account=account).select_related("pack_type", "sku", "order_line")
    found: Any = get_object_or_404(rows.annotate(ahead=Subquery(before), items=ArraySubquery(items)), pk=pk)
    state, lately = mode_state(account.pk, today), recent(account.pk, today)
    status = found.status_on(today, state.mode)
    daily = drawn_daily(found.pk)
    active = status == PackStatus.ACTIVE
    pace = lately.use_per_day({(item, found.pack_type.region) for item in found.items}) if active else None
    last = lately.last if found.remaining else max((day.day for day in daily), default=lately.last)
    burning = Burning(
        found.total,
        found.remaining + found.refunded_quantity,
        found.effective_day,
        {day.day: day.quantity for day in daily},
        int(found.ahead or 0),
    )
    drawn = burn([burning], pace, last, look_back=None)
    empty = runs_out(burning.ahead + burning.remaining, pace, lately.last)
    table = burn_table(drawn)
    context = {
        "pack": found,
        "status": status,
        "state": state,
        "empty": empty,
        "begins": begins(burning, pace, lately.last) if burning.ahead else None,
        "pace_known": pace is not None,
        "low": empty is not None and empty <= today + timedelta(days=SOON),
        "chart": burn_chart(drawn, found.pack_type.unit, [1], [burning], today, frozen=status == PackStatus.FROZEN),
        "table": table,
        "charted": bool(table),
        "heads": [1],
        "page": page_of(
            request,
            found.drawdowns.select_related("line__bill", "line__item").order_by("-id"),
            count=sum(d.rows for d in daily),
        ),
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
