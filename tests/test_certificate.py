"""The nightly certificate: accepted = drawn + charged + not billable + waiting, and whatever breaks it is named."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pytest
import time_machine
from django.core import mail
from django.db import connection, connections, transaction

from accounts.models import BANDWIDTH, TRAFFIC, Account
from accounts.modes import switch_mode
from packs.models import Pack
from settlement import alarms, certificate, engine, runs
from settlement.certificate import certify, certify_due
from settlement.metering import collect
from settlement.models import Alarm, SettlementRun
from settlement.runs import settle
from settlement.tasks import tell_operators, watch_runs
from tests.conftest import eventually
from tests.worlds import GB, MBPS, assert_books, at, bill_of, buy, night, opened, use

pytestmark = pytest.mark.django_db

DAY = date(2026, 3, 5)
NIGHT = "2026-03-06T02:00"


@dataclass
class World:
    """Alice is billed by bandwidth and has a pack, Bob is billed by traffic; items of all four aggregations."""

    alice: Account
    bob: Account


@pytest.fixture(autouse=True)
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A day is read account by account, so that every certificate here is added up from parts."""
    monkeypatch.setattr(certificate, "ACCOUNTS", 1)


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


def shown(run: SettlementRun, day: date = DAY) -> dict[tuple[str, str], list[int]]:
    """The certificate of a day: (item, mode) → accepted, drawn, charged, not billable, waiting."""
    return {
        (line.item.code, line.billing_mode): [
            line.accepted,
            line.drawn,
            line.charged,
            line.not_billable,
            line.waiting,
        ]
        for line in run.certificate.filter(day=day).select_related("item")
    }


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


def test_parts_of_a_day_add_up_to_the_whole(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    others = [opened(name) for name in ("carol", "dave")]
    for account in others:
        buy(account, "pet-100k", "2026-03-01T10:00")
        use(account, "ai.pet", 60_000, "2026-03-05T10:00")
        use(account, "traffic.down", 5 * GB, "2026-03-05T10:00")
    run = run_of()
    for account in others:
        use(account, "ai.face", 10, "2026-03-05T10:00", region="cn-mainland", received="2026-03-06T02:30")
    in_parts = shown(certified_again(run))
    assert in_parts["ai.pet", ""] == [270_000, 220_000, 50_000, 0, 0]
    assert in_parts["traffic.down", BANDWIDTH] == [30 * GB, 0, 0, 30 * GB, 0]
    assert in_parts["ai.face", ""] == [2 * 787, 0, 2 * 777, 0, 20]
    for accounts in (2, 3, 1_000):
        monkeypatch.setattr(certificate, "ACCOUNTS", accounts)
        assert shown(certified_again(run)) == in_parts


def test_of_what_breaks_the_first_accounts_are_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of()
    monkeypatch.setattr(certificate, "FIRST_ROWS", 1)
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM settlement_usageevent WHERE item_id IN (SELECT id FROM packs_item WHERE code = 'ai.face')"
        )
    again = certified_again(run)
    [line] = again.certificate.filter(breaks__gt=0)
    assert line.breaks == 2
    assert [row["account"] for row in line.broken] == [world.alice.pk]


def test_the_day_is_certified_whole_when_late_usage_is_settled(world: World) -> None:
    night(NIGHT)
    use(world.alice, "bandwidth.down", 40 * MBPS, "2026-03-05T10:02", resource="a", received="2026-03-06T09:00")
    use(world.alice, "ai.pet", 1, "2026-03-05T10:02", received="2026-03-06T09:00")
    run = run_of("2026-03-07T02:00")
    assert [line.billing_mode for line in run.certificate.filter(item__code="bandwidth.down")] == [BANDWIDTH, TRAFFIC]
    assert shown(run)["bandwidth.down", BANDWIDTH] == [45 * MBPS, 0, 45 * MBPS, 0, 0]
    assert shown(run)["ai.pet", ""] == [150_001, 100_000, 50_001, 0, 0]
    assert run.balances


# ── damage ───────────────────────────────────────────────────────────────────────────────────────────

LOSE = "DELETE FROM settlement_usageevent WHERE account_id = %s AND day = '2026-03-05' AND "
LOST = {
    "ai.face": LOSE + "item_id = (SELECT id FROM packs_item WHERE code = 'ai.face')",
    "bandwidth.down": LOSE + "quantity = 30000000",
    "storage.standard": LOSE + "item_id = (SELECT id FROM packs_item WHERE code = 'storage.standard')",
    "device.gb28181": LOSE + "resource = '2'",
}


