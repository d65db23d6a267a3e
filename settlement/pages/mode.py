"""How network use is billed: what a switch freezes or thaws, what the last days would have cost, and the switch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from accounts.customers import customer_page
from accounts.models import BANDWIDTH, MODES, TRAFFIC, Account
from accounts.modes import InArrears, Pending, pending_mode, switch_mode
from iss_billing import formats
from iss_billing.days import day_of, next_day
from iss_billing.money import MICRO_PER_FEN, round_half_up
from packs.models import HOME_REGION, Item, PackType
from settlement.histories import Position, load_history, position, window_rules
from settlement.rating import TariffEntry
from settlement.replay import ItemCost, replay


@dataclass(frozen=True)
class InMode:
    """The last settled days billed in one mode: its items with today's price and what they came to; fen."""

    mode: str
    items: Sequence[tuple[Item, TariffEntry | None, ItemCost]]
    days: Mapping[date, int]
    without_packs: int
    """Fen, had no packs been held."""

    @property
    def name(self) -> str:
        """The mode's name."""
        return str(dict(MODES)[self.mode])

    @property
    def cost(self) -> int:
        """Fen for all days, packs drawn first."""
        return _fen(sum(cost.amount for _item, _price, cost in self.items))

    @property
    def draws(self) -> bool:
        """Whether packs were drawn from."""
        return any(cost.drawn for _item, _price, cost in self.items)


@customer_page
@require_http_methods(["GET", "POST"])
def billing_mode(request: HttpRequest, account: Account) -> HttpResponse:
    """What each mode bills and would have cost, what a switch means for the packs held, and the switch itself."""
    now = timezone.now()
    if request.method == "POST":
        return _switch(request, account, now)
    today = day_of(now)
    at = position(account.pk, now)
    mode, then = at.modes.on(account.pk, today), at.modes.on(account.pk, next_day(today))
    items = list(Item.objects.prefetch_related("pack_types"))
    here, there = _replayed(account, at, items, today, mode)
    days = [(day, here.days[day], there.days[day]) for day in reversed(at.window.days)]
    context: dict[str, Any] = {
        "here": here,
        "there": there,
        "difference": there.cost - here.cost,
        "used": any(cost.quantity for side in (here, there) for _item, _price, cost in side.items),
        "days": [row for row in days if row[1] or row[2]],
        "window": at.window,
        "known_days": (at.window.last - max(at.window.first, day_of(account.opened_at))).days + 1,
        "pending": Pending(then, next_day(today)) if then != mode else None,
        "held": _held(at, items),
        "arrears": account.balance < 0,
        "tomorrow": next_day(today),
    }
    return render(request, "packs/billing_mode.html", context)


def _replayed(account: Account, at: Position, items: Sequence[Item], today: date, mode: str) -> tuple[InMode, InMode]:
    """The last days billed in today's mode throughout, and in the other."""
    bound = [item for item in items if item.requires_billing_mode]
    history = load_history(account, at, metered=bound)
    rules = window_rules(at.window, through=today, items=items)
    tariff = rules[today].tariff

    def billed(by: str) -> InMode:
        outcome, bare = replay(history, rules, mode=by), replay(history, rules, mode=by, packs=())
        own = [item for item in bound if item.requires_billing_mode == by]
        days = {day: _fen(sum(outcome.amounts.get((day, item.pk), 0) for item in own)) for day in at.window.days}
        rows = [(item, tariff.get((item.pk, HOME_REGION)), outcome.items.get(item.pk, ItemCost())) for item in own]
        return InMode(by, rows, days, _fen(sum(bare.items[item.pk].amount for item in own if item.pk in bare.items)))

    return billed(mode), billed(TRAFFIC if mode == BANDWIDTH else BANDWIDTH)


def _fen(micro: int) -> int:
    return round_half_up(micro, MICRO_PER_FEN)


def _held(at: Position, items: Sequence[Item]) -> list[tuple[PackType, int]]:
    """The pack types held that count in one mode only, with their units, in catalogue order."""
    kinds = {kind for item in items for kind in item.pack_types.all() if kind.requires_billing_mode}
    return [(kind, at.held[kind.pk]) for kind in sorted(kinds, key=lambda kind: kind.position) if kind.pk in at.held]


def _switch(request: HttpRequest, account: Account, now: datetime) -> HttpResponse:
    mode = request.POST.get("mode", "")
    if mode not in dict(MODES):
        raise Http404
    try:
        switch_mode(account_id=account.pk, mode=mode, now=now)
    except InArrears:
        messages.error(request, _("An account in arrears cannot switch its billing mode. Nothing was changed."))
    else:
        pending = pending_mode(account.pk, day_of(now))
        if pending:
            words = {"day": formats.day(pending.effective_day, day_of(now)), "mode": dict(MODES)[pending.mode]}
            messages.success(request, _("From %(day)s 00:00 on: %(mode)s. It can be taken back until then.") % words)
        else:
            messages.success(request, _("It stays as it is: %(mode)s.") % {"mode": dict(MODES)[mode]})
    target = request.POST.get("next", "")
    allowed = url_has_allowed_host_and_scheme(target, {request.get_host()}, require_https=request.is_secure())
    return HttpResponseRedirect(target if allowed else reverse("billing-mode"))  # a path, never the name of a view
