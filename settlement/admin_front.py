"""Staff: what stands, on the admin's first page. The night, what waits for somebody, who fell silent, what is owed."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db.models import Count, Exists, OuterRef, QuerySet, Sum
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.models import Account, Payment
from iss_billing import formats
from iss_billing.days import day_of, start_of
from iss_billing.desk import Note, notes
from packs.price_history import coming_changes
from packs.price_pages import PUBLISH
from packs.proposal_models import PriceProposal
from settlement.admin_reports import READ
from settlement.models import PendingDay, SettlementFailure, SettlementRun, UsageRefusal
from settlement.progress import State, state_of
from settlement.reporting import looked_through, silences
from settlement.runs import PATIENCE
from settlement.tasks import NIGHT_HOUR

MOST = 1_000
"""Silences that are counted."""


@notes("settlement.view_settlementrun")
def the_night(now: datetime) -> Iterator[Note]:
    """How yesterday was settled, or why it is not."""
    yesterday = day_of(now) - timedelta(days=1)
    words = {"day": formats.day(yesterday, day_of(now))}
    run = SettlementRun.objects.filter(through_day__gte=yesterday, account=None).order_by("-pk").first()
    if run is None:
        url = reverse("admin:settlement_settlementrun_changelist")
        if SettlementRun.objects.exists() and now >= start_of(day_of(now)) + timedelta(hours=NIGHT_HOUR, minutes=15):
            yield Note(_("%(day)s is not settled: no run has begun.") % words, url, "failed")
        return
    words |= {"run": str(run.pk), "bills": f"{run.bills:,}", "due": str(formats.money(run.due))}
    said = {
        State.RUNNING: _("%(day)s is being settled."),
        State.FINISHED: _("%(day)s is settled: %(bills)s bills over %(due)s.")
        if run.balances
        else _("%(day)s is settled; its certificate is not written yet."),
        State.FAILED: _("%(day)s did not go well: see run %(run)s."),
        State.STALLED: _("%(day)s is not settled: run %(run)s stands still."),
    }
    state = state_of(run, now, PATIENCE)
    if state is State.FAILED and run.balances is not False and not _waits().filter(run=run).exists():
        state = State.FINISHED  # what failed is settled since
    yield Note(said[state] % words, reverse("admin:settlement_settlementrun_change", args=[run.pk]), state.value)


def _waits() -> QuerySet[SettlementFailure]:
    """What failed and is not settled since."""
    pending = PendingDay.objects.filter(account_id=OuterRef("account_id"), day=OuterRef("day"))
    return SettlementFailure.objects.filter(Exists(pending)).order_by()


@notes("settlement.view_settlementfailure")
def failed_days(now: datetime) -> Iterator[Note]:
    """Account-days that were tried in vain and wait."""
    if number := _waits().values("account_id", "day").distinct().count():
        words = ngettext(
            "%(number)s account-day failed and waits.", "%(number)s account-days failed and wait.", number
        ) % {"number": f"{number:,}"}
        yield Note(words, reverse("admin:settlement_settlementfailure_changelist"), "failed")


@notes("settlement.view_usagerefusal")
def usage(now: datetime) -> Iterator[Note]:
    """Who fell silent, and what was refused since yesterday."""
    url, through = reverse("admin:incoming"), looked_through()
    silent = [one for one in silences(through, now, MOST) if one.serves] if through else []
    if silent:
        words = ngettext(
            "%(number)s account or source that reported daily has fallen silent.",
            "%(number)s accounts and sources that reported daily have fallen silent.",
            len(silent),
        ) % {"number": f"{len(silent):,}{'+' if len(silent) == MOST else ''}"}
        yield Note(words, f"{url}#silent", "stalled")
    since = day_of(now) - timedelta(days=1)
    refused = UsageRefusal.objects.filter(day__gte=since).aggregate(events=Sum("events"))["events"]
    if refused:
        words = ngettext(
            "%(number)s usage event was refused since yesterday.",
            "%(number)s usage events were refused since yesterday.",
            refused,
        ) % {"number": f"{refused:,}"}
        yield Note(words, f"{url}#refused", "stalled")


@notes(PUBLISH)
def prices(now: datetime) -> Iterator[Note]:
    """Changes that wait for somebody, and the next that is scheduled."""
    if number := PriceProposal.objects.filter(state__in=PriceProposal.OPEN).count():
        words = ngettext(
            "%(number)s price change waits to be published.", "%(number)s price changes wait to be published.", number
        ) % {"number": f"{number:,}"}
        yield Note(words, f"{reverse('admin:packs_priceproposal_changelist')}?state__in=proposed,rehearsed", "stalled")
    if coming := coming_changes(now):
        words = ngettext(
            "%(number)s price is to change, the first on %(day)s.",
            "%(number)s prices are to change, the first on %(day)s.",
            len(coming),
        ) % {"number": f"{len(coming):,}", "day": formats.day(coming[0].day, day_of(now))}
        yield Note(words, reverse("admin:packs_pricelist_scheduled"))


@notes(READ)
def money(now: datetime) -> Iterator[Note]:
    """What is owed."""
    found = Account.objects.filter(arrears_since__isnull=False).aggregate(n=Count("pk"), owed=Sum("balance"))
    if found["n"]:
        words = ngettext("%(number)s account owes %(owed)s.", "%(number)s accounts owe %(owed)s.", found["n"]) % {
            "number": f"{found['n']:,}",
            "owed": formats.money(-int(found["owed"])),
        }
        yield Note(words, reverse("admin:report-receivables"))


@notes("accounts.view_payment")
def payments(now: datetime) -> Iterator[Note]:
    """Payments that wait and had trouble."""
    if number := Payment.objects.filter(state=Payment.State.WAITING).exclude(trouble="").count():
        words = ngettext(
            "%(number)s payment waits and had trouble.", "%(number)s payments wait and had trouble.", number
        ) % {"number": f"{number:,}"}
        url = reverse("admin:accounts_payment_changelist", query={"state__exact": "waiting", "trouble__isempty": "0"})
        yield Note(words, url, "stalled")
