"""Letters: written where a form asked for one, mailed by a worker, found again by the link that they carry.

Whoever asks for one learns nothing of whether the address is known: the answer is the same, and as quick.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.tokens import default_token_generator
from django.core.signing import BadSignature, Signer
from django.db import transaction
from django.db.models import QuerySet
from django.utils import translation
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from accounts.letter_models import Letter
from accounts.letter_texts import text_of
from accounts.mailing import mail, send_due
from accounts.models import User
from accounts.waking import wake

LIFETIMES = {
    Letter.Kind.SIGN_UP: timedelta(days=3),
    Letter.Kind.ADDRESS: timedelta(hours=24),
    Letter.Kind.CONTACT: timedelta(days=3),
}
"""How long a link can be followed; that of a new password is Django's own."""
KEPT = timedelta(days=7)
PAUSE = timedelta(minutes=1)
"""Between two letters to one address."""
MOST_AN_HOUR = 5
"""To one address: nobody's mailbox is filled by way of our forms."""


def write(
    kind: Letter.Kind,
    *,
    to: str,
    language: str,
    now: datetime,
    user: User | None = None,
    data: Mapping[str, Any] | None = None,
) -> Letter | None:
    """Write a letter in the caller's transaction; it takes the place of earlier ones of its kind to the same login.

    None where the address has had one within the minute, or as many as it may within the hour.
    """
    lately = Letter.objects.filter(to=to, created_at__gt=now - timedelta(hours=1))
    times = list(lately.order_by("-created_at").values_list("created_at", flat=True)[:MOST_AN_HOUR])
    if len(times) == MOST_AN_HOUR or (times and times[0] > now - PAUSE):
        return None
    if user is not None:
        void(user, [kind], now)
    letter = Letter.objects.create(
        kind=kind, to=to, user=user, language=language, data=dict(data or {}), created_at=now
    )
    transaction.on_commit(_wake_worker)
    return letter


def void(user: User, kinds: Iterable[Letter.Kind], now: datetime) -> None:
    """The links of these kinds that a login has been sent lead nowhere any more."""
    user.letters.filter(kind__in=kinds, used_at=None).update(used_at=now)


def _wake_worker() -> None:
    from accounts.tasks import deliver_letters  # tasks import this module

    wake(deliver_letters)


def token_of(letter: Letter) -> str:
    """What the link of a letter carries."""
    return _signer(letter.kind).sign(str(letter.pk))


def find(kind: Letter.Kind, token: str, now: datetime) -> Letter | None:
    """The letter whose link carries this; None where it is forged, too old, or was used."""
    try:
        pk = _signer(kind).unsign(token)
    except BadSignature:
        return None
    return open_letters([kind], now).select_related("user").filter(pk=pk).first()


def open_letters(kinds: Sequence[Letter.Kind], now: datetime) -> QuerySet[Letter]:
    """The letters of kinds of one lifetime whose link can still be followed."""
    return Letter.objects.filter(kind__in=kinds, used_at=None, created_at__gt=now - LIFETIMES[kinds[0]])


def _signer(kind: str) -> Signer:
    return Signer(salt=f"letter.{kind}", sep=".")


def deliver(now: datetime) -> int:
    """Mail the letters that are due; how many."""
    return send_due(Letter.objects.select_related("user"), _send, now)


def _send(letter: Letter) -> list[str]:
    with translation.override(letter.language):
        subject, body = text_of(letter, parts_of_link(letter))
    mail(f"letter-{letter.pk}", subject, body, [letter.to])
    return []


def parts_of_link(letter: Letter) -> list[str]:
    """The parts of the link's address after its name; a password's token knows the password it replaces."""
    if letter.kind == Letter.Kind.PASSWORD and letter.user is not None:
        uid = urlsafe_base64_encode(force_bytes(letter.user_id))
        return [uid, default_token_generator.make_token(letter.user)]
    return [token_of(letter)]


def forget_old(now: datetime) -> int:
    """Delete letters that are a week old; how many."""
    return Letter.objects.filter(created_at__lt=now - KEPT).delete()[0]
