"""Staff's second factor: a code of the telephone (TOTP), or one of ten codes on paper, each good once.

The devices are django-otp's: it remembers the last code, and who guesses wrong waits twice as long each time. Of a
code on paper only a keyed hash is stored, in the place of the code itself.
"""

import base64
import hmac
import secrets
from typing import NamedTuple

import segno
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django_otp.models import Device
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from accounts.models import User

CODES = 10
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
"""Without what is easily misread."""


class Enrolled(Exception):
    """The login has a second factor already."""


class WrongCode(Exception):
    """The code is not right, or was used; `wait` seconds must pass before another is looked at."""

    def __init__(self, wait: int = 0) -> None:
        super().__init__()
        self.wait = wait


def device_of(user: User) -> TOTPDevice | None:
    """The telephone of a login, once confirmed."""
    return TOTPDevice.objects.filter(user=user, confirmed=True).first()


def codes_left(user: User) -> int:
    """Codes on paper that were not used."""
    return int(StaticToken.objects.filter(device__user=user).count())


class Offer(NamedTuple):
    """A secret to be taken over by the telephone: as a picture, and in letters to type."""

    picture: str
    letters: str


def new_key() -> str:
    """A secret for a telephone, in hex; it counts once a code of it was entered."""
    return secrets.token_hex(20)


def offer(user: User, key: str) -> Offer:
    """How a secret reaches the telephone."""
    device = TOTPDevice(user=user, key=key, name="default")
    letters = base64.b32encode(device.bin_key).decode()
    # dark on white whatever the page's colours are, or no camera reads it
    picture = segno.make(device.config_url, error="m").svg_data_uri(scale=5, border=3, dark="#000", light="#fff")
    return Offer(picture, " ".join(letters[n : n + 4] for n in range(0, len(letters), 4)))


def enrol(user: User, key: str, code: str) -> tuple[TOTPDevice, list[str]]:
    """Take a telephone that gives the right code; it and the new codes on paper, which are kept nowhere.

    Raises Enrolled, WrongCode; then nothing is kept.
    """
    with transaction.atomic():
        User.objects.select_for_update(no_key=True).get(pk=user.pk)
        if device_of(user):
            raise Enrolled
        device = TOTPDevice.objects.create(user=user, key=key, name="telephone")
        if not _is_code(code) or not device.verify_token(code):
            raise WrongCode
        return device, new_codes(user)


def _is_code(code: str) -> bool:
    return code.isascii() and code.isdigit()


def new_codes(user: User) -> list[str]:
    """Ten codes on paper, in place of those there were; returned this once. The caller's transaction."""
    StaticDevice.objects.filter(user=user).delete()
    device = StaticDevice.objects.create(user=user, name="paper")
    codes = ["".join(secrets.choice(_LETTERS) for _ in range(10)) for _ in range(CODES)]
    StaticToken.objects.bulk_create(
        StaticToken(device=device, token=_sealed(code, settings.SECRET_KEY)) for code in codes
    )
    return [f"{code[:5]}-{code[5:]}" for code in codes]


def _sealed(code: str, secret: str) -> str:
    """A keyed hash that fits the place of a code: 80 bits."""
    digest = hmac.digest(secret.encode(), b"paper code:" + code.encode(), "sha256")
    return base64.b32encode(digest)[:16].decode()


def _as_kept(user: User, code: str) -> str:
    """A code on paper as it is kept, under SECRET_KEY or one before it that is still a fallback."""
    sealed = [_sealed(code, secret) for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)]
    kept = StaticToken.objects.filter(device__user=user, token__in=sealed).values_list("token", flat=True).first()
    return kept or sealed[0]


def verify(user: User, code: str) -> Device:
    """The device that a code belongs to: six digits are the telephone's, letters are of the paper. Raises WrongCode.

    A wrong one makes the next wait, longer each time; the row is locked, so guesses at once count one by one.
    """
    code = code.strip().replace(" ", "").replace("-", "").lower()
    digits = _is_code(code)
    rows = TOTPDevice.objects if digits else StaticDevice.objects
    with transaction.atomic():
        device = rows.select_for_update().filter(user=user, confirmed=True).first()
        if device is None:
            raise WrongCode
        allowed, why = device.verify_is_allowed()
        if not allowed:
            until = (why or {}).get("locked_until")
            raise WrongCode(max(1, int((until - timezone.now()).total_seconds()) + 1) if until else 1)
        right = bool(device.verify_token(code if digits else _as_kept(user, code)))
    if not right:
        raise WrongCode
    return device


def reset(user: User) -> bool:
    """Forget a login's telephone and paper, and so end its verified sessions; whether there were any.

    The caller's transaction.
    """
    removed = [model.objects.filter(user=user).delete()[0] for model in (TOTPDevice, StaticDevice)]
    return any(removed)
