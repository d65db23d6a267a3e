"""Celery tasks of the accounts. Those that wait for somebody else's server have a queue of their own."""

import time

from celery import shared_task
from django.utils import timezone

from accounts import letters, notices, sign_ins
from accounts.mailing import a_turn
from accounts.payments.chasing import chase
from accounts.waking import wake
from accounts.webhook_delivery import Slice, due, due_endpoints, forget_old, only_sender, send_slice

TURN_SECONDS = 20
"""An endpoint with much to be sent lets the others go in between."""


@shared_task
def deliver_notices() -> int:
    """Mail the notices that are due; how many, none where enough are at it already."""
    with a_turn("notices") as mine:
        return notices.deliver(timezone.now()) if mine else 0


@shared_task
def deliver_letters() -> int:
    """Mail the letters that are due; how many."""
    with a_turn("letters") as mine:
        return letters.deliver(timezone.now()) if mine else 0


@shared_task
def forget_old_letters() -> int:
    """Delete letters that are a week old; how many."""
    return letters.forget_old(timezone.now())


@shared_task
def forget_old_sign_ins() -> int:
    """Delete sessions that are over and wrong passwords of a month ago; how many."""
    return sign_ins.forget_old(timezone.now())


@shared_task
def deliver_webhooks() -> None:
    """Hand out every endpoint that something is to be sent to."""
    for endpoint_id in due_endpoints(timezone.now()):
        wake(deliver_webhooks_to, endpoint_id)


@shared_task
def deliver_webhooks_to(endpoint_id: int) -> None:
    """Send what is due to one endpoint; where somebody is at it already, nothing."""
    begun, went = time.monotonic(), Slice.SENT
    with only_sender(endpoint_id) as alone:
        if not alone:
            return
        while went is Slice.SENT and time.monotonic() - begun < TURN_SECONDS:
            went = send_slice(endpoint_id, timezone.now())
    # also for what was written after the last look, while others were still turned away
    if went is not Slice.NO_ANSWER and due(timezone.now()).filter(endpoint_id=endpoint_id).exists():
        wake(deliver_webhooks_to, endpoint_id)


@shared_task
def forget_old_webhooks() -> int:
    """Delete deliveries that are a month old; how many."""
    return forget_old(timezone.now())


@shared_task
def query_payments() -> int:
    """Ask the gateway about payments that wait, and close those that lapsed; how many were asked about."""
    return chase(timezone.now())
