"""What an operator asks at 3 a.m.: a run's days, shards, figures and failures; in rows, the admin and a terminal."""

import re
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect

from accounts.models import Account, User
from packs.models import Item, Pack
from settlement import runs
from settlement.certificate import certify
from settlement.metering import collect
from settlement.models import PendingDay, SettlementRun, SettlementShard
from settlement.progress import State, days_left, days_of, pending_through, state_of
from settlement.runs import settle
from tests.bench import world
from tests.shell import Shell, on_a_terminal
from tests.worlds import assert_books, at, bills_of, buy, night, opened, use, yuan

pytestmark = pytest.mark.django_db

NIGHT = at("2026-03-07T02:00")


def three_accounts() -> list[Account]:
    """Three accounts with usage on the 5th and 6th; the first has a pack."""
    accounts = [opened(name) for name in ("alice", "bob", "carol")]
    buy(accounts[0], "pet-100k", "2026-03-01T10:00")
    for account in accounts:
        use(account, "ai.pet", 400, "2026-03-05T10:00")
        use(account, "ai.pet", 800, "2026-03-06T10:00")
    return accounts


def damage(account: Account) -> Pack:
    """A pack of which a draw would recognise less than nothing: the database refuses the account's bills."""
    [pack] = Pack.objects.filter(account=account)
    Pack.objects.filter(pk=pack.pk).update(recognised=20_000)
    return pack


def test_the_last_shards_of_a_day_are_half_as_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "PIECE", 1)
    accounts = [opened(f"account {number}") for number in range(9)]
    for account in accounts:
        use(account, "ai.pet", 100, "2026-03-05T10:00")
    run = runs.begin(now=NIGHT)
    shards = [SettlementShard.objects.get(pk=pk) for pk in runs.advance(run.pk, NIGHT)]
    ids = [account.pk for account in accounts]
    planned = [[pk for pk in ids if shard.first_account <= pk <= shard.last_account] for shard in shards]
    assert planned == [ids[:2], ids[2:4], *([pk] for pk in ids[4:])]
    settle(now=NIGHT)
    assert_books()


def test_a_run_keeps_what_each_day_and_shard_did(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "PIECE", 2)
    three_accounts()
    run = runs.begin(now=NIGHT)
    first, second = runs.advance(run.pk, NIGHT)
    [day] = days_of(run)
    assert (day.day, day.shards, day.done, day.left, day.in_hand) == (date(2026, 3, 5), 2, 0, 2, 0)
    assert pending_through(run.through_day) == 6
    assert days_left(run, [day]) == [(date(2026, 3, 6), 3)]

    runs.settle_shard(first, at("2026-03-07T02:00:10"))
    SettlementShard.objects.filter(pk=second).update(started_at=at("2026-03-07T02:00:11"))  # as its worker does
    [day] = days_of(run)
    pet = Item.objects.get(code="ai.pet").pk
    assert (day.done, day.left, day.in_hand) == (1, 1, 1)
    assert (day.account_days, day.bills, day.due, dict(day.drawn)) == (2, 2, yuan("1.00"), {pet: 400})

    runs.settle_shard(second, at("2026-03-07T02:00:20"))
    [day] = days_of(run)
    assert (day.account_days, day.bills, day.due, day.failures, day.in_hand) == (3, 3, yuan("2.00"), 0, 0)
    assert day.seconds is not None
    assert 10 < day.seconds < 15
    for shard in SettlementShard.objects.all():
        assert shard.started_at is not None
        assert shard.done_at is not None
        assert shard.started_at < shard.done_at

    for shard_id in runs.advance(run.pk, at("2026-03-07T02:00:30")):
        runs.settle_shard(shard_id, at("2026-03-07T02:00:40"))
    runs.advance(run.pk, at("2026-03-07T02:01"))
    run.refresh_from_db()
    assert (run.accounts, run.bills, run.due, run.drawn) == (6, 6, yuan("6.00"), {"ai.pet": 1200})
    assert (run.finished_at, run.seconds) == (at("2026-03-07T02:01"), Decimal(60))
    assert_books()


