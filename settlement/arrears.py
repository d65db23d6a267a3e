"""The sweep: announces what time alone has changed of an account's standing (rules 6.2, 6.4)."""

from datetime import datetime

from django.db import transaction

from accounts import notices
from accounts.ledger import lock_account
from accounts.models import Account
from accounts.standing import GRACE, STOPPED, Standing


def sweep(now: datetime) -> list[tuple[int, Standing]]:
    """Tell each account that has become suspended or reclaimed, once; (account id, standing) of those told."""
    due = Account.objects.filter(arrears_since__lte=now - GRACE).exclude(announced=Standing.RECLAIMED).order_by("pk")
    changed = ((account_id, _announce(account_id, now)) for account_id in due.values_list("pk", flat=True))
    return [(account_id, standing) for account_id, standing in changed if standing]


def _announce(account_id: int, now: datetime) -> Standing | None:
    with transaction.atomic():
        account = lock_account(account_id)
        standing = account.standing_at(now)
        if standing not in STOPPED or standing == account.announced or account.arrears_since is None:
            return None
        account.announced = standing
        account.save(update_fields=["announced"])
        news = {account.pk: [(str(standing), account.arrears_since)]}
        notices.announce_standing(news, {account.pk: account.balance}, now)
        return standing
