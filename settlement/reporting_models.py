"""Who reported usage on which of the last days: small tables, brought up to date once a day."""

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from accounts.models import Account


class ReportedDay(models.Model):
    """A billing day that was looked at, and how much was reported for it."""

    day = models.DateField(_("day"), primary_key=True)
    looked_at = models.DateTimeField()
    events = models.BigIntegerField()
    accounts = models.PositiveIntegerField()
    sources = models.PositiveIntegerField()


class Reporter(models.Model):
    """An account, or a source, that reports usage; on which days before its last one is in the bits of `days`.

    Bit 0 is `last_day`, bit 1 the day before it, and so on for four weeks.
    """

    account = models.OneToOneField(Account, models.PROTECT, null=True, related_name="+", verbose_name=_("account"))
    source = models.CharField(_("source"), max_length=255, blank=True)
    """Of a source; empty for an account."""
    last_day = models.DateField(_("last reported"))
    days = models.BigIntegerField()
    told = models.BooleanField(default=False)
    """Whether the operators have heard of the present silence."""

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["source"], name="reporter_source_once", condition=Q(account=None)),
            models.CheckConstraint(
                name="reporter_account_or_source",
                condition=(Q(account=None) & ~Q(source="")) | Q(account__isnull=False, source=""),
            ),
        ]
