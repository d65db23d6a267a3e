"""Staff: bills to look at; packs with the refund that rules 4.7 leaves to staff."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import audit_log
from accounts.acting import Doing, Refused, act_page, require
from iss_billing import formats
from iss_billing.staff import LookOnly, LookOnlyInline
from packs.models import Pack
from packs.refunds import RefundRefused
from settlement import admin_account, admin_failures, admin_front, admin_incoming, admin_reports, admin_runs  # noqa: F401 - they register their pages
from settlement import closing_admin as closing_admin
from settlement import price_run_admin as price_run_admin
from settlement.models import Bill, BillLine, Drawdown
from settlement.staff_refunds import refund_used_pack, staff_refund_amount


class DrawdownInline(LookOnlyInline):
    """What was drawn from a pack, the latest first."""

    model = Drawdown
    fields = readonly_fields = ("line", "drawn_quantity", "left_quantity", "recognised_money")
    ordering = ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Drawdown]:
        """With what a row names."""
        rows: QuerySet[Drawdown] = super().get_queryset(request)
        return rows.select_related("line__bill", "line__item", "pack__pack_type")

    @admin.display(description=gettext_lazy("quantity"))
    def drawn_quantity(self, drawdown: Drawdown) -> str:
        """In the unit of the pack."""
        return str(formats.quantity(drawdown.quantity, drawdown.pack.pack_type.unit))

    @admin.display(description=gettext_lazy("remaining after"))
    def left_quantity(self, drawdown: Drawdown) -> str:
        """In the unit of the pack."""
        return str(formats.quantity(drawdown.remaining_after, drawdown.pack.pack_type.unit))

    @admin.display(description=gettext_lazy("recognised"))
    def recognised_money(self, drawdown: Drawdown) -> str:
        """Revenue recognised by it."""
        return str(formats.money(drawdown.recognised))


@admin.register(Pack)
class PackAdmin(LookOnly):
    """Packs that customers hold, and their refund by staff."""

    change_form_template = "admin/packs/pack/change_form.html"
    inlines = (DrawdownInline,)
    list_display = (
        "id",
        "account",
        "what",
        "total_quantity",
        "remaining_quantity",
        "price_paid",
        "purchased_at",
        "given_back_at",
    )
    list_filter = ("pack_type",)
    search_fields = ("=id", "account__name", "=account__id")
    list_select_related = ("account", "sku", "pack_type")
    ordering = ("-id",)
    fields = readonly_fields = (
        "account",
        "what",
        "total_quantity",
        "remaining_quantity",
        "price_paid",
        "recognised_money",
        "refunded_money",
        "purchased_at",
        "effective_day",
        "valid_until",
        "given_back_at",
    )

    @admin.display(description=gettext_lazy("pack"), ordering="sku__position")
    def what(self, pack: Pack) -> str:
        """The type and the code of the size."""
        return f"{pack.pack_type.name} ({pack.sku.code})"

    @admin.display(description=gettext_lazy("total"), ordering="total")
    def total_quantity(self, pack: Pack) -> str:
        """In the unit of the type."""
        return str(formats.size(pack.total, pack.pack_type.unit))

    @admin.display(description=gettext_lazy("remaining"), ordering="remaining")
    def remaining_quantity(self, pack: Pack) -> str:
        """In the unit of the type."""
        return str(formats.quantity(pack.remaining, pack.pack_type.unit))

    @admin.display(description=gettext_lazy("refunded at"), ordering="refunded_at")
    def given_back_at(self, pack: Pack) -> str:
        """When it was refunded."""
        return formats.moment(pack.refunded_at, timezone.now()) if pack.refunded_at else "–"

    @admin.display(description=gettext_lazy("price paid"), ordering="price")
    def price_paid(self, pack: Pack) -> str:
        """What was paid."""
        return str(formats.money(pack.price))

    @admin.display(description=gettext_lazy("recognised"))
    def recognised_money(self, pack: Pack) -> str:
        """Revenue recognised."""
        return str(formats.money(pack.recognised))

    @admin.display(description=gettext_lazy("refunded"))
    def refunded_money(self, pack: Pack) -> str:
        """What was given back."""
        return str(formats.money(pack.refunded))

    def get_urls(self) -> list[URLPattern]:
        """With the refund."""
        refund = path("<int:pk>/refund/", self.admin_site.admin_view(self.refund), name="packs_pack_refund")
        return [refund, *super().get_urls()]

    def refund(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Refund what a pack is still worth, with a reason."""
        require(request, "packs.change_pack")
        pack = get_object_or_404(Pack.objects.select_related("account", "sku", "pack_type"), pk=pk)
        unit = pack.pack_type.unit

        def do(doing: Doing) -> str:
            try:
                done = refund_used_pack(pack_id=pk, reason=doing.reason, now=doing.now, made_by=doing.by)
            except RefundRefused as refusal:
                raise Refused(str(refusal)) from refusal
            audit_log.record(
                "pack.refund",
                by=doing.by,
                now=doing.now,
                subject=done,
                reason=doing.reason,
                data={"refunded": done.refunded, "drawn": done.drawn, "total": done.total},
            )
            return _("%(amount)s refunded.") % {"amount": formats.money(done.refunded)}

        return act_page(
            request,
            permission="packs.change_pack",
            original=pack,
            title=_("Refund pack %(pack)s") % {"pack": pk},
            facts=[
                (_("account"), pack.account),
                (_("pack"), self.what(pack)),
                (_("price paid"), formats.money(pack.price)),
                (_("drawn"), f"{formats.quantity(pack.drawn, unit)} / {formats.size(pack.total, unit)}"),
                (_("to the balance"), formats.money(staff_refund_amount(pack))),
            ],
            do=do,
            back=reverse("admin:packs_pack_change", args=[pk]),
        )


