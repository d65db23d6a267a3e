"""Staff: prices, each change with a reason and kept; packs, orders and the catalogue to look at (rules 4.5, 5.5)."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from iss_billing import formats
from iss_billing.days import day_of
from iss_billing.staff import LookOnly, LookOnlyInline, integer_of, money_field
from packs import tariff
from packs.models import HOME_REGION, Checkout, Item, Order, OrderLine, PackType, Sku, SkuPrice, TariffPrice

if TYPE_CHECKING:
    SkuModelForm = forms.ModelForm[Sku]
    ItemModelForm = forms.ModelForm[Item]
else:
    SkuModelForm = ItemModelForm = forms.ModelForm


def reason_field() -> forms.CharField:
    """Why a price is changed: required."""
    return forms.CharField(label=_("reason"), max_length=500, widget=forms.Textarea(attrs={"rows": 2}))


class SkuPriceForm(SkuModelForm):
    """A new price for a SKU, at once."""

    new_price = money_field(2, label=_("new price"), help_text=_("In force at once; orders and packs keep theirs."))
    reason = reason_field()

    class Meta:
        model = Sku
        fields: tuple[str, ...] = ()

    def clean(self) -> dict[str, Any]:
        """Refuse an impossible price with the reason why."""
        data = super().clean() or {}
        if data.get("new_price") is not None and data.get("reason"):
            try:
                data["fen"] = integer_of(data["new_price"], 2)
                tariff.check_pack_price(data["fen"], data["reason"])
            except (tariff.PriceRefused, ValueError) as error:
                raise ValidationError({"new_price": str(error)}) from error
        return data


class SkuPriceHistory(LookOnlyInline):
    """Every price a SKU had: who, when, from, to, why."""

    model = SkuPrice
    verbose_name_plural = _("price history")
    fields = readonly_fields = ("effective_at", "before", "after", "made_by", "reason")
    ordering = ("-effective_at", "-id")

    @admin.display(description=_("from"))
    def before(self, row: SkuPrice) -> str:
        """The price that it replaced."""
        return str(formats.money(row.from_price)) if row.from_price is not None else "—"

    @admin.display(description=_("to"))
    def after(self, row: SkuPrice) -> str:
        """The price."""
        return str(formats.money(row.price))


class PricedAdmin(LookOnly):
    """Rows whose only edit is a new price."""

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever may change prices."""
        return request.user.has_perm(f"packs.change_{self.opts.model_name}")


@admin.register(Sku)
class SkuAdmin(PricedAdmin):
    """Packs on sale and their prices."""

    form = SkuPriceForm
    inlines = (SkuPriceHistory,)
    list_display = ("code", "pack_type", "quantity", "price_now", "withdrawn_at")
    list_filter = ("pack_type",)
    search_fields = ("code",)
    readonly_fields = ("code", "pack_type", "quantity", "valid_until", "price_now")
    fieldsets = ((None, {"fields": (*readonly_fields, "new_price", "reason")}),)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Sku]:
        """With the price in force."""
        prices = SkuPrice.objects.filter(sku=OuterRef("pk"), effective_at__lte=timezone.now())
        in_force = prices.order_by("-effective_at", "-id").values("price")[:1]
        rows: QuerySet[Sku] = super().get_queryset(request)
        return rows.select_related("pack_type").annotate(in_force=Subquery(in_force))

    @admin.display(description=_("price in force"))
    def price_now(self, sku: Any) -> str:
        """The price in force now."""
        return str(formats.money(sku.in_force)) if sku.in_force is not None else "—"

    def save_model(self, request: HttpRequest, obj: Sku, form: Any, change: bool) -> None:
        """Append the price; the SKU itself does not change."""
        data = form.cleaned_data
        tariff.set_pack_price(
            sku=obj,
            price=data["fen"],
            reason=data["reason"],
            now=timezone.now(),
            made_by=request.user,  # type: ignore[arg-type]  # the admin lets nobody in who is not signed in
        )


class TariffForm(ItemModelForm):
    """A new tariff price for an item and region, from a coming day."""

    region = forms.CharField(label=_("region"), max_length=40, initial=HOME_REGION)
    new_price = money_field(6, label=_("new price"))
    per = forms.IntegerField(label=_("per base units"), min_value=1)
    effective_day = forms.DateField(label=_("from day"), help_text=_("In force from 00:00 of this day, Asia/Shanghai."))
    reason = reason_field()

    class Meta:
        model = Item
        fields: tuple[str, ...] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        now = timezone.now()
        in_force = tariff.tariff_on(day_of(now)).get((self.instance.pk, HOME_REGION))
        self.fields["effective_day"].initial = day_of(now) + timedelta(days=1)
        self.fields["per"].initial = in_force.per if in_force else 1

    def clean(self) -> dict[str, Any]:
        """Refuse an impossible price, or one that would come too late, with the reason why."""
        data = super().clean() or {}
        if (
            all(data.get(name) for name in ("region", "per", "effective_day", "reason"))
            and data.get("new_price") is not None
        ):
            try:
                data["micro"] = integer_of(data["new_price"], 6)
                tariff.check_tariff(
                    data["region"], data["micro"], data["per"], data["effective_day"], data["reason"], timezone.now()
                )
            except (tariff.PriceRefused, ValueError) as error:
                raise ValidationError(str(error)) from error
        return data


