"""What an account is called, and what its customer is told: thresholds, mails and their language."""

from collections.abc import Iterable
from typing import NamedTuple

from django.db import transaction

from accounts.ledger import lock_account
from accounts.models import Account
from accounts.notice_topics import muted_by
from accounts.opening import one_line


class Wishes(NamedTuple):
    """What a customer wants to be told."""

    low_percent: int
    """A pack with so much left or less is low; 0: never."""
    low_balance: int | None
    """Fen; None: never."""
    mailed: Iterable[str]
    """Codes of `notice_topics.CHOICES`."""
    mails_bills: bool
    language: str


def keep_wishes(account_id: int, wishes: Wishes) -> None:
    """Keep what the customer wants to be told; it counts from the next posting on. Raises AccountUnknown."""
    with transaction.atomic():
        account = lock_account(account_id)
        account.low_percent, account.low_balance = wishes.low_percent, wishes.low_balance
        account.muted, account.mails_bills = muted_by(wishes.mailed), wishes.mails_bills
        account.language = wishes.language
        account.save(update_fields=["low_percent", "low_balance", "muted", "mails_bills", "language"])


def rename(account_id: int, name: str) -> None:
    """Call the account otherwise; bills and ledger know it by its number. Raises AccountUnknown."""
    with transaction.atomic():
        account: Account = lock_account(account_id)
        account.name = one_line(name)
        account.save(update_fields=["name"])
