"""Staff's pages of price changes: what each would do, and publishing or declining it (rules 5.5)."""

from copy import copy
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.acting import Doing, Refused, act_page, require
from accounts.models import MODES, User
from iss_billing import formats
from iss_billing.staff import LookOnly
from packs.models import Aggregation, Item, PackType, Sku, Unit
from packs.price_checks import ProposalRefused, judge, stale
from packs.price_history import price_words, rises
from packs.price_pages import PROPOSE, PUBLISH, tabs
from packs.proposal_models import PriceProposal, ProposedPrice
from packs.proposals import decline, publish
from packs.tariff import PriceRefused


@dataclass
class CellRow:
    """A cell of a proposal for the page; `fault` says why it can no longer be published."""

    cell: ProposedPrice
    name: str
    before: str
    after: str
    rises: bool | None
    percent: str
    fault: str = ""
    described: str = ""
    """What a new item or pack type is."""

    @property
    def dearer(self) -> bool:
        """Whether customers lose by it: a rise, or an end of sale."""
        return bool(self.rises) or (self.cell.price is None and self.cell.from_price is not None)


def cell_rows(proposal: PriceProposal, now: datetime) -> list[CellRow]:
    """The cells of a proposal; of an open one with what would refuse it now."""
    cells = list(proposal.cells.order_by("place"))
    units = dict(Item.objects.values_list("code", "unit"))
    item_names = {item.code: item.name for item in Item.objects.all()}
    names = item_names | {
        sku.code: _size_name(sku.pack_type, sku.quantity) for sku in Sku.objects.select_related("pack_type")
    }
    kinds = {kind.code: kind for kind in PackType.objects.all()}
    faults = _faults(cells, now) if proposal.is_open else {}
    rows = []
    for place, cell in enumerate(cells):
        new = cell.new or {}
        unit = units.get(cell.code) or new.get("unit") or ""
        name = names.get(cell.code) or _new_name(cell, kinds, units)
        before, after = (cell.from_price, cell.from_per), (cell.price, cell.per)
        rows.append(
            CellRow(
                cell,
                name,
                price_words(*before, unit),
                price_words(*after, unit),
                rises(before, after),
                percent_change(before, after),
                faults.get(place, ""),
                _described(new, item_names, units),
            )
        )
    return rows


def _new_name(cell: ProposedPrice, kinds: dict[str, PackType], units: dict[str, str]) -> str:
    """What is new by its name."""
    new = cell.new or {}
    if cell.of_pack and (kind := kinds.get(new.get("pack_type", ""))):
        return _size_name(kind, new["quantity"])
    if kind_of := new.get("type"):
        unit = units.get(kind_of["covers"][0], "")
        return _size_name(PackType(name_zh=kind_of["name_zh"], name_en=kind_of["name_en"], unit=unit), new["quantity"])
    return str(new.get("name_zh" if formats.chinese() else "name_en", ""))


def _described(new: dict[str, Any], names: dict[str, str], units: dict[str, str]) -> str:
    """What a new item is, or a new pack type: who publishes it sees all of it."""
    if kind := new.get("type"):
        covers = ", ".join(f"{names.get(code, code)} ({code})" for code in kind["covers"])
        both = f"{kind['name_zh']} / {kind['name_en']}"
        return _("New pack type %(code)s, %(names)s, covers: %(covers)s") % {
            "code": new["pack_type"],
            "names": both,
            "covers": covers,
        }
    if "aggregation" in new:
        mode = dict(MODES).get(new["requires_billing_mode"])
        parts = [f"{new['name_zh']} / {new['name_en']}", Unit(new["unit"]).label, Aggregation(new["aggregation"]).label]
        return ", ".join(str(part) for part in [*parts, *([mode] if mode else [])])
    return ""


def _size_name(kind: PackType, quantity: int) -> str:
    return f"{kind.short_name} {formats.size(quantity, kind.unit)}"