@pytest.mark.parametrize("item", LOST)
def test_an_event_deleted_after_billing_breaks_its_item(world: World, item: str) -> None:
    run = run_of()
    plant(LOST[item], world.alice.pk)
    found = breaks(certified_again(run))
    assert found.keys() == {item}
    [row] = found[item]
    assert row["account"] == world.alice.pk
    assert row["accepted"] < row["charged"]


@pytest.mark.parametrize(
    ("item", "quantity", "when", "resource"),
    [
        ("ai.face", 5, "2026-03-05 10:00+08", ""),
        ("bandwidth.down", 90 * MBPS, "2026-03-05 10:00+08", "a"),
        ("storage.standard", 288, "2026-03-05 11:00+08", ""),
        ("device.gb28181", 1, "2026-03-05 10:00+08", "9"),
    ],
)
def test_accepted_usage_that_nobody_bills_breaks_its_item(
    world: World, item: str, quantity: int, when: str, resource: str
) -> None:
    run = run_of()
    plant(
        """INSERT INTO settlement_usageevent
        SELECT '2026-03-05', '/edge/1', 'lost', %s, id, 'cn-mainland', %s, %s, %s, now() FROM packs_item
        WHERE code = %s""",
        world.alice.pk,
        resource,
        quantity,
        when,
        item,
    )
    found = breaks(certified_again(run))
    assert found.keys() == {item}
    [row] = found[item]
    assert row["accepted"] > row["charged"]
    assert row["waiting"] == 0


LINE = "WHERE bill_id = %s AND item_id = (SELECT id FROM packs_item WHERE code = 'ai.pet')"
HAT = "(SELECT id FROM packs_item WHERE code = 'ai.kitchen.hat')"
CHANGED_LINES = {
    "a line's quantity": f"UPDATE settlement_billline SET quantity = quantity + 1 {LINE}",
    "a line's charged part": f"UPDATE settlement_billline SET charged = charged + 1 {LINE}",
    "both": f"UPDATE settlement_billline SET quantity = quantity + 1, charged = charged + 1 {LINE}",
    "drawn for charged": f"UPDATE settlement_billline SET drawn = drawn - 1, charged = charged + 1 {LINE}",
    "a line's amount": f"UPDATE settlement_billline SET amount = amount + 1 {LINE}",
    "a line's item": f"UPDATE settlement_billline SET item_id = {HAT} {LINE}",
    "a drawdown": "UPDATE settlement_drawdown SET quantity = quantity - 1 WHERE %s > 0",
    "a drawdown doubled": """INSERT INTO settlement_drawdown (line_id, pack_id, quantity, remaining_after, recognised)
        SELECT line_id, pack_id, quantity, remaining_after, recognised FROM settlement_drawdown WHERE %s > 0""",
    "a drawdown lost": "DELETE FROM settlement_drawdown WHERE %s > 0",
}


@pytest.mark.parametrize("damage", CHANGED_LINES)
def test_a_changed_bill_breaks_its_item(world: World, damage: str) -> None:
    run = run_of()
    plant(CHANGED_LINES[damage], bill_of(world.alice, "2026-03-05").pk)
    found = breaks(certified_again(run))
    assert found.keys() - {"ai.kitchen.hat"} == {"ai.pet"}
    assert [row["account"] for row in found["ai.pet"]] == [world.alice.pk]


def test_a_missing_bill_breaks_all_its_items(world: World) -> None:
    run = run_of()
    bill = bill_of(world.bob, "2026-03-05")
    bill.lines.all().delete()
    bill.delete()
    found = breaks(certified_again(run))
    assert found.keys() == {"ai.face", "traffic.down", "storage.standard", "device.gb28181"}
    assert all(row["account"] == world.bob.pk and row["charged"] == 0 for [row] in found.values())


