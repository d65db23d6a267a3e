"""The overview: balance and standing, what is held, today's estimate, the latest bills."""

from datetime import date, datetime, timedelta
from typing import Any

from django.db.models import Count, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from accounts import standing
from accounts.customers import customer_page
from accounts.models import MODES, Account
from accounts.modes import mode_on, pending_mode
from accounts.views import balance_transfers
from iss_billing.days import day_of
from packs.holdings import holdings
from packs.models import Item
from settlement.estimate import Estimate, estimate
from settlement.models import Bill

RECENT = 5


@customer_page
@require_GET
def overview(request: HttpRequest, account: Account) -> HttpResponse:
    """Balance, standing, billing mode, what is held, today's estimate, the latest bills and transfers."""
    now = timezone.now()
    today = day_of(now)
    mode = mode_on(account.pk, today)
    expected = estimate(account.pk, now)
    lines = _lines(expected)
    context = {
        "mode": mode,
        "mode_name": dict(MODES)[mode],
        "pending": pending_mode(account.pk, today),
        "holdings": holdings(account.pk, today, mode),
        "estimate": expected,
        "charged_today": [row for row in lines if row["charged"]],
        "drawn_today": [row for row in lines if not row["charged"]],
        "pending_due": sum(bill.statement.amount_due for bill in expected.pending),
        "tonight": account.balance - expected.balance_after,
        "month": _month_so_far(account, today),
        "bills": Bill.objects.filter(account=account).order_by("-day", "-sequence")[:RECENT],
        "transfers": balance_transfers(account)[:RECENT],
    }
    return render(request, "settlement/overview.html", context | _standing(account, now))


def _standing(account: Account, now: datetime) -> dict[str, Any]:
    """The standing with its clock: from when to when, how much of it is gone (rules 6)."""
    state = account.standing_at(now)
    since = account.arrears_since
    found: dict[str, Any] = {"standing": state, "to_clear": -account.balance}
    if since is None:
        return found
    suspends, reclaims = since + standing.GRACE, since + standing.RECLAIM_AFTER
    begin, end = (since, suspends) if state == standing.Standing.ARREARS else (suspends, reclaims)
    gone = (now - begin) // timedelta(seconds=1), (end - begin) // timedelta(seconds=1)
    return found | {"suspends": suspends, "reclaims": reclaims, "begin": begin, "end": end, "gone": gone}


def _month_so_far(account: Account, today: date) -> dict[str, Any]:
    """What this month's days have cost, as far as they are settled."""
    rows = Bill.objects.filter(account=account, day__gte=today.replace(day=1), day__lte=today)
    sums = rows.aggregate(due=Sum("amount_due"), days=Count("day", distinct=True))
    due, days = int(sums["due"] or 0), sums["days"]
    return {"due": due, "days": days, "mean": due // days if days else 0, "first": today.replace(day=1)}


def _lines(expected: Estimate) -> list[dict[str, Any]]:
    """Today's estimated lines by item, regions added up."""
    if expected.today is None:
        return []
    items = Item.objects.in_bulk({line.item_id for line in expected.today.statement.lines})
    found: dict[int, dict[str, Any]] = {}
    for line in expected.today.statement.lines:
        row = found.setdefault(line.item_id, {"item": items[line.item_id], "amount": 0, "charged": 0})
        row["amount"] += line.amount
        row["charged"] += line.charged
    return list(found.values())
