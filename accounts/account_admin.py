"""Staff's page of an account, and the ways in which staff move its money."""

from typing import Any
from uuid import uuid4

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import audit_log
from accounts.acting import Doing, Refused, act_page, require
from accounts.ledger import ReferenceReused, record_adjustment, record_top_up
from accounts.models import Account, Transfer
from iss_billing import formats
from iss_billing.staff import LookOnly, LookOnlyInline, integer_of, money_field

MOST_FEN = 10**13
"""No single top-up or adjustment is above a hundred billion yuan: beyond it somebody mistyped."""


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
        return self._move(request, pk, TopUpForm, record_top_up, "account.top_up", _("Record a top-up"))

    def adjust(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Correct the balance, with a reason."""
        return self._move(request, pk, AdjustmentForm, record_adjustment, "account.adjust", _("Adjust the balance"))

    def _move(
        self, request: HttpRequest, pk: int, form: type[TopUpForm], write: Any, action: str, title: str
    ) -> HttpResponse:
        require(request, "accounts.add_transfer")
        account = get_object_or_404(Account, pk=pk)

        def do(doing: Doing) -> str:
            data = doing.data
            try:
                transfer: Transfer = write(
                    account_id=pk,
                    amount=data["fen"],
                    reference=data["reference"],
                    reason=doing.reason,
                    now=doing.now,
                    made_by=doing.by,
                )
            except ReferenceReused as error:
                raise Refused(str(error), "reference") from error
            amounts = {"amount": transfer.signed_amount, "balance_after": transfer.balance_after}
            audit_log.record(
                action,
                by=doing.by,
                now=doing.now,
                subject=transfer,
                reason=doing.reason,
                data={"reference": transfer.reference} | amounts,
                once=True,
            )
            return _("%(amount)s recorded; the balance is %(balance)s.") % {
                "amount": formats.money(transfer.signed_amount),
                "balance": formats.money(transfer.balance_after or 0),
            }

        return act_page(
            request,
            permission="accounts.add_transfer",
            original=account,
            title=title,
            form=form,
            facts=[(_("account"), account), (_("balance"), formats.money(account.balance))],
            do=do,
            back=reverse("admin:accounts_account_change", args=[pk]),
        )
