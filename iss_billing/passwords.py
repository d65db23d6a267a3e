"""How passwords are judged and hashed, and the name under which failed sign-ins are counted."""

from collections.abc import Mapping

from django.contrib.auth.hashers import Argon2PasswordHasher
from django.contrib.auth.password_validation import MinimumLengthValidator
from django.http import HttpRequest
from django.utils.translation import ngettext


class Argon2(Argon2PasswordHasher):
    """Argon2id as OWASP has it: Django's own parameters take 100 MB for every sign-in that is tried."""

    time_cost = 2
    memory_cost = 19 * 1024
    parallelism = 1


class LongEnough(MinimumLengthValidator):
    """Django's, which says it in English whatever the language: its catalogues have an older text."""

    def get_error_message(self) -> str:
        """What is missing."""
        return ngettext(
            "The password is too short: it needs at least %(number)s character.",
            "The password is too short: it needs at least %(number)s characters.",
            self.min_length,
        ) % {"number": self.min_length}


def login_name(request: HttpRequest, credentials: Mapping[str, str] | None) -> str:
    """The login that somebody tries to sign in as, in the case that it is kept in."""
    tried = (credentials or {}).get("username") or (credentials or {}).get("email") or request.POST.get("username", "")
    return tried.strip().lower()[:255]
