"""Sending the rows of an outbox: each in a transaction of its own that holds it, tried again with growing pauses."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from smtplib import SMTPException
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import DatabaseError, connection, transaction
from django.db.models import Q, QuerySet

log = logging.getLogger(__name__)

FIRST_RETRY = timedelta(minutes=1)
LAST_RETRY = timedelta(hours=6)
DELIVERERS = 3
"""Who may be at one outbox at once."""


def send_due(rows: QuerySet[Any], send: Callable[[Any], list[str]], now: datetime, limit: int = 500) -> int:
    """Send the rows that are due; how many were told. `send` mails one and says which fields it set beside.

    Two workers never hold the same row. A mail server that fails is tried again later, and so is a row that cannot be
    mailed at all: it is an error in the log, and keeps no other waiting.
    """
    due = rows.filter(Q(next_attempt_at=None) | Q(next_attempt_at__lte=now), sent_at=None).order_by("id")
    return sum(_send_one(rows, pk, send, now) for pk in list(due.values_list("pk", flat=True)[:limit]))


def _send_one(rows: QuerySet[Any], pk: int, send: Callable[[Any], list[str]], now: datetime) -> bool:
    with transaction.atomic():
        held = rows.select_for_update(skip_locked=True, of=("self",))
        row = held.filter(pk=pk, sent_at=None).first()
        if row is None:
            return False
        set_beside: list[str] = []
        try:
            set_beside = send(row)
        except DatabaseError:
            raise  # nothing can be noted in this transaction
        except Exception as error:
            wait = min(LAST_RETRY, FIRST_RETRY * 2 ** min(row.attempts, 12))
            row.next_attempt_at, row.last_error = now + wait, str(error)[:500]
            words = row._meta.model_name, pk, now + wait, error
            if isinstance(error, (OSError, SMTPException)):
                log.warning("%s %s was not mailed, next attempt at %s: %s", *words)
            else:
                log.exception("%s %s cannot be mailed, next attempt at %s: %s", *words)
        else:
            row.sent_at = now
        row.attempts = min(row.attempts + 1, 32000)
        row.save(update_fields=["sent_at", "attempts", "next_attempt_at", "last_error", *set_beside])
        return row.sent_at is not None


def mail(name: str, subject: str, body: str, to: list[str], cc: list[str] | None = None) -> None:
    """Send one mail; `name` makes its id, the same at every attempt: a mail server may drop what it has seen.

    A subject is one line, whatever name it tells of.
    """
    host = settings.DEFAULT_FROM_EMAIL.rpartition("@")[2].rstrip(">")
    EmailMessage(" ".join(subject.split()), body, to=to, cc=cc or [], headers={"Message-ID": f"<{name}@{host}>"}).send()


@contextmanager
def a_turn(outbox: str) -> Iterator[bool]:
    """Whether fewer than DELIVERERS are at an outbox: every row calls a task, and a mail server may be slow."""
    with connection.cursor() as cursor:
        for place in range(DELIVERERS):
            cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, %s))", [outbox, place])
            if cursor.fetchone()[0]:
                break
        else:
            yield False
            return
    try:
        yield True
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, %s))", [outbox, place])
