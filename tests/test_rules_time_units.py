"""Rules 1: billing days, units, prices, rounding and the one currency."""

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client

from accounts.models import TRAFFIC, Account
from accounts.modes import switch_mode
from iss_billing.money import parse_decimal
from packs.models import Item
from settlement.models import BillLine, UsageEvent
from tests.worlds import (
    GB,
    MBPS,
    TB,
    assert_books,
    at,
    bill_of,
    bills_of,
    buy,
    night,
    opened,
    send,
    set_tariff,
    use,
    yuan,
)
from tests.worlds import event as usage_event

pytestmark = pytest.mark.django_db

OWN_CODE = ("accounts", "packs", "settlement", "iss_billing")


@pytest.fixture(autouse=True)
def proven() -> Iterator[None]:
    """Every test leaves true books."""
    yield
    assert_books()


def line(account: Account, day: str, item: str) -> BillLine:
    return BillLine.objects.get(bill=bill_of(account, day), item__code=item)


def reprice(item: str, micro: int, per: int, day: str) -> None:
    """Another tariff in the home region from a day on, scheduled the day the accounts here are opened."""
    set_tariff(
        item=Item.objects.get(code=item),
        region="cn-mainland",
        price=micro,
        per=per,
        effective_day=date.fromisoformat(day),
        reason="test",
        now=at("2026-03-01T00:00"),
    )


@pytest.mark.parametrize(
    ("moment", "day"),
    [
        ("2026-03-05T00:00:00+08:00", "2026-03-05"),
        ("2026-03-05T23:59:59.999999+08:00", "2026-03-05"),
        ("2026-03-05T23:59:59.999999999+08:00", "2026-03-05"),
        ("2026-03-06T00:00:00+08:00", "2026-03-06"),
        ("2026-03-05T15:59:59Z", "2026-03-05"),
        ("2026-03-05T16:00:00Z", "2026-03-06"),
        ("2026-03-05T12:00:00-05:00", "2026-03-06"),
        ("2026-07-05T16:00:00Z", "2026-07-06"),
    ],
)
def test_rule_1_1_a_billing_day_is_a_calendar_day_in_shanghai(moment: str, day: str) -> None:
    alice = opened()
    received = f"{day}T23:59:59.999999"
    assert send([usage_event(alice, "ai.pet", 400, moment)], received).accepted == 1
    night("2026-07-20T02:00")
    [bill] = bills_of(alice)
    assert (bill.day.isoformat(), bill.amount_due) == (day, yuan("1.00"))


def test_rule_1_1_usage_belongs_to_the_day_it_occurred_whenever_it_was_reported() -> None:
    alice = opened()
    use(alice, "ai.pet", 400, "2026-03-05T23:30", received="2026-03-06T00:30")
    use(alice, "ai.pet", 800, "2026-03-06T00:10", received="2026-03-06T00:30")
    night("2026-03-07T02:00")
    assert [(str(bill.day), bill.amount_due) for bill in bills_of(alice)] == [("2026-03-05", 100), ("2026-03-06", 200)]


def test_rule_1_1_there_is_one_clock_and_nothing_reads_another() -> None:
    other = re.compile(
        r"(?<!timezone\.)\bnow\(\)|current_(?:timestamp|date|time)|clock_timestamp|statement_timestamp|auto_now"
        r"|localtimestamp|utcnow|\.today\(\)|\btime\.time\(|datetime\.now|functions import .*\bNow\b",
        re.IGNORECASE,
    )
    code = [path for name in OWN_CODE for path in (Path(settings.BASE_DIR) / name).rglob("*.py")]
    assert len(code) > 50
    found = [f"{path}: {match[0]}" for path in code for match in other.finditer(path.read_text(encoding="utf-8"))]
    assert found == []
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT table_name, column_name, column_default FROM information_schema.columns
            WHERE table_schema = 'public' AND column_default ~* 'now|current_|timestamp'"""
        )
        assert cursor.fetchall() == []


def test_rule_1_1_what_a_run_writes_carries_the_clock_of_the_run() -> None:
    alice = opened()
    use(alice, "ai.pet", 400, "2026-03-05T10:00", received="2026-03-05T10:01:02")
    night("2026-03-06T02:00:03")
    assert UsageEvent.objects.get().received_at == at("2026-03-05T10:01:02")
    assert bill_of(alice, "2026-03-05").settled_at == at("2026-03-06T02:00:03")
    assert alice.transfers.get(kind="usage").time == at("2026-03-06T02:00:03")


def test_rule_1_2_prefixes_are_decimal() -> None:
    alice = opened()
    [pack] = buy(alice, "traffic-down-1tb", "2026-03-01T10:00")
    assert pack.total == TB == 10**12
    use(alice, "bandwidth.down", MBPS, "2026-03-01T10:00")
    switch_mode(account_id=alice.pk, mode=TRAFFIC, now=at("2026-03-01T10:00"))
    use(alice, "traffic.up", GB, "2026-03-02T10:00")
    night("2026-03-03T02:00")
    assert [bill.amount_due for bill in bills_of(alice)] == [yuan("0.70"), yuan("0.15")]


def test_rule_1_2_no_float_touches_a_quantity() -> None:
    alice = opened()
    switch_mode(account_id=alice.pk, mode=TRAFFIC, now=at("2026-03-01T10:00"))
    for _ in range(9):
        use(alice, "traffic.down", 10**15, "2026-03-02T10:00")
    use(alice, "traffic.down", 7_199_254_740_993, "2026-03-02T10:00")
    night("2026-03-03T02:00")
    # 2^53 + 1 is the first integer that no double holds; x 0.5 / 10^9 = 4503599.6273704965
    rated = line(alice, "2026-03-02", "traffic.down")
    assert (rated.quantity, rated.amount) == (2**53 + 1, 4_503_599_627_370)
    bill = bill_of(alice, "2026-03-02")
    assert (bill.amount_due, bill.carry_out) == (yuan("4503599.63"), -2630)


def test_rule_1_2_no_column_holds_a_float() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT table_name, column_name FROM information_schema.columns
            WHERE table_schema = 'public' AND data_type IN ('real', 'double precision')
              AND table_name ~ '^(accounts|packs|settlement)_'"""
        )
        assert cursor.fetchall() == []


