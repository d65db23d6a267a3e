"""Opening an account, with or without a login.

A login exists only where its address is known to be its owner's: a customer's is confirmed by the link in a mail
before anything is opened (`signing_up.py`), all others are staff's word.
"""

from datetime import datetime

from django.db import IntegrityError, transaction

from accounts.account_events import account_opened
from accounts.models import Account, User


class EmailTaken(Exception):
    """A login with that e-mail address exists."""


def one_line(name: str) -> str:
    """A name as it may stand in a mail and its subject: without line breaks, and without what nobody sees."""
    return "".join(sign for sign in " ".join(name.split()) if sign.isprintable())


def open_account(
    *, name: str, now: datetime, email: str | None = None, password: str | None = None, language: str = "zh-hans"
) -> Account:
    """Open an account at `now`; with `email` it has a login, which without a password is entered by a reset mail.

    Raises EmailTaken, with nothing opened.
    """
    with transaction.atomic():
        user = None
        if email is not None:
            try:
                with transaction.atomic():
                    user = User.objects.create_user(email, password)
            except IntegrityError as error:
                raise EmailTaken(f"there is a login {email} already") from error
        account = Account.objects.create(name=one_line(name), opened_at=now, user=user, language=language)
        account_opened(account, now)
        return account
