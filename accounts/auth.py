"""Who asks the API: a bearer key of an account or of the platform, or a browser session of a customer.

A closed account reads its bills and ledger for half a year, and does nothing else.
"""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.http import HttpRequest
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from accounts.keys import find_key
from accounts.models import Account, ApiKey
from iss_billing.problems import Problem

if TYPE_CHECKING:
    from rest_framework.views import APIView  # imports this module, by way of the settings


READS_FOR = timedelta(days=180)
"""How long the login of a closed account can still read."""
SAFE = ("GET", "HEAD", "OPTIONS")


def may_use(account: Account, method: str, now: datetime) -> bool:
    """Whether an account may make a request at all: a closed one only reads, until `READS_FOR` is over."""
    return account.closed_at is None or (method in SAFE and now <= account.closed_at + READS_FOR)


class KeyHolder:
    """The principal of a request with a key."""

    is_authenticated = True
    is_active = True

    def __init__(self, key: ApiKey) -> None:
        self.key = key
        self.pk = f"key-{key.pk}"
        self.account: Account | None = key.account

    @property
    def is_platform(self) -> bool:
        """Whether the key is the platform's."""
        return self.account is None


def key_of(request: HttpRequest) -> ApiKey | None:
    """The valid key that a request sends; looked up once a request."""
    if not hasattr(request, "api_key"):
        scheme, _, plain = request.headers.get("Authorization", "").partition(" ")
        key = find_key(plain.strip(), timezone.now()) if scheme.lower() == "bearer" else None
        request.api_key = key  # type: ignore[attr-defined]  # kept for whoever asks next
    found: ApiKey | None = request.api_key  # type: ignore[attr-defined]
    return found


class KeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer KEY`."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        """The key's holder; None where no key is sent. Raises AuthenticationFailed."""
        if not request.headers.get("Authorization"):
            return None
        key = key_of(request._request)
        if key is None:
            raise AuthenticationFailed("the key is unknown, revoked or expired")
        return KeyHolder(key), key

    def authenticate_header(self, request: Request) -> str:
        """What a 401 asks for."""
        return 'Bearer realm="api"'


def _account(request: Request) -> Account | None:
    account: Account | None = getattr(request.user, "account", None)
    return account


class IsCustomer(BasePermission):
    """A customer's key, or the session of a login that owns an account."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        """True, False without any key (401); raises a 403 `wrong_role` for other roles."""
        if not request.user.is_authenticated:
            return False
        account = _account(request)
        if account is None:
            raise Problem(403, "wrong_role", "this needs the key of an account")
        # its keys are revoked: this is a browser's session
        if not may_use(account, request.method or "", timezone.now()):
            raise Problem(403, "account_closed", "the account is closed: it reads, and only for a while")
        return True


class IsPlatform(BasePermission):
    """A key of the platform."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        """True, False without any key (401); raises a 403 `wrong_role` for other roles."""
        if not request.user.is_authenticated:
            return False
        if not getattr(request.user, "is_platform", False):
            raise Problem(403, "wrong_role", "this needs a platform key")
        return True


def account_of(request: Request) -> Account:
    """The account that a permitted customer acts for."""
    account = _account(request)
    if account is None:
        raise Problem(403, "wrong_role", "this needs the key of an account")
    return account
