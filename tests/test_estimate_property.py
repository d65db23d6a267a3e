"""An estimate equals the bills that the next runs write when nothing more happens: random packs, modes and usage."""

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import Account
from accounts.modes import switch_mode
from settlement.models import Bill
from tests.api_client import Api
from tests.worlds import GB, MBPS, assert_books, at, buy, event, night, opened, send

pytestmark = pytest.mark.django_db

ITEMS = {
    "ai.pet": 150_000,
    "ai.plate": 70,
    "ai.face": 9,
    "ai.kitchen.hat": 60_000,
    "bandwidth.down": 90 * MBPS,
    "traffic.down": 900 * GB,
    "storage.standard": 70 * GB,
    "device.gb28181": 1,
    "video.transcode-h264": 100,
}
DAYS = 5
uses = st.tuples(
    st.integers(1, DAYS),  # day of March
    st.integers(0, 23),  # hour
    st.sampled_from(sorted(ITEMS)),
    st.integers(1, 100),  # hundredths of the item's largest
    st.integers(0, 2),  # resource
)
plans = st.fixed_dictionaries(
    {
        "uses": st.lists(uses, min_size=1, max_size=14),
        "late": st.lists(uses, max_size=5),
        "packs": st.lists(
            st.tuples(st.integers(1, DAYS), st.sampled_from(["pet-100k", "kitchen-100k", "traffic-down-1tb"])),
            max_size=4,
        ),
        "switches": st.lists(st.integers(1, DAYS), max_size=2, unique=True),
        "settled_through": st.integers(0, DAYS - 1),
        "balance": st.sampled_from(["0.50", "3000.00"]),
    }
)


def reported(account: Account, use: tuple[int, int, str, int, int]) -> dict[str, Any]:
    day, hour, item, share, resource = use
    quantity = max(1, ITEMS[item] * share // 100)
    return event(account, item, quantity, f"2026-03-{day:02}T{hour:02}:00:00", resource=f"camera-{resource}")


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=plans)
def test_an_estimate_is_what_the_next_runs_bill(db: None, plan: dict[str, Any]) -> None:
    account = opened(balance=plan["balance"])
    rich = plan["balance"] != "0.50"
    for day, sku in sorted(plan["packs"]) if rich else []:
        buy(account, sku, f"2026-03-{day:02}T00:00")
    for number, day in enumerate(sorted(plan["switches"])):
        switch_mode(account_id=account.pk, mode=("traffic", "bandwidth")[number % 2], now=at(f"2026-03-{day:02}T00:00"))
    send([reported(account, use) for use in plan["uses"]], f"2026-03-{DAYS:02}T23:30")
    for day in range(1, plan["settled_through"] + 1):
        night(f"2026-03-{day + 1:02}T02:00")
    if plan["late"]:
        send([reported(account, use) for use in plan["late"]], f"2026-03-{DAYS:02}T23:40")
    before = set(Bill.objects.filter(account=account).values_list("pk", flat=True))

    now = at(f"2026-03-{DAYS:02}T23:50")
    with time_machine.travel(now, tick=False):
        api = Api(account)
        estimate = api.get("estimate/")
        assert api.get("estimate/")["balance_after"] == estimate["balance_after"], "it changes nothing"
    expected = [*estimate["pending_days"], *([estimate["today"]] if estimate["today"] else [])]
    with time_machine.travel(now + timedelta(hours=4), tick=False):
        night(f"2026-03-{DAYS + 1:02}T02:00")
        bills = [api.get(f"bills/{pk}/") for pk in ordered(account, before)]
        balance = api.get("account/")["balance"]
    assert [strip(bill) for bill in bills] == expected
    assert balance == estimate["balance_after"]
    assert_books()


def ordered(account: Account, before: set[int]) -> list[int]:
    """The new bills in the order in which they were settled."""
    rows = Bill.objects.filter(account=account).exclude(pk__in=before)
    return list(rows.order_by("day", "sequence").values_list("pk", flat=True))


def strip(bill: dict[str, Any]) -> dict[str, Any]:
    """A bill as an estimate shows it: without what only a written one has."""
    return {name: value for name, value in bill.items() if name not in ("bill_id", "settled_at")}