def percent_change(before: tuple[int | None, int | None], after: tuple[int | None, int | None]) -> str:
    """By how much a price changes: +12.5%; nothing where it was or is not sold."""
    if not before[0] or after[0] is None:
        return ""
    new, old = after[0] * (before[1] or 1), before[0] * (after[1] or 1)
    permille = (abs(new - old) * 1000 + old // 2) // old
    if permille == 0:
        return "" if new == old else "<0.1%"
    sign = "+" if new > old else formats.MINUS
    return f"{sign}{permille // 10:,}" + (f".{permille % 10}" if permille % 10 else "") + "%"


def _faults(cells: list[ProposedPrice], now: datetime) -> dict[int, str]:
    """By place, why a cell could not be published now."""
    today = [copy(cell) for cell in cells]
    faults: dict[int, str] = {}
    try:
        judge(today, now)
    except ProposalRefused as refusal:
        faults = dict(refusal.errors)
    for place, cell in enumerate(today):
        why = stale(cell, (cells[place].from_price, cells[place].from_per))
        if why and place not in faults:
            faults[place] = why
    return faults


@admin.register(PriceProposal)
class PriceProposalAdmin(LookOnly):
    """Price changes."""

    change_form_template = "admin/packs/prices/proposal.html"
    change_list_template = "admin/packs/prices/proposals.html"
    list_display = ("__str__", "badge", "number", "reason", "made_at", "made_by", "decided_at", "decided_by")
    list_display_links = ("__str__", "reason")
    list_filter = ("state",)
    search_fields = ("reason", "made_by__email", "cells__code")
    list_select_related = ("made_by", "decided_by")
    ordering = ("-id",)
    list_per_page = 50

    def get_queryset(self, request: HttpRequest) -> QuerySet[PriceProposal]:
        """With the number of prices."""
        rows: QuerySet[PriceProposal] = super().get_queryset(request)
        return rows.annotate(prices=Count("cells", distinct=True))

    @admin.display(description=gettext_lazy("state"), ordering="state")
    def badge(self, proposal: PriceProposal) -> SafeString:
        """With its colour."""
        return format_html('<span class="price-state {}">{}</span>', proposal.state, proposal.get_state_display())

    @admin.display(description=gettext_lazy("prices"))
    def number(self, proposal: Any) -> int:
        """How many."""
        return int(proposal.prices)

    def get_urls(self) -> list[URLPattern]:
        """With what is done to a proposal."""
        acts = {"publish": self.publish, "decline": self.decline}
        return [
            *(
                path(f"<int:pk>/{name}/", self.admin_site.admin_view(view), name=f"packs_priceproposal_{name}")
                for name, view in acts.items()
            ),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Under the tabs of prices."""
        return super().changelist_view(request, {"tabs": tabs(request), **(extra_context or {})})

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: PriceProposal | None = None,
    ) -> HttpResponse:
        """The page of a proposal."""
        if obj is not None:
            rows = cell_rows(obj, timezone.now())
            own = obj.made_by_id == request.user.pk
            context |= {
                "title": _("Price change %(number)s") % {"number": obj},
                "subtitle": None,
                "tabs": tabs(request),
                "proposal": obj,
                "badge": self.badge(obj),
                "rows": rows,
                "faulty": any(row.fault for row in rows),
                "tells": obj.is_open and any(row.cell.day and row.dearer for row in rows),
                "tells_nobody": obj.is_open and any(not row.cell.day and row.dearer for row in rows),
                "may_publish": request.user.has_perm(PUBLISH) and not (own and settings.FOUR_EYES),
                "needs_other": obj.is_open and own and settings.FOUR_EYES,
                "may_decline": _may_decline(request, obj),
                "own": own,
                "may_propose": request.user.has_perm(PROPOSE),
                "runs": obj.runs.order_by("-pk")[:10],
            }
        return super().render_change_form(request, context, add, change, form_url, obj)

    def publish(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Bring it into force, all of it or nothing."""
        user = require(request, PUBLISH)
        get_object_or_404(PriceProposal, pk=pk)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        try:
            publish(proposal_id=pk, now=timezone.now(), published_by=user)
        except PriceRefused as refusal:
            messages.error(request, _("Nothing was published. %(why)s") % {"why": refusal})
        else:
            messages.success(request, _("The price change is published."))
        return redirect("admin:packs_priceproposal_change", pk)

    def decline(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Withdraw one's own, or reject another's, with a reason."""
        proposal = get_object_or_404(PriceProposal, pk=pk)
        own = request.user.pk == proposal.made_by_id

        def do(doing: Doing) -> str:
            try:
                decline(proposal_id=pk, reason=doing.reason, now=doing.now, declined_by=doing.by)
            except PriceRefused as refusal:
                raise Refused(str(refusal)) from refusal
            return _("The price change is withdrawn.") if own else _("The price change is rejected.")

        return act_page(
            request,
            permission=PROPOSE if own else PUBLISH,
            original=proposal,
            title=_("Withdraw the price change") if own else _("Reject the price change"),
            facts=[(_("price change"), proposal), (_("reason"), proposal.reason)],
            do=do,
            back=reverse("admin:packs_priceproposal_change", args=[pk]),
        )


def _may_decline(request: HttpRequest, proposal: PriceProposal) -> bool:
    user = request.user
    own = isinstance(user, User) and proposal.made_by_id == user.pk
    return user.has_perm(PROPOSE if own else PUBLISH)
