"""Bearer keys: made once, shown once, kept as a hash."""

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q, QuerySet

from accounts.ledger import lock_open_account
from accounts.models import ApiKey

USED_GRAIN = timedelta(minutes=1)
"""`last_used_at` is written at most this often, so that a busy key is no busy row."""


MOST_KEYS = 50
"""Keys in force that one account may have: who needs more has lost track of them."""


class TooManyKeys(Exception):
    """The account has as many keys in force as it may have."""


def make_key(
    *, account_id: int | None, name: str, now: datetime, expires_at: datetime | None = None
) -> tuple[ApiKey, str]:
    """A key of an account, or of the platform for None, and its plain text, which is kept nowhere.

    Raises TooManyKeys, AccountClosed.
    """
    prefix = f"{'ck' if account_id else 'pk'}_{secrets.token_hex(6)}"
    secret = secrets.token_urlsafe(32)
    with transaction.atomic():
        if account_id is not None:
            lock_open_account(account_id)
            if keys_in_force(now).filter(account_id=account_id).count() >= MOST_KEYS:
                raise TooManyKeys(f"an account has at most {MOST_KEYS} keys: revoke one first")
        key = ApiKey.objects.create(
            account_id=account_id,
            name=name,
            prefix=prefix,
            digest=_digest(secret),
            created_at=now,
            expires_at=expires_at,
        )
    return key, f"{prefix}.{secret}"


def keys_in_force(now: datetime) -> QuerySet[ApiKey]:
    """The keys that are neither revoked nor expired."""
    return ApiKey.objects.filter(Q(expires_at=None) | Q(expires_at__gt=now), revoked_at=None)


def revoke_key(key: ApiKey, now: datetime) -> None:
    """From `now` on the key opens nothing, for ever; again changes nothing."""
    ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=now)


def revoke_all(account_id: int, now: datetime) -> int:
    """Revoke every key of an account; how many were in force."""
    return ApiKey.objects.filter(account_id=account_id, revoked_at=None).update(revoked_at=now)


def find_key(plain: str, now: datetime) -> ApiKey | None:
    """The key that is in force at `now` and has this plain text; compared in constant time."""
    prefix, _, secret = plain.partition(".")
    if len(plain) > 200 or not plain.isascii():
        return None
    key = keys_in_force(now).select_related("account").filter(prefix=prefix).first()
    # an unknown prefix is compared too: the answer takes as long
    if not hmac.compare_digest(key.digest if key else _digest(""), _digest(secret)) or key is None:
        return None
    if key.last_used_at is None or now - key.last_used_at > USED_GRAIN:
        # of several requests at this instant the first one writes
        ApiKey.objects.filter(pk=key.pk, last_used_at=key.last_used_at).update(last_used_at=now)
    return key


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
