"""What letters say, in the active language."""

from django.conf import settings
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts.letter_models import Letter
from iss_billing import formats

Kind = Letter.Kind
LINKS = {
    Kind.SIGN_UP: "sign-up-confirm",
    Kind.PASSWORD: "password-reset-confirm",
    Kind.ADDRESS: "confirm-email",
    Kind.CONTACT: "confirm-contact",
}


def text_of(letter: Letter, link: list[str]) -> tuple[str, str]:
    """Subject and body; `link` has the parts that its link's address ends with."""
    words = letter.data | {"to": letter.to}
    subject, before, after = _parts(Kind(letter.kind), words)
    address = reverse(LINKS[Kind(letter.kind)], args=link) if letter.kind in LINKS else reverse("sign-in")
    return subject, f"{before}\n\n{settings.SITE_URL}{address}\n\n{after}\n"


def _parts(kind: Letter.Kind, words: dict[str, str]) -> tuple[str, str, str]:
    """Subject, what stands before the link, and what after it."""
    not_you = _("If it was not you, there is nothing to do.")
    if kind == Kind.SIGN_UP:
        return (
            _("Open your account at ISS Billing"),
            _("An account for “%(name)s” was asked for with this address. Choose a password and it is open:") % words,
            _("The link holds for 3 days. Nothing is opened without it.") + formats.gap() + not_you,
        )
    if kind == Kind.SIGN_UP_KNOWN:
        return (
            _("There is an account with this address already"),
            _("An account was asked for with this address, which has one. Sign in, or set a new password there:"),
            not_you,
        )
    if kind == Kind.PASSWORD:
        return (
            _("A new password for ISS Billing"),
            _("Somebody asked for a new password of this login. If it was you, set it here:"),
            not_you,
        )
    if kind == Kind.ADDRESS:
        return (
            _("Confirm the new address of your login"),
            _("“%(name)s” is to sign in with this address from now on, in place of %(old)s. Confirm it here:") % words,
            _("The link holds for 24 hours; until then nothing changes.") + formats.gap() + not_you,
        )
    if kind == Kind.ADDRESS_TAKEN:
        return (
            _("This address has a login already"),
            _("A customer wanted to sign in with this address, which has a login of its own. Nothing was changed:"),
            not_you,
        )
    return (
        _("Receive the bills of %(name)s?") % words,
        _("“%(name)s” wants its bills to be mailed to this address. Confirm it here:") % words,
        _("The link holds for 3 days. Without it nothing is sent.") + formats.gap() + not_you,
    )
