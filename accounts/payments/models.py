"""A payment that a customer began, and what became of it."""

from datetime import datetime, timedelta

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

WAITS = timedelta(hours=24)
"""How long a payment can be made; money that arrives later is credited all the same."""
LEAST, MOST = 1, 100_000_000
"""Fen of one payment: from 0.01 to 1,000,000.00 CNY."""


class Payment(models.Model):
    """One payment through a gateway. Its number names it there, and in the ledger: `payment:NUMBER` is one top-up."""

    class State(models.TextChoices):
        WAITING = "waiting", _("waiting")
        PAID = "paid", _("received")
        CLOSED = "closed", _("not paid")

    account = models.ForeignKey(
        "accounts.Account", models.PROTECT, related_name="payments", db_index=False, verbose_name=_("account")
    )
    number = models.CharField(_("number"), max_length=64, unique=True)
    gateway = models.CharField(_("gateway"), max_length=20)
    amount = models.BigIntegerField(_("amount (fen)"))
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.WAITING)
    key = models.CharField(max_length=100)
    """Of the form that began it: sent twice, it is one payment."""
    cause = models.CharField(max_length=40, blank=True)
    """What the money is for, `checkout:5`; empty for a plain top-up."""
    started_at = models.DateTimeField(_("started"))
    lapses_at = models.DateTimeField(_("lapses"))
    ended_at = models.DateTimeField(_("ended"), null=True)
    gateway_reference = models.CharField(_("the gateway's number"), max_length=64, blank=True)
    queries = models.PositiveSmallIntegerField(_("queries"), default=0)
    asked_at = models.DateTimeField(_("last asked"), null=True)
    next_query_at = models.DateTimeField(_("next query"))
    trouble = models.CharField(_("trouble"), max_length=500, blank=True)
    """The last that went wrong with it, for staff."""

    class Meta:
        verbose_name = _("payment")
        verbose_name_plural = _("payments")
        constraints = [
            models.UniqueConstraint(fields=["account", "key"], name="payment_once_per_form"),
            models.CheckConstraint(name="payment_amount_in_bounds", condition=Q(amount__range=(LEAST, MOST))),
            models.CheckConstraint(
                name="payment_ended_iff_not_waiting",
                condition=Q(state="waiting", ended_at__isnull=True) | (~Q(state="waiting") & Q(ended_at__isnull=False)),
            ),
        ]
        indexes = [
            models.Index("account", "id", name="payment_of_account"),
            models.Index("next_query_at", name="payment_to_query", condition=Q(state="waiting")),
        ]

    def __str__(self) -> str:
        return self.number

    @property
    def reference(self) -> str:
        """Of its top-up in the ledger."""
        return f"payment:{self.number}"

    @property
    def waits(self) -> bool:
        """Whether it is neither received nor given up."""
        return self.state == self.State.WAITING

    def open_at(self, now: datetime) -> bool:
        """Whether it can still be paid."""
        return self.waits and now < self.lapses_at
