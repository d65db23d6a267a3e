"""Expiring raw usage (rules 5.4, 7.3): proved first, kept as aggregate and curve, whole or gone, in nobody's way."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from pytest_django import Settings

from accounts.models import Account, User
from packs.models import Item
from settlement import expiry, metering, partitions, usage
from settlement.audit import audit
from settlement.events import decode_batch
from settlement.models import BillLine, DayUsage, ExpiredDay, PendingDay, SettlementRun, UsageBatch, UsageEvent
from settlement.runs import settle
from settlement.usage import day_quantities, day_slots
from tests.conftest import ROOT, database_url, eventually
from tests.shell import Shell
from tests.worlds import GB, MBPS, assert_books, at, bill_of, bills_of, event, night, opened, send, use

pytestmark = pytest.mark.django_db

DAY = date(2026, 3, 5)
LATER = "2026-04-10T12:00"
NOW = ("--now", LATER)


@pytest.fixture
def manage(db: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], settings: Settings) -> Shell:
    """`manage.py` of a development installation, without a partition yet; nobody is waited for."""
    settings.DEBUG = True
    monkeypatch.setattr(expiry, "PAUSE_SECONDS", 0)
    with connection.cursor() as cursor:
        for day in partitions.partition_days():  # that tests before this one have left, empty
            cursor.execute(f"DROP TABLE {partitions.partition_name(day)}")
    return Shell(monkeypatch, capsys)


def everything_used(account: Account, day: str) -> None:
    """A day with each aggregation, two series in a slot, a region, a mode that does not bill, and a nought."""
    send(
        [
            event(account, "ai.pet", 60_000, f"{day}T10:00:00"),
            event(account, "ai.pet", 5, f"{day}T11:00:00"),
            event(account, "ai.face", 0, f"{day}T11:00:00"),
            event(account, "bandwidth.down", 30 * MBPS, f"{day}T00:00:00", resource="a"),
            event(account, "bandwidth.down", 20 * MBPS, f"{day}T00:04:59", resource="a"),
            event(account, "bandwidth.down", 20 * MBPS, f"{day}T00:04:59", resource="b"),
            event(account, "bandwidth.down", 0, f"{day}T12:00:00", resource="b"),
            event(account, "bandwidth.down", 10 * MBPS, f"{day}T23:59:59", resource="b"),
            event(account, "storage.standard", 500 * GB, f"{day}T10:00:00"),
            event(account, "storage.standard", 77 * GB, f"{day}T10:05:00"),
            event(account, "traffic.down", GB, f"{day}T10:00:00"),
            event(account, "device.gb28181", 1, f"{day}T10:00:00", resource="camera-1"),
            event(account, "device.gb28181", 1, f"{day}T10:00:00", resource="camera-2"),
        ],
        f"{day}T23:59:59",
    )


def settled_world() -> tuple[Account, Account]:
    """Alice used everything on 5 and 6 March, Bob a little; all of it billed."""
    alice, bob = opened("alice"), opened("bob")
    for day in ("2026-03-05", "2026-03-06"):
        everything_used(alice, day)
        use(bob, "ai.face", 700, f"{day}T10:00")
    night("2026-03-07T02:00")
    return alice, bob


def days_with_events() -> set[date]:
    return set(UsageEvent.objects.values_list("day", flat=True))


def all_that_is_asked(alice: Account, bob: Account, day: date) -> dict[str, Any]:
    """What the rest of the product asks of a day."""
    curves = {
        item.code: day_slots(alice.pk, item.pk, "cn-mainland", day)
        for item in Item.objects.filter(aggregation__in=("peak", "mean"))
    }
    return {"quantities": sorted(day_quantities([alice.pk, bob.pk], day)), "curves": curves}


def test_an_expired_day_answers_as_it_did_with_its_events(manage: Shell) -> None:
    alice, bob = settled_world()
    before = all_that_is_asked(alice, bob, DAY)
    assert before["curves"]["bandwidth.down"] == {0: 50 * MBPS, 144: 0, 287: 10 * MBPS}
    shown = manage("expire_usage", "--before", "2026-03-06", *NOW, "--json").json
    [gone] = shown["expired"]
    assert (gone["day"], gone["events"], gone["kept"], shown["stays"]) == ("2026-03-05", 14, 7, [])
    assert gone["bytes"] > 8192
    assert days_with_events() == {date(2026, 3, 6)}
    assert all_that_is_asked(alice, bob, DAY) == before
    assert_books()
    assert audit().expired_days == 1


def test_what_is_kept_is_small_and_exact(manage: Shell) -> None:
    alice, _ = settled_world()
    manage("expire_usage", "--before", "2026-03-06", *NOW, "--json")
    rows = {row.item.code: row for row in DayUsage.objects.filter(account=alice).select_related("item")}
    assert {code: row.quantity for code, row in rows.items()} == {
        "ai.pet": 60_005,
        "ai.face": 0,
        "bandwidth.down": 50 * MBPS,
        "storage.standard": (577 * GB + 144) // 288,
        "traffic.down": GB,
        "device.gb28181": 2,
    }
    slots = rows["bandwidth.down"].slots
    assert slots == [50 * MBPS] + [None] * 143 + [0] + [None] * 142 + [10 * MBPS]
    assert [code for code, row in rows.items() if row.slots] == ["bandwidth.down", "storage.standard"]
    with connection.cursor() as cursor:
        cursor.execute("SELECT max(pg_column_size(slots)) FROM settlement_dayusage")
        assert cursor.fetchone()[0] < 150  # a slot without a report takes no room


def test_sums_beyond_64_bits_are_kept(manage: Shell) -> None:
    alice = opened(balance="1")
    most = [event(alice, "bandwidth.down", 10**15, "2026-03-05T10:00:00", resource=f"r{n}") for n in range(9_300)]
    send(most, "2026-03-05T10:00")
    night("2026-03-06T02:00")
    assert manage("expire_usage", "--before", "2026-03-06", *NOW).code == 0
    kept = DayUsage.objects.get()
    assert (kept.quantity, max(filter(None, kept.slots or []))) == (9_300 * 10**15, 9_300 * 10**15)
    assert_books()


def test_again_changes_nothing(manage: Shell) -> None:
    settled_world()
    assert len(manage("expire_usage", "--before", "2026-03-07", *NOW, "--json").json["expired"]) == 2
    kept = list(DayUsage.objects.values()), list(ExpiredDay.objects.values())
    again = manage("expire_usage", "--before", "2026-03-07", "--now", "2026-04-11T12:00", "--json").json
    assert again == {"dry_run": False, "expired": [], "stays": []}
    assert (list(DayUsage.objects.values()), list(ExpiredDay.objects.values())) == kept


def test_a_dry_run_tells_and_changes_nothing(manage: Shell) -> None:
    settled_world()
    shown = manage("expire_usage", "--before", "2026-03-07", "--dry-run", *NOW, "--json").json
    assert shown["dry_run"] is True
    assert [(one["day"], one["events"], one["kept"]) for one in shown["expired"]] == [
        ("2026-03-05", 14, 7),
        ("2026-03-06", 14, 7),
    ]
    assert len(days_with_events()) == 2
    assert not DayUsage.objects.exists()
    assert not ExpiredDay.objects.exists()
    said = manage("expire_usage", "--before", "2026-03-06", "--dry-run", *NOW)
    assert "2026-03-05 would go: 14 events" in said.out


def test_an_empty_day_goes_too(manage: Shell) -> None:
    partitions.ensure_partitions([DAY])
    [gone] = manage("expire_usage", "--before", "2026-03-06", *NOW, "--json").json["expired"]
    assert (gone["events"], gone["kept"], partitions.partition_days()) == (0, 0, [])


@pytest.mark.parametrize(("now", "code"), [("2026-04-04T23:59:59", 2), ("2026-04-05T00:00:00", 0)])
def test_a_day_that_may_still_get_usage_is_a_wrong_argument(manage: Shell, now: str, code: int) -> None:
    settled_world()
    ran = manage("expire_usage", "--before", "2026-03-06", "--now", now)
    assert ran.code == code
    if code:
        assert "usage of 2026-03-05 and later is still accepted" in ran.err
        assert "--before 2026-03-05" in ran.err
        assert DAY in days_with_events()
    else:
        late = send([event(opened(), "ai.pet", 1, "2026-03-05T10:00:00")], now)
        assert [refused.code for refused in late.rejected] == ["too_old"]


def test_a_missing_or_bad_day_is_a_wrong_argument(manage: Shell) -> None:
    assert manage("expire_usage").code == 2
    assert manage("expire_usage", "--before", "2026-3-5").code == 2


# ── what keeps a day ─────────────────────────────────────────────────────────────────────────────────


def stays(manage: Shell) -> dict[str, Any]:
    """Expire both days: 5 March must stay, in a dry run too, 6 March goes; what is said of the one that stays."""
    before = list(UsageEvent.objects.filter(day=DAY).values())
    dry = manage("expire_usage", "--before", "2026-03-07", "--dry-run", *NOW, "--json")
    ran = manage("expire_usage", "--before", "2026-03-07", *NOW, "--json")
    code, line = ran.refusal
    shown, rehearsed = json.loads(ran.out), json.loads(dry.out)
    assert (code, dry.code, [one["day"] for one in shown["expired"]]) == (1, 1, ["2026-03-06"])
    assert rehearsed["stays"] == shown["stays"]
    [left] = shown["stays"]
    assert left["day"] == "2026-03-05"
    assert "2026-03-05" in line
    assert list(UsageEvent.objects.filter(day=DAY).values()) == before
    assert not DayUsage.objects.filter(day=DAY).exists()
    assert days_with_events() == {DAY}
    assert isinstance(left, dict)
    return left


def test_a_day_with_usage_that_no_run_has_seen_stays(manage: Shell) -> None:
    alice, _ = settled_world()
    use(alice, "ai.pet", 7, "2026-03-05T12:00", received="2026-03-20T12:00")
    left = stays(manage)
    assert (left["why"], left["rows"]) == (
        "has usage that is not billed yet",
        [{"account": str(alice.pk), "error": None}],
    )
    night(LATER)
    assert manage("expire_usage", "--before", "2026-03-07", *NOW, "--json").json["expired"][0]["kept"] == 7
    assert_books()


def test_a_collected_mark_counts_as_much(manage: Shell) -> None:
    _, bob = settled_world()
    assert not UsageBatch.objects.exists()
    PendingDay.objects.create(account=bob, day=DAY)
    assert stays(manage)["rows"] == [{"account": str(bob.pk), "error": None}]


def test_a_failed_account_day_stays_and_its_error_is_told(manage: Shell) -> None:
    alice, _ = settled_world()
    UsageEvent.objects.filter(day=DAY, account=alice, item__code="ai.pet").delete()
    use(alice, "ai.pet", 1, "2026-03-05T12:00", received="2026-03-20T12:00")
    assert settle(now=at("2026-03-21T02:00")).failed
    [row] = stays(manage)["rows"]
    assert row["account"] == str(alice.pk)
    assert "BilledAboveUsage" in row["error"]


@pytest.mark.parametrize(
    ("damage", "row"),
    [
        ("UPDATE settlement_usageevent SET quantity = quantity + 1 WHERE {of} AND quantity = 60000", (60_006, 60_005)),
        ("DELETE FROM settlement_usageevent WHERE {of}", (0, 60_005)),
        ("DELETE FROM settlement_billline WHERE item_id = {item} AND bill_id = {bill}", (60_005, 0)),
    ],
)
def test_a_day_that_is_not_billed_as_it_was_used_stays(manage: Shell, damage: str, row: tuple[int, int]) -> None:
    alice, _ = settled_world()
    item = Item.objects.get(code="ai.pet").pk
    of = f"day = '2026-03-05' AND account_id = {alice.pk} AND item_id = {item}"
    with connection.cursor() as cursor:
        cursor.execute(damage.format(of=of, item=item, bill=bill_of(alice, "2026-03-05").pk))
        assert cursor.rowcount >= 1
    left = stays(manage)
    assert left["why"] == "is not billed as it was used"
    [broken] = left["rows"]
    assert (broken["account"], broken["item"], broken["used"], broken["billed"]) == (str(alice.pk), item, *row)


def test_a_bill_in_a_mode_that_does_not_bill_it_keeps_the_day(manage: Shell) -> None:
    alice, _ = settled_world()
    traffic = Item.objects.get(code="traffic.down").pk
    BillLine.objects.filter(bill=bill_of(alice, "2026-03-05"), item__code="ai.pet").update(item_id=traffic)
    assert {row["item"] for row in stays(manage)["rows"]} == {traffic, Item.objects.get(code="ai.pet").pk}


def test_an_aggregate_that_the_audit_reads_otherwise_keeps_the_day(
    manage: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, _ = settled_world()
    rightly = usage.keep_day

    def keep_wrongly(day: date) -> int:
        kept = rightly(day)
        if day == DAY:
            DayUsage.objects.filter(day=day, account=alice, item__code="traffic.down").update(quantity=1)
        return kept

    monkeypatch.setattr(expiry, "keep_day", keep_wrongly)
    [row] = stays(manage)["rows"]
    assert (row["used"], row["kept"], row["billed"]) == (GB, 1, 0)


# ── afterwards ───────────────────────────────────────────────────────────────────────────────────────


def test_usage_of_an_expired_day_is_too_old_whatever_the_clock(manage: Shell, tmp_path: Path) -> None:
    alice, _ = settled_world()
    manage("expire_usage", "--before", "2026-03-06", *NOW)
    path = tmp_path / "usage.jsonl"
    path.write_text(json.dumps(event(alice, "ai.pet", 9, "2026-03-05T10:00:00")) + "\n")
    shown = manage("import_usage", path, "--now", "2026-03-06T12:00", "--json").json
    assert (shown["accepted"], [row["code"] for row in shown["rejected"]]) == (0, ["too_old"])
    with pytest.raises(partitions.DayExpired):
        partitions.ensure_partitions([DAY])
    partitions.make_partitions_ahead(at("2026-03-20T12:00"))  # passes over it
    assert DAY not in partitions.partition_days()
    assert date(2026, 3, 27) in partitions.partition_days()


def test_a_stray_mark_of_an_expired_day_bills_nothing(manage: Shell) -> None:
    alice, _ = settled_world()
    manage("expire_usage", "--before", "2026-03-06", *NOW)
    PendingDay.objects.create(account=alice, day=DAY)
    result = settle(now=at(LATER))
    assert (result.bills, result.failed) == (0, [])
    run = SettlementRun.objects.latest("id")  # whose certificate counts again from what is kept
    assert (run.balances, run.certificate.filter(day=DAY, accepted=60_005).count()) == (True, 1)
    assert_books()


def test_a_bill_of_an_expired_day_still_tells_when_the_peak_was(manage: Shell, client: Client) -> None:
    alice, _ = settled_world()
    alice.user = User.objects.create_user("alice@example.com", "secret")
    alice.save(update_fields=["user"])
    client.force_login(alice.user)
    expired, whole = (f"/bills/{bill_of(alice, day).pk}/" for day in ("2026-03-05", "2026-03-06"))
    why = re.findall(r'class="why">[^<]*', client.get(expired).content.decode())
    assert any("00:05" in reason for reason in why)
    manage("expire_usage", "--before", "2026-03-06", *NOW)
    page = client.get(expired).content.decode()
    assert re.findall(r'class="why">[^<]*', page) == why
    assert "只保留" in page
    assert "只保留" not in client.get(whole).content.decode()


def test_a_detached_day_is_a_table_of_its_own(manage: Shell) -> None:
    settled_world()
    [gone] = manage("expire_usage", "--before", "2026-03-06", "--detach", *NOW, "--json").json["expired"]
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM settlement_detachedusage_20260305")
        assert cursor.fetchone() == (gone["events"],)
    assert days_with_events() == {date(2026, 3, 6)}
    assert_books()


@pytest.mark.parametrize("moment", ["before its partition is looked for", "between that and the insert"])
def test_an_event_whose_day_expires_after_it_was_judged_is_judged_again(
    moment: str, manage: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, _ = settled_world()
    rightly, expired = partitions.ensure_partitions, list[Any]()

    def ensure(days: Iterable[date]) -> None:
        if expired:
            return rightly(days)
        if moment.startswith("between"):
            rightly(days)
        expired.append(manage("expire_usage", "--before", "2026-03-06", *NOW))
        return None if moment.startswith("between") else rightly(days)

    monkeypatch.setattr(metering, "ensure_partitions", ensure)
    now = at("2026-03-06T12:00")
    body = json.dumps([event(alice, "ai.pet", 9, f"2026-03-0{day}T10:00:00", id=f"e{day}") for day in (5, 6)]).encode()
    done = metering.meter(decode_batch(body), now)
    assert (done.accepted, [(row.index, row.code) for row in done.rejected]) == (1, [(0, "too_old")])
    assert UsageEvent.objects.filter(day=DAY).count() == 0


# ── others at work ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "WRITERS_MS", 200)
    monkeypatch.setattr(expiry, "EVERYBODY_MS", 100)
    monkeypatch.setattr(expiry, "TRIES", 2)
    monkeypatch.setattr(expiry, "PAUSE_SECONDS", 0.05)


@contextmanager
def elsewhere(*statements: str) -> Iterator[None]:
    """A transaction of another connection that has run some statements and stays open; then it commits."""
    begun, end = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                begun.set()
                assert end.wait(30)
        finally:
            connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    assert begun.wait(30)
    try:
        yield
    finally:
        end.set()
        thread.join(30)


def ingest(account: Account, when: str, clock: str, id: str) -> int:
    """What an ingest with its own clock accepts."""
    now = at(clock)
    body = json.dumps([event(account, "ai.pet", 11, when, id=id)]).encode()
    return metering.meter(decode_batch(body), now).accepted


@pytest.mark.django_db(transaction=True)
def test_an_ingest_held_open_across_the_expiry_loses_nothing(impatient: None, manage: Shell) -> None:
    """It has written to the day and not committed: no proof sees its events, so the day must stay."""
    alice, _ = settled_world()
    stored, end = threading.Event(), threading.Event()

    def slow_ingest() -> None:
        try:
            with transaction.atomic():
                assert ingest(alice, "2026-03-05T23:00:00", "2026-04-04T23:59:59", "slow") == 1
                stored.set()
                assert end.wait(30)
        finally:
            connection.close()

    thread = threading.Thread(target=slow_ingest)
    thread.start()
    assert stored.wait(30)
    code, line = manage("expire_usage", "--before", "2026-03-06", *NOW).refusal
    assert (code, "2026-03-05" in line) == (1, True), line
    assert "an ingest that has not committed" in line
    assert "server process" in line
    end.set()
    thread.join(30)
    assert UsageEvent.objects.filter(event_id="slow").exists()
    assert "has usage that is not billed yet" in manage("expire_usage", "--before", "2026-03-06", *NOW).err
    night(LATER)
    assert [bill.sequence for bill in bills_of(alice) if bill.day == DAY] == [1, 2]
    assert manage("expire_usage", "--before", "2026-03-06", *NOW).code == 0
    assert_books()


@pytest.mark.django_db(transaction=True)
def test_an_ingest_that_comes_while_the_day_is_closed_is_let_in_and_keeps_it(
    manage: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It judged its events when they were not too old, and writes them after the proof has begun."""
    alice, _ = settled_world()
    keep_day = usage.keep_day
    accepted: list[int] = []

    def ingest_late() -> None:
        accepted.append(ingest(alice, "2026-03-05T23:00:00", "2026-04-04T23:59:59", "late"))
        connection.close()

    thread = threading.Thread(target=ingest_late)

    def keep_while_it_comes(day: date) -> int:
        kept = keep_day(day)
        thread.start()
        assert eventually(lambda: partitions.writer_waits(day))
        return kept

    monkeypatch.setattr(expiry, "keep_day", keep_while_it_comes)
    assert "judged its events long ago" in manage("expire_usage", "--before", "2026-03-06", *NOW).err
    thread.join(30)
    assert accepted == [1]
    assert not DayUsage.objects.exists()
    night(LATER)
    monkeypatch.setattr(expiry, "keep_day", keep_day)
    assert manage("expire_usage", "--before", "2026-03-06", *NOW).code == 0
    assert_books()


