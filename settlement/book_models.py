"""The books by day: small sums of the ledger, so that a report of years reads no transfer twice."""

from django.db import models

from accounts.models import Book, Kind
from iss_billing.fields import WideIntegerField
from packs.models import PackType


class CountedDay(models.Model):
    """A day of the ledger that was summed up, and the last transfer that was seen then."""

    day = models.DateField(primary_key=True)
    counted_at = models.DateTimeField()
    last_transfer = models.BigIntegerField()


class BookDay(models.Model):
    """What moved between two books on a day, by kind, and by pack type where a pack caused it; fen."""

    day = models.DateField()
    kind = models.CharField(max_length=12, choices=Kind.choices)
    debit = models.CharField(max_length=16, choices=Book.choices)
    credit = models.CharField(max_length=16, choices=Book.choices)
    pack_type = models.ForeignKey(PackType, models.PROTECT, null=True, related_name="+", db_index=False)
    amount = WideIntegerField()

    class Meta:
        indexes = [models.Index("day", name="book_day")]