def test_one_account_that_fails_keeps_nobody_waiting_but_its_own_later_days() -> None:
    alice, bob, carol = three_accounts()
    pack = damage(alice)
    result = settle(now=NIGHT)
    [failed] = result.failed
    assert (failed.account_id, failed.day) == (alice.pk, date(2026, 3, 5))
    run = SettlementRun.objects.get()
    [failure] = run.failures.all()
    assert (failure.account_id, failure.day) == (alice.pk, date(2026, 3, 5))
    assert failure.error
    assert [(day.account_days, day.failures) for day in days_of(run)] == [(2, 1), (2, 0)]
    assert [len(bills_of(account)) for account in (alice, bob, carol)] == [0, 2, 2]
    assert sorted(PendingDay.objects.values_list("account_id", "day")) == [
        (alice.pk, date(2026, 3, 5)),
        (alice.pk, date(2026, 3, 6)),
    ]

    again = settle(now=at("2026-03-08T02:00"))  # still damaged: it fails again, and its later day waits again
    assert [(one.account_id, one.day) for one in again.failed] == [(alice.pk, date(2026, 3, 5))]
    days = days_of(SettlementRun.objects.latest("pk"))
    assert [(day.day.day, day.shards, day.waits, day.failures) for day in days] == [(5, 1, False, 1), (6, 0, True, 0)]

    Pack.objects.filter(pk=pack.pk).update(recognised=0)
    night("2026-03-09T02:00")
    assert [bill.day.day for bill in bills_of(alice)] == [5, 6]
    assert not PendingDay.objects.exists()
    assert_books()


def test_a_row_that_nobody_foresaw_keeps_nobody_waiting_but_its_account(desk: Client) -> None:
    alice, bob, carol = three_accounts()
    balance = Account.objects.get(pk=alice.pk).balance
    with connection.cursor() as cursor:
        cursor.execute("UPDATE accounts_account SET balance = 'NaN' WHERE id = %s", [alice.pk])
    result = settle(now=NIGHT)
    [failed] = result.failed
    assert (failed.account_id, failed.day) == (alice.pk, date(2026, 3, 5))
    assert failed.error == "ValueError: invalid literal for int() with base 10: 'NaN'"
    run = SettlementRun.objects.get()
    [failure] = run.failures.all()
    assert (failure.account_id, run.balances) == (alice.pk, True)
    assert [len(bills_of(account)) for account in (alice, bob, carol)] == [0, 2, 2]
    for page in (page_of(run), FAILURES, reverse("admin:settlement_settlementfailure_change", args=[failure.pk])):
        assert "ValueError" in text_of(desk, page)
    Account.objects.filter(pk=alice.pk).update(balance=balance)
    night("2026-03-08T02:00")
    assert [bill.day.day for bill in bills_of(alice)] == [5, 6]
    assert_books()


def test_an_account_that_the_very_last_statement_refuses_stands_alone_too() -> None:
    """Sent in a pipeline, it is refused when all else of the shard is written."""
    alice, bob, carol = three_accounts()
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(
            f"ALTER TABLE accounts_account ADD CONSTRAINT planted CHECK (id <> {bob.pk} OR balance > 9999950)"
        )
    result = settle(now=NIGHT)
    [failed] = result.failed
    assert (failed.account_id, failed.day) == (bob.pk, date(2026, 3, 5))
    assert '"planted"' in failed.error
    assert [len(bills_of(account)) for account in (alice, bob, carol)] == [2, 0, 2]
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE accounts_account DROP CONSTRAINT planted")
    night("2026-03-08T02:00")
    assert [bill.day.day for bill in bills_of(bob)] == [5, 6]
    assert_books()


