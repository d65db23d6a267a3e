"""Staff: SKUs and items with their prices in force and every price they had; changed on the price list (rules 5.5)."""

from typing import Any

from django.contrib import admin
from django.db.models import Case, F, OuterRef, QuerySet, Subquery, Value, When
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from iss_billing import formats
from iss_billing.days import day_of
from iss_billing.staff import LookOnly, LookOnlyInline
from packs.models import HOME_REGION, Item, Priced, Sku, SkuPrice, TariffPrice

IN_FORCE = Case(When(withdraws=True, then=Value(None)), default=F("price"))


class PriceHistory(LookOnlyInline):
    """Every price that there was, or will be: who, when, why, from, to, and whether it was cancelled."""

    @admin.display(description=_("cancelled"))
    def cancelled(self, row: Priced) -> str:
        """By whom and why."""
        if row.cancelled_at is None:
            return "—"
        return " · ".join(filter(None, (f"{timezone.localtime(row.cancelled_at):%Y-%m-%d %H:%M}", row.cancel_reason)))


class SkuPriceHistory(PriceHistory):
    """Every price a SKU had."""

    model = SkuPrice
    verbose_name_plural = _("price history")
    fields = readonly_fields = ("effective_at", "before", "after", "made_at", "made_by", "reason", "cancelled")
    ordering = ("-effective_at", "-id")

    @admin.display(description=_("from"))
    def before(self, row: SkuPrice) -> str:
        """The price that it replaced."""
        return str(formats.money(row.from_price)) if row.from_price is not None else "—"

    @admin.display(description=_("to"))
    def after(self, row: SkuPrice) -> str:
        """The price."""
        return gettext("withdrawn from sale") if row.withdraws else str(formats.money(row.price))


@admin.register(Sku)
class SkuAdmin(LookOnly):
    """Packs and their prices."""

    inlines = (SkuPriceHistory,)
    list_display = ("code", "pack_type", "size", "price_now")
    list_filter = ("pack_type",)
    search_fields = ("code",)
    fields = readonly_fields = ("code", "pack_type", "size", "valid_until", "price_now")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Sku]:
        """With the price in force."""
        prices = SkuPrice.objects.filter(sku=OuterRef("pk"), effective_at__lte=timezone.now(), cancelled_at=None)
        in_force = prices.order_by("-effective_at", "-id").annotate(now=IN_FORCE).values("now")[:1]
        rows: QuerySet[Sku] = super().get_queryset(request)
        return rows.select_related("pack_type").annotate(in_force=Subquery(in_force))

    @admin.display(description=_("size"), ordering="quantity")
    def size(self, sku: Sku) -> str:
        """As the shop shows it."""
        return str(formats.size(sku.quantity, sku.pack_type.unit))

    @admin.display(description=_("price in force"))
    def price_now(self, sku: Any) -> str:
        """The price in force now."""
        return str(formats.money(sku.in_force)) if sku.in_force is not None else "—"


class TariffHistory(PriceHistory):
    """Every tariff price of an item, those scheduled too."""

    model = TariffPrice
    verbose_name_plural = _("tariff history")
    fields = readonly_fields = (
        "region",
        "effective_day",
        "before",
        "after",
        "made_at",
        "made_by",
        "reason",
        "cancelled",
    )
    ordering = ("region", "-effective_day", "-id")

    @admin.display(description=_("from"))
    def before(self, row: TariffPrice) -> str:
        """The price that was to be in force otherwise."""
        if row.from_price is None or not row.from_per:
            return "—"
        return str(formats.unit_price(row.from_price, row.from_per, row.item.unit))

    @admin.display(description=_("to"))
    def after(self, row: TariffPrice) -> str:
        """The price."""
        if row.withdraws:
            return gettext("withdrawn from sale")
        return str(formats.unit_price(row.price, row.per, row.item.unit))


@admin.register(Item)
class ItemAdmin(LookOnly):
    """Items and their tariff."""

    inlines = (TariffHistory,)
    list_display = ("code", "name_zh", "name_en", "unit", "aggregation", "requires_billing_mode", "price_now")
    search_fields = ("code", "name_zh", "name_en")
    fields = readonly_fields = list_display

    def get_queryset(self, request: HttpRequest) -> QuerySet[Item]:
        """With the price in force in the home region."""
        prices = TariffPrice.objects.filter(
            item=OuterRef("pk"), region=HOME_REGION, effective_day__lte=day_of(timezone.now()), cancelled_at=None
        )
        last = prices.order_by("-effective_day", "-id").annotate(now=IN_FORCE)
        rows: QuerySet[Item] = super().get_queryset(request)
        return rows.annotate(in_force=Subquery(last.values("now")[:1]), in_force_per=Subquery(last.values("per")[:1]))

    @admin.display(description=_("price in force"))
    def price_now(self, item: Any) -> str:
        """The tariff in force in the home region."""
        if item.in_force is None:
            return "—"
        return str(formats.unit_price(item.in_force, item.in_force_per, item.unit))
