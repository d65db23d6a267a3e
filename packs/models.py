"""What is sold and what is held: items and their tariff, pack types, SKUs and their prices, orders and packs."""

from datetime import UTC, date, datetime, timedelta

from django.db import models
from django.db.models import F, Q
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

from accounts.models import MODES, Account, Payment, User
from iss_billing.fields import WideIntegerField
from packs import proposal_models  # noqa: F401 - Django finds the models of an app by its module `models`

HOME_REGION = "cn-mainland"
"""The region that packs cover, and that usage without a region was in (rules 4.1)."""
REFUND_WINDOW = timedelta(hours=5 * 24)
"""A customer's own refund is open until this long after the purchase, that instant included (rules 4.7)."""
LAUNCH = datetime(2019, 12, 31, 16, tzinfo=UTC)
"""The launch prices are in force from 2020-01-01 00:00 Asia/Shanghai (rules 5.5)."""


class Unit(models.TextChoices):
    """An item's base unit (rules 1.2)."""

    CALL = "call", _("calls")
    BYTE = "byte", _("bytes")
    BIT_PER_SECOND = "bit/s", _("bit/s")
    CHANNEL = "channel", _("channels")
    SECOND = "second", _("seconds")


class Aggregation(models.TextChoices):
    """How a day's events become the day's quantity (rules 2)."""

    SUM = "sum", _("sum")
    PEAK = "peak", _("daily peak")
    MEAN = "mean", _("daily mean")
    DISTINCT = "distinct", _("distinct resources")


class Named(models.Model):
    """A name in both languages of the product, and its place in the catalogue."""

    name_zh = models.CharField(_("Chinese name"), max_length=120)
    name_en = models.CharField(_("English name"), max_length=120)
    position = models.PositiveSmallIntegerField(unique=True)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """The name in the active language."""
        return self.name_en if (get_language() or "").startswith("en") else self.name_zh


class Item(Named):
    """Something the platform meters and the tariff prices; `position` is the order in which lines are rated."""

    id = models.SmallAutoField(primary_key=True)
    code = models.CharField(_("code"), max_length=40, unique=True)
    unit = models.CharField(_("unit"), max_length=10, choices=Unit.choices)
    aggregation = models.CharField(_("aggregation"), max_length=10, choices=Aggregation.choices)
    requires_billing_mode = models.CharField(_("billed only in mode"), max_length=10, choices=MODES, null=True)

    class Meta:
        ordering = ["position"]
        verbose_name = _("item")
        verbose_name_plural = _("items")


class Priced(models.Model):
    """A price with who made it, when and why. Appended; all that ever changes is that it is cancelled before its time.

    `withdraws` ends the sale instead, and then repeats the price that was. Of a cancelled change the rows that it had
    replaced are cancelled with it: nothing that was scheduled and replaced comes back by itself.
    """

    withdraws = models.BooleanField(_("ends the sale"), default=False)
    made_at = models.DateTimeField(_("made"))
    made_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+", verbose_name=_("made by"))
    reason = models.CharField(_("reason"), max_length=500)
    proposal = models.ForeignKey(
        "packs.PriceProposal", models.PROTECT, null=True, related_name="+", verbose_name=_("price change")
    )
    cancelled_at = models.DateTimeField(_("cancelled"), null=True)
    cancelled_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+", verbose_name=_("cancelled by"))
    cancel_reason = models.CharField(_("why it was cancelled"), max_length=500, blank=True)

    class Meta:
        abstract = True


class TariffPrice(Priced):
    """A pay-as-you-go price from a day on: `price` micro-yuan per `per` base units.

    On a day the row of the latest day not after it is in force, of several for one day the last made (rules 5.5).
    """

    item = models.ForeignKey(Item, models.PROTECT, related_name="tariff")
    region = models.CharField(_("region"), max_length=40)
    price = models.BigIntegerField(_("price (micro-yuan)"))
    per = models.BigIntegerField(_("per base units"))
    effective_day = models.DateField(_("from day"))
    from_price = models.BigIntegerField(_("price before (micro-yuan)"), null=True)
    from_per = models.BigIntegerField(_("per before"), null=True)

    class Meta:
        verbose_name = _("tariff price")
        verbose_name_plural = _("tariff prices")
        constraints = [
            models.CheckConstraint(name="tariff_price_not_negative", condition=Q(price__gte=0)),
            models.CheckConstraint(name="tariff_per_positive", condition=Q(per__gt=0)),
        ]
        indexes = [models.Index("item", "region", "effective_day", "id", name="tariff_in_force")]

    def __str__(self) -> str:
        return f"{self.region} {self.effective_day}"