class BillLineInline(LookOnlyInline):
    """The lines of a bill."""

    model = BillLine
    fields = readonly_fields = (
        "item",
        "region",
        "used_quantity",
        "drawn_quantity",
        "charged_quantity",
        "unit_price",
        "amount_money",
    )
    ordering = ("position",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[BillLine]:
        """With the items."""
        rows: QuerySet[BillLine] = super().get_queryset(request)
        return rows.select_related("item")

    @admin.display(description=gettext_lazy("quantity"))
    def used_quantity(self, line: BillLine) -> str:
        """In the unit of the item."""
        return str(formats.quantity(line.quantity, line.item.unit))

    @admin.display(description=gettext_lazy("drawn"))
    def drawn_quantity(self, line: BillLine) -> str:
        """What packs covered."""
        return str(formats.quantity(line.drawn, line.item.unit))

    @admin.display(description=gettext_lazy("charged"))
    def charged_quantity(self, line: BillLine) -> str:
        """What packs did not."""
        return str(formats.quantity(line.charged, line.item.unit))

    @admin.display(description=gettext_lazy("price"))
    def unit_price(self, line: BillLine) -> str:
        """The tariff of the day."""
        return str(formats.unit_price(line.price, line.per, line.item.unit))

    @admin.display(description=gettext_lazy("amount"))
    def amount_money(self, line: BillLine) -> str:
        """With all its decimals."""
        return str(formats.exact_money(line.amount))


@admin.register(Bill)
class BillAdmin(LookOnly):
    """Bills."""

    inlines = (BillLineInline,)
    list_display = ("id", "account", "usage_day", "sequence", "due", "settled_at")
    list_filter = ("billing_mode",)
    search_fields = ("=id", "account__name", "=account__id")
    date_hierarchy = "day"
    list_select_related = ("account",)
    ordering = ("-id",)
    fields = readonly_fields = (
        "account",
        "usage_day",
        "sequence",
        "billing_mode",
        "rated",
        "carried_in",
        "due",
        "carried_out",
        "settled_at",
    )

    @admin.display(description=gettext_lazy("day of the usage"), ordering="day")
    def usage_day(self, bill: Bill) -> str:
        """The day that it bills."""
        return formats.day(bill.day)

    @admin.display(description=gettext_lazy("amount due"), ordering="amount_due")
    def due(self, bill: Bill) -> str:
        """In whole fen."""
        return str(formats.money(bill.amount_due))

    @admin.display(description=gettext_lazy("lines total"))
    def rated(self, bill: Bill) -> str:
        """With all its decimals."""
        return str(formats.exact_money(bill.rated_total))

    @admin.display(description=gettext_lazy("carry in"))
    def carried_in(self, bill: Bill) -> str:
        """The small change of the bill before."""
        return str(formats.exact_money(bill.carry_in))

    @admin.display(description=gettext_lazy("carry out"))
    def carried_out(self, bill: Bill) -> str:
        """The small change for the next bill."""
        return str(formats.exact_money(bill.carry_out))
