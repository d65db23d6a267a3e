"""The nightly certificate: accepted = drawn + charged + not billable + waiting, and whatever breaks it is named."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pytest
from django.core import mail
from django.db import connection, connections, transaction

from accounts.models import BANDWIDTH, TRAFFIC, Account
from accounts.modes import switch_mode
from settlement import alarms, certificate, runs
from settlement.certificate import certify, certify_due
from settlement.models import Alarm, Bill, CertificateLine, Drawdown, SettlementRun, UsageEvent
from settlement.runs import settle
from tests.worlds import GB, MBPS, assert_books, at, bill_of, buy, event, night, opened, send, use

pytestmark = pytest.mark.django_db

DAY = date(2026, 3, 5)
NIGHT = "2026-03-06T02:00"


@dataclass
class World:
    """Alice is billed by bandwidth and has a pack, Bob is billed by traffic; items of all four aggregations."""

    alice: Account
    bob: Account


@pytest.fixture
def world() -> World:
    alice, bob = opened("alice"), opened("bob")
    switch_mode(account_id=bob.pk, mode=TRAFFIC, now=at("2026-03-01T10:00"))
    buy(alice, "pet-100k", "2026-03-01T10:00")
    use(alice, "ai.pet", 150_000, "2026-03-05T10:00")
    for account in (alice, bob):
        use(account, "ai.face", 777, "2026-03-05T10:00", region="cn-mainland")
        for minute, mbps in ((0, 10), (1, 30), (7, 25)):
            when = f"2026-03-05T10:{minute:02}"
            use(account, "bandwidth.down", mbps * MBPS, when, resource="a")
            use(account, "bandwidth.down", 5 * MBPS, when, resource="b")
        use(account, "traffic.down", 20 * GB, "2026-03-05T10:00")
        use(account, "storage.standard", 500 * GB, "2026-03-05T10:00")
        for channel in ("1", "1", "2", "3"):
            quantity = 0 if channel == "3" else 1
            use(account, "device.gb28181", quantity, "2026-03-05T10:00", resource=channel)
    return World(alice, bob)


def run_of(when: str = NIGHT) -> SettlementRun:
    """Settle, whatever the certificate says; the run."""
    return SettlementRun.objects.get(pk=settle(now=at(when)).run_id)


def shown(run: SettlementRun, day: date = DAY) -> dict[tuple[str, str], tuple[int, int, int, int, int]]:
    """The certificate of a day: (item, mode) → accepted, drawn, charged, not billable, waiting."""
    rows = run.certificate.filter(day=day).values_list(
        "item__code", "billing_mode", "accepted", "drawn", "charged", "not_billable", "waiting"
    )
    return {(item, mode): figures for item, mode, *figures in map(tuple_of, rows)}


def tuple_of(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return row


def breaks(run: SettlementRun) -> dict[str, list[dict[str, Any]]]:
    """What does not balance, by item."""
    assert run.balances is (not run.certificate.filter(breaks__gt=0).exists())
    return {line.item.code: line.broken for line in run.certificate.filter(breaks__gt=0).select_related("item")}


def plant(sql: str, *values: Any) -> None:
    """Damage exactly one row."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE settlement_billline DROP CONSTRAINT IF EXISTS bill_line_drawn_or_charged")
        cursor.execute(sql, values)
        assert cursor.rowcount == 1, sql


def certified_again(run: SettlementRun) -> SettlementRun:
    """The run with a certificate written anew."""
    SettlementRun.objects.filter(pk=run.pk).update(certified_at=None, balances=None)
    certify(run.pk, at("2026-03-06T03:00"))
    return SettlementRun.objects.get(pk=run.pk)


def test_every_aggregation_and_mode_balances(world: World) -> None:
    run = run_of()
    peak, mean = 35 * MBPS, 1_736_111_111  # 30 + 5 in the first slot; 500 GB ÷ 288
    assert shown(run) == {
        ("ai.pet", ""): [150_000, 100_000, 50_000, 0, 0],
        ("ai.face", ""): [2 * 777, 0, 2 * 777, 0, 0],
        ("bandwidth.down", BANDWIDTH): [peak, 0, peak, 0, 0],
        ("bandwidth.down", TRAFFIC): [peak, 0, 0, peak, 0],
        ("traffic.down", BANDWIDTH): [20 * GB, 0, 0, 20 * GB, 0],
        ("traffic.down", TRAFFIC): [20 * GB, 0, 20 * GB, 0, 0],
        ("storage.standard", ""): [2 * mean, 0, 2 * mean, 0, 0],
        ("device.gb28181", ""): [2 * 2, 0, 2 * 2, 0, 0],
    }
    assert run.balances
    assert run.certified_at is not None
    assert not Alarm.objects.exists()
