"""The secrets that webhooks are signed with: `whsec_…`, shown once, kept sealed.

Signing needs the secret itself, so a hash will not do: it is encrypted (Fernet) with a key derived from SECRET_KEY.
A leaked database alone signs nothing. SECRET_KEY_FALLBACKS still open what older keys sealed.
"""

import base64
import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import transaction
from django.utils.encoding import force_bytes
from standardwebhooks import Webhook

from accounts.webhook_models import EndpointSecret

SALT = b"iss-billing webhook secret:"
SECRET_BYTES = 32


class SecretLost(Exception):
    """SECRET_KEY is not the one that sealed it; a rotation makes a new secret."""


def new_secret() -> str:
    """A secret as the receiver is given it."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def seal(secret: str) -> str:
    """What is stored of a secret."""
    return _box().encrypt(secret.encode()).decode()


def unseal(sealed: str) -> str:
    """The secret. Raises SecretLost."""
    try:
        return _box().decrypt(sealed.encode()).decode()
    except InvalidToken as error:
        raise SecretLost("the secret cannot be read with this SECRET_KEY: rotate it") from error


def _box() -> MultiFernet:
    derived = [
        hashlib.sha256(SALT + force_bytes(key)).digest()
        for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    ]
    return MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in derived])


def signed_headers(sealed: Iterable[str], message: str, body: str, now: datetime) -> dict[str, str]:
    """The headers of one attempt at `now` (UTC), with a signature for every secret in force. Raises SecretLost."""
    signatures = [Webhook(unseal(one)).sign(message, now, body) for one in sealed]
    return {
        "webhook-id": message,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def reseal_all() -> int:
    """Seal every secret with the present SECRET_KEY, whichever sealed it; how many. Raises SecretLost: none is."""
    with transaction.atomic():
        rows = list(EndpointSecret.objects.select_for_update().order_by("pk"))
        for row in rows:
            row.sealed = seal(unseal(row.sealed))
        EndpointSecret.objects.bulk_update(rows, ["sealed"], batch_size=1000)
    return len(rows)
