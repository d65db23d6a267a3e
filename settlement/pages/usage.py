"""Usage: per item and day, one day by hour or five minutes, and where a single event stands."""

import csv
from datetime import date, timedelta
from typing import Any

from django import forms
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET

from accounts.customers import customer_page
from accounts.models import MODES, Account
from iss_billing.days import SLOT, SLOTS_PER_DAY, day_of, next_day, start_of
from packs.models import Item
from settlement.bill_curves import chart_scale
from settlement.bill_text import slot_times
from settlement.curve import filled, hourly
from settlement.models import UsageEvent
from settlement.usage import day_curves
from settlement.use_table import bars, by_item, daily_chart, hourly_chart, state_name
from settlement.used import STATES, Used, used
from settlement.used_day import CURVED, DayLine, RegionUse, Stands, regions_of_day, stands

DAYS = 30
MOST_DAYS = 92
MOST_ROWS = 100_000
"""More than an account can have of items, regions and states in that many days."""
RANGES = (7, 30, 90)


class RangeForm(forms.Form):
    """Days from and to, both inclusive; the last 30 by default."""

    first = forms.DateField(label=gettext_lazy("From"), required=False)
    last = forms.DateField(label=gettext_lazy("To"), required=False)

    def __init__(self, request: HttpRequest, opened: date, today: date) -> None:
        values = {"first": request.GET.get("from", ""), "last": request.GET.get("to", "")}
        super().__init__(values)
        self.opened, self.today = opened, today

    def days(self) -> tuple[date, date]:
        """The range asked for, or the default one where it is wrong; what is wrong is among the errors then.

        No day is before the account; an event may be 10 minutes ahead, so tomorrow is a day too.
        """
        default = self.today - timedelta(days=DAYS - 1), self.today
        if not self.is_valid():
            return default
        asked = self.cleaned_data["first"], self.cleaned_data["last"]
        last = min(max(asked[1] or self.today, self.opened), next_day(self.today))
        first = max(asked[0], self.opened) if asked[0] else last - timedelta(days=DAYS - 1)
        if first > last:
            self.add_error("first", _("The first day is after the last."))
        elif (last - first).days >= MOST_DAYS:
            self.add_error("first", _("At most %(number)s days at a time.") % {"number": MOST_DAYS})
        else:
            return first, last
        return default


class EventForm(forms.Form):
    """What identifies a usage event."""

    day = forms.DateField(label=gettext_lazy("Day"), widget=forms.DateInput({"type": "date"}, format="%Y-%m-%d"))
    source = forms.CharField(label=gettext_lazy("Source"), max_length=255)
    id = forms.CharField(label=gettext_lazy("Event id"), max_length=255)


def _range(request: HttpRequest, account: Account, today: date) -> dict[str, Any]:
    """The range of a page and its form."""
    form = RangeForm(request, day_of(account.opened_at), today)
    first, last = form.days()
    shown = next((days for days in RANGES if (first, last) == (today - timedelta(days=days - 1), today)), None)
    return {
        "form": form,
        "first": first,
        "last": last,
        "ranges": [(days, today - timedelta(days=days - 1), days == shown) for days in RANGES],
        "today": today,
        "query": f"?from={first}&to={last}",
    }


@customer_page
@require_GET
def usage(request: HttpRequest, account: Account) -> HttpResponse:
    """Every item with use in some days: its days, what they come to, and where they stand."""
    today = day_of(timezone.now())
    asked = _range(request, account, today)
    first, last = asked["first"], asked["last"]
    rows = used(account, today, number=MOST_ROWS, first=first, last=last)
    found = [{"use": use, "bars": bars(use.daily, first, last), "states": _states(use.states)} for use in by_item(rows)]
    context = asked | {"rows": found, "event_form": EventForm(initial={"day": today})}
    return render(request, "settlement/usage.html", context)


def _states(states: dict[str, int]) -> list[dict[str, Any]]:
    return [{"state": state, "name": state_name(state), "days": states[state]} for state in STATES if state in states]


@customer_page
@require_GET
def item_usage(request: HttpRequest, account: Account, code: str) -> HttpResponse:
    """One item day by day."""
    today = day_of(timezone.now())
    item = _item(code)
    asked = _range(request, account, today)
    rows = used(account, today, number=MOST_ROWS, first=asked["first"], last=asked["last"], item=item)
    whole = next(iter(by_item(rows)), None)
    context = asked | {
        "item": item,
        "rows": [{"used": row, "state": state_name(row.state)} for row in rows],
        "regions": _several_regions(rows),
        "whole": whole,
        "chart": daily_chart(item, rows, asked["first"], asked["last"], today),
    }
    return render(request, "settlement/usage_item.html", context)


def _several_regions(rows: list[Used]) -> bool:
    return len({row.region for row in rows}) > 1