def test_a_day_that_comes_late_to_a_run_is_gone_back_to() -> None:
    """Usage of the 4th and 5th arrives while the run is at the 6th: the account has all its days by its end."""
    alice, bob, carol = three_accounts()
    run = runs.begin(now=NIGHT)
    [fifth] = runs.advance(run.pk, NIGHT)
    runs.settle_shard(fifth, NIGHT)
    [sixth] = runs.advance(run.pk, NIGHT)
    use(alice, "ai.pet", 100, "2026-03-05T11:00", received="2026-03-07T02:00")
    use(alice, "ai.pet", 100, "2026-03-04T11:00", received="2026-03-07T02:00")
    use(carol, "ai.pet", 100, "2026-03-08T11:00", received="2026-03-08T12:00")
    collect()
    runs.settle_shard(sixth, NIGHT)
    assert [len(bills_of(account)) for account in (alice, bob, carol)] == [1, 2, 2]
    planned = []
    while shards := runs.advance(run.pk, NIGHT):
        planned += [runs.settle_shard(shard, NIGHT)[0].day for shard in shards]
    assert planned == [4, 5, 6]
    assert [(bill.day.day, bill.sequence) for bill in bills_of(alice)] == [(5, 1), (4, 1), (5, 2), (6, 1)]
    assert [row.day.day for row in PendingDay.objects.all()] == [8], "a day that has not ended"
    run.refresh_from_db()
    assert (run.finished_at, run.accounts, run.bills) == (NIGHT, 8, 8)
    assert [day.day for day in run.days] == [4, 5, 6]
    assert_books()


def test_who_fails_when_gone_back_to_is_left_to_the_next_run() -> None:
    alice, bob, _ = three_accounts()
    damage(alice)
    run = runs.begin(now=NIGHT)
    shards = runs.advance(run.pk, NIGHT)
    use(alice, "ai.pet", 100, "2026-03-04T11:00", received="2026-03-07T02:00")
    collect()
    planned = []
    while shards:
        planned += [runs.settle_shard(shard, NIGHT)[0].day for shard in shards]
        shards = runs.advance(run.pk, NIGHT)
    assert planned == [5, 6, 4]
    run.refresh_from_db()
    assert (run.finished_at, [one.day.day for one in run.failures.all()]) == (NIGHT, [4])
    assert [len(bills_of(account)) for account in (alice, bob)] == [0, 2]


def test_a_shard_that_somebody_else_has_halved_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    alice, *_ = three_accounts()
    damage(alice)
    run = runs.begin(now=NIGHT)
    [shard] = runs.advance(run.pk, NIGHT)

    split = runs._split

    def second(shard_id: int, *arguments: Any, **more: Any) -> Any:
        """Another process with the same task, failed at the same row, is first at halving it."""
        monkeypatch.undo()
        runs.settle_shard(shard_id, NIGHT)
        return split(shard_id, *arguments, **more)

    monkeypatch.setattr(runs, "_split", second)
    runs.settle_shard(shard, NIGHT)
    [day] = days_of(run)
    assert (day.account_days, day.bills, day.failures) == (2, 2, 1)
    assert run.failures.count() == 1


def test_the_state_of_a_run() -> None:
    alice, *_ = three_accounts()
    run = runs.begin(now=NIGHT)
    [shard] = runs.advance(run.pk, NIGHT)

    def state(when: str) -> State:
        return state_of(SettlementRun.objects.get(pk=run.pk), at(when), runs.PATIENCE)

    assert state("2026-03-07T02:09") is State.RUNNING
    assert state("2026-03-07T02:11") is State.STALLED
    runs.settle_shard(shard, at("2026-03-07T02:12"))
    assert state("2026-03-07T02:20") is State.RUNNING
    assert state("2026-03-07T02:23") is State.STALLED
    for shard_id in runs.advance(run.pk, at("2026-03-07T02:30")):
        runs.settle_shard(shard_id, at("2026-03-07T02:30"))
    runs.advance(run.pk, at("2026-03-07T02:31"))
    assert state("2026-03-07T09:00") is State.FINISHED
    SettlementRun.objects.update(balances=False)
    assert state("2026-03-07T09:00") is State.FAILED
    SettlementRun.objects.update(balances=True)
    run.failures.create(account=alice, day=date(2026, 3, 5), error="x")
    assert state("2026-03-07T09:00") is State.FAILED


