"""Staff and the night: a failed day tried again, usage refused and waiting, and usage that stopped coming."""

import json
from collections.abc import Iterator
from datetime import date, timedelta

import pytest
import time_machine
from django.core import mail
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.ledger import record_adjustment
from accounts.models import Account, AuditEntry
from iss_billing import roles
from packs.models import Pack
from packs.proposals import propose
from settlement import alarms, reporting, runs, tasks
from settlement.events import decode_batch, judge_all
from settlement.metering import collect, store
from settlement.models import Alarm, PendingDay, Reporter, SettlementFailure, SettlementRun, UsageRefusal
from settlement.progress import pending_through
from tests.test_admin import complaints, submit, url_of
from tests.test_rules_prices import pack
from tests.test_runs import damage, three_accounts
from tests.test_staff_audit import member
from tests.worlds import assert_books, at, bills_of, event, night, opened, use

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def clock() -> Iterator[time_machine.Traveller]:
    """The morning of 7 March 2026; the books are true in the end."""
    with time_machine.travel(at("2026-03-07T09:00"), tick=False) as traveller:
        yield traveller
    assert_books()


# a failure tried again


def mend(pack: Pack) -> None:
    Pack.objects.filter(pk=pack.pk).update(recognised=0)


def failed() -> tuple[list[Account], Pack, SettlementFailure]:
    accounts = three_accounts()
    pack = damage(accounts[0])
    night("2026-03-07T02:00")
    return accounts, pack, SettlementFailure.objects.get()


def test_a_failed_day_is_handed_out_again_with_those_that_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    (alice, bob, _carol), pack, failure = failed()
    use(bob, "ai.pet", 5, "2026-03-06T11:00", received="2026-03-07T08:00")  # waits for the night, not for us
    mend(pack)
    handed: list[int] = []
    monkeypatch.setattr(tasks.settle_shard, "delay", handed.append)
    desk = member(roles.FINANCE)
    page = desk.get(reverse("admin:settlement_settlementrun_change", args=[failure.run_id])).content.decode()
    assert url_of(failure, "retry") in page
    assert complaints(submit(desk, url_of(failure, "retry"), reason=" "))
    response = submit(desk, url_of(failure, "retry"), reason="the pack is mended")
    run = SettlementRun.objects.latest("pk")
    assert response.redirect_chain[-1][0] == reverse("admin:settlement_settlementrun_change", args=[run.pk])
    assert (run.account, pending_through(run.through_day, alice.pk), pending_through(run.through_day)) == (alice, 2, 3)
    [entry] = AuditEntry.objects.all()
    assert (entry.action, entry.account, entry.reason) == ("failure.retry", alice, "the pack is mended")
    assert entry.data == {"day": "2026-03-05", "run": run.pk, "failed_in": failure.run_id}

    tasks.hand_out(run.pk)
    while handed:
        tasks.settle_shard(handed.pop())
    run.refresh_from_db()
    assert [bill.day for bill in bills_of(alice)] == [date(2026, 3, 5), date(2026, 3, 6)]
    assert (run.accounts, run.bills, bool(run.finished_at)) == (2, 2, True)
    assert list(PendingDay.objects.values_list("account_id", flat=True)) == [bob.pk]
    again = submit(desk, url_of(failure, "retry"), reason="once more")
    assert "settled since" in complaints(again)
    assert SettlementRun.objects.count() == 2


def test_a_retry_is_no_night(clock: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch) -> None:
    """After midnight a run of one account goes through yesterday; everybody's night begins all the same."""
    _accounts, pack, failure = failed()
    mend(pack)
    monkeypatch.setattr(tasks.settle_shard, "delay", lambda _shard: None)
    clock.move_to(at("2026-03-08T01:00"))
    runs.begin(now=timezone.now(), account_id=failure.account_id)
    clock.move_to(at("2026-03-08T02:10"))
    runs.sound_standstill(timezone.now())
    assert not Alarm.objects.filter(kind="standstill").exists()
    tasks.settle_missed()
    assert SettlementRun.objects.filter(account=None, through_day=date(2026, 3, 7)).exists()


def test_a_lost_retry_is_handed_out_again(clock: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch) -> None:
    (alice, *_), pack, _failure = failed()
    mend(pack)
    run = runs.begin(now=timezone.now(), account_id=alice.pk)  # and its task is lost with the broker
    handed: list[int] = []
    monkeypatch.setattr(tasks.settle_shard, "delay", handed.append)
    clock.shift(timedelta(minutes=1))
    tasks.settle_missed()
    while handed:
        tasks.settle_shard(handed.pop())
    assert len(bills_of(alice)) == 2
    run.refresh_from_db()
    assert run.finished_at