@pytest.mark.django_db(transaction=True)
def test_who_reads_without_a_pause_is_named_and_stops_nobody_else(impatient: None, manage: Shell) -> None:
    alice, _ = settled_world()
    with elsewhere("SELECT count(*) FROM settlement_usageevent"):
        code, line = manage("expire_usage", "--before", "2026-03-06", *NOW).refusal
        assert (code, "cannot be removed while usage is read or written" in line) == (1, True)
        assert "server process" in line
        assert ingest(alice, "2026-04-10T11:00:00", LATER, "today") == 1
    assert DAY in days_with_events()
    assert not DayUsage.objects.exists()
    assert manage("expire_usage", "--before", "2026-03-06", *NOW).code == 0


@pytest.mark.django_db(transaction=True)
def test_a_short_reader_is_waited_for(impatient: None, manage: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    settled_world()
    monkeypatch.setattr(expiry, "TRIES", 100)
    timer = threading.Event()
    with elsewhere("SELECT count(*) FROM settlement_usageevent"):
        ran: list[Any] = []

        def go() -> None:
            ran.append(expiry.expire_usage(before=date(2026, 3, 6), now=at(LATER)))
            connection.close()

        thread = threading.Thread(target=go)
        thread.start()
        timer.wait(0.3)
        assert not ran
    thread.join(30)
    [[outcome]] = ran
    assert outcome.stays is None


@pytest.mark.django_db(transaction=True)
def test_an_audit_that_began_before_the_day_expired_sees_its_events(impatient: None, manage: Shell) -> None:
    settled_world()
    with elsewhere(
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
        "LOCK TABLE ONLY settlement_usageevent IN ACCESS SHARE MODE",
    ):
        assert manage("expire_usage", "--before", "2026-03-06", *NOW).code == 1
    assert_books()


@pytest.mark.django_db(transaction=True)
def test_two_at_once_expire_each_day_once(manage: Shell) -> None:
    settled_world()
    found: list[Any] = []

    def go() -> None:
        try:
            found.append(expiry.expire_usage(before=date(2026, 3, 7), now=at(LATER)))
        finally:
            connection.close()

    threads = [threading.Thread(target=go) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 2
    gone = [outcome for outcomes in found for outcome in outcomes]
    assert [outcome.stays for outcome in gone if outcome.stays] == []
    assert sorted(outcome.day for outcome in gone if outcome.stays is None) == [DAY, date(2026, 3, 6)]
    assert (ExpiredDay.objects.count(), DayUsage.objects.count()) == (2, 14)
    assert_books()


@pytest.mark.django_db(transaction=True)
def test_killed_at_its_last_step_it_has_done_nothing(manage: Shell) -> None:
    """Everything kept and proved, the partition as good as dropped: kill -9 leaves the day whole."""
    alice, bob = settled_world()
    before = all_that_is_asked(alice, bob, DAY)
    command = [sys.executable, "manage.py", "expire_usage", "--before", "2026-03-06", *NOW]
    with elsewhere("SELECT count(*) FROM settlement_usageevent"):
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | {"DATABASE_URL": database_url()}, start_new_session=True
        )
        try:
            assert eventually(_somebody_waits_to_drop, 60)
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
    assert eventually(lambda: not _somebody_waits_to_drop())
    assert not DayUsage.objects.exists()
    assert not ExpiredDay.objects.exists()
    assert UsageEvent.objects.filter(day=DAY).count() == 14
    assert all_that_is_asked(alice, bob, DAY) == before
    assert manage("expire_usage", "--before", "2026-03-06", *NOW).code == 0
    assert all_that_is_asked(alice, bob, DAY) == before
    assert_books()


def _somebody_waits_to_drop() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'settlement_usageevent'::regclass
            AND mode = 'AccessExclusiveLock' AND NOT granted)"""
        )
        return bool(cursor.fetchone()[0])


def test_partitions_are_made_ahead_and_at_need() -> None:
    now = at(LATER)
    partitions.make_partitions_ahead(now)
    today = date(2026, 4, 10)
    assert partitions.partition_days() == [today + timedelta(days=n) for n in range(-30, 8)]
    far = at("2026-05-01T12:00")
    alice = opened()
    assert send([event(alice, "ai.pet", 1, "2026-05-01T11:00:00")], "2026-05-01T12:00").accepted == 1
    assert date(2026, 5, 1) in partitions.partition_days()
    partitions.make_partitions_ahead(far)
    assert date(2026, 5, 8) in partitions.partition_days()