# ── the admin ────────────────────────────────────────────────────────────────────────────────────────

RUNS = reverse("admin:settlement_settlementrun_changelist")
FAILURES = reverse("admin:settlement_settlementfailure_changelist")


def page_of(run: SettlementRun) -> str:
    return reverse("admin:settlement_settlementrun_change", args=[run.pk])


@pytest.fixture
def desk() -> Client:
    """A browser in which staff are signed in."""
    client = Client(headers={"Accept-Language": "en"})
    client.force_login(User.objects.create_superuser("staff@example.com", "x"))
    return client


def text_of(desk: Client, url: str) -> str:
    """The words of a page."""
    response = desk.get(url)
    assert response.status_code == 200
    body = response.content.decode().partition('id="content"')[2]
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def test_the_pages_of_a_run_that_failed_say_who_and_why(desk: Client) -> None:
    alice, *_ = three_accounts()
    damage(alice)
    settle(now=NIGHT)
    run = SettlementRun.objects.get()
    with time_machine.travel(at("2026-03-07T09:00"), tick=False):
        assert " failed " in text_of(desk, RUNS)
        page = desk.get(page_of(run)).content.decode()
        text = text_of(desk, page_of(run))
    assert reverse("admin:accounts_account_change", args=[alice.pk]) in page
    assert f"{alice.pk} alice" in text
    assert "violates check constraint" in text
    assert "waits for the next run, 1 later day with it" in text
    assert "hx-trigger" not in page
    assert "2026-03-05" in text
    assert "balances" in text
    assert "alice" in text_of(
        desk, f"{reverse('admin:settlement_settlementfailure_changelist')}?run__id__exact={run.pk}"
    )


def test_the_page_of_a_run_that_does_not_balance_names_the_accounts(desk: Client) -> None:
    _, bob, _ = three_accounts()
    night("2026-03-07T02:00")
    run = SettlementRun.objects.get()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM settlement_usageevent WHERE account_id = %s AND day = '2026-03-06'", [bob.pk])
    SettlementRun.objects.update(certified_at=None)
    certify(run.pk, NIGHT)
    with time_machine.travel(at("2026-03-07T09:00"), tick=False):
        text = text_of(desk, page_of(run))
        assert "does not balance" in text_of(desk, RUNS)
    assert "2026-03-06 does not balance" in text
    assert f"{bob.pk} cn-mainland: 0 ≠ 0 + 800 + 0 + 0" in text
    assert "2026-03-05 balances" in text


def test_a_run_that_was_cut_off_names_the_run_that_took_it_up(desk: Client) -> None:
    three_accounts()
    cut_off = runs.begin(now=NIGHT)
    runs.advance(cut_off.pk, NIGHT)
    with time_machine.travel(at("2026-03-07T02:15"), tick=False):
        assert "Nothing has moved for ten minutes." in text_of(desk, page_of(cut_off))
        later = settle(now=at("2026-03-07T02:15")).run_id
        assert f"Cut off. What it left, run {later} took up." in text_of(desk, page_of(cut_off))
        assert " stalled " in text_of(desk, RUNS)


