"""Staff: accounts and transfers to look at; top-ups and adjustments, each with its cause on the ledger."""

from typing import Any
from uuid import uuid4

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import key_admin as key_admin  # registers its pages
from accounts.ledger import ReferenceReused, record_adjustment, record_top_up
from accounts.models import Account, Notice, Payment, Transfer, User
from accounts.webhook_models import Attempt, Delivery, Endpoint
from iss_billing import formats
from iss_billing.staff import LookOnly, LookOnlyInline, integer_of, money_field

MOST_FEN = 10**13
"""No single top-up or adjustment is above a hundred billion yuan: beyond it somebody mistyped."""


admin.site.site_header = admin.site.site_title = gettext_lazy("ISS Billing")
admin.site.index_title = gettext_lazy("Administration")


class TopUpForm(forms.Form):
    """Money received."""

    amount = money_field(2, label=gettext_lazy("amount"))
    reference = forms.CharField(
        label=gettext_lazy("payment reference"),
        max_length=255,
        help_text=gettext_lazy("The bank's or gateway's; the same one is recorded once."),
    )
    reason = forms.CharField(label=gettext_lazy("remark"), max_length=500, required=False)

    lowest = 1

    def clean(self) -> dict[str, Any]:
        """The amount in whole fen, within reason."""
        data = super().clean() or {}
        if data.get("amount") is not None:
            data["fen"] = integer_of(data["amount"], 2)
            if data["fen"] == 0 or not self.lowest <= data["fen"] <= MOST_FEN:
                raise ValidationError({"amount": _("An amount like this cannot be recorded.")})
        return data


class AdjustmentForm(TopUpForm):
    """A correction of the balance, in either direction; its token makes a form sent twice one adjustment."""

    lowest = -MOST_FEN
    reference = forms.CharField(widget=forms.HiddenInput)
    reason = forms.CharField(label=gettext_lazy("reason"), max_length=500)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reference"].initial = f"staff:{uuid4()}"
        self.fields["amount"].help_text = _("Above 0 in the customer's favour, below 0 against.")


class TransferInline(LookOnlyInline):
    """The latest transfers of an account."""

    model = Transfer
    verbose_name_plural = gettext_lazy("latest transfers")
    fields = readonly_fields = ("time", "kind", "signed", "after", "reference", "reason", "made_by")
    ordering = ("-id",)
    max_num = 20

    def get_queryset(self, request: HttpRequest) -> Any:
        """What moved the balance, the last twenty."""
        rows = super().get_queryset(request).filter(balance_after__isnull=False)
        account = int(request.resolver_match.kwargs["object_id"]) if request.resolver_match else 0
        latest = Transfer.objects.filter(account_id=account, balance_after__isnull=False).order_by("-id")
        return rows.filter(pk__in=list(latest.values_list("pk", flat=True)[:20]))

    @admin.display(description=gettext_lazy("amount"))
    def signed(self, transfer: Transfer) -> str:
        """As it moved the balance."""
        return str(formats.money(transfer.signed_amount))

    @admin.display(description=gettext_lazy("balance after"))
    def after(self, transfer: Transfer) -> str:
        """The balance then."""
        return str(formats.money(transfer.balance_after or 0))


@admin.register(Account)
class AccountAdmin(LookOnly):
    """Accounts, with the two ways in which staff move money."""

    change_form_template = "admin/accounts/account/change_form.html"
    inlines = (TransferInline,)
    list_display = ("id", "name", "user", "balance_money", "standing", "arrears_since", "opened_at")
    search_fields = ("=id", "name", "user__email")
    list_filter = (("arrears_since", admin.EmptyFieldListFilter),)
    list_select_related = ("user",)
    ordering = ("-id",)
    fields = readonly_fields = (
        "name",
        "user",
        "opened_at",
        "balance_money",
        "carry_money",
        "standing",
        "arrears_since",
        "language",
    )

    @admin.display(description=gettext_lazy("balance"), ordering="balance")
    def balance_money(self, account: Account) -> str:
        """In whole fen."""
        return str(formats.money(account.balance))

    @admin.display(description=gettext_lazy("carry"))
    def carry_money(self, account: Account) -> str:
        """The small change."""
        return str(formats.exact_money(account.carry))

    @admin.display(description=gettext_lazy("standing"))
    def standing(self, account: Account) -> str:
        """At this moment."""
        return str(account.standing_at(timezone.now()))

    def get_urls(self) -> list[URLPattern]:
        """With the two actions."""
        acts = {"top-up": self.top_up, "adjust": self.adjust}
        return [
            *(
                path(f"<int:pk>/{name}/", self.admin_site.admin_view(view), name=f"accounts_account_{name}")
                for name, view in acts.items()
            ),
            *super().get_urls(),
        ]

    def top_up(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Record money received."""
        return self._act(request, pk, TopUpForm, record_top_up, _("Record a top-up"))

    def adjust(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Correct the balance, with a reason."""
        return self._act(request, pk, AdjustmentForm, record_adjustment, _("Adjust the balance"))

    def _act(self, request: HttpRequest, pk: int, form_class: type[TopUpForm], record: Any, title: str) -> HttpResponse:
        if not request.user.has_perm("accounts.add_transfer"):
            raise PermissionDenied
        account = get_object_or_404(Account, pk=pk)
        form = form_class(request.POST or None)
        if request.method == "POST" and form.is_valid():
            data = form.cleaned_data
            try:
                transfer = record(
                    account_id=pk,
                    amount=data["fen"],
                    reference=data["reference"],
                    reason=data["reason"],
                    now=timezone.now(),
                    made_by=request.user,
                )
            except ReferenceReused as error:
                form.add_error("reference", str(error))
            else:
                self.log_change(request, account, f"{transfer.kind} {formats.money(transfer.signed_amount)}")
                words = {
                    "amount": formats.money(transfer.signed_amount),
                    "balance": formats.money(transfer.balance_after or 0),
                }
                messages.success(request, _("%(amount)s recorded; the balance is %(balance)s.") % words)
                return redirect("admin:accounts_account_change", pk)
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "original": account,
            "form": form,
            "facts": [(_("account"), account), (_("balance"), formats.money(account.balance))],
        }
        return render(request, "admin/act.html", context)


