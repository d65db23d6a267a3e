"""What the admin's pages share: records that are looked at and never edited by hand, and money in forms."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import models
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.functional import cached_property
from djmoney.forms import MoneyField
from djmoney.money import Money

from iss_billing.fields import CURRENCY
from iss_billing.money import parse_decimal

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
    TabularInline = admin.TabularInline[Any, Any]
    AnyPaginator = Paginator[Any]
    InlineFormSet = BaseInlineFormSet[Any, Any, Any]
else:
    ModelAdmin, TabularInline, AnyPaginator = admin.ModelAdmin, admin.TabularInline, Paginator
    InlineFormSet = BaseInlineFormSet


class FirstPages(AnyPaginator):
    """Counts so many rows and no more, however many there are: the rest is found by search and filter."""

    MOST = 10_000

    @cached_property
    def count(self) -> int:
        """How many rows there are, at most `MOST`."""
        rows = self.object_list
        return rows.order_by()[: self.MOST].count() if isinstance(rows, models.QuerySet) else len(rows)

    @property
    def cut(self) -> bool:
        """Whether there are perhaps more."""
        return self.count >= self.MOST


class KeptHistory:
    """The history of a row is what the audit log has of it: the admin's own knows nothing of our acts."""

    def history_of(self, object_id: str) -> dict[str, str]:
        """The filter of the audit log."""
        return {"subject": self.opts.label_lower, "subject_id": object_id}  # type: ignore[attr-defined]

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Lead there."""
        if not self.has_view_permission(request):  # type: ignore[attr-defined]
            raise PermissionDenied
        return redirect(reverse("admin:accounts_auditentry_changelist", query=self.history_of(object_id)))


class LookOnly(KeptHistory, ModelAdmin):
    """Staff may look at these rows; what changes them are the writers."""

    actions = None
    paginator = FirstPages
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Never by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Never by hand."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Never by hand."""
        return False


class FirstRows(InlineFormSet):
    """So many rows and no more, in the order of the inline; `cut` when there are others."""

    MOST = 200
    cut = False
    _first: list[Any] | None = None

    def get_queryset(self) -> Any:
        """The first of them."""
        if self._first is None:
            rows = list(super().get_queryset()[: self.MOST + 1])
            self._first, self.cut = rows[: self.MOST], len(rows) > self.MOST
        return self._first


class LookOnlyInline(TabularInline):
    """Rows below another, to look at: the first of them, in the order that the inline says."""

    formset = FirstRows
    template = "admin/parts/look_only.html"
    extra = 0
    can_delete = False
    show_change_link = False

    def has_add_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Never by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Never by hand."""
        return False


def live(request: HttpRequest, response: HttpResponse, moves: bool) -> HttpResponse:
    """The answer of a page that asks for itself again while something moves: the last time it is loaded whole."""
    if request.headers.get("HX-Request") and not moves:
        response.headers["HX-Refresh"] = "true"
    return response


def money_field(places: int, **options: Any) -> MoneyField:
    """A form field for an amount of CNY with so many decimals; its value is `Money`. There is one currency."""
    field = MoneyField(  # type: ignore[no-untyped-call]  # django-money has no types
        max_digits=20,
        decimal_places=places,
        default_currency=CURRENCY,
        currency_choices=[(CURRENCY, CURRENCY)],
        currency_widget=forms.HiddenInput(),
        **options,
    )
    # the label is one for several inputs, which HTML has not: the one that is seen says what it is
    field.widget.widgets[0].attrs["aria-label"] = options["label"]
    return field


def integer_of(money: Money, places: int) -> int:
    """`Money` of a form as an integer of 10^-places, with its sign."""
    sign = -1 if money.amount < 0 else 1
    return sign * parse_decimal(f"{abs(money.amount):f}", places)
