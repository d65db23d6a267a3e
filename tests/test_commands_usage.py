"""The commands of usage and of the night: import_usage, settle, sweep_arrears and demo."""

import json
import re
from datetime import date
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError
from pytest_django import Settings

from accounts.models import Account, Transfer, User
from packs.models import Pack
from settlement import importing, metering
from settlement.models import Bill, SettlementRun, UsageEvent
from tests.shell import Shell, on_a_terminal
from tests.worlds import assert_books, bills_of, buy, event, night, opened, send, use, yuan

pytestmark = pytest.mark.django_db

NOON = ("--now", "2026-03-05T12:00", "--json")


@pytest.fixture
def manage(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], settings: Settings) -> Shell:
    """`manage.py` of a development installation, whose clocks may be ahead."""
    settings.DEBUG = True
    return Shell(monkeypatch, capsys)


def lines_of(events: list[Any]) -> bytes:
    """Events one a line; strings as they are."""
    return b"".join((one if isinstance(one, str) else json.dumps(one)).encode() + b"\n" for one in events)


def test_import_usage_keeps_the_good_lines_and_lists_the_bad(manage: Shell, tmp_path: Path) -> None:
    alice = opened()
    good = [event(alice, "ai.pet", 400, "2026-03-05T10:00:00") for _ in range(2)]
    bad = event(alice, "ai.cat", 1, "2026-03-05T10:00:00", id="bad")
    path = tmp_path / "usage.jsonl"
    path.write_bytes(lines_of([good[0], "{", bad, good[1], good[0], "[]"]))
    shown = manage("import_usage", path, *NOON).json
    assert (shown["accepted"], shown["duplicates"]) == (2, 1)
    assert [(row["index"], row["id"], row["code"]) for row in shown["rejected"]] == [
        (1, None, "invalid_event"),
        (2, "bad", "unknown_item"),
        (5, None, "invalid_event"),
    ]
    again = manage("import_usage", path, *NOON).json
    assert (again["accepted"], again["duplicates"], len(again["rejected"])) == (0, 3, 3)
    night("2026-03-06T02:00")
    assert [bill.amount_due for bill in bills_of(alice)] == [yuan("2.00")]


def test_import_usage_reads_standard_input(manage: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = opened()
    body = lines_of([event(alice, "ai.pet", 400, "2026-03-05T10:00:00")])
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=BytesIO(body)))
    assert manage("import_usage", "-", *NOON).json == {"accepted": 1, "duplicates": 0, "rejected": []}