@admin.register(Transfer)
class TransferAdmin(LookOnly):
    """The ledger."""

    list_display = ("id", "time", "account", "kind", "debit", "credit", "money", "reference", "made_by")
    list_filter = ("kind",)
    search_fields = ("=id", "reference", "account__name", "=account__id")
    list_select_related = ("account", "made_by")
    ordering = ("-id",)

    @admin.display(description=gettext_lazy("amount"))
    def money(self, transfer: Transfer) -> str:
        """In whole fen, always positive."""
        return str(formats.money(transfer.amount))


@admin.register(Payment)
class PaymentAdmin(LookOnly):
    """Payments through a gateway, and what went wrong with them."""

    list_display = ("number", "account", "money", "state", "gateway", "started_at", "ended_at", "queries", "trouble")
    list_filter = ("state", "gateway", ("trouble", admin.EmptyFieldListFilter))
    search_fields = ("=number", "=gateway_reference", "account__name", "=account__id")
    list_select_related = ("account",)
    ordering = ("-id",)

    @admin.display(description=gettext_lazy("amount"), ordering="amount")
    def money(self, payment: Payment) -> str:
        """In whole fen."""
        return str(formats.money(payment.amount))


@admin.register(Notice)
class NoticeAdmin(LookOnly):
    """Notices, and whether they were told."""

    list_display = ("id", "account", "kind", "created_at", "sent_at", "attempts", "last_error")
    list_filter = ("kind",)
    search_fields = ("account__name", "=account__id")
    list_select_related = ("account",)
    ordering = ("-id",)


class AttemptInline(LookOnlyInline):
    """How the attempts of a delivery went."""

    model = Attempt
    fields = readonly_fields = ("time", "status", "milliseconds", "error", "answer")
    ordering = ("id",)


@admin.register(Delivery)
class DeliveryAdmin(LookOnly):
    """What endpoints were sent."""

    inlines = (AttemptInline,)
    list_display = ("id", "endpoint", "account", "type", "created_at", "status", "next_attempt_at", "delivered_at")
    list_filter = (
        "type",
        ("next_attempt_at", admin.EmptyFieldListFilter),
        ("delivered_at", admin.EmptyFieldListFilter),
    )
    search_fields = ("=id", "=endpoint__id", "=endpoint__account__id", "message")
    list_select_related = ("endpoint__account",)
    ordering = ("-id",)
    show_full_result_count = False

    @admin.display(description=gettext_lazy("account"))
    def account(self, delivery: Delivery) -> Account | None:
        """None for the platform's."""
        return delivery.endpoint.account

    @admin.display(description=gettext_lazy("state"))
    def status(self, delivery: Delivery) -> str:
        """What has become of it."""
        return str(delivery.status.label)


@admin.register(Endpoint)
class EndpointAdmin(LookOnly):
    """Webhook endpoints, without their secrets."""

    list_display = ("id", "account", "url", "created_at", "failing_since", "disabled_at", "deleted_at")
    list_filter = (
        ("account", admin.EmptyFieldListFilter),
        ("disabled_at", admin.EmptyFieldListFilter),
        ("deleted_at", admin.EmptyFieldListFilter),
    )
    search_fields = ("=id", "=account__id", "account__name", "url")
    list_select_related = ("account",)
    ordering = ("-id",)


@admin.register(User)
class LoginAdmin(UserAdmin):  # type: ignore[type-arg]
    """Logins, of staff and of customers."""

    list_display = ("email", "is_staff", "is_active", "date_joined")
    search_fields = ("email",)
    ordering = ("email",)
    fieldsets = (
        (None, {"fields": ("email", "password")}),
        (gettext_lazy("rights"), {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")}),
        (gettext_lazy("dates"), {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = ((None, {"classes": ("wide",), "fields": ("email", "usable_password", "password1", "password2")}),)
