"""Staff's pages of closed accounts: the balance is paid out, or the account is opened again, each with a reason."""

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import audit_log
from accounts.acting import Doing, ReasonForm, Refused, act_page, require
from accounts.ledger import ReferenceReused
from accounts.models import Account
from iss_billing import formats
from iss_billing.staff import LookOnly
from settlement.closed_models import ClosedAccount
from settlement.closing import PayoutRefused, pay_out, reopen_account
from settlement.metering import pending_days

audit_log.WORDS |= {
    "account.pay_out": gettext_lazy("paid the balance out"),
    "account.reopen": gettext_lazy("opened an account again"),
}


class PayoutForm(ReasonForm):
    """The whole balance, as it is shown, paid out by bank or gateway."""

    reference = forms.CharField(
        label=gettext_lazy("payment reference"),
        max_length=255,
        help_text=gettext_lazy("The bank's or gateway's; the same one is recorded once."),
    )
    amount = forms.IntegerField(widget=forms.HiddenInput)
    field_order = ("reference", "reason", "amount")


@admin.register(ClosedAccount)
class ClosedAccountAdmin(LookOnly):
    """Closed accounts; those with money on them first."""

    change_form_template = "admin/settlement/closedaccount/change_form.html"
    list_display = ("id", "name", "user", "balance_money", "closed_at")
    search_fields = ("=id", "name", "user__email")
    list_select_related = ("user",)
    ordering = ("-balance", "-closed_at")
    fields = readonly_fields = ("name", "user", "opened_at", "closed_at", "balance_money", "waiting")

    @admin.display(description=gettext_lazy("balance"), ordering="balance")
    def balance_money(self, account: Account) -> str:
        """In whole fen."""
        return str(formats.money(account.balance))

    @admin.display(description=gettext_lazy("unsettled days"))
    def waiting(self, account: Account) -> str:
        """Late usage that the next night bills: until then nothing is paid out."""
        return ", ".join(map(str, pending_days(account.pk))) or "–"

    def get_urls(self) -> list[URLPattern]:
        """With the two actions."""
        acts = {"pay-out": self.pay_out, "reopen": self.reopen}
        return [
            *(
                path(f"<int:pk>/{name}/", self.admin_site.admin_view(view), name=f"settlement_closedaccount_{name}")
                for name, view in acts.items()
            ),
            *super().get_urls(),
        ]

    def pay_out(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Record that the balance was paid out."""
        require(request, "accounts.add_transfer")
        account = get_object_or_404(ClosedAccount, pk=pk)

        def do(doing: Doing) -> str:
            amount, reference = doing.data["amount"], doing.data["reference"]
            try:
                transfer = pay_out(
                    account_id=pk,
                    amount=amount,
                    reference=reference,
                    reason=doing.reason,
                    now=doing.now,
                    made_by=doing.by,
                )
            except PayoutRefused as refusal:
                raise Refused(REFUSALS[refusal.code]()) from refusal
            except ReferenceReused as error:
                raise Refused(str(error), "reference") from error
            audit_log.record(
                "account.pay_out",
                by=doing.by,
                now=doing.now,
                subject=transfer,
                reason=doing.reason,
                data={"reference": reference, "amount": amount},
                once=True,
            )
            return _("%(amount)s paid out.") % {"amount": formats.money(amount)}

        # the form begins with the balance that the page shows: another is not paid out unseen
        shown = forms.IntegerField(widget=forms.HiddenInput, initial=account.balance)
        return act_page(
            request,
            permission="accounts.add_transfer",
            original=account,
            title=_("Pay the balance out"),
            form=type("Payout", (PayoutForm,), {"amount": shown}),
            facts=[
                (_("account"), account),
                (_("balance"), formats.money(account.balance)),
                (_("unsettled days"), self.waiting(account)),
            ],
            do=do,
            back=reverse("admin:settlement_closedaccount_change", args=[pk]),
        )

    def reopen(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Open the account again, with a reason."""
        require(request, "settlement.change_closedaccount")
        account = get_object_or_404(ClosedAccount, pk=pk)

        def do(doing: Doing) -> str:
            if reopen_account(account_id=pk, now=doing.now):
                audit_log.record(
                    "account.reopen",
                    by=doing.by,
                    now=doing.now,
                    subject=Account(pk=pk, name=account.name),
                    reason=doing.reason,
                )
            return _("The account is open again. Its keys and webhooks stay revoked, its packs ended.")

        return act_page(
            request,
            permission="settlement.change_closedaccount",
            original=account,
            title=_("Open the account again"),
            facts=[
                (_("account"), account),
                (_("closed"), formats.moment(account.closed_at or timezone.now(), timezone.now())),
            ],
            do=do,
            back=reverse("admin:accounts_account_change", args=[pk]),
        )


REFUSALS = {
    "not_closed": lambda: _("The account is not closed any more."),
    "usage_waits": lambda: _("Usage of the account waits to be settled. The night bills it first."),
    "balance_changed": lambda: _("The balance is not what the page showed. Nothing was recorded."),
}
