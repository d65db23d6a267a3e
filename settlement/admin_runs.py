"""Staff: what the night did. Runs with their progress, day by day; what failed; and the certificate."""

from datetime import datetime
from itertools import groupby
from typing import Any, NamedTuple

from django.contrib import admin
from django.db.models import Count, QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from iss_billing import formats
from iss_billing.staff import LookOnly, live
from packs.models import Item
from settlement.metering import pending_days_of
from settlement.models import Alarm, CertificateLine, SettlementFailure, SettlementRun
from settlement.progress import DayProgress, State, days_left, days_of, pending_through, state_of
from settlement.runs import PATIENCE

REFRESH = 5
"""Seconds after which a page of a running run loads itself again."""
FIRST_FAILURES = 50
OPEN_DAYS = 3

STATES: dict[State, Promise] = {
    State.RUNNING: gettext_lazy("running"),
    State.FINISHED: gettext_lazy("finished"),
    State.FAILED: gettext_lazy("failed"),
    State.STALLED: gettext_lazy("stalled"),
}


def badge(state: str, text: str) -> SafeString:
    """A word with the colour of a state."""
    return format_html('<span class="run-state {}">{}</span>', state, text)


def progress_bar(done: int, total: int) -> SafeString:
    """A bar and its percentage."""
    return format_html(
        '<progress class="run-progress" value="{}" max="{}"></progress> {}%',
        done,
        max(total, 1),
        done * 100 // (total or 1),
    )


def certificate_badge(run: SettlementRun) -> SafeString:
    """What the certificate says; a dash before it is written."""
    if run.balances is None:
        return badge("none", "–")
    return badge("finished", _("balances")) if run.balances else badge("failed", _("does not balance"))


def is_moving(run: SettlementRun, now: datetime) -> bool:
    """Whether a page about the run has something new to show soon: it runs, or its certificate is being written."""
    if run.finished_at:
        return run.certified_at is None and run.finished_at > now - PATIENCE
    return state_of(run, now, PATIENCE) is State.RUNNING


class SoFar(NamedTuple):
    """What a run has done; `due` in fen."""

    account_days: int
    bills: int
    due: int


def so_far(run: SettlementRun) -> SoFar:
    """What a run has done, from its shards until it has finished."""
    if run.finished_at:
        return SoFar(run.accounts, run.bills, run.due)
    return SoFar(*(int(total or 0) for total in run.shards.aggregate(*map(Sum, SoFar._fields)).values()))


class CertifiedDay(NamedTuple):
    """A day of a certificate, for the page."""

    day: Any
    lines: list[CertificateLine]
    breaks: int
    waiting: int
    open: bool