def test_the_page_of_a_run_asks_no_more_with_more_failures() -> None:
    _accounts, pack, failure = failed()
    mend(pack)
    desk = member(roles.SUPPORT)
    url = reverse("admin:settlement_settlementrun_change", args=[failure.run_id])

    def queries() -> int:
        desk.get(url)
        with CaptureQueriesContext(connection) as asked:
            assert desk.get(url).status_code == 200
        return len(asked)

    before = queries()
    for number in range(5):
        SettlementFailure.objects.create(
            run_id=failure.run_id, account=opened(f"dora {number}"), day=failure.day, error="x"
        )
    assert queries() == before


# how usage comes in


def test_the_page_shows_what_was_refused_by_day_reason_and_sender_and_what_waits() -> None:
    alice = opened(on="2026-03-01")
    for received, events in (
        ("2026-03-05T10:00", [event(alice, "ai.nothing", 1, "2026-03-05T09:00:00", source="/edge/9")] * 3),
        ("2026-03-06T10:00", [event("999999", "ai.pet", 1, "2026-03-06T09:00:00", source="<b>/edge/8")] * 2),
    ):
        now = at(received)
        store(*judge_all(decode_batch(json.dumps(events).encode()), now), now)
    use(alice, "ai.pet", 5, "2026-03-06T11:00")
    use(alice, "ai.pet", 5, "2026-03-07T08:00")
    collect()
    desk = member(roles.SUPPORT)
    page = desk.get(reverse("admin:incoming")).content.decode()
    for shown in ("unknown item", "unknown account", "/edge/9", "&lt;b&gt;/edge/8", "2026-03-05", "Received on"):
        assert shown in page
    assert "the day has not ended" in page
    assert "waits for the next run" in page
    short = desk.get(reverse("admin:incoming"), {"days": "1"}).content.decode()
    assert "/edge/9" not in short
    for nonsense in ("0", "x", "7'", "-1"):
        assert desk.get(reverse("admin:incoming"), {"days": nonsense}).status_code == 200


def live(days: list[int], account: Account, source: str = "/edge/1") -> None:
    for day in days:
        use(account, "ai.pet", 5, f"2026-02-{day:02}T10:00", source=source, received=f"2026-02-{day:02}T10:05")


def test_who_reported_daily_and_fell_silent_is_found_and_told_once(clock: time_machine.Traveller) -> None:
    alice, bob, carol = (opened(name, on="2026-02-01") for name in ("alice", "bob", "carol"))
    live([*range(1, 21)], alice, "/edge/a")  # every day until now
    live([*range(5, 19)], bob, "/edge/b")  # 14 days, then silent
    live([*range(10, 21)], bob, "/edge/b2")
    live([1, 3, 5, 12, 13, 14, 15, 16, 17], carol, "/edge/c")  # never a week in a row
    with override_settings(OPERATORS=["ops@example.com"]):
        for day in (19, 20, 20, 21):
            clock.move_to(at(f"2026-02-{day}T08:30"))
            reporting.look(timezone.now())
            alarms.deliver(timezone.now())
    silent = reporting.silences(date(2026, 2, 20), timezone.now())
    assert [(one.source, one.last_day.day, one.days_before) for one in silent] == [("/edge/b", 18, 14)]
    [told] = mail.outbox
    assert "/edge/b" in told.body
    assert "/edge/c" not in told.body
    assert told.to == ["ops@example.com"]
    page = member(roles.SUPPORT).get(reverse("admin:incoming")).content.decode()
    assert "/edge/b<" in page

    # it comes back, and falls silent once more: that is news again
    live([*range(21, 28)], bob, "/edge/b")
    with override_settings(OPERATORS=["ops@example.com"]):
        clock.move_to(at("2026-02-28T08:30"))
        reporting.look(timezone.now())
        assert "/edge/b" not in {one.source for one in reporting.silences(date(2026, 2, 27), timezone.now())}
        clock.move_to(at("2026-03-02T08:30"))
        reporting.look(timezone.now())
        alarms.deliver(timezone.now())
    assert "/edge/b" in mail.outbox[-1].body
    accounts = {one.account_id for one in reporting.silences(date(2026, 3, 1), timezone.now())}
    assert accounts == {None, alice.pk, bob.pk}  # carol never reported daily


