"""Staff's page of an account, and the ways in which staff move its money."""

from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import uuid4

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy

from accounts import audit_log, standing
from accounts.acting import Doing, Refused, act_page, require
from accounts.ledger import ReferenceReused, record_adjustment, record_top_up
from accounts.models import Account, Transfer
from iss_billing import formats
from iss_billing.staff import LookOnly, integer_of, money_field

MOST_FEN = 10**13
"""No single top-up or adjustment is above a hundred billion yuan: beyond it somebody mistyped."""


class TopUpForm(forms.Form):
    """Money received."""

    amount = money_field(2, label=gettext_lazy("amount (CNY)"))
    reference = forms.CharField(
        label=gettext_lazy("payment reference"),
        max_length=255,
        help_text=gettext_lazy("The bank's or gateway's; the same one is recorded once."),
    )
    reason = forms.CharField(label=gettext_lazy("reason"), max_length=500, widget=forms.Textarea(attrs={"rows": 2}))

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

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reference"].initial = f"staff:{uuid4()}"
        self.fields["amount"].help_text = _("Above 0 in the customer's favour, below 0 against.")


STANDINGS: dict[standing.Standing, Promise] = {
    standing.Standing.ACTIVE: pgettext_lazy("standing", "active"),
    standing.Standing.ARREARS: gettext_lazy("in arrears"),
    standing.Standing.SUSPENDED: gettext_lazy("suspended"),
    standing.Standing.RECLAIMED: gettext_lazy("resources reclaimed"),
}


class StandingFilter(admin.SimpleListFilter):
    """By standing at this moment, as the balance and the clock say (rules 6); closed accounts by themselves."""

    title = gettext_lazy("standing")
    parameter_name = "standing"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Every standing, and closed."""
        return [*((one.value, STANDINGS[one]) for one in standing.Standing), ("closed", gettext_lazy("closed"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Account]) -> QuerySet[Account]:
        """The accounts of one: by an index of those in arrears."""
        now, asked = timezone.now(), self.value()
        if asked == "closed":
            return queryset.filter(closed_at__isnull=False)
        if asked:
            queryset = queryset.filter(closed_at=None)
        if asked == standing.Standing.ACTIVE:
            return queryset.filter(arrears_since=None)
        indebted = queryset.filter(arrears_since__isnull=False)
        suspended, reclaimed = now - standing.GRACE, now - standing.RECLAIM_AFTER
        if asked == standing.Standing.ARREARS:
            return indebted.filter(arrears_since__gt=suspended)
        if asked == standing.Standing.SUSPENDED:
            return indebted.filter(arrears_since__lte=suspended, arrears_since__gt=reclaimed)
        return indebted.filter(arrears_since__lte=reclaimed) if asked == standing.Standing.RECLAIMED else queryset


class Act(NamedTuple):
    """What staff may do with an account: the page that asks, and for whom it is."""

    url_name: str
    title: Promise
    permission: str
    fits: Callable[[Account], bool] = lambda _account: True
    """Whether it makes sense for this account."""


ACTS = [
    Act("admin:accounts_account_top-up", gettext_lazy("Record a top-up"), "accounts.add_transfer"),
    Act("admin:accounts_account_adjust", gettext_lazy("Adjust the balance"), "accounts.add_transfer"),
]
"""The buttons of an account's page; a room above appends its own, whose page takes the account's id."""


def acts_for(request: HttpRequest, account: Account) -> list[dict[str, Any]]:
    """The acts that the reader may do with this account, as the page shows them."""
    return [
        {"url": reverse(act.url_name, args=[account.pk]), "title": act.title}
        for act in ACTS
        if request.user.has_perm(act.permission) and act.fits(account)
    ]


class AccountAdmin(LookOnly):
    """Accounts, and moving their money; the page itself is of `settlement.admin_account`, where all is known."""

    change_form_template = "admin/accounts/account/change_form.html"
    list_display = ("id", "name", "user", "balance_money", "standing", "arrears_since", "opened_at")
    list_display_links = ("id", "name")
    search_fields = ("=id", "name", "user__email")
    list_filter = (StandingFilter,)
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

    def history_of(self, object_id: str) -> dict[str, str]:
        """All that was done for the customer."""
        return {"account__id__exact": object_id}

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
        if account.closed_at:
            return str(_("closed"))
        return str(STANDINGS[account.standing_at(timezone.now())])

    def get_urls(self) -> list[URLPattern]:
        """With the acts."""
        views = {"top-up": self.top_up, "adjust": self.adjust}
        return [
            *(
                path(f"<int:pk>/{name}/", self.admin_site.admin_view(view), name=f"accounts_account_{name}")
                for name, view in views.items()
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