@admin.register(SettlementRun)
class SettlementRunAdmin(LookOnly):
    """Settlement runs."""

    list_display = (
        "__str__",
        "state",
        "progress",
        "began",
        "through_day",
        "account_days",
        "bill_count",
        "due_money",
        "failed",
        "certificate",
        "seconds",
        "per_second",
    )
    list_display_links = ("__str__", "began")
    ordering = ("-id",)
    list_per_page = 50

    def get_queryset(self, request: HttpRequest) -> QuerySet[SettlementRun]:
        """With the number of failures."""
        runs: QuerySet[SettlementRun] = super().get_queryset(request)
        return runs.annotate(failed=Count("failures"))

    @admin.display(description=gettext_lazy("started"), ordering="started_at")
    def began(self, run: SettlementRun) -> str:
        """When."""
        return formats.moment(run.started_at, timezone.now())

    @admin.display(description=gettext_lazy("state"))
    def state(self, run: SettlementRun) -> SafeString:
        """What has become of it."""
        state = state_of(run, timezone.now(), PATIENCE)
        return badge(state, str(STATES[state]))

    @admin.display(description=gettext_lazy("progress"))
    def progress(self, run: SettlementRun) -> SafeString | str:
        """How much of what it found is settled."""
        if run.finished_at:
            return "100%"
        if state_of(run, timezone.now(), PATIENCE) is State.STALLED:
            return "–"
        done = so_far(run).account_days
        return progress_bar(done, done + pending_through(run.through_day, run.account_id))

    @admin.display(description=gettext_lazy("account-days"), ordering="accounts")
    def account_days(self, run: SettlementRun) -> str:
        """Settled so far."""
        return f"{so_far(run).account_days:,}"

    @admin.display(description=gettext_lazy("bills"), ordering="bills")
    def bill_count(self, run: SettlementRun) -> str:
        """Written so far."""
        return f"{so_far(run).bills:,}"

    @admin.display(description=gettext_lazy("due"), ordering="due")
    def due_money(self, run: SettlementRun) -> str:
        """The sum of its bills."""
        return str(formats.money(so_far(run).due))

    @admin.display(description=gettext_lazy("failures"))
    def failed(self, run: SettlementRun) -> int | str:
        """Account-days that failed."""
        return run.failed or "–"  # type: ignore[attr-defined]  # annotated

    @admin.display(description=gettext_lazy("certificate"))
    def certificate(self, run: SettlementRun) -> SafeString:
        """Whether it balances."""
        return certificate_badge(run)

    @admin.display(description=gettext_lazy("account-days/s"))
    def per_second(self, run: SettlementRun) -> str:
        """How fast it was."""
        return f"{round(run.accounts / run.seconds):,}" if run.seconds else "–"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Refreshed while a run is at work."""
        now = timezone.now()
        unfinished = SettlementRun.objects.filter(certified_at=None).order_by("-pk")[:10]
        refresh = REFRESH if any(is_moving(run, now) for run in unfinished) else None
        response = super().changelist_view(request, {"refresh": refresh, **(extra_context or {})})
        return live(request, response, bool(refresh))

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: SettlementRun | None = None,
    ) -> HttpResponse:
        """The page of a run."""
        if obj is not None:  # nobody may add one
            context |= page_of(obj, timezone.now())
        response = super().render_change_form(request, context, add, change, form_url, obj)
        return live(request, response, bool(context.get("refresh")))


def page_of(run: SettlementRun, now: datetime) -> dict[str, Any]:
    """What the page of a run shows."""
    state, days = state_of(run, now, PATIENCE), days_of(run)
    items = {item.pk: item for item in Item.objects.all()}
    later = (
        SettlementRun.objects.filter(pk__gt=run.pk, through_day__gte=run.through_day, account=None)
        .order_by("pk")
        .first()
    )
    done = sum(day.account_days for day in days)
    return {
        "title": _("Settlement run %(run)s") % {"run": run.pk},
        "subtitle": None,
        "run": run,
        "now": now,
        "state": badge(state, str(STATES[state])),
        "stalled": state is State.STALLED,
        "taken_up_by": later if state is State.STALLED else None,
        "refresh": REFRESH if is_moving(run, now) else None,
        "bar": progress_bar(done, done + pending_through(run.through_day, run.account_id))
        if state is State.RUNNING
        else None,
        "in_hand": sum(day.in_hand for day in days),
        "facts": _facts(run, days, now),
        "days": [(day, progress_bar(day.done, day.shards), _drawn(day, items)) for day in days],
        "days_left": days_left(run, days) if state is State.RUNNING else [],
        "failures": _failures(run),
        "more_failures": max(0, run.failures.count() - FIRST_FAILURES),
        "all_failures": f"{reverse('admin:settlement_settlementfailure_changelist')}?run__id__exact={run.pk}",
        "certificate": _certificate(run),
    }


def _facts(run: SettlementRun, days: list[DayProgress], now: datetime) -> list[tuple[str, Any]]:
    account_days = sum(day.account_days for day in days)
    seconds = run.seconds if run.finished_at else None
    return [
        (_("clock"), formats.moment(run.now, now)),
        (_("through day"), formats.day(run.through_day)),
        (_("started"), f"{timezone.localtime(run.started_at):%Y-%m-%d %H:%M:%S}"),
        (_("finished"), f"{timezone.localtime(run.finished_at):%Y-%m-%d %H:%M:%S}" if run.finished_at else "–"),
        (_("seconds"), f"{seconds:,}" if seconds is not None else "–"),
        (_("account-days"), f"{account_days:,}"),
        (_("account-days/s"), f"{round(account_days / seconds):,}" if seconds else "–"),
        (_("bills"), f"{sum(day.bills for day in days):,}"),
        (_("due"), formats.money(sum(day.due for day in days))),
        (_("failures"), f"{sum(day.failures for day in days):,}"),
        (_("certificate"), certificate_badge(run)),
    ]


def _drawn(day: DayProgress, items: dict[int, Item]) -> list[tuple[Item, str]]:
    """What the day drew from packs, in the catalogue's order."""
    drawn = [(items[item], quantity) for item, quantity in day.drawn.items()]
    drawn.sort(key=lambda pair: pair[0].position)
    return [(item, str(formats.quantity(quantity, item.unit))) for item, quantity in drawn]


class ShownFailure(NamedTuple):
    """A failure with what has become of it: whether it still waits, and the account's later days that wait for it."""

    failure: SettlementFailure
    waits: bool
    later_days: int


def _failures(run: SettlementRun) -> list[ShownFailure]:
    shown = []
    failures = list(run.failures.named().order_by("day", "pk")[:FIRST_FAILURES])
    pending = pending_days_of([failure.account_id for failure in failures])
    for failure in failures:
        days = pending.get(failure.account_id, [])
        later = sum(failure.day < day <= run.through_day for day in days)
        shown.append(ShownFailure(failure, failure.day in days, later))
    return shown


def _certificate(run: SettlementRun) -> list[CertifiedDay]:
    rows = run.certificate.select_related("item").order_by("day", "item__position", "billing_mode")
    days = [(day, list(lines)) for day, lines in groupby(rows, key=lambda line: line.day)]
    return [
        CertifiedDay(
            day,
            lines,
            sum(line.breaks for line in lines),
            sum(line.waiting > 0 for line in lines),
            len(days) <= OPEN_DAYS or any(line.breaks for line in lines),
        )
        for day, lines in days
    ]


@admin.register(Alarm)
class AlarmAdmin(LookOnly):
    """What the operators were told, or could not be."""

    list_display = ("created_at", "subject", "sent_at", "attempts", "last_error")
    list_display_links = ("created_at", "subject")
    list_filter = ("kind",)
    ordering = ("-id",)
    fields = readonly_fields = ("kind", "created_at", "subject", "body", "sent_at", "attempts", "last_error")
