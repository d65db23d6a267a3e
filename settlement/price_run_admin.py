"""Staff's pages of rehearsals: how far one is, what revenue would change, and who would pay more and less."""

import csv
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.acting import require
from iss_billing import formats
from iss_billing.money import MICRO_PER_FEN, format_decimal, round_half_up
from iss_billing.staff import LookOnly, live
from iss_billing.tables import neutral
from packs.models import Item, Sku
from packs.price_pages import PROPOSE, tabs
from packs.proposal_models import PriceProposal
from settlement.admin_runs import badge, progress_bar
from settlement.price_models import PriceEffect, PriceRun
from settlement.price_runs import STEPS, rehearse, total

REFRESH = 3
TOP = 50


class Line(NamedTuple):
    """A row of the table by item or SKU; fen."""

    name: str
    code: str
    number: int
    before: int
    after: int
    more: int
    less: int

    @property
    def change(self) -> int:
        """Fen more."""
        return self.after - self.before


class Effect(NamedTuple):
    """What an account would pay; fen."""

    account_id: int
    name: str
    before: int
    change: int

    @property
    def percent(self) -> str:
        """By how much."""
        return share(self.change, self.before)


def share(change: int, before: int) -> str:
    """A change as a part of what was before: +2.4%."""
    if not before:
        return "—"
    permille = round_half_up(abs(change) * 1000, abs(before))
    sign = "+" if change > 0 else formats.MINUS if change < 0 else ""
    return f"{sign}{permille // 10:,}.{permille % 10}%"


def fen(micro: int) -> int:
    """Micro-yuan as fen, rounded half-up."""
    return round_half_up(micro, MICRO_PER_FEN)


def _lines(result: dict[str, Any]) -> tuple[list[Line], list[Line]]:
    """By item and region, and by SKU, in the catalogue's order."""
    items = Item.objects.in_bulk([int(name.split(" ", 1)[0]) for name in result["items"]])
    skus = Sku.objects.select_related("pack_type").in_bulk([int(name) for name in result["packs"]])
    of_items = []
    for name, (number, before, after, more, less) in result["items"].items():
        item_id, region = name.split(" ", 1)
        item = items[int(item_id)]
        of_items.append((item.position, Line(item.name, region, number, fen(before), fen(after), more, less)))
    of_packs = []
    for name, (number, before, after, more, less) in result["packs"].items():
        sku = skus[int(name)]
        title = f"{sku.pack_type.short_name} {formats.size(sku.quantity, sku.pack_type.unit)}"
        of_packs.append((sku.position, Line(title, sku.code, number, fen(before), fen(after), more, less)))
    return [line for _place, line in sorted(of_items)], [line for _place, line in sorted(of_packs)]


def _step_text(step: int) -> str:
    return f"{formats.MINUS if step < 0 else '+' if step > 0 else ''}{abs(step) // 10}%"


def bar_labels() -> list[str]:
    """What each bar of the picture counts: by how much more or less."""
    inner = [f"{_step_text(low)}…{_step_text(high)}" for low, high in pairwise(STEPS)]
    return [f"<{_step_text(STEPS[0])}", *inner, f">{_step_text(STEPS[-1])}"]


