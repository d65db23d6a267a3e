"""Keeping webhook endpoints: adding, rotating the secret, turning on again, removing; sending a message again."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from accounts.ledger import lock_open_account
from accounts.models import Account
from accounts.outbox import wake_worker
from accounts.webhook_http import may_call
from accounts.webhook_models import Delivery, Endpoint, EndpointSecret, EventType
from accounts.webhook_secrets import new_secret, seal

MOST_ENDPOINTS = 10
BOTH_SIGN = timedelta(hours=24)
"""How long the secret before a rotation still signs beside the new one."""
MOST_SECRETS = 5
"""Rotations in quick succession: the oldest of more stop signing."""
LONGEST_URL = 2000

_URL = re.compile(r"[!-~]+", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?", re.ASCII)


class EndpointRefused(Exception):
    """The endpoint cannot be kept so; `field` says what of it (url, events), or is empty where there are too many."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class EndpointOff(Exception):
    """The endpoint is turned off; nothing is sent to it until it is turned on again."""


def endpoints_of(account: Account | None) -> QuerySet[Endpoint]:
    """The endpoints of an account, or the platform's for None."""
    return Endpoint.objects.filter(account=account, deleted_at=None)


def check_url(url: str) -> None:
    """Raise EndpointRefused where an address can be no endpoint, judged by its form alone.

    Where its host leads is judged at every attempt (`webhook_http.py`); here only one that names its address.
    """
    if len(url) > LONGEST_URL or not _URL.fullmatch(url):
        raise EndpointRefused(
            "url", _("An address has at most %(most)s characters, ASCII only.") % {"most": LONGEST_URL}
        )
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname or "", parts.port
    except ValueError as error:
        raise EndpointRefused("url", _("This is no address such as https://example.com/hooks.")) from error
    if parts.scheme not in ("https", "http") or not host or parts.port == 0:
        raise EndpointRefused("url", _("This is no address such as https://example.com/hooks."))
    if "@" in parts.netloc or "#" in url:
        raise EndpointRefused("url", _("An address carries no login and no fragment."))
    plain = parts.scheme == "http"
    if plain and not settings.DEBUG and not settings.WEBHOOK_ALLOW_NETS:
        raise EndpointRefused("url", _("The address begins with https://."))
    if ":" in host or re.fullmatch(r"[0-9.]+", host):
        try:
            refused = not may_call(host, plain=plain)
        except ValueError as error:
            raise EndpointRefused("url", _("This is no address such as https://example.com/hooks.")) from error
    else:
        if not _NAME.fullmatch(host):
            raise EndpointRefused("url", _("This is no address such as https://example.com/hooks."))
        refused = host.rstrip(".").lower() == "localhost" and not may_call("127.0.0.1", plain=plain)
    if refused:
        raise EndpointRefused("url", _("Only addresses on the public internet are called."))


def add_endpoint(*, account: Account | None, url: str, events: Sequence[str], now: datetime) -> tuple[Endpoint, str]:
    """An endpoint of an account, or of the platform for None, and its secret, which is shown this once.

    Raises EndpointRefused, AccountClosed.
    """
    check_url(url)
    unknown = sorted(set(events) - set(EventType.values))
    if unknown or not events:
        words = {"known": ", ".join(EventType.values)}
        raise EndpointRefused("events", _("One or more of: %(known)s.") % words)
    secret = new_secret()
    with transaction.atomic():
        _one_at_a_time(account)
        if endpoints_of(account).count() >= MOST_ENDPOINTS:
            raise EndpointRefused(
                "", _("There are %(most)s endpoints already; remove one first.") % {"most": MOST_ENDPOINTS}
            )
        kept = [event for event in EventType.values if event in events]
        endpoint = Endpoint.objects.create(account=account, url=url, events=kept, created_at=now)
        EndpointSecret.objects.create(endpoint=endpoint, sealed=seal(secret))
    return endpoint, secret


def _one_at_a_time(account: Account | None) -> None:
    """Two that add at once count each other."""
    if account is not None:
        lock_open_account(account.pk)
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(7206, 0)")


def rotate_secret(endpoint: Endpoint, now: datetime) -> str:
    """A new secret, shown this once; the one before signs beside it for 24 hours."""
    secret = new_secret()
    with transaction.atomic():
        Endpoint.objects.select_for_update().get(pk=endpoint.pk)
        kept = EndpointSecret.objects.filter(endpoint=endpoint)
        kept.filter(expires_at__lte=now).delete()
        kept.filter(expires_at=None).update(expires_at=now + BOTH_SIGN)
        EndpointSecret.objects.create(endpoint=endpoint, sealed=seal(secret))
        newest = kept.order_by("-id").values_list("id", flat=True)[:MOST_SECRETS]
        kept.exclude(pk__in=list(newest)).delete()
    return secret


def secrets_in_force(endpoint: Endpoint, now: datetime) -> list[str]:
    """What signs at `now`, sealed, the newest first."""
    rows = endpoint.secrets.filter(Q(expires_at=None) | Q(expires_at__gt=now))
    return list(rows.order_by("-id").values_list("sealed", flat=True))


def turn_on(endpoint: Endpoint) -> None:
    """Send to an endpoint again; what was given up meanwhile can be sent again one by one."""
    Endpoint.objects.filter(pk=endpoint.pk).update(disabled_at=None, failing_since=None)
    endpoint.refresh_from_db()


def turn_off(endpoint: Endpoint, now: datetime) -> None:
    """Write nothing more for an endpoint, and give up what waits."""
    Endpoint.objects.filter(pk=endpoint.pk).update(disabled_at=now)
    endpoint.deliveries.filter(next_attempt_at__isnull=False).update(next_attempt_at=None)


def remove_endpoint(endpoint: Endpoint, now: datetime) -> None:
    """Forget an endpoint and its secrets; staff can still look at what it was sent."""
    with transaction.atomic():
        Endpoint.objects.filter(pk=endpoint.pk).update(deleted_at=now)
        endpoint.secrets.all().delete()
        endpoint.deliveries.filter(next_attempt_at__isnull=False).update(next_attempt_at=None)


def remove_all(account_id: int, now: datetime) -> int:
    """Forget every endpoint of an account; how many there were."""
    found = list(Endpoint.objects.filter(account_id=account_id, deleted_at=None))
    for endpoint in found:
        remove_endpoint(endpoint, now)
    return len(found)


def resend(delivery: Delivery, now: datetime) -> None:
    """Send a message again, with the same id and body, whatever became of it; for three more days if need be.

    Raises EndpointOff.
    """
    if delivery.endpoint.disabled_at is not None:
        raise EndpointOff(_("The endpoint is turned off; turn it on first."))
    with transaction.atomic():
        Delivery.objects.filter(pk=delivery.pk).update(trying_since=None, attempted=0, next_attempt_at=now)
        transaction.on_commit(wake_worker)
    delivery.refresh_from_db()
