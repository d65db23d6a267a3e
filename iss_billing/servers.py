"""Has the embedded servers up for a process that the settings send to them."""

from django.conf import settings

from iss_billing import embedded


def hold() -> None:
    """Hold PostgreSQL and Redis until this process ends, unless both come from outside. Raises ServerError."""
    if settings.EMBEDDED_POSTGRES or settings.EMBEDDED_REDIS:
        embedded.hold(settings.VAR)
