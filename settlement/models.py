"""What was used and what it cost: usage events, settlement runs, bills, their lines and drawdowns."""

from typing import ClassVar, Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from accounts.models import MODES, Account
from iss_billing.fields import WideIntegerField
from packs.models import Item, Pack
from settlement import price_models  # noqa: F401 - as below
from settlement.book_models import BookDay as BookDay  # Django finds an app's models in its `models`
from settlement.book_models import CountedDay as CountedDay
from settlement.closed_models import ClosedAccount as ClosedAccount
from settlement.reporting_models import ReportedDay as ReportedDay
from settlement.reporting_models import Reporter as Reporter


class UsageEvent(models.Model):
    """One reported use, partitioned by billing day; (day, source, event id) is its identity (rules 1.1, 5.6)."""

    pk = models.CompositePrimaryKey("day", "source", "event_id")
    day = models.DateField()
    source = models.CharField(max_length=255)
    event_id = models.CharField(max_length=255)
    account = models.ForeignKey(Account, models.PROTECT, db_index=False, related_name="+", verbose_name=_("account"))
    item = models.ForeignKey(Item, models.PROTECT, db_index=False, related_name="+")
    region = models.CharField(max_length=40)
    resource = models.CharField(max_length=255)
    quantity = models.BigIntegerField()
    occurred_at = models.DateTimeField()
    received_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index("account", "item", name="usage_event_of_account")]


class UsageBatch(models.Model):
    """The account-days for which one ingest transaction stored events, as two arrays of one length.

    It becomes visible together with its events, however long the transaction stayed open, so nothing that a run
    did not see is ever taken for billed. `collect` turns batches into `PendingDay` rows.
    """

    received_at = models.DateTimeField()
    account_ids = ArrayField(models.BigIntegerField())
    days = ArrayField(models.DateField())


class PendingDay(models.Model):
    """An account-day with usage not yet billed; several rows may name the same one.

    Settlement deletes the rows it sees before it reads the events, so a row that arrives meanwhile survives.
    """

    account = models.ForeignKey(Account, models.PROTECT, db_index=False, related_name="+", verbose_name=_("account"))
    day = models.DateField()

    class Meta:
        indexes = [
            models.Index("account", "day", name="pending_day_of_account"),
            models.Index("day", "account", name="pending_day_by_day"),
        ]


class UsageRefusal(models.Model):
    """How many events of a source were refused on a day of receipt, by code; no more is kept of them (rules 5.6)."""

    day = models.DateField()
    source = models.CharField(max_length=255)
    code = models.CharField(max_length=30)
    events = models.BigIntegerField(default=0)

    class Meta:
        verbose_name = _("refused usage")
        verbose_name_plural = _("refused usage")
        constraints = [models.UniqueConstraint(fields=["day", "source", "code"], name="usage_refusal_once")]


class ExpiredDay(models.Model):
    """A billing day whose usage events are gone: `DayUsage` is what is kept of it."""

    day = models.DateField(primary_key=True)
    expired_at = models.DateTimeField()
    events = models.BigIntegerField()
    bytes = models.BigIntegerField()
    kept = models.BigIntegerField()
    """Rows of `DayUsage`."""


class DayUsage(models.Model):
    """What an account used of an item in a region on an expired day, and the curve that a peak or mean came from.

    The account leads the key: one account's rows lie together, and the table can be split by account or by day.
    """

    pk = models.CompositePrimaryKey("account_id", "day", "item_id", "region")
    account = models.ForeignKey(Account, models.PROTECT, db_index=False, related_name="+", verbose_name=_("account"))
    day = models.DateField()
    item = models.ForeignKey(Item, models.PROTECT, db_index=False, related_name="+")
    region = models.CharField(max_length=40)
    quantity = WideIntegerField()
    slots = ArrayField(WideIntegerField(null=True), null=True)
    """288 slot sums, null where nothing was reported, of `peak` and `mean` items; as wide as sums of quantities are."""