def test_a_line_of_the_other_mode_breaks_it(world: World) -> None:
    run = run_of()
    plant(
        """UPDATE settlement_billline SET item_id = (SELECT id FROM packs_item WHERE code = 'traffic.down')
        WHERE bill_id = %s AND item_id = (SELECT id FROM packs_item WHERE code = 'bandwidth.down')""",
        bill_of(world.alice, "2026-03-05").pk,
    )
    found = breaks(certified_again(run))
    assert found.keys() == {"bandwidth.down", "traffic.down"}
    [row] = found["traffic.down"]
    assert (row["account"], row["not_billable"], row["charged"]) == (world.alice.pk, 20 * GB, 35 * MBPS)


def test_two_wrongs_do_not_make_a_right(world: World) -> None:
    run = run_of()
    change = """UPDATE settlement_billline SET quantity = quantity + %s, charged = charged + %s
        WHERE bill_id = %s AND item_id = (SELECT id FROM packs_item WHERE code = 'ai.face')"""
    plant(change, 5, 5, bill_of(world.alice, "2026-03-05").pk)
    plant(change, -5, -5, bill_of(world.bob, "2026-03-05").pk)
    run = certified_again(run)
    line = run.certificate.get(item__code="ai.face")
    assert (line.difference, line.breaks) == (0, 2)
    assert [row["account"] for row in line.broken] == [world.alice.pk, world.bob.pk]
    assert not run.balances


# ── what waits ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(params=["collected", "as it came"])
def late(request: pytest.FixtureRequest, world: World) -> Callable[[], None]:
    """Late usage of every item arrives, and perhaps it is already on the list of pending days."""

    def arrive() -> None:
        for item, quantity, data in (
            ("ai.pet", 7, {}),
            ("bandwidth.down", 60 * MBPS, {"resource": "a"}),
            ("traffic.down", GB, {}),
            ("storage.standard", 288 * 3, {"source": "/edge/2"}),
            ("device.gb28181", 1, {"resource": "late"}),
        ):
            use(world.alice, item, quantity, "2026-03-05T10:00", received="2026-03-06T02:00:30", **data)
        if request.param == "collected":
            collect()

    return arrive


LATE = {
    ("ai.pet", ""): [150_007, 100_000, 50_000, 0, 7],
    ("bandwidth.down", BANDWIDTH): [65 * MBPS, 0, 35 * MBPS, 0, 30 * MBPS],
    ("traffic.down", BANDWIDTH): [21 * GB, 0, 0, 21 * GB, 0],
    ("storage.standard", ""): [2 * 1_736_111_111 + 3, 0, 2 * 1_736_111_111, 0, 3],
    ("device.gb28181", ""): [5, 0, 4, 0, 1],
}


