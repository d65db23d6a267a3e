"""The audit log of staff: `record` is called in the transaction of the act, so that neither is without the other."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import Model
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from accounts.audit_models import AuditEntry
from accounts.models import Account, User

WORDS: dict[str, Promise] = {
    "account.top_up": _("recorded a top-up"),
    "account.adjust": _("adjusted the balance"),
    "pack.refund": _("refunded a pack"),
    "key.make": _("made a key"),
    "key.revoke": _("revoked a key"),
}
"""What an action is called on pages; a room above adds its own with `WORDS.update` beside what it does."""


def record(
    action: str,
    *,
    by: User | None,
    now: datetime,
    subject: Model | None = None,
    account: Account | int | None = None,
    reason: str = "",
    data: Mapping[str, Any] | None = None,
    once: bool = False,
) -> AuditEntry:
    """Keep that `by` did `action` (a word of `WORDS`) to `subject` at `now`, and why; `data` is what JSON can hold.

    `account` is the customer concerned, a row or an id; an Account as `subject`, or a subject with an account, need
    not say it. None as `by` is the program. With `once` the same act on the same subject is kept once: a form sent
    twice. Raises RuntimeError outside a transaction: the act and its entry commit together.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("the audit log is written in the transaction of the act")
    if account is None:
        account = subject if isinstance(subject, Account) else getattr(subject, "account_id", None)
    kind, number = (subject._meta.label_lower, str(subject.pk)) if subject else ("", "")
    if once:
        known = AuditEntry.objects.filter(action=action, subject=kind, subject_id=number).first()
        if known is not None:
            return known
    return AuditEntry.objects.create(
        time=now,
        user=by,
        who=by.email if by else "",
        action=action,
        account_id=account.pk if isinstance(account, Account) else account,
        subject=kind,
        subject_id=number,
        label=str(subject)[:200] if subject else "",
        reason=reason.strip()[:500],
        data=dict(data or {}),
    )


def word(action: str) -> str:
    """What an action is called, in the reader's language."""
    return str(WORDS.get(action, action))
