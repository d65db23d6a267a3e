"""The outbox: notices are written in the transaction that causes them and told afterwards, once (rules 6).

Redis only makes it quick: what it loses, the beat task that delivers every minute still finds in the table.
"""

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from smtplib import SMTPException
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import F, Q
from django.utils import translation

from accounts import standing
from accounts.account_events import standing_changed
from accounts.models import Notice
from accounts.notice_texts import text_of
from accounts.waking import wake
from iss_billing.money import format_decimal

log = logging.getLogger(__name__)

FIRST_RETRY = timedelta(minutes=1)
LAST_RETRY = timedelta(hours=6)

Entry = tuple[int, str, str, dict[str, Any]]
"""Account id, kind, reference (with the kind unique in the account), data of the text."""


def write(entries: Iterable[Entry], now: datetime) -> None:
    """Write notices in the caller's transaction; one that exists already is left as it is."""
    rows = [
        Notice(account_id=account_id, kind=kind, reference=reference, data=data, created_at=now)
        for account_id, kind, reference, data in entries
    ]
    if rows:
        Notice.objects.bulk_create(rows, ignore_conflicts=True)
        transaction.on_commit(_wake_worker)


def _wake_worker() -> None:
    from accounts.tasks import deliver_notices  # tasks import this module

    wake(deliver_notices)


def announce_standing(
    news: Mapping[int, Iterable[tuple[str, datetime]]], balances: Mapping[int, int], now: datetime
) -> None:
    """Write what `standing.after_posting` found to tell, per account, as notices and events; each once an arrears."""
    standing_changed(news, now)
    write(
        [
            (
                account_id,
                kind,
                since.isoformat(),
                {
                    "balance": format_decimal(balances[account_id], 2),
                    "arrears_since": since.isoformat(),
                    "suspends_at": (since + standing.GRACE).isoformat(),
                    "reclaims_at": (since + standing.RECLAIM_AFTER).isoformat(),
                },
            )
            for account_id, told in news.items()
            for kind, since in told
        ],
        now,
    )


def deliver(now: datetime, limit: int = 500) -> int:
    """Mail the notices that are due and return how many were told; one that fails is tried again later.

    Each is its own transaction that holds the row, so that two workers never tell the same one.
    """
    due = Notice.objects.filter(Q(next_attempt_at=None) | Q(next_attempt_at__lte=now), sent_at=None).order_by("id")
    return sum(_deliver_one(pk, now) for pk in list(due.values_list("pk", flat=True)[:limit]))


def send_again(pk: int) -> bool:
    """Have a notice mailed once more, in the caller's transaction; False while it waits to be mailed anyway."""
    again = Notice.objects.filter(pk=pk, sent_at__isnull=False)
    if not again.update(sent_at=None, next_attempt_at=None, resent=F("resent") + 1):
        return False
    transaction.on_commit(_wake_worker)
    return True


def _deliver_one(pk: int, now: datetime) -> bool:
    with transaction.atomic():
        notice = (
            Notice.objects.select_for_update(skip_locked=True, of=("self",))
            .select_related("account__user")
            .filter(pk=pk, sent_at=None)
            .first()
        )
        if notice is None:
            return False
        try:
            _mail(notice)
        except (OSError, SMTPException) as error:
            wait = min(LAST_RETRY, FIRST_RETRY * 2 ** min(notice.attempts, 12))
            notice.next_attempt_at, notice.last_error = now + wait, str(error)[:500]
            log.warning("notice %s was not mailed, next attempt at %s: %s", pk, notice.next_attempt_at, error)
        else:
            notice.sent_at = now
        notice.attempts = min(notice.attempts + 1, 32000)
        notice.save(update_fields=["sent_at", "attempts", "next_attempt_at", "last_error"])
        return notice.sent_at is not None


def _mail(notice: Notice) -> None:
    """Send one notice in its account's language; an account without a login is told in the console only."""
    user = notice.account.user
    if user is None:
        return
    with translation.override(notice.account.language):
        subject, body = text_of(notice)
        body = f"{notice.account.name}\n\n{body}\n\n{settings.SITE_URL}/\n"
    host = settings.DEFAULT_FROM_EMAIL.rpartition("@")[2].rstrip(">")
    # the same id at every attempt: a mail server may drop what it has seen; sent again on purpose it is another
    number = f"{notice.pk}-{notice.resent}" if notice.resent else f"{notice.pk}"
    EmailMessage(subject, body, to=[user.email], headers={"Message-ID": f"<notice-{number}@{host}>"}).send()
