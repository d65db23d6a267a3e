"""Bills: a month of them, and one explained."""

from datetime import date, timedelta

from django.db.models import Max, Min, Prefetch, Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.http import require_GET

from accounts.customers import customer_page
from accounts.models import MODES, Account
from iss_billing.days import day_of
from settlement.bill_text import bill_sum, explain
from settlement.models import Bill, BillLine, Drawdown, ExpiredDay


@customer_page
@require_GET
def bills(request: HttpRequest, account: Account) -> HttpResponse:
    """The bills of one month with their total; `?month=2026-11`, the latest with a bill by default."""
    rows = Bill.objects.filter(account=account)
    reach = rows.aggregate(first=Min("day"), last=Max("day"))
    if reach["last"] is None:
        return render(request, "settlement/bills.html", {"month": None})
    month = _month_asked(request) or reach["last"].replace(day=1)
    following = (month + timedelta(days=32)).replace(day=1)
    before = (month - timedelta(days=1)).replace(day=1)
    listed = rows.filter(day__gte=month, day__lt=following).order_by("-day", "-sequence")
    totals = listed.order_by().aggregate(rated=Sum("rated_total"), due=Sum("amount_due"))
    context = {
        "month": month,
        "bills": listed,
        "rated": int(totals["rated"] or 0),
        "due": int(totals["due"] or 0),
        "earlier": before if before >= reach["first"].replace(day=1) else None,
        "later": following if following <= reach["last"] else None,
    }
    return render(request, "settlement/bills.html", context)


def _month_asked(request: HttpRequest) -> date | None:
    text = request.GET.get("month", "")
    if not text:
        return None
    try:
        return date.fromisoformat(f"{text}-01")
    except ValueError as error:
        raise Http404 from error


@customer_page
@require_GET
def bill(request: HttpRequest, account: Account, pk: int) -> HttpResponse:
    """One bill, explained: each line with its packs and its arithmetic, and how it was rounded to the fen."""
    mine = Bill.objects.filter(account=account)
    found = get_object_or_404(mine, pk=pk)
    drawdowns = Prefetch("drawdowns", Drawdown.objects.select_related("pack").order_by("id"))
    lines = list(BillLine.objects.filter(bill=found).select_related("item").prefetch_related(drawdowns))
    today = day_of(timezone.now())
    context = {
        "bill": found,
        "groups": explain(found, lines, today),
        "sum": bill_sum(found, lines),
        "before": found.balance_after + found.amount_due,
        "carry_size": abs(found.carry_in),
        "mode_name": dict(MODES)[found.billing_mode],
        "siblings": mine.filter(day=found.day).exclude(pk=found.pk).order_by("sequence"),
        "previous": mine.filter(day__lt=found.day).order_by("-day", "-sequence").first(),
        "next": mine.filter(day__gt=found.day).order_by("day", "sequence").first(),
        "regions": len({line.region for line in lines}) > 1,
        "expired": ExpiredDay.objects.filter(day=found.day).exists(),
    }
    return render(request, "settlement/bill.html", context)
