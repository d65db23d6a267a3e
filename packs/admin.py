"""Staff: orders, purchases that wait, and the catalogue, to look at; prices have pages of their own."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from iss_billing import formats
from iss_billing.staff import LookOnly, LookOnlyInline
from packs import price_admin as price_admin  # registers its pages
from packs import price_pages as price_pages
from packs import proposal_admin as proposal_admin
from packs.models import Checkout, Order, OrderLine, PackType


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
