"""Bills: a month of them as a calendar and a list, and one explained."""

import csv
from datetime import date
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Exists, OuterRef, Prefetch, Subquery
from django.db.models.functions import JSONObject
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.http import require_GET

from accounts.customers import customer_page, page_of
from accounts.models import MODES, Account
from iss_billing import formats
from iss_billing.days import SLOT, day_of, start_of
from packs.models import HOME_REGION, Aggregation
from settlement.bill_curves import bill_curves
from settlement.bill_text import bill_sum, day_facts, explain
from settlement.curve import filled
from settlement.metering import pending_days
from settlement.models import Bill, BillLine, Drawdown, ExpiredDay
from settlement.months import (
    CalendarDay,
    Month,
    billed_days,
    bills_of_month,
    calendar,
    items_of_month,
    month_sum,
    months_between,
)
from settlement.usage import day_curves

LISTED = 62
"""Bills of a page: a month of two a day."""
WEEK = [date(2024, 1, day) for day in range(1, 8)]
"""A Monday and the six days after it, for their names."""
LATE_NAMED = 3
"""Items that a supplementary bill's heading names."""


@customer_page
@require_GET
def bills(request: HttpRequest, account: Account) -> HttpResponse:
    """One month: a calendar with each day's amount, its totals and items, its bills; `?month=2026-11`.

    The month of the latest bill by default. What it asks does not grow with the months before.
    """
    today = day_of(timezone.now())
    reach = billed_days(account.pk)
    waiting = pending_days(account.pk)
    if reach is None:
        earlier = [day for day in waiting if day < today]
        return render(request, "settlement/bills.html", {"month": None, "waiting": earlier})
    first, last = Month.of(reach[0]), max(Month.of(reach[1]), Month.of(today))
    month = _month_asked(request) or Month.of(reach[1])
    rows = bills_of_month(account.pk, month)
    items = items_of_month(account.pk, month)
    weeks = calendar(month, rows, waiting, today)
    days = [day for week in weeks for day in week if day is not None]
    context = {
        "month": month.first,
        "page": page_of(request, rows, LISTED),
        "weeks": weeks,
        "weekdays": [formats.weekday(day) for day in WEEK],
        "highest": max((day.due for day in days), default=0),
        "items": items,
        "regions": any(item.region != HOME_REGION for item in items),
        "totals": month_sum(rows, items),
        "earlier": month.before.first if month.before >= first else None,
        "later": month.after.first if month.after <= last else None,
        "months": months_between(first, last),
    }
    return render(request, "settlement/bills.html", context | _counts(days))


def _counts(days: list[CalendarDay]) -> dict[str, Any]:
    billed = [day for day in days if day.bills]
    due = sum(day.due for day in billed)
    return {
        "billed_days": len(billed),
        "mean": due // len(billed) if billed else 0,
        "supplementary": sum(day.supplementary for day in days),
        "waiting": [day.day for day in days if day.waiting],
    }


def _month_asked(request: HttpRequest) -> Month | None:
    text = request.GET.get("month", "")
    if not text:
        return None
    try:
        return Month.parse(text)
    except ValueError as error:
        raise Http404 from error


@customer_page
@require_GET
def bill(request: HttpRequest, account: Account, pk: int) -> HttpResponse:
    """One bill, explained: each line with its packs and its arithmetic, how it was rounded to the fen, the day's
    curves. `?print=1` is the same for paper: light whatever the theme, every curve drawn at once.
    """
    found = get_object_or_404(_with_neighbours(account), pk=pk)
    lines = _lines(found)
    facts = day_facts(found, lines)
    regions = {line.region for line in lines}
    context: dict[str, Any] = {
        "bill": found,
        "groups": explain(found, lines, day_of(timezone.now()), facts),
        "sum": bill_sum(found, lines),
        "curves": bill_curves(found, lines, facts),
        "before": found.balance_after + found.amount_due,
        "carry_size": abs(found.carry_in),
        "mode_name": dict(MODES)[found.billing_mode],
        "regions": len(regions) > 1,
        "home": regions == {HOME_REGION},
        "late": lines[:LATE_NAMED] if found.sequence > 1 else [],
        "more_late": len(lines) - LATE_NAMED,
    }
    if request.GET.get("print"):
        context |= {"printing": True, "theme": "light"}
    return render(request, "settlement/bill.html", context)


def _with_neighbours(account: Account) -> Any:
    """The account's bills, each with its neighbours, the other bills of its day, and whether that day has expired."""
    mine = Bill.objects.filter(account=account)
    before = mine.filter(day__lt=OuterRef("day")).order_by("-day", "-sequence").values("pk")[:1]
    after = mine.filter(day__gt=OuterRef("day")).order_by("day", "sequence").values("pk")[:1]
    others = mine.filter(day=OuterRef("day")).exclude(pk=OuterRef("pk")).order_by("sequence")
    return mine.annotate(
        previous=Subquery(before),
        next=Subquery(after),
        siblings=ArraySubquery(others.values(found=JSONObject(pk="pk", sequence="sequence"))),
        expired=Exists(ExpiredDay.objects.filter(day=OuterRef("day"))),
    )


def _lines(found: Bill) -> list[BillLine]:
    drawdowns = Prefetch("drawdowns", Drawdown.objects.select_related("pack").order_by("id"))
    rows = BillLine.objects.filter(bill=found).select_related("item").order_by("position")
    return list(rows.prefetch_related(drawdowns))


@customer_page
@require_GET
def slots(request: HttpRequest, account: Account, pk: int, position: int) -> HttpResponse:
    """The 288 slots behind one peak or mean line, as CSV: quantities in base units."""
    lines = BillLine.objects.filter(bill__account=account, bill_id=pk, position=position)
    line = get_object_or_404(
        lines.filter(item__aggregation__in=(Aggregation.PEAK, Aggregation.MEAN)).select_related("bill", "item")
    )
    day = line.bill.day
    curve = day_curves(account.pk, [line.item_id], day).get((line.item_id, line.region), {})
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{day}-{line.item.code}.csv"'
    writer = csv.writer(response)
    writer.writerow(["item", "region", "begin", "end", "quantity", "unit"])
    for slot, quantity in enumerate(filled(curve)):
        begin = start_of(day) + slot * SLOT
        writer.writerow(
            [line.item.code, line.region, begin.isoformat(), (begin + SLOT).isoformat(), quantity, line.item.unit]
        )
    return response