class PackType(Named):
    """A kind of pack: the items it covers, in one region, perhaps in one billing mode only (rules 3.3, 4.1)."""

    id = models.SmallAutoField(primary_key=True)
    code = models.CharField(_("code"), max_length=40, unique=True)
    covers = models.ManyToManyField(Item, related_name="pack_types", verbose_name=_("covers"))
    unit = models.CharField(_("unit"), max_length=10, choices=Unit.choices)
    region = models.CharField(_("region"), max_length=40)
    requires_billing_mode = models.CharField(_("frozen unless in mode"), max_length=10, choices=MODES, null=True)

    class Meta:
        ordering = ["position"]
        verbose_name = _("pack type")
        verbose_name_plural = _("pack types")

    @property
    def short_name(self) -> str:
        """The name where a page speaks of packs anyway: 宠物识别, Pet recognition."""
        return self.name.removesuffix("资源包").removesuffix(" pack").partition(" (")[0]


class Sku(models.Model):
    """What is sold: one size of a pack type."""

    id = models.SmallAutoField(primary_key=True)
    code = models.CharField("SKU", max_length=60, unique=True)
    pack_type = models.ForeignKey(PackType, models.PROTECT, related_name="skus", verbose_name=_("pack type"))
    quantity = models.BigIntegerField(_("quantity"))
    valid_until = models.DateField(_("valid until"))
    position = models.PositiveSmallIntegerField(unique=True)

    class Meta:
        ordering = ["position"]
        verbose_name = "SKU"
        verbose_name_plural = _("SKUs")
        constraints = [models.CheckConstraint(name="sku_quantity_positive", condition=Q(quantity__gt=0))]

    def __str__(self) -> str:
        return self.code


class PriceList(Sku):
    """What staff open as the price list: one page over SKUs and items."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = _("price list")
        verbose_name_plural = _("price list")


class SkuPrice(Priced):
    """The price of a SKU in fen from a moment on: at once, or from a coming 00:00. The last effective is in force."""

    sku = models.ForeignKey(Sku, models.PROTECT, related_name="prices", verbose_name="SKU")
    price = models.BigIntegerField(_("price (fen)"))
    effective_at = models.DateTimeField(_("in force from"))
    from_price = models.BigIntegerField(_("price before (fen)"), null=True)

    class Meta:
        verbose_name = _("pack price")
        verbose_name_plural = _("pack prices")
        constraints = [models.CheckConstraint(name="sku_price_positive", condition=Q(price__gt=0))]
        indexes = [models.Index("sku", "effective_at", "id", name="sku_price_in_force")]

    def __str__(self) -> str:
        return f"{self.effective_at:%Y-%m-%d}"


class Order(models.Model):
    """A purchase, paid in full from the balance when it was placed (rules 4.5, 4.8)."""

    account = models.ForeignKey(Account, models.PROTECT, related_name="orders", verbose_name=_("account"))
    placed_at = models.DateTimeField(_("placed"))
    total = WideIntegerField(_("total (fen)"))
    key = models.CharField(_("idempotency key"), max_length=255)
    fingerprint = models.CharField(max_length=64)
    """Of the lines as sent: the same key with another body is refused."""

    class Meta:
        verbose_name = _("order")
        verbose_name_plural = _("orders")
        constraints = [models.UniqueConstraint(fields=["account", "key"], name="order_once_per_key")]

    def __str__(self) -> str:
        return f"{self.pk}"


class OrderLine(models.Model):
    """So many packs of one SKU, at the price kept on the order."""

    order = models.ForeignKey(Order, models.PROTECT, related_name="lines")
    position = models.PositiveSmallIntegerField()
    sku = models.ForeignKey(Sku, models.PROTECT)
    quantity = models.PositiveIntegerField(_("quantity"))
    price = models.BigIntegerField(_("price (fen)"))

    class Meta:
        verbose_name = _("order line")
        verbose_name_plural = _("order lines")
        ordering = ["order", "position"]
        constraints = [models.UniqueConstraint(fields=["order", "position"], name="order_line_position")]

    def __str__(self) -> str:
        return f"{self.sku} × {self.quantity}"

    @property
    def amount(self) -> int:
        """The line's total in fen."""
        return self.price * self.quantity


