"""Staff's price list: the sheet, new sizes and items, what is scheduled, and the history (rules 4.5, 5.5)."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.acting import ReasonForm, require
from iss_billing.days import day_of, parse_day
from iss_billing.staff import LookOnly
from packs import price_files
from packs.models import PriceList
from packs.price_checks import ProposalRefused
from packs.price_forms import ItemForm, SizeForm, TypeForm
from packs.price_history import HISTORY_PAGE, coming_changes, history
from packs.price_sheet import Sheet, SheetForm, day_asked
from packs.proposal_models import ProposedPrice
from packs.proposals import propose

PROPOSE, PUBLISH = "packs.propose_prices", "packs.publish_prices"

TABS = (
    ("packs_pricelist_changelist", gettext_lazy("Price list")),
    ("packs_pricelist_scheduled", gettext_lazy("Scheduled")),
    ("packs_priceproposal_changelist", gettext_lazy("Changes")),
    ("packs_pricelist_history", gettext_lazy("History")),
    ("packs_pricelist_import", gettext_lazy("Import and export")),
)


def tabs(request: HttpRequest) -> list[tuple[str, Any, bool]]:
    """The pages about prices: address, name, and whether it is this one."""
    found = []
    for name, title in TABS:
        address = reverse(f"admin:{name}")
        found.append((address, title, request.path == address))
    return found


def page(request: HttpRequest, template: str, title: str, context: dict[str, Any]) -> HttpResponse:
    """A page of the admin under the tabs of prices."""
    shared = {**admin.site.each_context(request), "title": title, "tabs": tabs(request), "opts": PriceList._meta}
    shared["may_propose"], shared["may_publish"] = request.user.has_perm(PROPOSE), request.user.has_perm(PUBLISH)
    return render(request, f"admin/packs/prices/{template}", shared | context)


@admin.register(PriceList)
class PriceListAdmin(LookOnly):
    """The pages of the price list, under one entry of the admin."""

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Whoever may see SKUs."""
        return bool(request.user.has_perm("packs.view_sku"))

    def has_module_permission(self, request: HttpRequest) -> bool:
        """The same."""
        return self.has_view_permission(request)

    def get_urls(self) -> list[URLPattern]:
        """The pages; the rows themselves have none of their own."""
        pages: list[tuple[str, str, Callable[..., HttpResponse]]] = [
            ("", "changelist", self.sheet),
            ("new-size/", "newsize", self.new_size),
            ("new-item/", "newitem", self.new_item),
            ("new-type/", "newtype", self.new_type),
            ("scheduled/", "scheduled", self.scheduled),
            ("scheduled/cancel/", "cancel", self.cancel),
            ("history/", "history", self.history),
            ("import/", "import", self.import_file),
            ("export/<str:kind>/", "export", self.export_file),
        ]
        return [path(where, self._guarded(view), name=f"packs_pricelist_{name}") for where, name, view in pages]

    def _guarded(self, view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        def looked_at(request: HttpRequest, **where: Any) -> HttpResponse:
            if not self.has_view_permission(request):
                raise PermissionDenied
            return view(request, **where)

        return self.admin_site.admin_view(looked_at)

    def sheet(self, request: HttpRequest) -> HttpResponse:
        """Every price in one form; what is changed becomes a proposal, to look at before it is published."""
        now = timezone.now()
        sheet = Sheet(now, day_asked(request.POST.get("on") or request.GET.get("on", ""), now))
        form = SheetForm(sheet, request.POST if request.method == "POST" else None)
        if request.method == "POST":
            require(request, PROPOSE)
            if form.is_valid():
                return _propose(request, form, form.changes, now)
        context = {"form": form, "sheet": sheet, "today": day_of(now)}
        return page(request, "sheet.html", _("Price list"), context)

    def new_size(self, request: HttpRequest) -> HttpResponse:
        """A new size of a pack type."""
        return self._new(request, SizeForm, _("Add a size"))

    def new_item(self, request: HttpRequest) -> HttpResponse:
        """A new item, or an item in a new region or for another number of units."""
        return self._new(request, ItemForm, _("Add an item or a region"))

    def new_type(self, request: HttpRequest) -> HttpResponse:
        """A new pack type with its first size."""
        return self._new(request, TypeForm, _("Add a pack type"))

    def _new(self, request: HttpRequest, form_class: type[SizeForm | ItemForm | TypeForm], title: str) -> HttpResponse:
        require(request, PROPOSE)
        now = timezone.now()
        form = form_class(now, request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            return _propose(request, form, [form.cell()], now)
        return page(request, "new.html", title, {"form": form})

    def scheduled(self, request: HttpRequest) -> HttpResponse:
        """What is still to come."""
        return page(request, "scheduled.html", _("Scheduled changes"), {"rows": coming_changes(timezone.now())})

    def cancel(self, request: HttpRequest) -> HttpResponse:
        """Propose to take back what is scheduled for a SKU, or an item and region, on a day."""
        require(request, PROPOSE)
        now = timezone.now()
        asked = request.GET
        try:
            day = parse_day(asked.get("day", ""))
        except ValueError:
            return redirect("admin:packs_pricelist_scheduled")
        code, region = asked.get("code", "")[:60], asked.get("region", "")[:40]
        cell = ProposedPrice(code=code, region=region, day=day, cancels=True)
        form = ReasonForm(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            return _propose(request, form, [cell], now)
        rows = [row for row in coming_changes(now) if row.key == cell.key]
        return page(request, "cancel.html", _("Cancel a scheduled change"), {"form": form, "rows": rows})

    def history(self, request: HttpRequest) -> HttpResponse:
        """Every price that was ever made, the newest first."""
        asked = request.GET.get("p", "1")
        number = max(int(asked), 1) if asked.isascii() and asked.isdigit() and len(asked) < 7 else 1
        rows = history(request.GET.get("q", "")[:80], number, timezone.now())
        context = {
            "rows": rows[:HISTORY_PAGE],
            "number": number,
            "more": len(rows) > HISTORY_PAGE,
            "q": request.GET.get("q", "")[:80],
        }
        return page(request, "history.html", _("History of prices"), context)

    def import_file(self, request: HttpRequest) -> HttpResponse:
        """Read a file of prices; what differs becomes a proposal, whose page is the difference to confirm."""
        now = timezone.now()
        form = price_files.UploadForm(now, request.POST or None, request.FILES or None)
        if request.method == "POST":
            require(request, PROPOSE)
            if form.is_valid():
                if not form.changes:
                    messages.info(request, _("The file changes nothing."))
                    return redirect("admin:packs_pricelist_import")
                return _propose(request, form, form.changes, now)
        context = {"form": form, "columns": price_files.COLUMNS}
        return page(request, "import.html", _("Import and export"), context)

    def export_file(self, request: HttpRequest, kind: str) -> HttpResponse:
        """The price list in force as a file."""
        return price_files.export(kind, timezone.now())


def _propose(request: HttpRequest, form: forms.Form, cells: list[ProposedPrice], now: datetime) -> HttpResponse:
    """Propose, and lead to the proposal; a form that raced with another change is told so."""
    user = require(request, PROPOSE)
    reason = form.cleaned_data["reason"]
    try:
        proposal = propose(cells=cells, reason=reason, now=now, made_by=user)
    except ProposalRefused as refusal:
        messages.error(request, str(refusal))
        return HttpResponseRedirect(request.get_full_path())
    return redirect("admin:packs_priceproposal_change", proposal.pk)