@admin.register(PriceRun)
class PriceRunAdmin(LookOnly):
    """Rehearsals, and the notices of rises."""

    change_form_template = "admin/settlement/pricerun/change_form.html"
    list_display = ("__str__", "purpose", "proposal", "state", "progress", "started_at", "started_by", "finished_at")
    list_filter = ("purpose",)
    list_select_related = ("proposal", "started_by")
    ordering = ("-id",)
    list_per_page = 50

    def get_queryset(self, request: HttpRequest) -> QuerySet[PriceRun]:
        """With their shards, which tell how far they are."""
        rows: QuerySet[PriceRun] = super().get_queryset(request)
        return rows.prefetch_related("shards")

    @admin.display(description=gettext_lazy("state"))
    def state(self, run: PriceRun) -> SafeString:
        """What has become of it."""
        if run.error:
            return badge("failed", _("stopped"))
        return badge("finished", _("finished")) if run.finished_at else badge("running", _("running"))

    @admin.display(description=gettext_lazy("progress"))
    def progress(self, run: PriceRun) -> SafeString:
        """How many shards are done."""
        shards = list(run.shards.all())
        return progress_bar(sum(shard.done_at is not None for shard in shards), len(shards))

    def get_urls(self) -> list[URLPattern]:
        """With the button of a proposal, and the file of a rehearsal."""
        view = self.admin_site.admin_view
        return [
            path("rehearse/<int:proposal>/", view(self.rehearse), name="settlement_pricerun_rehearse"),
            path("<int:pk>/accounts.csv", view(self.accounts), name="settlement_pricerun_accounts"),
            *super().get_urls(),
        ]

    def rehearse(self, request: HttpRequest, proposal: int) -> HttpResponse:
        """Begin a rehearsal, or lead to the one that runs."""
        user = require(request, PROPOSE)
        get_object_or_404(PriceProposal, pk=proposal)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        run = rehearse(proposal_id=proposal, now=timezone.now(), started_by=user)
        return redirect("admin:settlement_pricerun_change", run.pk)

    def accounts(self, request: HttpRequest, pk: int) -> HttpResponse | StreamingHttpResponse:
        """Every account that would pay another sum, the dearest first."""
        require(request, "settlement.view_pricerun")
        run = get_object_or_404(PriceRun, pk=pk)
        return StreamingHttpResponse(
            _csv(run),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="rehearsal-{run.pk}.csv"'},
        )

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: PriceRun | None = None,
    ) -> HttpResponse:
        """The page of a run."""
        if obj is not None:
            context |= {"tabs": tabs(request), "state": self.state(obj)} | page_of(obj)
            context["progress"] = self.progress(obj) if not obj.finished_at else None
        response = super().render_change_form(request, context, add, change, form_url, obj)
        return live(request, response, bool(context.get("refresh")))


def page_of(run: PriceRun) -> dict[str, Any]:
    """What the page of a run shows; of one that still runs what it has come to so far."""
    result = run.result or total(run.shards.exclude(result=None).values_list("result", flat=True))
    found: dict[str, Any] = {
        "title": f"{capfirst(run.get_purpose_display())} {run}",
        "subtitle": None,
        "run": run,
        "refresh": None if run.finished_at or run.error else REFRESH,
        "result": result,
    }
    if run.purpose != PriceRun.Purpose.REHEARSE or not result:
        return found
    items, packs = _lines(result)
    labels, bars = bar_labels(), result["bars"]
    touched = run.effects.select_related("account")
    words = {"more": f"{result['more']:,}", "less": f"{result['less']:,}"}
    return found | {
        "before": fen(result["before"]),
        "after": fen(result["before"] + result["change"]),
        "difference": fen(result["change"]),
        "percent": share(result["change"], result["before"]),
        "ends": run.proposal.cells.filter(price=None, cancels=False).exists(),
        "same": result["accounts"] - result["more"] - result["less"],
        "items": items,
        "packs": packs,
        "bars": list(zip(labels, bars, strict=True)),
        "chart": {"unit": _("accounts"), "labels": labels, "values": bars, "turn": STEPS.index(0) + 1},
        "finding": _("%(more)s accounts would pay more and %(less)s would pay less.") % words,
        "dearest": [_effect(one) for one in touched.filter(change__gt=0).order_by("-change", "account_id")[:TOP]],
        "cheapest": [_effect(one) for one in touched.filter(change__lt=0).order_by("change", "account_id")[:TOP]],
    }


def _effect(one: PriceEffect) -> Effect:
    return Effect(one.account_id, one.account.name, fen(one.before), fen(one.change))


class _Echo:
    """A file that gives back what is written to it."""

    def write(self, text: str) -> str:
        """The text."""
        return text


def _csv(run: PriceRun) -> Iterator[str]:
    writer = csv.writer(_Echo())
    yield "\ufeff" + str(writer.writerow(["account_id", "name", "before", "after", "change"]))
    rows = run.effects.order_by("-change", "account_id").values_list("account_id", "account__name", "before", "change")
    for account, name, before, change in rows.iterator(chunk_size=2000):
        sums = (format_decimal(value, 6) for value in (before, before + change, change))
        yield str(writer.writerow([account, neutral(name), *sums]))
