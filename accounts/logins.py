"""Logins and their addresses: signing up, a new password, a new address, the address that bills go to.

An address counts once its owner has followed a link that was mailed to it. Until then nothing is opened or changed,
and whoever asked learns nothing of whether the address is known.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction

from accounts import letters, notices
from accounts.ledger import lock_account
from accounts.letter_models import Letter
from accounts.models import Account, Notice, User
from accounts.opening import EmailTaken, open_account


class LinkUsed(Exception):
    """The link was followed before, or a later letter has taken its place."""


ADDRESS_KINDS = (Letter.Kind.ADDRESS, Letter.Kind.ADDRESS_TAKEN)


def ask_sign_up(*, name: str, email: str, language: str, now: datetime) -> None:
    """Mail a link that opens an account; to an address that has a login, that it has one."""
    with transaction.atomic():
        known = User.objects.filter(email=email).exists()
        kind = Letter.Kind.SIGN_UP_KNOWN if known else Letter.Kind.SIGN_UP
        letters.write(kind, to=email, language=language, now=now, data={"name": name})


def sign_up(letter: Letter, *, password: str, now: datetime) -> Account:
    """Open the account that a letter promised, its address now confirmed.

    Raises LinkUsed, EmailTaken, with nothing opened.
    """
    with transaction.atomic():
        _use(letter, now)
        return open_account(
            name=letter.data["name"], email=letter.to, password=password, language=letter.language, now=now
        )


def ask_password(*, email: str, language: str, now: datetime) -> None:
    """Mail a link that sets a new password, where there is a login with this address."""
    with transaction.atomic():
        user = User.objects.filter(email=email, is_active=True).first()
        if user is not None:
            account: Account | None = getattr(user, "account", None)
            speaks = account.language if account else language
            letters.write(Letter.Kind.PASSWORD, to=email, user=user, language=speaks, now=now)


def set_password(user: User, password: str, now: datetime) -> None:
    """Set it; sessions elsewhere end by it, a change of address that waits is off, and its owner is told."""
    with transaction.atomic():
        _lock(user)
        user.set_password(password)
        user.save(update_fields=["password"])
        letters.void(user, ADDRESS_KINDS, now)
        _tell(user, Notice.Type.PASSWORD_CHANGED, now.isoformat(), {}, now)


def ask_email(*, user: User, email: str, language: str, now: datetime) -> bool:
    """Mail a link to a login's new address, and a notice to the one it has; nothing changes before it is followed.

    An address that has a login is told so instead. False where it has had a letter a moment ago.
    """
    with transaction.atomic():
        _lock(user)
        data = {"name": _name(user), "old": user.email}
        taken = User.objects.filter(email=email).exists()
        kind = Letter.Kind.ADDRESS_TAKEN if taken else Letter.Kind.ADDRESS
        letter = letters.write(kind, to=email, user=user, language=language, now=now, data=data)
        if letter is None:
            return False
        earlier = user.letters.filter(kind__in=ADDRESS_KINDS, used_at=None).exclude(pk=letter.pk)
        earlier.update(used_at=now)
        _tell(user, Notice.Type.EMAIL_ASKED, f"letter:{letter.pk}", {"new": email}, now)
        return True


def pending_email(user: User, now: datetime) -> Letter | None:
    """The letter to the new address that waits to be confirmed, if any; it looks the same where that is another's."""
    return letters.open_letters(ADDRESS_KINDS, now).filter(user=user).order_by("-id").first()


def cancel_email(user: User, now: datetime) -> None:
    """The address stays as it is: links that were mailed lead nowhere."""
    letters.void(user, ADDRESS_KINDS, now)


def change_email(letter: Letter, now: datetime) -> None:
    """Change the login's address to the one the letter went to; both are told.

    Raises LinkUsed, or EmailTaken where another login has come by it meanwhile.
    """
    with transaction.atomic():
        user = _lock(_user_of(letter))
        _use(letter, now)
        old = user.email
        try:
            with transaction.atomic():
                user.email = letter.to
                user.save(update_fields=["email"])
        except IntegrityError as error:
            raise EmailTaken(f"there is a login {letter.to} already") from error
        data = {"old": old, "new": letter.to, "mail_to": [old, letter.to]}
        _tell(user, Notice.Type.EMAIL_CHANGED, f"letter:{letter.pk}", data, now)


def readdressed(user: User, *, old: str, reference: str, now: datetime) -> None:
    """Staff gave the login another address: links that wait lead nowhere, and both addresses are told."""
    with transaction.atomic():
        _lock(user)
        letters.void(user, ADDRESS_KINDS, now)
        data = {"old": old, "new": user.email, "mail_to": [old, user.email]}
        _tell(user, Notice.Type.EMAIL_CHANGED, reference, data, now)


def ask_contact(*, user: User, email: str, language: str, now: datetime) -> bool:
    """Ask the owner of an address whether bills may go there. False where it has had a letter a moment ago."""
    with transaction.atomic():
        account = _lock_account(user)
        data = {"name": account.name}
        kind = Letter.Kind.CONTACT
        return letters.write(kind, to=email, user=user, language=language, now=now, data=data) is not None


def confirm_contact(letter: Letter, now: datetime) -> Account:
    """Mail bills to the address that the letter went to. Raises LinkUsed."""
    with transaction.atomic():
        account = _lock_account(_user_of(letter))
        _use(letter, now)
        account.contact_email = letter.to
        account.save(update_fields=["contact_email"])
        return account


def remove_contact(user: User, now: datetime) -> None:
    """Bills are mailed to the login's address again; links that wait lead nowhere."""
    with transaction.atomic():
        account = _lock_account(user)
        account.contact_email = ""
        account.save(update_fields=["contact_email"])
        letters.void(user, [Letter.Kind.CONTACT], now)


def _use(letter: Letter, now: datetime) -> None:
    """Of two that follow one link at once the first does."""
    if not Letter.objects.filter(pk=letter.pk, used_at=None).update(used_at=now):
        raise LinkUsed


def _user_of(letter: Letter) -> User:
    if letter.user is None:
        raise LookupError(f"letter {letter.pk} is no login's")
    return letter.user


def _lock(user: User) -> User:
    return User.objects.select_for_update(no_key=True).get(pk=user.pk)


def _lock_account(user: User) -> Account:
    return lock_account(user.account.pk)


def _name(user: User) -> str:
    account: Account | None = getattr(user, "account", None)
    return account.name if account else user.email


def _tell(user: User, kind: Notice.Type, reference: str, data: Mapping[str, Any], now: datetime) -> None:
    """Staff without an account are told nothing: there is no inbox to tell them in."""
    account: Account | None = getattr(user, "account", None)
    if account is not None:
        notices.write([(account.pk, kind, reference, dict(data))], now)
