"""The log: lines on standard error, for people in development, JSON in production.

Every line says which request or task it belongs to. Secrets and personal data are struck out of what is logged, also
of exceptions: the database quotes the rows that it refuses.
"""

import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured

_belongs: ContextVar[Mapping[str, str]] = ContextVar("belongs", default={})  # noqa: B039 - never changed, only replaced

STRUCK: Final = "[…]"
_SECRETS: Final = [
    (re.compile(pattern), rf"\g<1>{STRUCK}")
    for pattern in (
        r"(?i)(\bbearer\s+)[^\s\"',;]+",
        r"(\b[cp]k_[0-9a-f]{12}\.)[\w-]+",  # an API key: what it begins with names it
        r"()\bwhsec_[\w+/=-]+",
        r"(://[^\s/:@]*:)[^\s/@]+(?=@)",  # the password of an address
        r"(/(?:password-reset|sign-up|bills-address|account/email)/)[^\s?\"']+",  # links that were mailed
        r"(?i)\b((?:password|secret|token|api_?key|authorization|cookie|sign)[\"']?\s*[=:]\s*[\"']?)[^\s\"',;&]+",
        r"(Failing row contains |Key \([^)]*\)=)\(.*\)",  # PostgreSQL, of a row that it refuses
        r"(\bCOPY \w+, line \d+(?:, column \w+)?: )\".*",  # and where it read it
        r"()[\w.+%-]+@[\w-]+(?:\.[\w-]+)+",
    )
]


@contextmanager
def belonging(**names: str) -> Iterator[None]:
    """Have every line of this thread until the end say that it belongs to these, beside what it belongs to already."""
    token = _belongs.set({**_belongs.get(), **names})
    try:
        yield
    finally:
        _belongs.reset(token)


def belong(**names: str) -> None:
    """Have every line of this thread from now on say that it belongs to these, and to nothing else."""
    _belongs.set(names)


def belongs_to(name: str) -> str:
    """What the lines of this thread belong to, by name; empty when to nothing."""
    return _belongs.get().get(name, "")


def without_secrets(text: str) -> str:
    """A text in which keys, passwords, tokens, mail addresses and quoted rows are struck out."""
    for pattern, kept in _SECRETS:
        text = pattern.sub(kept, text)
    return text


class Json(logging.Formatter):
    """One line of JSON a record: `time level logger message`, what it belongs to, and its own `facts`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; only what is named here is ever in it."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": without_secrets(record.getMessage()),
            **_belongs.get(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["exception"] = without_secrets(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)


class Strangers(logging.Filter):
    """What anybody can bring about with a request (a wrong host, too large a body) is no error of ours."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Every record goes on; those as warnings of one line."""
        if record.name.startswith("django.security."):
            record.levelno, record.levelname, record.exc_info = logging.WARNING, "WARNING", None
        return True


def logging_settings(*, debug: bool, form: str) -> dict[str, Any]:
    """Django's LOGGING, which is gunicorn's and Celery's too; `form` is `line` or `json`."""
    if form not in ("line", "json"):
        raise ImproperlyConfigured(f"LOG_FORMAT: “{form}” is neither line nor json")
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {"format": "{levelname} {name}: {message}", "style": "{"},
            "json": {"()": "iss_billing.logs.Json"},
        },
        "filters": {"strangers": {"()": "iss_billing.logs.Strangers"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": form, "filters": ["strangers"]}},
        "root": {"handlers": ["stderr"], "level": "INFO"},
        "loggers": {
            # they bring handlers of their own, or words that the requests' lines say better
            "gunicorn.error": {"handlers": [], "level": "INFO", "propagate": True},
            "gunicorn.access": {"handlers": [], "level": "CRITICAL", "propagate": False},  # with addresses as sent
            "axes": {"level": "WARNING"},
            **({} if debug else {"django.request": {"level": "ERROR"}}),
        },
    }