class SettlementRun(models.Model):
    """One run of settlement: which days it was to settle, what it did, what failed, and whether it balances."""

    now = models.DateTimeField(_("clock"))
    """The clock of the run: what it posts carries this time."""
    through_day = models.DateField(_("through day"))
    started_at = models.DateTimeField(_("started"))
    finished_at = models.DateTimeField(_("finished"), null=True)
    account = models.ForeignKey(
        Account, models.PROTECT, null=True, related_name="+", db_index=False, verbose_name=_("account")
    )
    """The only account that it settles, of whom staff had a failure tried again; None: everybody's night."""
    days = ArrayField(models.DateField(), default=list, verbose_name=_("days"))
    accounts = models.PositiveIntegerField(_("account-days"), default=0)
    bills = models.PositiveIntegerField(_("bills"), default=0)
    due = WideIntegerField(_("due (fen)"), default=0)
    drawn = models.JSONField(_("drawn"), default=dict)
    seconds = models.DecimalField(_("seconds"), max_digits=10, decimal_places=3, null=True)
    certified_at = models.DateTimeField(_("certified"), null=True)
    balances = models.BooleanField(_("balances"), null=True)
    """What the certificate says of all its days; null before there is one."""

    class Meta:
        verbose_name = _("settlement run")
        verbose_name_plural = _("settlement runs")

    def __str__(self) -> str:
        return f"{self.pk}"


class SettlementShard(models.Model):
    """A part of a run: one day of the pending accounts in an id range, settled in one transaction with `done_at`.

    `started_at` is seen while the shard is in hand. A shard of no accounts stands for a day on which everybody waits.
    """

    run = models.ForeignKey(SettlementRun, models.PROTECT, related_name="shards")
    day = models.DateField()
    first_account = models.BigIntegerField()
    last_account = models.BigIntegerField()
    account_days = models.PositiveIntegerField(default=0)
    bills = models.PositiveIntegerField(default=0)
    due = WideIntegerField(default=0)
    drawn = models.JSONField(default=dict)
    started_at = models.DateTimeField(null=True)
    done_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index("run", "day", name="settlement_shard_of_run")]


class Failures(models.QuerySet["SettlementFailure"]):
    """Account-days that could not be settled."""

    def named(self) -> Self:
        """With the names of their accounts, and nothing else of a row that may be what is wrong."""
        return self.select_related("account").only("run", "day", "error", "account__name")


class SettlementFailure(models.Model):
    """An account-day that a run could not settle, with the error; the next run tries it again."""

    run = models.ForeignKey(SettlementRun, models.PROTECT, related_name="failures", verbose_name=_("settlement run"))
    account = models.ForeignKey(Account, models.PROTECT, related_name="+", verbose_name=_("account"))
    day = models.DateField(_("day"))
    error = models.TextField(_("error"))

    objects = Failures.as_manager()

    class Meta:
        verbose_name = _("failure")
        verbose_name_plural = _("failures")
        permissions: ClassVar = [("retry_failure", "Can settle an account-day again that failed")]

    def __str__(self) -> str:
        return f"{self.day} · {self.account_id}"


class CertificateLine(models.Model):
    """A day's usage of one item as the run left it: accepted = drawn + charged + not billable + waiting.

    Added up over the accounts and regions that balance each on its own; those that do not are counted in `breaks`, the
    first of them kept in `broken`. An item billed in one mode only has a line for the account-days of each mode.
    """

    run = models.ForeignKey(SettlementRun, models.PROTECT, related_name="certificate")
    day = models.DateField()
    item = models.ForeignKey(Item, models.PROTECT, db_index=False, related_name="+")
    billing_mode = models.CharField(max_length=10, choices=MODES, blank=True)
    accepted = WideIntegerField()
    drawn = WideIntegerField()
    charged = WideIntegerField()
    not_billable = WideIntegerField()
    waiting = WideIntegerField()
    breaks = models.PositiveIntegerField()
    broken = models.JSONField(default=list)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "day", "item", "billing_mode"], name="certificate_line_once")
        ]

    @property
    def difference(self) -> int:
        """What is accepted and nowhere to be found; negative where more was billed than used."""
        return self.accepted - self.drawn - self.charged - self.not_billable - self.waiting


