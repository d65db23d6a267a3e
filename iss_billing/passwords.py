"""How passwords are hashed, and the name under which failed sign-ins are counted."""

from collections.abc import Mapping

from django.contrib.auth.hashers import Argon2PasswordHasher
from django.http import HttpRequest


class Argon2(Argon2PasswordHasher):
    """Argon2id as OWASP has it: Django's own parameters take 100 MB for every sign-in that is tried."""

    time_cost = 2
    memory_cost = 19 * 1024
    parallelism = 1


def login_name(request: HttpRequest, credentials: Mapping[str, str] | None) -> str:
    """The login that somebody tries to sign in as, in the case that it is kept in."""
    tried = (credentials or {}).get("username") or (credentials or {}).get("email") or request.POST.get("username", "")
    return tried.strip().lower()[:255]
