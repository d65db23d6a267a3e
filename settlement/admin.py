"""Staff: bills to look at; packs with the refund that rules 4.7 leaves to staff."""

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from iss_billing import formats
from iss_billing.staff import LookOnly, LookOnlyInline
from packs.models import Pack
from packs.refunds import RefundRefused
from settlement import admin_runs  # noqa: F401 - registers the runs' pages
from settlement.models import Bill, BillLine, Drawdown
from settlement.staff_refunds import refund_used_pack, staff_refund_amount


class ReasonForm(forms.Form):
    """Why staff do something."""

    reason = forms.CharField(label=gettext_lazy("reason"), max_length=500, widget=forms.Textarea(attrs={"rows": 2}))


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
        if not request.user.has_perm("packs.change_pack"):
            raise PermissionDenied
        pack = get_object_or_404(Pack.objects.select_related("account", "sku"), pk=pk)
        form = ReasonForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                done = refund_used_pack(
                    pack_id=pk,
                    reason=form.cleaned_data["reason"],
                    now=timezone.now(),
                    made_by=request.user,  # type: ignore[arg-type]  # the admin lets nobody in who is not signed in
                )
            except RefundRefused as refusal:
                messages.error(request, str(refusal))
            else:
                self.log_change(request, done, f"refund {formats.money(done.refunded)}: {form.cleaned_data['reason']}")
                messages.success(request, _("%(amount)s refunded.") % {"amount": formats.money(done.refunded)})
            return redirect("admin:packs_pack_change", pk)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Refund pack %(pack)s") % {"pack": pk},
            "opts": self.opts,
            "original": pack,
            "form": form,
            "facts": [
                (_("account"), pack.account),
                (_("pack"), pack.sku),
                (_("price paid"), formats.money(pack.price)),
                (_("drawn"), f"{pack.drawn:,} / {pack.total:,}"),
                (_("to the balance"), formats.money(staff_refund_amount(pack))),
            ],
        }
        return render(request, "admin/act.html", context)


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
