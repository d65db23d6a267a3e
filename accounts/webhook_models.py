"""Who listens to what, what each is told, and how every attempt went."""

from uuid import uuid4

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class EventType(models.TextChoices):
    """What endpoints can listen for."""

    ACCOUNT_OPENED = "account.opened", _("an account was opened")
    ACCOUNT_ARREARS = "account.arrears", _("the balance fell below 0")
    ACCOUNT_SUSPENDED = "account.suspended", _("the service was suspended")
    ACCOUNT_RESUMED = "account.resumed", _("the service was resumed")
    ACCOUNT_RECLAIMED = "account.reclaimed", _("resources were released")
    ACCOUNT_CLOSED = "account.closed", _("an account was closed")
    ACCOUNT_REOPENED = "account.reopened", _("an account was opened again")
    BALANCE_LOW = "balance.low", _("the balance fell below the threshold")
    BILL_READY = "bill.ready", _("a bill was written")
    PACK_LOW = "pack.low", _("a pack fell to the threshold")
    PACK_EXHAUSTED = "pack.exhausted", _("a pack was used up")
    PACK_REFUNDED = "pack.refunded", _("a pack was refunded")
    ORDER_PLACED = "order.placed", _("packs were bought")
    PAYMENT_RECEIVED = "payment.received", _("a top-up arrived")
    PRICE_ANNOUNCED = "price.announced", _("a tariff change was announced")


class Endpoint(models.Model):
    """An address that is told of events: of one account, or of every account where it has none (the platform's)."""

    account = models.ForeignKey(
        "accounts.Account", models.PROTECT, null=True, related_name="endpoints", verbose_name=_("account")
    )
    url = models.CharField(_("address"), max_length=2000)
    events = ArrayField(models.CharField(max_length=40, choices=EventType.choices), verbose_name=_("events"))
    created_at = models.DateTimeField(_("written"))
    failing_since = models.DateTimeField(_("failing since"), null=True)
    """The first failed attempt since the last that went well."""
    disabled_at = models.DateTimeField(_("turned off"), null=True)
    deleted_at = models.DateTimeField(_("deleted"), null=True)

    class Meta:
        verbose_name = _("webhook endpoint")
        verbose_name_plural = _("webhook endpoints")
        indexes = [
            models.Index(
                "account", name="endpoint_listening", condition=Q(deleted_at__isnull=True, disabled_at__isnull=True)
            )
        ]

    def __str__(self) -> str:
        return f"{self.pk}"


class EndpointSecret(models.Model):
    """A secret that an endpoint's messages are signed with, sealed (`webhook_secrets.py`); several after a rotation."""

    endpoint = models.ForeignKey(Endpoint, models.CASCADE, related_name="secrets")
    sealed = models.TextField()
    expires_at = models.DateTimeField(null=True)
    """Null for the newest."""


class DeliveryStatus(models.TextChoices):
    """What has become of a message so far."""

    PENDING = "pending", _("pending")
    DELIVERED = "delivered", _("delivered")
    FAILED = "failed", _("failed")


class Delivery(models.Model):
    """One message to one endpoint: the outbox row, written in the transaction of what it tells.

    It is due while `next_attempt_at` is set. `body` is signed and sent as it stands, the same at every attempt.
    """

    endpoint = models.ForeignKey(
        Endpoint, models.CASCADE, related_name="deliveries", db_index=False, verbose_name=_("webhook endpoint")
    )
    message = models.UUIDField(_("message"), default=uuid4, unique=True)
    type = models.CharField(_("type"), max_length=40, choices=EventType.choices)
    reference = models.CharField(_("reference"), max_length=100)
    body = models.TextField(_("body"))
    created_at = models.DateTimeField(_("written"))
    trying_since = models.DateTimeField(null=True)
    """The first attempt, or the first since it was sent again by hand: where the three days begin. Null before it."""
    attempted = models.PositiveSmallIntegerField(_("attempts"), default=0)
    """Attempts since then."""
    next_attempt_at = models.DateTimeField(_("next attempt"), null=True)
    delivered_at = models.DateTimeField(_("delivered"), null=True)

    class Meta:
        verbose_name = _("webhook delivery")
        verbose_name_plural = _("webhook deliveries")
        constraints = [models.UniqueConstraint(fields=["endpoint", "type", "reference"], name="delivery_once")]
        indexes = [
            models.Index("endpoint", "id", name="delivery_of_endpoint"),
            models.Index(
                "endpoint", "next_attempt_at", name="delivery_due", condition=Q(next_attempt_at__isnull=False)
            ),
            models.Index("created_at", name="delivery_age"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.message}"

    @property
    def message_id(self) -> str:
        """The `webhook-id`, the same at every attempt."""
        return f"msg_{self.message.hex}"

    @property
    def status(self) -> DeliveryStatus:
        """Pending while an attempt is to come; else whether one ever went well."""
        if self.next_attempt_at:
            return DeliveryStatus.PENDING
        return DeliveryStatus.DELIVERED if self.delivered_at else DeliveryStatus.FAILED

    @staticmethod
    def with_status(deliveries: "models.QuerySet[Delivery]", status: DeliveryStatus) -> "models.QuerySet[Delivery]":
        """Those of `deliveries` that have a status: `status` as a condition."""
        if status == DeliveryStatus.PENDING:
            return deliveries.filter(next_attempt_at__isnull=False)
        never = status == DeliveryStatus.FAILED
        return deliveries.filter(next_attempt_at=None, delivered_at__isnull=never)


class Attempt(models.Model):
    """One request of a delivery, and its answer: a status with the first bytes of the body, or an error."""

    delivery = models.ForeignKey(Delivery, models.CASCADE, related_name="attempts")
    time = models.DateTimeField(_("time"))
    milliseconds = models.PositiveIntegerField(_("milliseconds"))
    status = models.PositiveSmallIntegerField(_("status"), null=True)
    answer = models.TextField(_("answer"), blank=True)
    error = models.CharField(_("error"), max_length=300, blank=True)

    class Meta:
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        ordering = ["id"]

    @property
    def ok(self) -> bool:
        """Whether the endpoint took it."""
        return self.status is not None and 200 <= self.status < 300
