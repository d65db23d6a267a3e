"""Who pays: logins, accounts, keys, the ledger's transfers, and the outbox of notices."""

from datetime import datetime
from typing import Any, ClassVar

from django.contrib.auth.base_user import BaseUserManager
from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower
from django.utils.translation import gettext_lazy as _

# Django finds the models of an app by its module `models`
from accounts import standing, webhook_models  # noqa: F401
from accounts.audit_models import AuditEntry as AuditEntry
from accounts.letter_models import Letter as Letter
from accounts.payments.models import Payment as Payment  # Django finds an app's models in its `models`
from iss_billing.fields import WideIntegerField

BANDWIDTH, TRAFFIC = "bandwidth", "traffic"
MODES = [(BANDWIDTH, _("daily peak bandwidth")), (TRAFFIC, _("billed by traffic"))]


class UserManager(BaseUserManager["User"]):
    """Logins are made by e-mail address."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """A login; without a password it can only be entered by way of a reset mail."""
        user = self.model(email=email.strip().lower(), **fields)
        # a random secret, not an unusable one: Django mails no reset to the latter
        user.set_password(password or self.make_random_secret())
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """A staff login with every right."""
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    @staticmethod
    def make_random_secret() -> str:
        """A password that nobody knows."""
        from django.utils.crypto import get_random_string

        return get_random_string(40)

    def get_by_natural_key(self, username: str | None) -> "User":
        """The login of an e-mail address, whatever its case."""
        return self.get(email=(username or "").strip().lower())


class User(AbstractUser):
    """A login, by e-mail address (always kept in lower case)."""

    username = None  # type: ignore[assignment]  # the e-mail address is the name
    first_name = None  # type: ignore[assignment]
    last_name = None  # type: ignore[assignment]
    email = models.EmailField(_("e-mail address"), unique=True)

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects = UserManager()  # type: ignore[misc,assignment]

    class Meta(AbstractUser.Meta):
        swappable = "AUTH_USER_MODEL"
        constraints = [models.UniqueConstraint(Lower("email"), name="user_email_any_case")]

    def __str__(self) -> str:
        return self.email

    def get_full_name(self) -> str:
        """The e-mail address: a login carries no name of its own."""
        return self.email

    get_short_name = get_full_name


class Account(models.Model):
    """One customer. Its row is the one lock: whoever changes its money, packs, mode or bills holds it."""

    user = models.OneToOneField(User, models.PROTECT, null=True, related_name="account", verbose_name=_("login"))
    name = models.CharField(_("name"), max_length=120)
    opened_at = models.DateTimeField(_("opened"))
    language = models.CharField(_("language"), max_length=10, default="zh-hans")
    theme = models.CharField(_("look"), max_length=5, blank=True, default="", db_default="")
    """Light or dark, where the customer chose; else as their system."""
    balance = WideIntegerField(_("balance (fen)"), default=0)
    carry = models.BigIntegerField(_("carry (micro-yuan)"), default=0)
    arrears_since = models.DateTimeField(_("in arrears since"), null=True)
    announced = models.CharField(_("announced standing"), max_length=10, default=standing.ACTIVE)
    """The standing that the customer was last told of; the present one is `standing_at`."""
    low_percent = models.PositiveSmallIntegerField(_("threshold (%)"), default=20, db_default=20)
    """A pack with this much left, or less, is low, and the customer is told so; 0: never."""
    low_balance = WideIntegerField(_("low balance (fen)"), null=True)
    """A posting that takes the balance below this is told to the customer; null: never."""
    contact_email = models.EmailField(_("address for bills"), blank=True, default="", db_default="")
    """Confirmed by its owner; bills are mailed there, and news of the balance there too."""
    mails_bills = models.BooleanField(_("every bill by mail"), default=False, db_default=False)
    muted = ArrayField(models.CharField(max_length=20), default=list, db_default=[], verbose_name=_("not mailed"))
    """Kinds of notices that are told in the console only."""
    closed_at = models.DateTimeField(_("closed"), null=True)
    reopened_at = models.DateTimeField(_("reopened"), null=True)
    """The last time that staff opened it again."""

    class Meta:
        verbose_name = _("account")
        verbose_name_plural = _("accounts")
        permissions: ClassVar = [
            ("help_account", "Can help a customer: send a message again, let a login in again"),
            ("read_books", "Can read the reports of the books"),
        ]
        constraints = [
            models.CheckConstraint(
                name="account_arrears_iff_negative",
                condition=Q(balance__lt=0, arrears_since__isnull=False) | Q(balance__gte=0, arrears_since__isnull=True),
            ),
            models.CheckConstraint(name="account_carry_within_half_a_fen", condition=Q(carry__range=(-5000, 5000))),
            models.CheckConstraint(name="account_low_percent", condition=Q(low_percent__lt=100)),
            models.CheckConstraint(name="account_low_balance_positive", condition=Q(low_balance__gt=0)),
        ]
        # the few rows in arrears, or closed, are found without reading all; the night rarely changes what these index
        indexes = [
            models.Index("arrears_since", name="account_arrears", condition=Q(arrears_since__isnull=False)),
            models.Index("closed_at", name="account_closed", condition=Q(closed_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.pk})"

    def standing_at(self, now: datetime) -> "standing.Standing":
        """Active, arrears, suspended or reclaimed at a moment (rules 6)."""
        return standing.status(self.balance, self.arrears_since, now)


class ModeChange(models.Model):
    """A word about the billing mode from a day on; the latest for the latest day not after D rules D (rules 3)."""

    account = models.ForeignKey(Account, models.PROTECT, related_name="mode_changes", verbose_name=_("account"))
    effective_day = models.DateField()
    mode = models.CharField(max_length=10, choices=MODES)
    decided_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index("account", "effective_day", "id", name="mode_change_in_force")]


class ApiKey(models.Model):
    """A bearer key of an account, or of the platform when it has no account; only its hash is kept."""

    account = models.ForeignKey(Account, models.PROTECT, null=True, related_name="api_keys", verbose_name=_("account"))
    name = models.CharField(_("name"), max_length=120, blank=True)
    prefix = models.CharField(_("key begins"), max_length=24, unique=True)
    digest = models.CharField(max_length=64)
    created_at = models.DateTimeField(_("made"))
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    revoked_at = models.DateTimeField(_("revoked"), null=True)
    last_used_at = models.DateTimeField(_("last used"), null=True)

    class Meta:
        verbose_name = _("key")
        verbose_name_plural = _("keys")

    def __str__(self) -> str:
        return f"{self.prefix}… {self.name}"

    def in_force_at(self, now: datetime) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)


class Kind(models.TextChoices):
    """What a transfer is for."""

    TOP_UP = "top_up", _("top-up")
    PURCHASE = "purchase", _("purchase")
    USAGE = "usage", _("usage")
    REFUND = "refund", _("refund")
    ADJUSTMENT = "adjustment", _("adjustment")
    WITHDRAWAL = "withdrawal", _("withdrawal")
    RECOGNITION = "recognition", _("recognition")


class Book(models.TextChoices):
    """The books of an account; each account keeps its own page in every one of them."""

    BALANCE = "balance", _("customer balance")
    CASH = "cash", _("cash")
    DEFERRED = "deferred", _("deferred revenue")
    PACK_REVENUE = "pack_revenue", _("pack revenue")
    USAGE_REVENUE = "usage_revenue", _("usage revenue")


MOVES: dict[Kind, tuple[tuple[Book, Book], ...]] = {
    Kind.TOP_UP: ((Book.CASH, Book.BALANCE),),
    Kind.PURCHASE: ((Book.BALANCE, Book.DEFERRED),),
    Kind.USAGE: ((Book.BALANCE, Book.USAGE_REVENUE),),
    Kind.REFUND: ((Book.DEFERRED, Book.BALANCE),),
    Kind.ADJUSTMENT: ((Book.USAGE_REVENUE, Book.BALANCE), (Book.BALANCE, Book.USAGE_REVENUE)),
    Kind.WITHDRAWAL: ((Book.BALANCE, Book.CASH),),
    Kind.RECOGNITION: ((Book.DEFERRED, Book.PACK_REVENUE),),
}
"""The (debit, credit) books that each kind may move between."""


class Transfer(models.Model):
    """One movement of money, from the debit book to the credit book; never changed, never deleted (rules 7.1).

    The balance is what we owe the customer: a credit to it is money in, a debit money out. The database refuses
    UPDATE and DELETE by a trigger, the same cause twice by (kind, reference), and wrong books by a check.
    """

    account = models.ForeignKey(
        Account, models.PROTECT, related_name="transfers", db_index=False, verbose_name=_("account")
    )
    kind = models.CharField(_("kind"), max_length=12, choices=Kind.choices)
    debit = models.CharField(_("debit"), max_length=16, choices=Book.choices)
    credit = models.CharField(_("credit"), max_length=16, choices=Book.choices)
    amount = WideIntegerField(_("amount (fen)"))
    time = models.DateTimeField(_("time"))
    reference = models.CharField(_("reference"), max_length=255)
    balance_after = WideIntegerField(_("balance after (fen)"), null=True)
    """Null where the account's balance does not move (recognition)."""
    reason = models.CharField(_("reason"), max_length=500, blank=True)
    made_by = models.ForeignKey(
        User, models.PROTECT, null=True, related_name="+", db_index=False, verbose_name=_("made by")
    )

    class Meta:
        verbose_name = _("transfer")
        verbose_name_plural = _("transfers")
        constraints = [
            models.UniqueConstraint(fields=["kind", "reference"], name="transfer_once_per_cause"),
            models.CheckConstraint(name="transfer_amount_positive", condition=Q(amount__gt=0)),
            models.CheckConstraint(name="transfer_two_books", condition=~Q(debit=F("credit"))),
            models.CheckConstraint(
                name="transfer_books_of_its_kind",
                condition=Q(
                    *(
                        Q(kind=kind.value, debit=debit.value, credit=credit.value)
                        for kind, ways in MOVES.items()
                        for debit, credit in ways
                    ),
                    _connector=Q.OR,
                ),
            ),
        ]
        indexes = [
            models.Index("account", "id", name="transfer_of_account"),
            models.Index("made_by", name="transfer_made_by", condition=Q(made_by__isnull=False)),
            # what people cause, few among the night's many; the night writes nothing here
            models.Index(
                "time",
                "id",
                name="transfer_by_hand",
                condition=Q(kind__in=["top_up", "refund", "adjustment", "withdrawal"]),
            ),
            # what moved since a moment is found in the last blocks; it costs the night next to nothing
            BrinIndex("time", name="transfer_time", autosummarize=True),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.reference}"

    @property
    def signed_amount(self) -> int:
        """Fen as they move the balance: positive in, negative out, 0 when it does not move."""
        if self.credit == Book.BALANCE:
            return self.amount
        return -self.amount if self.debit == Book.BALANCE else 0

    @property
    def has_own_cause(self) -> bool:
        """Whether an order, a bill or a pack caused it, which `reference` then names ("order:12")."""
        return self.kind in (Kind.PURCHASE, Kind.USAGE, Kind.REFUND, Kind.RECOGNITION)

    @property
    def cause(self) -> str:
        """The id of the order, bill or pack that caused it."""
        return self.reference.rpartition(":")[2]


