"""Cookies that outlive a session: the language and the look of the pages."""

from django.conf import settings
from django.http import HttpResponse

YEAR_SECONDS = 365 * 24 * 3600


def keep(response: HttpResponse, name: str, value: str) -> None:
    """Keep a value in the browser for a year."""
    response.set_cookie(name, value, max_age=YEAR_SECONDS, secure=not settings.DEBUG, httponly=True, samesite="Lax")