class Checkout(models.Model):
    """A purchase that waits for money: completed by whatever brings the balance to its total, for 24 hours.

    It is bought as it was shown, or not at all: `lines` carry the prices, `mode` and `next_mode` the billing mode of
    the day it began and of the day after. An account has one at a time.
    """

    class State(models.TextChoices):
        WAITING = "waiting", _("waiting for the money")
        BOUGHT = "bought", _("bought")
        ENDED = "ended", _("not bought")
        CANCELLED = "cancelled", _("cancelled")

    account = models.ForeignKey(
        Account, models.PROTECT, related_name="checkouts", db_index=False, verbose_name=_("account")
    )
    key = models.CharField(_("idempotency key"), max_length=255)
    """Of the confirmation that began it, and of the order that it becomes."""
    lines = models.JSONField()
    """[SKU, quantity, price in fen] each."""
    total = WideIntegerField(_("total (fen)"))
    mode = models.CharField(max_length=10, choices=MODES)
    next_mode = models.CharField(max_length=10, choices=MODES)
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.WAITING)
    reason = models.CharField(_("reason"), max_length=40, blank=True)
    """Why nothing was bought: a code of OrderRefused, `mode_changed`, or `lapsed`."""
    order = models.OneToOneField(Order, models.PROTECT, null=True, related_name="checkout", verbose_name=_("order"))
    payment = models.ForeignKey(Payment, models.PROTECT, null=True, related_name="+", verbose_name=_("payment"))
    """The latest that was begun for it."""
    started_at = models.DateTimeField(_("started"))
    lapses_at = models.DateTimeField(_("lapses"))
    ended_at = models.DateTimeField(_("ended"), null=True)

    class Meta:
        verbose_name = _("waiting purchase")
        verbose_name_plural = _("waiting purchases")
        constraints = [
            models.UniqueConstraint(fields=["account", "key"], name="checkout_once_per_key"),
            models.UniqueConstraint(fields=["account"], condition=Q(state="waiting"), name="checkout_waits_alone"),
            models.CheckConstraint(
                name="checkout_bought_has_order",
                condition=Q(state="bought", order__isnull=False) | (~Q(state="bought") & Q(order__isnull=True)),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.pk}"

    @property
    def waits(self) -> bool:
        """Whether the money can still complete it."""
        return self.state == self.State.WAITING


class PackStatus(models.TextChoices):
    """A pack's status is the first of these that holds (rules 4.6)."""

    REFUNDED = "refunded", _("refunded")
    EXHAUSTED = "exhausted", _("exhausted")
    EXPIRED = "expired", _("expired")
    FROZEN = "frozen", _("frozen")
    ACTIVE = "active", _("active")


class Pack(models.Model):
    """Units bought and what remains of them. Ids rise in drawing order within an account (rules 4.3)."""

    account = models.ForeignKey(
        Account, models.PROTECT, related_name="packs", db_index=False, verbose_name=_("account")
    )
    order_line = models.ForeignKey(OrderLine, models.PROTECT, related_name="packs")
    sku = models.ForeignKey(Sku, models.PROTECT, db_index=False)
    pack_type = models.ForeignKey(PackType, models.PROTECT, db_index=False, verbose_name=_("pack type"))
    total = models.BigIntegerField(_("total"))
    remaining = models.BigIntegerField(_("remaining"))
    price = models.BigIntegerField(_("price paid (fen)"))
    recognised = models.BigIntegerField(_("recognised (fen)"), default=0)
    purchased_at = models.DateTimeField(_("purchased"))
    effective_day = models.DateField(_("from day"))
    valid_until = models.DateField(_("valid until"))
    refunded_at = models.DateTimeField(_("refunded"), null=True)
    refunded = models.BigIntegerField(_("refunded (fen)"), default=0)
    refunded_quantity = models.BigIntegerField(_("refunded quantity"), default=0)

    class Meta:
        verbose_name = _("pack")
        verbose_name_plural = _("packs")
        indexes = [models.Index("account", "id", name="pack_drawing_order")]
        constraints = [
            models.CheckConstraint(
                name="pack_remaining_of_total",
                condition=Q(remaining__gte=0, refunded_quantity__gte=0)
                & Q(total__gte=F("remaining") + F("refunded_quantity")),
            ),
            models.CheckConstraint(
                name="pack_money_of_price",
                condition=Q(recognised__gte=0, refunded__gte=0) & Q(price__gte=F("recognised") + F("refunded")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.pk}"

    @property
    def drawn(self) -> int:
        """Units drawn since the purchase."""
        return self.total - self.remaining - self.refunded_quantity

    def status_on(self, today: date, mode: str) -> PackStatus:
        """The status on a day, in that day's billing mode; needs `pack_type` loaded (rules 4.6)."""
        if self.refunded_at:
            return PackStatus.REFUNDED
        if self.remaining == 0:
            return PackStatus.EXHAUSTED
        if today > self.valid_until:
            return PackStatus.EXPIRED
        if self.pack_type.requires_billing_mode not in (None, mode):
            return PackStatus.FROZEN
        return PackStatus.ACTIVE

    @staticmethod
    def with_status(
        packs: "models.QuerySet[Pack]", status: PackStatus, today: date, mode: str
    ) -> "models.QuerySet[Pack]":
        """Those of `packs` that have a status on a day in that day's mode: `status_on` as a condition."""
        expired = Q(valid_until__lt=today)
        frozen = Q(pack_type__requires_billing_mode__isnull=False) & ~Q(pack_type__requires_billing_mode=mode)
        conditions = {
            PackStatus.REFUNDED: Q(refunded_at__isnull=False),
            PackStatus.EXHAUSTED: Q(remaining=0),
            PackStatus.EXPIRED: expired,
            PackStatus.FROZEN: frozen,
            PackStatus.ACTIVE: Q(),
        }
        for earlier, condition in conditions.items():
            if earlier == status:
                return packs.filter(condition)
            packs = packs.exclude(condition)
        return packs

    def refundable_until(self, now: datetime) -> datetime | None:
        """Until when the customer may refund it alone; None when not, or no longer (rules 4.7)."""
        until = self.purchased_at + REFUND_WINDOW
        return until if self.refunded_at is None and self.drawn == 0 and now <= until else None