@customer_page
@require_GET
def day_usage(request: HttpRequest, account: Account, code: str, day: date) -> HttpResponse:
    """One item on one day: by hour or five minutes, by region and source, and on which bills it is."""
    today = day_of(timezone.now())
    item = _item(code)
    _check_day(account, day, today)
    where = stands(account.pk, item, day)
    regions = regions_of_day(account.pk, item, day, where)
    shown = next((use for use in regions if use.region == request.GET.get("region")), regions[0] if regions else None)
    context = {
        "item": item,
        "day": day,
        "today": today,
        "stands": where,
        "billable": where.billable(item),
        "mode_name": dict(MODES)[where.mode],
        "regions": [{"use": use, "state": state_name(use.state)} for use in regions],
        "shown": shown,
        "part": _part(item, shown) if shown else None,
        "before": day - timedelta(days=1) if day > day_of(account.opened_at) else None,
        "after": next_day(day) if day < today else None,
    }
    return render(request, "settlement/usage_day.html", context)


def _item(code: str) -> Item:
    """The item of a path, which may hold anything."""
    found = next((item for item in Item.objects.all() if item.code == code), None)
    if found is None:
        raise Http404
    return found


def _check_day(account: Account, day: date, today: date) -> None:
    """An event may be 10 minutes ahead, so tomorrow is a day too."""
    if not day_of(account.opened_at) <= day <= next_day(today):
        raise Http404


def _part(item: Item, use: RegionUse) -> dict[str, Any]:
    """The curve or the hours of a region with their table, and what its sources had."""
    curved = item.aggregation in CURVED
    rest = use.quantity - sum(share.quantity for share in use.shares)
    found: dict[str, Any] = {
        "curved": curved,
        "unit": chart_scale(item.unit)[1],
        "rest": max(rest, 0),
        "times": slot_times(use.slot) if use.slot is not None else None,
    }
    if curved:
        scale, unit, digits = chart_scale(item.unit)
        mark = None
        if use.slot is not None:
            mark = {"at": use.slot, "label": slot_times(use.slot)[0]}
        found["chart"] = {
            "unit": unit,
            "digits": digits,
            "scale": scale,
            "labels": ["–".join(slot_times(slot)) for slot in range(SLOTS_PER_DAY)],
            "values": filled(use.slots),
            "rule": use.quantity,
            "mark": mark,
        }
        found["table"] = [
            (f"{top.slot // 12:02}:00", slot_times(top.slot)[0], top.quantity) for top in hourly(use.slots)
        ]
    elif use.hours:
        found["chart"] = hourly_chart(item, use.hours)
        found["table"] = [(f"{hour:02}:00", "", use.hours.get(hour, 0)) for hour in range(24)]
    return found


@customer_page
@require_GET
def day_slots_csv(request: HttpRequest, account: Account, code: str, day: date) -> HttpResponse:
    """The 288 slots of a peak or mean item on a day as CSV, every region; quantities in base units."""
    item = _item(code)
    if item.aggregation not in CURVED:
        raise Http404
    _check_day(account, day, day_of(timezone.now()))
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{day}-{item.code}.csv"'
    writer = csv.writer(response)
    writer.writerow(["item", "region", "begin", "end", "quantity", "unit"])
    for (_id, region), slots in day_curves(account.pk, [item.pk], day).items():
        for slot, quantity in enumerate(filled(slots)):
            begin = start_of(day) + slot * SLOT
            end = begin + SLOT
            writer.writerow([item.code, region, begin.isoformat(), end.isoformat(), quantity, item.unit])
    return response


@customer_page
@require_GET
def event(request: HttpRequest, account: Account) -> HttpResponse:
    """One event by day, source and id: what it said, and where it stands."""
    form = EventForm(request.GET)
    context: dict[str, Any] = {"form": form}
    if form.is_valid():
        day = form.cleaned_data["day"]
        rows = UsageEvent.objects.filter(day=day, source=form.cleaned_data["source"], event_id=form.cleaned_data["id"])
        found = rows.filter(account=account).select_related("item").first()
        context |= {"asked": True, "day": day, "event": found}
        if found is not None:
            where = stands(account.pk, found.item, day)
            context |= {
                "stands": where,
                "billable": where.billable(found.item),
                "mode_name": dict(MODES)[where.mode],
                "bill": _bill_of(found, where),
            }
    return render(request, "settlement/usage_event.html", context)


def _bill_of(found: UsageEvent, where: Stands) -> DayLine | None:
    """The bill that counted an event: the first of its day and region that was settled after it was received, or,
    where the run that saw it had nothing to add, the last.
    """
    lines = [line for line in where.lines if line.region == found.region]
    later = [line for line in lines if line.settled_at >= found.received_at]
    if later:
        return later[0]
    return lines[-1] if lines and not where.waiting else None
