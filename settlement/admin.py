"""Staff: bills to look at; packs with the refund that rules 4.7 leaves to staff."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import audit_log
from accounts.acting import Doing, Refused, act_page, require
from iss_billing import formats
from iss_billing.staff import LookOnly, LookOnlyInline
from packs.models import Pack
from packs.refunds import RefundRefused
from settlement import admin_account, admin_failures, admin_incoming, admin_reports, admin_runs  # noqa: F401 - they register their pages
from settlement import closing_admin as closing_admin
from settlement import price_run_admin as price_run_admin
from settlement.models import Bill, BillLine, Drawdown
from settlement.staff_refunds import refund_used_pack, staff_refund_amount


class DrawdownInline(LookOnlyInline):
    """What was drawn from a pack."""

    model = Drawdown
    fields = readonly_fields = ("line", "quantity", "remaining_after", "recognised_money")
    ordering = ("id",)

    @admin.display(description=gettext_lazy("recognised"))
    def recognised_money(self, drawdown: Drawdown) -> str:
        """Revenue recognised by it."""
        return str(formats.money(drawdown.recognised))


@admin.register(Pack)
class PackAdmin(LookOnly):
    """Packs that customers hold, and their refund by staff."""

    change_form_template = "admin/packs/pack/change_form.html"
    inlines = (DrawdownInline,)
    list_display = ("id", "account", "sku", "total", "remaining", "price_paid", "purchased_at", "refunded_at")
    list_filter = ("pack_type",)
    search_fields = ("=id", "account__name", "=account__id")
    list_select_related = ("account", "sku")
    ordering = ("-id",)
    fields = readonly_fields = (
        "account",
        "sku",
        "total",
        "remaining",
        "price_paid",
        "recognised_money",
        "refunded_money",
        "purchased_at",
        "effective_day",
        "valid_until",
        "refunded_at",
    )

    @admin.display(description=gettext_lazy("price paid"))
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
        pack = get_object_or_404(Pack.objects.select_related("account", "sku"), pk=pk)

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
                (_("pack"), pack.sku),
                (_("price paid"), formats.money(pack.price)),
                (_("drawn"), f"{pack.drawn:,} / {pack.total:,}"),
                (_("to the balance"), formats.money(staff_refund_amount(pack))),
            ],
            do=do,
            back=reverse("admin:packs_pack_change", args=[pk]),
        )


class BillLineInline(LookOnlyInline):
    """The lines of a bill."""

    model = BillLine
    fields = readonly_fields = ("item", "region", "quantity", "drawn", "charged", "unit_price", "amount_money")
    ordering = ("position",)

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
    list_display = ("id", "account", "day", "sequence", "due", "settled_at")
    list_filter = ("billing_mode",)
    search_fields = ("=id", "account__name", "=account__id")
    date_hierarchy = "day"
    list_select_related = ("account",)
    ordering = ("-id",)
    fields = readonly_fields = (
        "account",
        "day",
        "sequence",
        "billing_mode",
        "rated",
        "carried_in",
        "due",
        "carried_out",
        "settled_at",
    )

    @admin.display(description=gettext_lazy("amount due"))
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