class Alarm(models.Model):
    """A mail to the operators, the same outbox as customers' notices have: written with its cause, mailed afterwards.

    `reference` is unique with the kind: what is wrong with a run is told once.
    """

    class Kind(models.TextChoices):
        """What is wrong."""

        FAILURES = "failures", _("account-days that failed")
        UNBALANCED = "unbalanced", _("a run that does not balance")
        STANDSTILL = "standstill", _("a night that stands still")
        SILENT = "silent", _("usage that stopped coming")

    kind = models.CharField(_("kind"), max_length=20, choices=Kind.choices)
    reference = models.CharField(max_length=40)
    subject = models.CharField(_("subject"), max_length=200)
    body = models.TextField(_("text"))
    created_at = models.DateTimeField(_("written"))
    sent_at = models.DateTimeField(_("mailed"), null=True)
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    next_attempt_at = models.DateTimeField(null=True)
    last_error = models.CharField(_("last error"), max_length=500, blank=True)

    class Meta:
        verbose_name = _("alarm")
        verbose_name_plural = _("alarms")
        constraints = [models.UniqueConstraint(fields=["kind", "reference"], name="alarm_once")]
        indexes = [models.Index("id", name="alarm_to_send", condition=Q(sent_at=None))]

    def __str__(self) -> str:
        return self.subject


class Bill(models.Model):
    """What one account owes for one day's usage, or for late usage of that day (`sequence` above 1)."""

    account = models.ForeignKey(
        Account, models.PROTECT, related_name="bills", db_index=False, verbose_name=_("account")
    )
    day = models.DateField(_("day"))
    sequence = models.PositiveSmallIntegerField(_("sequence"))
    billing_mode = models.CharField(_("billing mode"), max_length=10, choices=MODES)
    rated_total = WideIntegerField(_("lines total (micro-yuan)"))
    carry_in = models.BigIntegerField(_("carry in (micro-yuan)"))
    amount_due = WideIntegerField(_("amount due (fen)"))
    carry_out = models.BigIntegerField(_("carry out (micro-yuan)"))
    balance_after = WideIntegerField(_("balance after (fen)"))
    settled_at = models.DateTimeField(_("settled"))

    class Meta:
        verbose_name = _("bill")
        verbose_name_plural = _("bills")
        constraints = [
            models.UniqueConstraint(fields=["account", "day", "sequence"], name="bill_sequence_of_day"),
            models.CheckConstraint(name="bill_due_not_negative", condition=Q(amount_due__gte=0)),
            models.CheckConstraint(
                name="bill_due_and_carry_add_up",
                condition=Q(rated_total=F("amount_due") * 10000 + F("carry_out") - F("carry_in")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.day} / {self.sequence}"


class BillLine(models.Model):
    """One item and region of a bill: quantity = drawn + charged, amount = charged × price ÷ per (rules 1.4)."""

    bill = models.ForeignKey(Bill, models.PROTECT, related_name="lines", db_index=False)
    position = models.PositiveSmallIntegerField()
    item = models.ForeignKey(Item, models.PROTECT, related_name="+", db_index=False, verbose_name=_("item"))
    region = models.CharField(_("region"), max_length=40)
    quantity = WideIntegerField(_("quantity"))
    drawn = WideIntegerField(_("drawn"))
    charged = WideIntegerField(_("charged"))
    price = models.BigIntegerField()
    per = models.BigIntegerField()
    amount = WideIntegerField()

    class Meta:
        verbose_name = _("bill line")
        verbose_name_plural = _("bill lines")
        ordering = ["bill", "position"]
        constraints = [
            models.UniqueConstraint(fields=["bill", "item", "region"], name="bill_line_once"),
            models.CheckConstraint(
                name="bill_line_drawn_or_charged",
                condition=Q(quantity=F("drawn") + F("charged"), quantity__gt=0, drawn__gte=0, charged__gte=0),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.bill} · {self.item}"


class Drawdown(models.Model):
    """Units that one bill line drew from one pack, and the revenue recognised by it (rules 5.2, 7.2)."""

    line = models.ForeignKey(BillLine, models.PROTECT, related_name="drawdowns", verbose_name=_("bill line"))
    pack = models.ForeignKey(Pack, models.PROTECT, related_name="drawdowns")
    quantity = models.BigIntegerField(_("quantity"))
    remaining_after = models.BigIntegerField(_("remaining after"))
    recognised = models.BigIntegerField()

    class Meta:
        verbose_name = _("drawdown")
        verbose_name_plural = _("drawdowns")
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(
                name="drawdown_positive", condition=Q(quantity__gt=0, remaining_after__gte=0, recognised__gte=0)
            )
        ]

    def __str__(self) -> str:
        return f"{self.quantity:,}"
