"""The overview: is the account all right, what does it hold, what did it cost, and the one thing to do next."""

from datetime import date, datetime, timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from accounts import standing
from accounts.customers import customer_page
from accounts.models import MODES, Account
from iss_billing import formats
from iss_billing.days import day_of
from packs.offers import shelf_of
from packs.whole import Whole, whole_catalogue
from settlement.advice import Advice, advise
from settlement.cost import Cost, cost_of, parts
from settlement.estimate import Estimate, Unsettled, load_unsettled, rate_unsettled
from settlement.histories import ModeWords, Position
from settlement.loading import rules_of
from settlement.outlook import balance_outlook, held_types, next_thing
from settlement.recent import Recent, recent
from settlement.replay import Window

RECENT = 5
"""Bills shown, and items of today's estimate that are told apart."""


@customer_page
@require_GET
def overview(request: HttpRequest, account: Account) -> HttpResponse:
    """Balance and standing, today and the month; the next thing; packs by urgency; 30 days' cost; the latest bills."""
    now = timezone.now()
    today = day_of(now)
    whole = whole_catalogue(now)
    unsettled = load_unsettled(account.pk, now, rules_of=rules_of(whole))
    expected = rate_unsettled(unsettled)
    lately = recent(account.pk, today, [day.rules.day for day in unsettled.days[:-1]])
    mode, tomorrow = unsettled.days[-1].mode, unsettled.next_mode
    held = held_types(unsettled.packs, whole.types, today=today, mode=mode, lately=lately, tariff=whole.tariff(today))
    balance = balance_outlook(account.balance, lately, today)
    state = account.standing_at(now)
    active = state == standing.Standing.ACTIVE
    cost = cost_of(lately, whole.items, day_of(account.opened_at))
    context = {
        "mode": mode,
        "next_mode": tomorrow if tomorrow != mode else "",
        "mode_from": today + timedelta(days=1),
        "held": held,
        "balance": balance,
        "next": next_thing(balance, held, _advice(account, whole, unsettled, lately, now)) if active else None,
        "estimate": expected,
        "today_lines": _today(expected, whole),
        "pending_due": sum(bill.statement.amount_due for bill in expected.pending),
        "tonight": account.balance - expected.balance_after,
        "month": _month_so_far(lately, today),
        "cost": cost,
        "chart": _chart(cost, today),
        "mode_name": dict(MODES).get(cost.mode, ""),
        "bills": lately.bills[:RECENT],
    }
    return render(request, "settlement/overview.html", context | _clock(account, state, now))


def _clock(account: Account, state: standing.Standing, now: datetime) -> dict[str, Any]:
    """The standing with its clock: from when to when, how much of it is gone (rules 6)."""
    since = account.arrears_since
    found: dict[str, Any] = {"standing": state, "to_clear": -account.balance}
    if since is None:
        return found
    suspends, reclaims = since + standing.GRACE, since + standing.RECLAIM_AFTER
    begin, end = (since, suspends) if state == standing.Standing.ARREARS else (suspends, reclaims)
    gone = (now - begin) // timedelta(seconds=1), (end - begin) // timedelta(seconds=1)
    return found | {"suspends": suspends, "reclaims": reclaims, "begin": begin, "end": end, "gone": gone}


def _advice(account: Account, whole: Whole, unsettled: Unsettled, lately: Recent, now: datetime) -> Advice:
    """The advisor's answer for the last 30 days, as the page of buying gives it, made of what was read here anyway."""
    held: dict[int, int] = {}
    for pack in unsettled.packs:
        if pack.remaining and pack.valid_until >= whole.today:
            held[pack.pack_type_id] = held.get(pack.pack_type_id, 0) + pack.remaining
    words = ModeWords([(account.pk, since, mode) for since, mode in reversed(unsettled.words)])
    at = Position(Window(lately.first, lately.last), words, held)
    return advise(account, at, shelf_of(whole), now, billed=lately.lines)


def _today(expected: Estimate, whole: Whole) -> dict[str, Any]:
    """Today's estimated lines by item, the dearest first and the small ones together; and what packs cover whole."""
    amounts: dict[int, int] = {}
    charged: set[int] = set()
    for line in expected.today.statement.lines if expected.today else ():
        amounts[line.item_id] = amounts.get(line.item_id, 0) + line.amount
        if line.charged:
            charged.add(line.item_id)
    place = {item: number for number, item in enumerate(whole.items)}
    order = sorted(charged, key=lambda item: (-amounts[item], place[item]))
    shown = [(whole.items[item].name, amounts[item]) for item in order[:RECENT]]
    if rest := order[RECENT:]:
        shown.append((_("Others"), sum(amounts[item] for item in rest)))
    due = expected.today.statement.amount_due if expected.today else 0
    fen = parts([amount for _name, amount in shown], due)
    drawn = [item.name for item in whole.items.values() if item.pk in amounts and item.pk not in charged]
    return {"charged": [(name, part) for (name, _amount), part in zip(shown, fen, strict=True)], "drawn": drawn}


def _month_so_far(lately: Recent, today: date) -> dict[str, Any]:
    """What this month's days have cost, as far as they are settled."""
    first = today.replace(day=1)
    bills = [bill for bill in lately.bills if bill.day >= first]
    due, days = sum(bill.amount_due for bill in bills), len({bill.day for bill in bills})
    return {"due": due, "days": days, "mean": due // days if days else 0, "first": first}


def _chart(cost: Cost, today: date) -> dict[str, Any]:
    """What charts.js draws."""
    return {
        "unit": formats.money(0).unit,
        "digits": 2,
        "scale": 100,
        "days": [formats.day(day, today) for day in cost.days],
        "series": [{"name": item.name, "key": item.key, "data": item.daily} for item in cost.items],
    }