class Notice(models.Model):
    """The outbox: what a customer is to be told, written in the transaction that causes it, told once."""

    class Type(models.TextChoices):
        ARREARS = "arrears", _("in arrears")
        SUSPENDED = "suspended", _("service suspended")
        RESUMED = "resumed", _("service resumed")
        RECLAIMED = "reclaimed", _("resources reclaimed")
        PACK_LOW = "pack_low", _("pack running low")
        PACK_EXHAUSTED = "pack_exhausted", _("pack used up")
        ENDPOINT_DISABLED = "endpoint_disabled", _("webhook turned off")
        CHECKOUT = "checkout", _("waiting purchase")
        PRICE_RISE = "price_rise", _("price rise")
        BALANCE_LOW = "balance_low", _("balance running low")
        BILL_READY = "bill_ready", _("bill")
        EMAIL_ASKED = "email_asked", _("change of the e-mail address asked for")
        EMAIL_CHANGED = "email_changed", _("e-mail address changed")
        PASSWORD_CHANGED = "password_changed", _("password changed")
        CLOSED = "closed", _("account closed")
        REOPENED = "reopened", _("account reopened")
        PAID_OUT = "paid_out", _("balance paid out")

    account = models.ForeignKey(
        Account, models.PROTECT, related_name="notices", db_index=False, verbose_name=_("account")
    )
    kind = models.CharField(_("kind"), max_length=20, choices=Type.choices)
    reference = models.CharField(max_length=100)
    data = models.JSONField(default=dict)
    created_at = models.DateTimeField(_("written"))
    read_at = models.DateTimeField(null=True)
    sent_at = models.DateTimeField(_("told"), null=True)
    mailed_to = models.CharField(_("mailed to"), max_length=600, blank=True, default="", db_default="")
    """Empty once told: it stands in the console only."""
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    next_attempt_at = models.DateTimeField(null=True)
    """Null until a first attempt failed."""
    last_error = models.CharField(_("last error"), max_length=500, blank=True)
    resent = models.PositiveSmallIntegerField(_("sent again"), default=0, db_default=0)
    """How often staff had it mailed once more."""

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        constraints = [models.UniqueConstraint(fields=["account", "kind", "reference"], name="notice_once")]
        indexes = [
            models.Index("id", name="notice_unsent", condition=Q(sent_at__isnull=True)),
            models.Index("account", "id", name="notice_of_account"),
            models.Index("account", name="notice_unread", condition=Q(read_at__isnull=True)),
        ]
