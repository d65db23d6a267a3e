"""Staff: how usage comes in. Who fell silent, what was refused and why, and what waits for a night."""

from collections import defaultdict
from datetime import date, timedelta
from typing import Any, NamedTuple

from django.contrib import admin
from django.db.models import Count, Exists, Max, OuterRef, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from iss_billing.days import day_of
from iss_billing.desk import context_of, page
from iss_billing.staff import LookOnly
from settlement.models import PendingDay, ReportedDay, SettlementFailure, UsageBatch, UsageRefusal
from settlement.reporting import looked_through, silences

CODES: dict[str, Promise] = {
    "invalid_event": gettext_lazy("not a usage event"),
    "unknown_account": gettext_lazy("unknown account"),
    "unknown_item": gettext_lazy("unknown item"),
    "invalid_quantity": gettext_lazy("bad quantity"),
    "missing_resource": gettext_lazy("no resource named"),
    "in_future": gettext_lazy("from the future"),
    "too_old": gettext_lazy("too old"),
    "before_account": gettext_lazy("before the account was opened"),
    "unknown_region": gettext_lazy("no price in that region"),
}
SPANS = (1, 7, 30)
FIRST_SENDERS = 50
FIRST_SILENCES = 100
SHOWN_DAYS = 14


def code_text(code: str) -> str:
    """A refusal's code in words."""
    return str(CODES.get(code, code))


class Sender(NamedTuple):
    """What was refused of one source for one reason."""

    source: str
    code: str
    words: str
    events: int
    last: date


class WaitingDay(NamedTuple):
    """The account-days of one day that no run has settled; `failed` of them were tried in vain."""

    day: date
    account_days: int
    failed: int
    ended: bool


@page("incoming/", name="incoming", title=gettext_lazy("Usage coming in"), permission="settlement.view_usagerefusal")
def incoming(request: HttpRequest) -> HttpResponse:
    """Silences, refusals, and what waits."""
    now = timezone.now()
    today = day_of(now)
    span = request.GET.get("days", "")
    days = int(span) if span in {str(number) for number in SPANS} else 7
    through = looked_through()
    silent = silences(through, now, FIRST_SILENCES + 1) if through else []
    waiting = _waiting(today)
    context = context_of(request, _("Usage coming in")) | {
        "through": through,
        "silent": [(one, one.silent_days(through)) for one in silent[:FIRST_SILENCES] if through],
        "more_silent": len(silent) > FIRST_SILENCES,
        "reported": ReportedDay.objects.order_by("-day")[:SHOWN_DAYS],
        "days": days,
        "spans": SPANS,
        **_refused(today - timedelta(days=days - 1)),
        "waiting": waiting,
        "waiting_in_all": sum(day.account_days for day in waiting),
        "batches": UsageBatch.objects.count(),
    }
    return render(request, "admin/settlement/incoming.html", context)


def _refused(since: date) -> dict[str, Any]:
    """The refusals since a day of receipt: by day and code, and the senders with the most."""
    rows = UsageRefusal.objects.filter(day__gte=since)
    by_day: dict[date, dict[str, int]] = defaultdict(dict)
    for day, code, events in rows.order_by("-day").values_list("day", "code").annotate(events=Sum("events")):
        by_day[day][code] = events
    known = [*CODES]
    found = {code for counts in by_day.values() for code in counts}
    codes = sorted(found, key=lambda code: (known.index(code) if code in known else len(known), code))
    senders = rows.order_by().values_list("source", "code").annotate(total=Sum("events"), last=Max("day"))
    return {
        "codes": [(code, code_text(code)) for code in codes],
        "refused_days": [
            (day, [(code_text(code), counts.get(code, 0)) for code in codes], sum(counts.values()))
            for day, counts in by_day.items()
        ],
        "senders": [
            Sender(source, code, code_text(code), events, last)
            for source, code, events, last in senders.order_by("-total", "source", "code")[:FIRST_SENDERS]
        ],
        "since": since,
    }


def _waiting(today: date) -> list[WaitingDay]:
    counts = PendingDay.objects.order_by("day").values_list("day").annotate(number=Count("account_id", distinct=True))
    tried = SettlementFailure.objects.filter(account_id=OuterRef("account_id"), day=OuterRef("day"))
    failed = dict(counts.filter(Exists(tried)))
    return [WaitingDay(day, number, failed.get(day, 0), day < today) for day, number in counts]


@admin.register(UsageRefusal)
class UsageRefusalAdmin(LookOnly):
    """Every count that is kept of refused usage."""

    list_display = ("day", "source", "code", "why", "events")
    list_display_links = None
    list_filter = ("code",)
    search_fields = ("source",)
    date_hierarchy = "day"
    ordering = ("-day", "-events")

    @admin.display(description=gettext_lazy("reason"))
    def why(self, refusal: UsageRefusal) -> str:
        """The code in words."""
        return code_text(refusal.code)
