"""The outbox: notices are written in the transaction that causes them and told afterwards, once (rules 6).

Redis only makes it quick: what it loses, the beat task that delivers every minute still finds in the table.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import translation
from django.utils.translation import gettext as _

from accounts import standing
from accounts.account_events import balance_low, standing_changed
from accounts.mailing import mail, send_due
from accounts.models import Account, Notice
from accounts.notice_texts import text_of
from accounts.notice_topics import MONEY
from accounts.waking import wake
from iss_billing.money import format_decimal

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


class LowBalance(NamedTuple):
    """A balance that a posting took below the customer's threshold, in fen; `reference` names the posting's cause."""

    account_id: int
    balance: int
    threshold: int
    reference: str


def announce_low_balances(fallen: Iterable[LowBalance], now: datetime) -> None:
    """Tell of balances that fell below their thresholds, as notices and events, in the caller's transaction."""
    fallen = list(fallen)
    balance_low({one.account_id: one.reference for one in fallen}, now)
    entries: list[Entry] = [
        (
            one.account_id,
            Notice.Type.BALANCE_LOW,
            one.reference,
            {"balance": one.balance, "threshold": one.threshold},
        )
        for one in fallen
    ]
    write(entries, now)


def send_again(pk: int) -> bool:
    """Have a notice mailed once more, in the caller's transaction; False while it waits to be mailed anyway."""
    again = Notice.objects.filter(pk=pk, sent_at__isnull=False)
    if not again.update(sent_at=None, next_attempt_at=None, resent=F("resent") + 1):
        return False
    transaction.on_commit(_wake_worker)
    return True


def deliver(now: datetime, limit: int = 500) -> int:
    """Mail the notices that are due and return how many were told; one that fails is tried again later."""
    return send_due(Notice.objects.select_related("account__user"), _tell, now, limit)


def _tell(notice: Notice) -> list[str]:
    """Mail one notice in its account's language, unless its customer reads that kind in the console only."""
    to, copies = recipients(notice)
    if to:
        with translation.override(notice.account.language):
            subject, body = text_of(notice)
            body = f"{notice.account.name}\n\n{body}\n\n{_footer(notice)}\n"
        # sent again on purpose it is another mail
        number = f"{notice.pk}-{notice.resent}" if notice.resent else f"{notice.pk}"
        mail(f"notice-{number}", subject, body, to, copies)
    notice.mailed_to = ", ".join([*to, *copies])
    return ["mailed_to"]


def recipients(notice: Notice) -> tuple[list[str], list[str]]:
    """To whom a notice is mailed, and who gets a copy; to nobody: it stands in the console only.

    Bills go to the address that is kept for them; news of the balance goes there too. A notice may name its own
    recipients: a login's former address.
    """
    account: Account = notice.account
    if account.user is None or (notice.kind in account.muted and not notice.resent):
        return [], []
    if named := notice.data.get("mail_to"):
        return list(named), []
    contact = account.contact_email
    if not contact or contact == account.user.email or notice.kind not in MONEY:
        return [account.user.email], []
    if notice.kind == Notice.Type.BILL_READY:
        return [contact], []
    return [account.user.email], [contact]


def _footer(notice: Notice) -> str:
    """The console's address; where the kind can be turned off, how."""
    return _("Messages and what is mailed: %(address)s") % {"address": f"{settings.SITE_URL}/inbox/"}