@pytest.mark.django_db(transaction=True)
def test_the_page_of_a_running_run_refreshes_itself(page: Page, monkeypatch: pytest.MonkeyPatch, clock: Any) -> None:
    monkeypatch.setattr("settlement.admin_runs.REFRESH", 1)
    monkeypatch.setattr(runs, "PIECE", 2)
    three_accounts()
    User.objects.create_superuser("staff@example.com", "staff")
    clock.move(at("2026-03-07T02:00:30"))
    run = runs.begin(now=NIGHT)
    first, second = runs.advance(run.pk, NIGHT)
    page.goto("/admin/")
    page.locator("#id_username").fill("staff@example.com")
    page.locator("#id_password").fill("staff")
    page.locator("[type=submit]").click()
    page.goto(page_of(run))
    expect(page.locator(".run-head")).to_contain_text("0%")
    runs.settle_shard(first, at("2026-03-07T02:00:31"))
    expect(page.locator(".run-head")).to_contain_text("33%")
    page.goto(RUNS)
    expect(page.locator("#result_list")).to_contain_text("33%")
    runs.settle_shard(second, at("2026-03-07T02:00:32"))
    expect(page.locator("#result_list")).to_contain_text("50%")
    for shard_id in runs.advance(run.pk, at("2026-03-07T02:00:33")):
        runs.settle_shard(shard_id, at("2026-03-07T02:00:34"))
    runs.advance(run.pk, at("2026-03-07T02:00:35"))
    certify(run.pk, at("2026-03-07T02:00:36"))
    expect(page.locator("#result_list")).to_contain_text("100%")
    expect(page.locator("[hx-trigger]")).to_have_count(0)


# ── the terminal ─────────────────────────────────────────────────────────────────────────────────────


def test_settle_shows_its_progress_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], settings: Any
) -> None:
    settings.DEBUG = True
    monkeypatch.setattr(runs, "PIECE", 2)
    three_accounts()
    with on_a_terminal(monkeypatch) as drawn:
        ran = Shell(monkeypatch, capsys)("settle", "--now", "2026-03-07T02:00", "--json")
    assert ran.json["bills"] == 6
    frames = [re.sub(r"\x1b\[K|\n", "", frame) for frame in drawn if "[" in frame]
    assert len(frames) == 4
    assert re.fullmatch(r"2026-03-05 \[█+·+\]  50%  1/2 shards  [\d,]+ account-days/s", frames[0])
    assert re.fullmatch(r"2026-03-06 \[█+\] 100%  2/2 shards  [\d,]+ account-days/s", frames[3])
    assert all(len(frame) < 80 for frame in frames)


def test_settle_that_does_not_balance_exits_1_and_names_the_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], settings: Any
) -> None:
    settings.DEBUG = True
    alice, *_ = three_accounts()
    night("2026-03-06T02:00")
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM settlement_usageevent WHERE account_id = %s AND day = '2026-03-05'", [alice.pk])
    use(opened("dave"), "ai.pet", 1, "2026-03-05T10:00")
    ran = Shell(monkeypatch, capsys)("settle", "--now", "2026-03-07T02:00", "--json")
    run = SettlementRun.objects.latest("pk")
    line = f"run {run.pk} does not balance, first on 2026-03-05 in ai.pet for account {alice.pk}"
    assert (ran.code, line in ran.err) == (1, True)


def updated(cursor: CursorWrapper) -> dict[str, tuple[int, int]]:
    """Rows of packs and accounts updated so far, and how many of them within their page, into no index."""
    cursor.execute("SELECT pg_stat_force_next_flush()")
    cursor.execute(
        """SELECT relname, n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables
        WHERE relname IN ('accounts_account', 'packs_pack')"""
    )
    return {name: (rows, in_place) for name, rows, in_place in cursor.fetchall()}


@pytest.mark.django_db(transaction=True)
def test_a_night_updates_accounts_and_packs_in_place() -> None:
    """Their pages have room for a second version of each row: or the night writes every index of many of them."""
    world.build(accounts=1_000, events=10_000)
    with connection.cursor() as cursor:
        before = updated(cursor)
        settle(now=timezone.now())
        after = updated(cursor)
    change = {name: (after[name][0] - rows, after[name][1] - hot) for name, (rows, hot) in before.items()}
    assert change["accounts_account"] == (1_000, 1_000)
    packs, in_place = change["packs_pack"]
    assert packs == in_place > 1_000
    assert_books()