def test_rule_1_3_a_price_is_for_so_many_base_units() -> None:
    alice = opened()
    use(alice, "ai.face", 1000, "2026-03-02T10:00")
    use(alice, "video.transcode-h264", 90, "2026-03-02T10:00")
    use(alice, "device.gb28181", None, "2026-03-02T10:00", resource="camera-1")
    night("2026-03-03T02:00")
    amounts = {row.item.code: row.amount for row in bill_of(alice, "2026-03-02").lines.all()}
    assert amounts == {"ai.face": 500_000, "device.gb28181": 100_000, "video.transcode-h264": 204_000}
    assert bill_of(alice, "2026-03-02").amount_due == yuan("0.80")


def test_rule_1_3_a_price_has_at_most_six_decimals() -> None:
    assert parse_decimal("0.000001", 6) == 1
    assert parse_decimal("0.1000000", 6) == 100_000
    with pytest.raises(ValueError, match="more than 6 decimals"):
        parse_decimal("0.0000001", 6)
    alice = opened()
    reprice("ai.face", 1, 1, "2026-03-02")
    use(alice, "ai.face", 12_345, "2026-03-02T10:00")
    night("2026-03-03T02:00")
    assert line(alice, "2026-03-02", "ai.face").amount == 12_345


@pytest.mark.parametrize(("quantity", "amount"), [(1, 0), (2, 1), (3, 1), (5, 1), (6, 2), (10, 3)])
def test_rule_1_4_a_line_is_rounded_half_up_to_a_millionth(quantity: int, amount: int) -> None:
    alice = opened()
    reprice("ai.face", 1, 4, "2026-03-02")  # a quarter of a millionth a call
    use(alice, "ai.face", quantity, "2026-03-02T10:00")
    night("2026-03-03T02:00")
    assert line(alice, "2026-03-02", "ai.face").amount == amount


@pytest.mark.parametrize(
    ("calls", "due", "carry"),
    [(9, 0, 4500), (10, 1, -5000), (11, 1, -4500), (29, 1, 4500), (30, 2, -5000), (50, 3, -5000), (20, 1, 0)],
)
def test_rule_1_4_the_due_is_rounded_half_up_to_the_fen_and_the_rest_is_carried(
    calls: int, due: int, carry: int
) -> None:
    alice = opened()
    use(alice, "ai.face", calls, "2026-03-02T10:00")  # 0.0005 a call
    night("2026-03-03T02:00")
    bill = bill_of(alice, "2026-03-02")
    assert (bill.rated_total, bill.carry_in, bill.amount_due, bill.carry_out) == (calls * 500, 0, due, carry)
    alice.refresh_from_db()
    assert (alice.balance, alice.carry) == (yuan("100000") - due, carry)


def test_rule_1_4_the_due_is_never_below_zero() -> None:
    alice = opened()
    use(alice, "ai.face", 10, "2026-03-02T10:00")
    use(alice, "ai.face", 1, "2026-03-03T10:00")
    use(alice, "ai.face", 9, "2026-03-04T10:00")
    night("2026-03-05T02:00")
    shown = [(bill.carry_in, bill.amount_due, bill.carry_out) for bill in bills_of(alice)]
    assert shown == [(0, 1, -5000), (-5000, 0, -4500), (-4500, 0, 0)]
    assert alice.transfers.filter(kind="usage").count() == 1


def test_rule_1_4_what_was_charged_never_strays_from_what_was_rated() -> None:
    alice = opened()
    for day in range(1, 21):
        use(alice, "ai.face", day * 7 % 23 + 1, f"2026-03-{day:02}T10:00")
        use(alice, "video.transcode-h264", day * 5 % 11 + 1, f"2026-03-{day:02}T10:00")
    night("2026-03-21T02:00")
    strays, rated, charged = [0], 0, 0
    for bill in bills_of(alice):
        rated, charged = rated + bill.rated_total, charged + bill.amount_due * 10_000
        assert rated - charged == bill.carry_out
        strays.append(rated - charged)
    assert (len(strays), charged) == (21, yuan("100000") * 10_000 - Account.objects.get().balance * 10_000)
    assert max(map(abs, strays)) <= 5_000
    assert max(strays) - min(strays) < 10_000


def test_rule_1_5_everything_is_in_yuan(client: Client) -> None:
    catalogue = client.get("/api/v1/catalogue/").json()
    assert {row["price"]["currency"] for row in catalogue["packs"] + catalogue["tariff"]} == {"CNY"}