class TariffHistory(LookOnlyInline):
    """Every tariff price of an item, those scheduled too."""

    model = TariffPrice
    verbose_name_plural = _("tariff history")
    fields = readonly_fields = ("region", "effective_day", "before", "after", "made_at", "made_by", "reason")
    ordering = ("region", "-effective_day", "-id")

    @admin.display(description=_("from"))
    def before(self, row: TariffPrice) -> str:
        """The price that was to be in force otherwise."""
        return (
            str(formats.unit_price(row.from_price, row.from_per, row.item.unit))
            if row.from_price is not None and row.from_per
            else "—"
        )

    @admin.display(description=_("to"))
    def after(self, row: TariffPrice) -> str:
        """The price."""
        return str(formats.unit_price(row.price, row.per, row.item.unit))


@admin.register(Item)
class ItemAdmin(PricedAdmin):
    """Items and their tariff."""

    form = TariffForm
    inlines = (TariffHistory,)
    list_display = ("code", "name_zh", "name_en", "unit", "aggregation", "requires_billing_mode", "price_now")
    search_fields = ("code", "name_zh", "name_en")
    readonly_fields = ("code", "name_zh", "name_en", "unit", "aggregation", "requires_billing_mode")
    fieldsets = (
        (None, {"fields": readonly_fields}),
        (_("new tariff price"), {"fields": ("region", "new_price", "per", "effective_day", "reason")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Item]:
        """With the price in force in the home region."""
        prices = TariffPrice.objects.filter(
            item=OuterRef("pk"), region=HOME_REGION, effective_day__lte=day_of(timezone.now())
        ).order_by("-effective_day", "-id")
        rows: QuerySet[Item] = super().get_queryset(request)
        return rows.annotate(
            in_force=Subquery(prices.values("price")[:1]), in_force_per=Subquery(prices.values("per")[:1])
        )

    @admin.display(description=_("price in force"))
    def price_now(self, item: Any) -> str:
        """The tariff in force in the home region."""
        return (
            str(formats.unit_price(item.in_force, item.in_force_per, item.unit)) if item.in_force is not None else "—"
        )

    def save_model(self, request: HttpRequest, obj: Item, form: Any, change: bool) -> None:
        """Append the price; the item itself does not change."""
        data = form.cleaned_data
        tariff.set_tariff(
            item=obj,
            region=data["region"],
            price=data["micro"],
            per=data["per"],
            effective_day=data["effective_day"],
            reason=data["reason"],
            now=timezone.now(),
            made_by=request.user,  # type: ignore[arg-type]  # as above
        )


@admin.register(PackType)
class PackTypeAdmin(LookOnly):
    """Pack types and what they cover."""

    list_display = ("code", "name_zh", "name_en", "unit", "region", "requires_billing_mode")


class OrderLineInline(LookOnlyInline):
    """The lines of an order."""

    model = OrderLine
    fields = readonly_fields = ("sku", "quantity", "line_price", "line_amount")

    @admin.display(description=_("price"))
    def line_price(self, line: OrderLine) -> str:
        """Of one pack."""
        return str(formats.money(line.price))

    @admin.display(description=_("amount"))
    def line_amount(self, line: OrderLine) -> str:
        """Of the line."""
        return str(formats.money(line.amount))


@admin.register(Order)
class OrderAdmin(LookOnly):
    """Orders."""

    inlines = (OrderLineInline,)
    list_display = ("id", "account", "placed_at", "total_money")
    search_fields = ("=id", "account__name", "=account__id")
    fields = readonly_fields = ("account", "placed_at", "total_money", "key")
    list_select_related = ("account",)
    ordering = ("-id",)

    @admin.display(description=_("total"))
    def total_money(self, order: Order) -> str:
        """The total."""
        return str(formats.money(order.total))


@admin.register(Checkout)
class CheckoutAdmin(LookOnly):
    """Purchases that wait, or waited, for money."""

    list_display = ("id", "account", "money", "state", "reason", "order", "payment", "started_at", "ended_at")
    list_filter = ("state", "reason")
    search_fields = ("=id", "account__name", "=account__id", "=payment__number")
    list_select_related = ("account", "order", "payment")
    ordering = ("-id",)

    @admin.display(description=_("total"), ordering="total")
    def money(self, checkout: Checkout) -> str:
        """In whole fen."""
        return str(formats.money(checkout.total))
