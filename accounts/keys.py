"""Bearer keys: made once, shown once, kept as a hash."""

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta

from django.db.models import Q

from accounts.models import ApiKey

USED_GRAIN = timedelta(minutes=1)
"""`last_used_at` is written at most this often, so that a busy key is no busy row."""


def make_key(*, account_id: int | None, name: str, now: datetime) -> tuple[ApiKey, str]:
    """A key of an account, or of the platform for None, and its plain text, which is kept nowhere."""
    prefix = f"{'ck' if account_id else 'pk'}_{secrets.token_hex(6)}"
    secret = secrets.token_urlsafe(32)
    key = ApiKey.objects.create(account_id=account_id, name=name, prefix=prefix, digest=_digest(secret), created_at=now)
    return key, f"{prefix}.{secret}"


def find_key(plain: str, now: datetime) -> ApiKey | None:
    """The key that is in force at `now` and has this plain text; compared in constant time."""
    prefix, _, secret = plain.partition(".")
    if len(plain) > 200 or not plain.isascii():
        return None
    key = (
        ApiKey.objects.select_related("account")
        .filter(Q(expires_at=None) | Q(expires_at__gt=now), prefix=prefix, revoked_at=None)
        .first()
    )
    # an unknown prefix is compared too: the answer takes as long
    if not hmac.compare_digest(key.digest if key else _digest(""), _digest(secret)) or key is None:
        return None
    if key.last_used_at is None or now - key.last_used_at > USED_GRAIN:
        ApiKey.objects.filter(pk=key.pk).update(last_used_at=now)
    return key


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