def test_usage_that_arrives_during_the_run_waits(
    world: World, late: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    advance = runs.advance

    def advance_and_be_late(run_id: int, clock: Any) -> list[int]:
        shards = advance(run_id, clock)
        if not shards:  # the last shard is done, the certificate not written
            late()
        return shards

    with monkeypatch.context() as racing:
        racing.setattr(runs, "advance", advance_and_be_late)
        run = run_of()
    assert run.balances, breaks(run)
    assert {key: shown(run)[key] for key in LATE} == LATE
    run = run_of("2026-03-07T02:00")
    assert run.balances
    for key, (accepted, drawn, _charged, not_billable, _waiting) in LATE.items():
        assert shown(run)[key] == [accepted, drawn, accepted - drawn - not_billable, not_billable, 0]
    assert_books()


def test_usage_that_was_billed_while_its_mark_waits_breaks_nothing(
    world: World, late: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = engine._claim

    def claim_and_be_late(account_ids: list[int], day: date) -> set[int]:
        claimed = claim(account_ids, day)
        late()  # after the marks went and before the events are read
        return claimed

    with monkeypatch.context() as racing:
        racing.setattr("settlement.engine._claim", claim_and_be_late)
        run = run_of()
    assert run.balances, breaks(run)
    assert shown(run)["ai.pet", ""] == [150_007, 100_000, 50_007, 0, 0]


def damaged_pack(account: Account) -> Pack:
    """One more pack, of which a draw would recognise less than nothing."""
    [pack] = buy(account, "pet-100k", "2026-03-02T10:00")
    Pack.objects.filter(pk=pack.pk).update(recognised=20_000)
    return pack


def test_a_failed_account_waits_and_so_do_its_later_days(world: World) -> None:
    damaged = damaged_pack(world.alice)
    use(world.alice, "ai.pet", 10, "2026-03-06T10:00")
    use(world.bob, "ai.pet", 20, "2026-03-06T10:00")
    run = run_of("2026-03-07T02:00")
    assert run.balances, breaks(run)
    assert shown(run)["ai.pet", ""] == [150_000, 0, 0, 0, 150_000]
    assert shown(run)["bandwidth.down", BANDWIDTH] == [35 * MBPS, 0, 0, 0, 35 * MBPS]
    assert shown(run)["ai.face", ""] == [2 * 777, 0, 777, 0, 777]
    assert shown(run, date(2026, 3, 6))["ai.pet", ""] == [30, 0, 20, 0, 10]
    Pack.objects.filter(pk=damaged.pk).update(recognised=0)
    run = run_of("2026-03-08T02:00")
    assert run.balances
    assert not run.failures.exists()
    assert shown(run)["ai.pet", ""] == [150_000, 150_000, 0, 0, 0]
    assert shown(run, date(2026, 3, 6))["ai.pet", ""] == [30, 10, 20, 0, 0]
    assert_books()


def test_waiting_never_hides_what_was_billed_too_much(world: World) -> None:
    night(NIGHT)
    plant(LOST["ai.face"], world.alice.pk)
    use(world.alice, "ai.pet", 1, "2026-03-05T11:00", received="2026-03-06T03:00")
    run = run_of("2026-03-07T02:00")  # her day fails, for it is billed above its usage
    assert run.failures.count() == 1
    found = breaks(run)
    assert found.keys() == {"ai.face"}
    [row] = found["ai.face"]
    assert (row["account"], row["waiting"]) == (world.alice.pk, -777)


# ── when it is written ───────────────────────────────────────────────────────────────────────────────


def lines(run: SettlementRun) -> list[Any]:
    return list(run.certificate.order_by("pk").values())


def test_a_certificate_that_was_killed_is_made_up_for_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(runs, "certify", lambda *_: None)
        run = run_of()
    assert (run.certified_at, run.balances, lines(run)) == (None, None, [])
    with time_machine.travel(at("2026-03-06T02:05"), tick=False):
        watch_runs()  # what beat does every five minutes
    run.refresh_from_db()
    assert (run.certified_at, run.balances) == (at("2026-03-06T02:05"), True)
    before = lines(run)
    assert len(before) == 8
    certify_due(at("2026-03-06T02:10"), runs.PATIENCE)
    assert certify(run.pk, at("2026-03-06T02:10")) is True
    run.refresh_from_db()
    assert (run.certified_at, lines(run)) == (at("2026-03-06T02:05"), before)


def test_a_run_that_was_cut_off_is_certified_once_a_later_one_has_finished(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "PIECE", 1)
    use(world.bob, "ai.pet", 5, "2026-03-04T10:00", received="2026-03-05T10:00")
    cut_off = runs.begin(now=at(NIGHT))
    [alone] = runs.advance(cut_off.pk, at(NIGHT))
    runs.settle_shard(alone, at(NIGHT))
    first, second = runs.advance(cut_off.pk, at(NIGHT))
    runs.settle_shard(first, at("2026-03-06T02:01"))
    certify_due(at("2026-03-06T02:30"), runs.PATIENCE)
    cut_off.refresh_from_db()
    assert cut_off.certified_at is None, "it may still be taken up"
    later = run_of("2026-03-06T02:30")
    assert (later.balances, shown(later, date(2026, 3, 4))) == (True, {})
    certify_due(at("2026-03-06T02:35"), runs.PATIENCE)
    cut_off.refresh_from_db()
    assert cut_off.balances
    assert shown(cut_off, date(2026, 3, 4)) == {("ai.pet", ""): [5, 0, 5, 0, 0]}
    assert shown(cut_off) == shown(later)
    runs.settle_shard(second, at("2026-03-06T02:40"))  # its worker was slow, not dead
    cut_off.refresh_from_db()
    assert cut_off.certified_at is None
    certify_due(at("2026-03-06T03:00"), runs.PATIENCE)
    cut_off.refresh_from_db()
    assert cut_off.balances


@pytest.mark.django_db(transaction=True)
def test_one_process_at_a_time_writes_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(runs, "certify", lambda *_: None)
        run = run_of()
    other = connections.create_connection("default")
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [certificate.LOCK, run.pk])
        assert certify(run.pk, at("2026-03-06T02:05")) is None
    finally:
        other.close()  # as a killed process does
    assert eventually(lambda: certify(run.pk, at("2026-03-06T02:05")) is True), "once PostgreSQL has noticed"


# ── the operators ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def operators(settings: Any) -> list[str]:
    settings.OPERATORS = ["night@example.com", "day@example.com"]
    return list(settings.OPERATORS)


def test_the_operators_hear_once_of_a_run_that_does_not_balance(
    world: World, operators: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    run = run_of()
    plant(LOST["ai.face"], world.alice.pk)
    with caplog.at_level(logging.ERROR):
        certified_again(run)
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    for word in (f"run {run.pk} does not balance", "2026-03-05", "ai.face", str(world.alice.pk)):
        assert word in record.getMessage()
    assert alarms.deliver(at("2026-03-06T03:01")) == 1
    certified_again(run)
    assert alarms.deliver(at("2026-03-06T03:02")) == 0
    [sent] = mail.outbox
    assert sent.to == operators
    assert sent.subject == f"[ISS Billing] 结算批次 {run.pk} 不平"
    assert f"/admin/settlement/settlementrun/{run.pk}/change/" in str(sent.body)
    assert str(world.alice.pk) in str(sent.body)


def test_the_operators_hear_once_of_failures(world: World, operators: list[str]) -> None:
    damaged_pack(world.alice)
    run = run_of()
    with time_machine.travel(at("2026-03-06T02:01"), tick=False):
        assert (tell_operators(), tell_operators()) == (1, 0)
    [sent] = mail.outbox
    assert sent.subject == f"[ISS Billing] 结算批次 {run.pk}：1 个账户日未能结算"
    assert f"2026-03-05 · {world.alice.pk} alice: " in str(sent.body)


def test_an_alarm_that_was_not_mailed_is_tried_again(
    world: World, operators: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    alarms.standstill(DAY, at("2026-03-06T04:00"))

    def fail(*_: Any, **__: Any) -> int:
        raise OSError("the mail server is away")

    with monkeypatch.context() as broken:
        broken.setattr("django.core.mail.EmailMessage.send", fail)
        assert alarms.deliver(at("2026-03-06T04:00")) == 0
        assert alarms.deliver(at("2026-03-06T04:00:30")) == 0, "not before its time"
    alarm = Alarm.objects.get()
    assert (alarm.attempts, alarm.last_error, alarm.sent_at) == (1, "the mail server is away", None)
    assert alarms.deliver(at("2026-03-06T04:01")) == 1
    assert len(mail.outbox) == 1


def test_without_operators_nothing_is_mailed_then_or_later(settings: Any) -> None:
    settings.OPERATORS = []
    alarms.standstill(DAY, at("2026-03-06T04:00"))
    alarms.deliver(at("2026-03-06T04:01"))
    settings.OPERATORS = ["night@example.com"]
    alarms.deliver(at("2026-03-06T04:02"))
    assert mail.outbox == []


def test_a_night_that_stands_still_is_told_once(world: World, operators: list[str]) -> None:
    runs.sound_standstill(at("2026-03-06T05:00"))
    assert not Alarm.objects.exists(), "none has begun"
    run = runs.begin(now=at(NIGHT))
    [shard] = runs.advance(run.pk, at(NIGHT))
    runs.sound_standstill(at(NIGHT) + timedelta(minutes=59))
    assert not Alarm.objects.exists()
    for hour in (3, 4):
        runs.sound_standstill(at(f"2026-03-06T0{hour}:10"))
    [alarm] = Alarm.objects.all()
    assert (alarm.kind, alarm.reference) == ("standstill", "2026-03-05")
    runs.settle_shard(shard, at("2026-03-06T04:11"))
    runs.advance(run.pk, at("2026-03-06T04:12"))
    Alarm.objects.all().delete()
    runs.sound_standstill(at("2026-03-06T09:00"))
    assert not Alarm.objects.exists(), "it is done"


def test_what_is_rolled_back_is_not_told(world: World) -> None:
    run = run_of()
    plant(LOST["ai.face"], world.alice.pk)
    SettlementRun.objects.filter(pk=run.pk).update(certified_at=None)
    with transaction.atomic():
        certify(run.pk, at(NIGHT))
        assert Alarm.objects.exists()
        transaction.set_rollback(True)
    run.refresh_from_db()
    assert (run.certified_at, Alarm.objects.count()) == (None, 0)