def test_import_usage_shows_its_progress_on_a_terminal(
    manage: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BLOCK_BYTES", 2_000)  # some seven lines
    alice = opened()
    path = tmp_path / "usage.jsonl"
    path.write_bytes(lines_of([event(alice, "ai.pet", 1, "2026-03-05T10:00:00") for _ in range(20)]))
    with on_a_terminal(monkeypatch) as drawn:
        assert manage("import_usage", path, *NOON).json["accepted"] == 20
    frames = [frame.strip() for frame in drawn if "[" in frame]
    assert len(frames) > 1
    assert re.fullmatch(r"\[█+·+\] [1-6]\d% [\d,]+ events/s, 1?\d accepted, 0 duplicates, 0 r.*", frames[0])
    assert re.fullmatch(r"\[█+\] 100% [\d,]+ events/s, 20 accepted, 0 duplicates, 0 r.*", frames[-1])
    assert all(len(frame) < 80 for frame in frames)


def test_import_usage_takes_the_clock_of_the_command(manage: Shell, tmp_path: Path) -> None:
    path = tmp_path / "usage.jsonl"
    path.write_bytes(lines_of([event(opened(), "ai.pet", 1, "2026-03-05T12:10:01")]))
    [refused] = manage("import_usage", path, *NOON).json["rejected"]
    assert (refused["code"], UsageEvent.objects.count()) == ("in_future", 0)


def test_import_usage_of_more_lines_than_one_transaction_takes(manage: Shell, tmp_path: Path) -> None:
    alice = opened()
    events = [event(alice, "ai.pet", 1, "2026-03-05T10:00:00", id=f"n{number}") for number in range(10_002)]
    path = tmp_path / "usage.jsonl"
    path.write_bytes(lines_of([*events, "{"]))
    shown = manage("import_usage", path, *NOON).json
    assert (shown["accepted"], [row["index"] for row in shown["rejected"]]) == (10_002, [10_002])


def test_settle_says_what_it_did(manage: Shell) -> None:
    alice, bob = opened(), opened("bob")
    buy(alice, "pet-100k", "2026-03-01T10:00")
    use(alice, "ai.pet", 100_400, "2026-03-05T10:00")
    use(alice, "ai.face", 2000, "2026-03-06T10:00")
    use(bob, "ai.face", 1000, "2026-03-06T10:00")
    shown = manage("settle", "--now", "2026-03-07T02:00", "--json").json
    assert isinstance(shown.pop("seconds"), float)
    assert shown == {
        "days": ["2026-03-05", "2026-03-06"],
        "accounts": 2,
        "bills": 3,
        "due": "2.50",
        "drawn": {"ai.pet": 100_000},
        "failed": [],
    }
    again = manage("settle", "--now", "2026-03-07T02:00", "--json").json
    assert (again["days"], again["accounts"], again["bills"], again["due"], again["drawn"]) == ([], 0, 0, "0.00", {})
    assert_books()


def test_settle_up_to_a_day(manage: Shell) -> None:
    alice = opened()
    for day in (4, 5, 6):
        use(alice, "ai.pet", 400, f"2026-03-0{day}T10:00")
    assert manage("settle", "--day", "2026-03-05", "--now", "2026-03-07T02:00", "--json").json["bills"] == 2
    assert [bill.day for bill in bills_of(alice)] == [date(2026, 3, 4), date(2026, 3, 5)]


@pytest.mark.parametrize("day", ["2026-03-06", "2026-03-07"])
def test_settle_refuses_a_day_that_has_not_ended(manage: Shell, day: str) -> None:
    alice = opened()
    use(alice, "ai.pet", 400, "2026-03-05T10:00")
    ran = manage("settle", "--day", day, "--now", "2026-03-06T23:59:59", "--json")
    code, line = ran.refusal
    assert (code, ran.out, day in line, bills_of(alice)) == (2, "", True, [])


def failed_settlement(manage: Shell, alice: Account, bob: Account, day: str) -> None:
    """Settle on 8 March: Alice's day fails and is named, Bob's are settled, and once mended Alice's are too."""
    use(bob, "ai.pet", 800, f"{day}T10:00", received="2026-03-07T11:00")
    use(alice, "ai.pet", 800, "2026-03-07T10:00", received="2026-03-07T11:00")
    ran = manage("settle", "--now", "2026-03-08T02:00", "--json")
    code, line = ran.refusal
    assert (code, str(alice.pk) in line, day in line) == (1, True, True)
    [failed] = json.loads(ran.out)["failed"]
    assert failed.keys() == {"account_id", "day", "error"}
    assert (failed["account_id"], failed["day"]) == (str(alice.pk), day)
    assert [bill.amount_due for bill in bills_of(bob)] == [yuan("2.00")]
    assert not any(bill.day == date(2026, 3, 7) for bill in bills_of(alice))  # her later days wait
    [failure] = SettlementRun.objects.latest("id").failures.all()
    assert (failure.account_id, str(failure.day)) == (alice.pk, day)


def test_settle_with_usage_that_is_lost_settles_the_others_and_exits_1(manage: Shell) -> None:
    alice, bob = opened(), opened("bob")
    lost = event(alice, "ai.pet", 400, "2026-03-05T10:00:00")
    send([lost], "2026-03-05T10:00")
    night("2026-03-06T02:00")
    UsageEvent.objects.all().delete()
    use(alice, "ai.pet", 100, "2026-03-05T11:00", received="2026-03-06T03:00")
    failed_settlement(manage, alice, bob, "2026-03-05")
    send([lost], "2026-03-08T03:00")  # its sender sends it again
    assert manage("settle", "--now", "2026-03-08T04:00", "--json").json["due"] == "2.25"
    assert_books()


def test_settle_with_a_damaged_pack_settles_the_others_and_exits_1(manage: Shell) -> None:
    alice, bob = opened(), opened("bob")
    [pack] = buy(alice, "pet-100k", "2026-03-01T10:00")
    Pack.objects.filter(pk=pack.pk).update(recognised=20_000)  # drawing would recognise less than nothing
    use(alice, "ai.pet", 400, "2026-03-05T10:00")
    failed_settlement(manage, alice, bob, "2026-03-05")
    Pack.objects.filter(pk=pack.pk).update(recognised=0)
    assert manage("settle", "--now", "2026-03-08T04:00", "--json").json["drawn"] == {"ai.pet": 1200}
    assert_books()


def test_sweep_arrears_announces_what_time_has_changed_once(manage: Shell) -> None:
    alice = opened(balance=None)
    use(alice, "ai.pet", 400, "2026-03-01T10:00")
    night("2026-03-02T02:00")
    for now, status in (
        ("2026-03-03T01:59:59", None),
        ("2026-03-03T02:00", "suspended"),
        ("2026-03-03T02:05", None),
        ("2026-03-10T02:00", "reclaimed"),
    ):
        changed = [{"account_id": str(alice.pk), "status": status}] if status else []
        assert manage("sweep_arrears", "--now", now, "--json").json == {"changed": changed}


def test_demo_is_refused_in_production(manage: Shell, settings: Settings) -> None:
    settings.DEBUG = False
    ran = manage("demo", "--json")
    assert (ran.refusal[0], ran.out, Account.objects.count()) == (1, "", 0)


def test_demo_lives_through_its_days_and_again_changes_nothing(manage: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("settlement.demo.DAYS", 3)  # the whole story takes too long for a test
    monkeypatch.setattr("settlement.demo.ARREARS_DAYS", 2)
    assert manage("demo", "--now", "2026-03-08T12:00", "--json").json == {}

    def rows() -> list[Any]:
        return [list(model._default_manager.order_by("pk").values()) for model in (User, Account, Pack, Bill, Transfer)]

    before = rows()
    customer = Account.objects.get(user__email="demo@example.com")
    assert [str(bill.day) for bill in bills_of(customer)] == ["2026-03-05", "2026-03-06", "2026-03-07"]
    assert list(User.objects.filter(is_staff=True).values_list("email", flat=True)) == ["staff@example.com"]
    assert manage("demo", "--now", "2026-03-08T12:30", "--json").json == {}
    assert rows() == before
    assert_books()


@pytest.mark.django_db(transaction=True)
def test_import_in_lanes_keeps_the_first_of_an_id_wherever_the_blocks_are_cut(
    manage: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BLOCK_BYTES", 2_000)  # some seven lines
    alice = opened()
    first = [event(alice, "ai.pet", 1000 + n, "2026-03-05T10:00:00", id=f"e{n}") for n in range(60)]
    later = [one | {"data": one["data"] | {"quantity": 7}} for one in first]
    path = tmp_path / "usage.jsonl"
    path.write_bytes(lines_of([*first[:30], "{", *later[:30], *first[30:], *later[30:]]))
    shown = manage("import_usage", path, *NOON).json
    assert (shown["accepted"], shown["duplicates"]) == (60, 60)
    assert [row["index"] for row in shown["rejected"]] == [30]
    stored = dict(UsageEvent.objects.values_list("event_id", "quantity"))
    assert stored == {f"e{n}": 1000 + n for n in range(60)}
    night("2026-03-06T02:00")
    assert_books()


@pytest.mark.django_db(transaction=True)
def test_import_that_is_cut_off_keeps_whole_blocks_and_goes_on_when_it_comes_again(
    manage: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BLOCK_BYTES", 2_000)
    alice = opened()
    path = tmp_path / "usage.jsonl"
    path.write_bytes(lines_of([event(alice, "ai.pet", 1, "2026-03-05T10:00:00", id=f"e{n}") for n in range(100)]))
    stored, calls = metering.store, iter(range(1000))

    def cut_off(*arguments: Any) -> Any:
        if next(calls) == 9:
            raise OperationalError("the connection is gone")
        return stored(*arguments)

    monkeypatch.setattr(importing, "store", cut_off)
    stopped = manage("import_usage", path, *NOON)
    assert stopped.code == 1
    assert "the connection is gone" in stopped.err
    kept = UsageEvent.objects.count()
    assert 0 < kept < 100
    monkeypatch.setattr(importing, "store", stored)
    again = manage("import_usage", path, *NOON).json
    assert (again["accepted"], again["duplicates"], again["rejected"]) == (100 - kept, kept, [])
    night("2026-03-06T02:00")
    assert [bill.amount_due for bill in bills_of(alice)] == [yuan("0.25")]
    assert_books()
