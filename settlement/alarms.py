"""What the operators hear of a failed night: an outbox, written in the transaction that causes it, mailed once."""

import logging
from datetime import date, datetime, timedelta
from smtplib import SMTPException
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import Q
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext as _

from iss_billing import formats
from settlement.models import Alarm, CertificateLine, SettlementRun

if TYPE_CHECKING:
    from settlement.reporting import Silence

log = logging.getLogger(__name__)

FIRST_RETRY = timedelta(minutes=1)
LAST_RETRY = timedelta(hours=6)
FIRST_LINES = 20


def failures(run: SettlementRun, now: datetime) -> None:
    """Account-days that a run could not settle."""
    failed = list(run.failures.named().order_by("pk")[:FIRST_LINES])
    with translation.override(settings.LANGUAGE_CODE):
        number = run.failures.count()
        subject = _("Settlement run %(run)s: account-days not settled: %(number)s") % {"run": run.pk, "number": number}
        lines = [
            _("The others are settled; the next run tries these again. An account's later days wait for it."),
            "",
            *(f"{one.day} · {one.account_id} {one.account.name}: {one.error.splitlines()[0]}" for one in failed),
            *(["…"] if number > FIRST_LINES else []),
        ]
        _write(Alarm.Kind.FAILURES, str(run.pk), subject, lines, _page(run), now)


def unbalanced(run: SettlementRun, broken: list[CertificateLine], now: datetime) -> None:
    """A run whose certificate has lines that do not balance."""
    with translation.override(settings.LANGUAGE_CODE):
        subject = _("Settlement run %(run)s does not balance") % {"run": run.pk}
        lines = [_("accepted = drawn + charged + not billable + waiting does not hold, or bill lines are unsound:"), ""]
        for line in broken[:FIRST_LINES]:
            accounts = ", ".join(str(row["account"]) for row in line.broken)
            lines.append(
                _("%(day)s · %(item)s: difference %(difference)s; accounts concerned: %(number)s (%(accounts)s)")
                % {
                    "day": line.day,
                    "item": line.item,
                    "difference": formats.quantity(line.difference, line.item.unit),
                    "number": line.breaks,
                    "accounts": accounts,
                }
            )
        _write(Alarm.Kind.UNBALANCED, str(run.pk), subject, lines, _page(run), now)


def standstill(day: date, now: datetime) -> None:
    """A night that has begun and moves no more."""
    with translation.override(settings.LANGUAGE_CODE):
        subject = _("The settlement of %(day)s stands still") % {"day": formats.day(day)}
        lines = [_("It began over an hour ago and has settled nothing since. Is a worker running? What does it log?")]
        _write(Alarm.Kind.STANDSTILL, day.isoformat(), subject, lines, _list(), now)


def silent(who: "list[Silence]", through: date, now: datetime) -> None:
    """Accounts and sources that reported every day, and not on `through`."""
    if not who:
        return
    with translation.override(settings.LANGUAGE_CODE):
        subject = _("Usage stopped coming: %(number)s") % {"number": len(who)}
        lines = [_("They reported every day for a week or more, and nothing for %(day)s:") % {"day": through}, ""]
        for one in who[:FIRST_LINES]:
            name = one.source if one.account_id is None else f"{one.account_id} {one.name}"
            words = {"name": name, "day": one.last_day, "number": one.days_before}
            lines.append(_("%(name)s: last on %(day)s, after %(number)s days in a row") % words)
        if len(who) > FIRST_LINES:
            lines.append("…")
        _write(Alarm.Kind.SILENT, through.isoformat(), subject, lines, reverse("admin:incoming"), now)


def _page(run: SettlementRun) -> str:
    return reverse("admin:settlement_settlementrun_change", args=[run.pk])


def _list() -> str:
    return reverse("admin:settlement_settlementrun_changelist")


def _write(kind: str, reference: str, subject: str, lines: list[str], path: str, now: datetime) -> None:
    body = "\n".join([*lines, "", f"{settings.SITE_URL}{path}", ""])
    Alarm.objects.bulk_create(
        [Alarm(kind=kind, reference=reference, subject=subject[:200], body=body, created_at=now)],
        ignore_conflicts=True,
    )


def deliver(now: datetime) -> int:
    """Mail the alarms that are due and return how many went out; one that fails is tried again later.

    Each is its own transaction that holds the row, so that two workers never send the same one.
    """
    due = Alarm.objects.filter(Q(next_attempt_at=None) | Q(next_attempt_at__lte=now), sent_at=None).order_by("pk")
    return sum(_deliver_one(pk, now) for pk in list(due.values_list("pk", flat=True)))


def _deliver_one(pk: int, now: datetime) -> bool:
    with transaction.atomic():
        alarm = Alarm.objects.select_for_update(skip_locked=True).filter(pk=pk, sent_at=None).first()
        if alarm is None:
            return False
        try:
            _mail(alarm)
        except (OSError, SMTPException) as error:
            wait = min(LAST_RETRY, FIRST_RETRY * 2 ** min(alarm.attempts, 12))
            alarm.next_attempt_at, alarm.last_error = now + wait, str(error)[:500]
            log.warning("alarm %s was not mailed, next attempt at %s: %s", pk, alarm.next_attempt_at, error)
        else:
            alarm.sent_at = now
        alarm.attempts = min(alarm.attempts + 1, 32000)
        alarm.save(update_fields=["sent_at", "attempts", "next_attempt_at", "last_error"])
        return alarm.sent_at is not None


def _mail(alarm: Alarm) -> None:
    """Send it to everybody in OPERATORS; without any, the admin and the log have said it."""
    if not settings.OPERATORS:
        return
    host = settings.DEFAULT_FROM_EMAIL.rpartition("@")[2].rstrip(">")
    # the same id at every attempt: a mail server may drop what it has seen
    EmailMessage(
        f"[ISS Billing] {alarm.subject}",
        alarm.body,
        to=settings.OPERATORS,
        headers={"Message-ID": f"<alarm-{alarm.pk}@{host}>"},
    ).send()