def test_late_usage_mends_the_row_of_days(clock: time_machine.Traveller) -> None:
    alice = opened(on="2026-02-01")
    live([*range(1, 9), 10], alice)
    clock.move_to(at("2026-02-11T08:30"))
    reporting.look(timezone.now())
    assert Reporter.objects.get(account=alice).days == 0b1111111101
    use(alice, "ai.pet", 5, "2026-02-09T10:00", received="2026-02-11T09:00")
    live([11], alice)
    clock.move_to(at("2026-02-12T08:30"))
    for _twice in range(2):
        reporting.look(timezone.now())
        assert Reporter.objects.get(account=alice).days == 0b11111111111
    assert Reporter.objects.filter(last_day=date(2026, 2, 11)).count() == 2  # the account, and its source


def test_when_nobody_reports_any_more_everybody_is_silent(clock: time_machine.Traveller) -> None:
    alice = opened(on="2026-02-01")
    live([*range(1, 11)], alice)
    clock.move_to(at("2026-02-11T08:30"))
    reporting.look(timezone.now())
    assert not Alarm.objects.exists()
    clock.move_to(at("2026-02-12T08:30"))
    reporting.look(timezone.now())
    [alarm] = Alarm.objects.all()
    assert str(alice.pk) in alarm.body
    assert "/edge/1" in alarm.body


def test_a_suspended_account_is_expected_to_be_silent(clock: time_machine.Traveller) -> None:
    alice = opened(on="2026-02-01", balance=None)
    live([*range(1, 11)], alice)
    night("2026-02-05T02:00")
    night("2026-02-11T02:00")
    clock.move_to(at("2026-02-13T08:30"))
    reporting.look(timezone.now())
    [alarm] = Alarm.objects.filter(kind="silent")
    assert str(alice) not in alarm.body
    assert "/edge/1" in alarm.body
    page = member(roles.SUPPORT).get(reverse("admin:incoming")).content.decode()
    assert "suspended" in page


def test_a_look_is_taken_once_a_day_however_late(clock: time_machine.Traveller) -> None:
    """Also on a product's first day, and where beat was away at half past eight."""
    live([*range(1, 11)], opened(on="2026-02-01"))
    looks = {"2026-02-11T08:00": False, "2026-02-11T12:05": True, "2026-02-11T12:10": False, "2026-02-12T08:30": True}
    for moment, due in looks.items():
        clock.move_to(at(moment))
        assert reporting.look_if_due(timezone.now()) is due
    assert Alarm.objects.filter(kind="silent").exists()


def test_the_first_page_says_what_stands_and_what_waits(
    clock: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each role what it may know; nothing that is not so."""
    index = reverse("admin:index")
    pricing, support = member(roles.PRICING), member(roles.SUPPORT)
    assert "desk-notes" not in pricing.get(index).content.decode()  # a product's first day
    _accounts, damaged, failure = failed()
    run = failure.run
    debtor = opened("debtor", balance="0.01")
    record_adjustment(account_id=debtor.pk, amount=-101, reference="a", reason="r", now=timezone.now())
    propose(cells=[pack("pet-100k", "300")], reason="r", now=timezone.now())
    UsageRefusal.objects.create(day=date(2026, 3, 6), source="/edge", code="too_old", events=1)
    UsageRefusal.objects.create(day=date(2026, 3, 5), source="/edge", code="too_old", events=7)
    live([*range(1, 11)], opened("silent", on="2026-02-01"))
    reporting.look(at("2026-02-12T08:30"))
    url = reverse("admin:settlement_settlementrun_change", args=[run.pk])
    seen = {role: client.get(index).content.decode() for role, client in (("pricing", pricing), ("support", support))}
    for page in seen.values():
        assert f'href="{url}">6 Mar did not go well: see run {run.pk}.</a>' in page
        assert "1 account-day failed and waits." in page
        assert "1 usage event was refused since yesterday." in page
        assert "have fallen silent" in page
    both = ("1 account owes CNY 1.00.", "1 price change waits to be published.")
    assert [text in seen["pricing"] for text in both] == [True, True]
    assert [text in seen["support"] for text in both] == [False, False]
    mend(damaged)
    handed: list[int] = []
    monkeypatch.setattr(tasks.settle_shard, "delay", handed.append)
    tasks.hand_out(runs.begin(now=timezone.now(), account_id=failure.account_id).pk)
    while handed:
        tasks.settle_shard(handed.pop())
    page = support.get(index).content.decode()
    assert "6 Mar is settled: " in page
    assert "failed and wait" not in page
    clock.move_to(at("2026-03-08T02:20"))
    assert "7 Mar is not settled: no run has begun." in support.get(index).content.decode()
    night("2026-03-08T02:20")
    assert "7 Mar is settled: " in support.get(index).content.decode()
