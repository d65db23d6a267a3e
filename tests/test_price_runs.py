"""Rehearsals of price changes and notices of rises: the same rating, over everybody, in shards that survive a kill."""

import csv
import os
import re
import signal
from collections.abc import Iterator
from datetime import date
from html import unescape
from typing import Any

import psycopg
import pytest
import time_machine
from django.core import mail
from django.test import Client
from django.urls import reverse
from django.utils import timezone, translation
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Page
from pytest_django.live_server_helper import LiveServer
from redis import Redis

from accounts.inbox import link_of
from accounts.models import Account, Notice, User
from accounts.modes import switch_mode
from accounts.notice_texts import text_of
from accounts.notices import deliver
from accounts.opening import open_account
from iss_billing.money import MICRO_PER_FEN
from packs.models import Item, PackType, Sku
from packs.proposal_models import PriceProposal
from packs.proposals import change_prices, propose
from packs.refunds import refund_pack
from settlement import price_run_admin, price_runs, tasks
from settlement.histories import load_histories, window_rules
from settlement.price_models import PriceEffect, PriceRun, PriceShard
from settlement.price_runs import STEPS, bar_of, do_shard, left, rehearse, total
from settlement.replay import Window, replay, with_tariff
from settlement.repricing import proposed_prices, reprice
from tests.conftest import celery_worker, database_url, eventually
from tests.test_price_pages import staff
from tests.test_rules_prices import item, pack
from tests.worlds import GB, MBPS, assert_books, at, bills_of, buy, night, opened, set_tariff, top_up, use

NOW = "2026-03-20T12:00"
db = pytest.mark.django_db


@pytest.fixture
def clock() -> Iterator[None]:
    """Noon of 20 March 2026, in which shards are handed to nobody."""
    with time_machine.travel(at(NOW), tick=False):
        yield


def world() -> list[Account]:
    """Accounts of every kind: packs, both modes, late usage, a price that changed, and one that used nothing."""
    accounts = [opened(name) for name in ("alice", "bob", "carol", "dora", "eve")]
    alice, bob, carol, dora, _eve = accounts
    buy(alice, "pet-100k", "2026-03-01T09:00")
    switch_mode(account_id=bob.pk, mode="traffic", now=at("2026-03-02T10:00"))
    buy(bob, "traffic-down-500gb", "2026-03-03T10:00", 2)
    for day in range(3, 19):
        when = f"2026-03-{day:02}T10:00"
        use(alice, "ai.pet", 9_000 + day, when)
        use(alice, "ai.face", 777 * day, when)
        use(bob, "ai.pet", 123 * day, when)
        use(bob, "traffic.down", 40 * GB + day, when)
        use(carol, "bandwidth.down", 30 * MBPS + day, when)
        use(carol, "ai.plate", day, when)
        if day == 9:
            pet = Item.objects.get(code="ai.pet")
            words: dict[str, Any] = {"price": 2_600_000, "per": 1000, "reason": "x", "now": at(when)}
            set_tariff(item=pet, region="cn-mainland", effective_day=date(2026, 3, 10), **words)
            set_tariff(item=pet, region="cn-hongkong", effective_day=date(2026, 3, 10), **words)
        if day > 10:
            use(dora, "ai.pet", 11 * day, when, region="cn-hongkong")
        if day > 5:
            use(alice, "ai.pet", 13, f"2026-03-{day - 2:02}T08:00", received=when)
        night(f"2026-03-{day + 1:02}T02:00")
    Notice.objects.all().delete()
    PriceRun.objects.all().delete()
    return accounts


def proposed(*cells: Any) -> PriceProposal:
    return propose(cells=cells, reason="costs", now=at(NOW))


CELLS = (
    ("ai.pet", "3.00", "cn-mainland"),
    ("ai.pet", "2.00", "cn-hongkong"),
    ("ai.face", "0.45", "cn-mainland"),
    ("traffic.down", "0.60", "cn-mainland"),
)
PER = {"ai.pet": 1000, "ai.face": 1000, "traffic.down": GB}


def changes() -> list[Any]:
    return [item(code, price, "2026-04-01", PER[code], region) for code, price, region in CELLS]


def do_all(run: PriceRun) -> PriceRun:
    for shard in run.shards.order_by("pk"):
        do_shard(shard.pk, at(NOW))
    run.refresh_from_db()
    return run


@db
def test_a_rehearsal_is_the_whole_window_rated_again_by_settlements_own_rating(clock: None) -> None:
    accounts = world()
    proposal = proposed(*changes())
    prices = proposed_prices(proposal, date(2026, 3, 20))
    window = Window(date(2026, 2, 17), date(2026, 3, 18))
    rules = window_rules(window)
    low, high = accounts[0].pk, accounts[-1].pk
    found = reprice(low, high, window, rules, prices)
    histories = load_histories(low, high, window)
    expected = {}
    for account in accounts:
        history = histories[account.pk]
        # with its packs, drawn from the beginning of the window on
        then, now = replay(history, rules), replay(history, with_tariff(rules, prices.tariff))
        expected[account.pk] = (then.total, now.total - then.total)
    assert {pk: (one.charged, one.change) for pk, one in found.items() if one.charged or one.change} == {
        pk: sums for pk, sums in expected.items() if any(sums)
    }
    assert sum(change != 0 for _paid, change in expected.values()) >= 3
    assert {change > 0 for _paid, change in expected.values() if change} == {True, False}
    # the packs that alice bought cover her pet calls at first: the same units are drawn at any price
    assert found[accounts[0].pk].bought == 25_000 * MICRO_PER_FEN


@db
def test_a_rehearsal_tells_revenue_and_who_pays_more_and_less(clock: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(price_runs, "SHARD", 2)
    alice, bob, _carol, dora, eve = world()
    buy(eve, "pet-100k", "2026-03-10T10:00", 3)
    proposal = proposed(*changes(), pack("pet-100k", "200"), pack("pet-1m", None))
    desk = staff("ann")
    response = desk.post(reverse("admin:settlement_pricerun_rehearse", args=[proposal.pk]), follow=True)
    run = PriceRun.objects.get()
    assert run.shards.count() == 3
    assert 'hx-trigger="every 3s"' in response.content.decode()
    assert rehearse(proposal_id=proposal.pk, now=at(NOW), started_by=None).pk == run.pk
    first = run.shards.order_by("pk")[0]
    for _ in range(2):  # a task sent twice
        do_shard(first.pk, at(NOW))
    page = desk.get(reverse("admin:settlement_pricerun_change", args=[run.pk])).content.decode()
    assert "33%" in page
    do_all(run)
    proposal.refresh_from_db()
    assert (proposal.state, run.finished_at) == ("rehearsed", at(NOW))
    effects = {one.account_id: one.change for one in PriceEffect.objects.all()}
    assert effects.keys() == {alice.pk, bob.pk, dora.pk, eve.pk}
    # alice and eve bought one pack and three at 250.00 each
    assert effects[eve.pk] == -3 * 5_000 * MICRO_PER_FEN
    result = run.result or {}
    assert result["change"] == sum(effects.values())
    assert result["more"] == sum(change > 0 for change in effects.values()) == sum(result["bars"][STEPS.index(0) + 1 :])
    assert result["less"] == sum(change < 0 for change in effects.values())
    assert sum(result["bars"]) == len(effects)
    assert (
        sum(new - old for _n, old, new, _m, _l in [*result["items"].values(), *result["packs"].values()])
        == result["change"]
    )
    page = unescape(desk.get(reverse("admin:settlement_pricerun_change", args=[run.pk])).content.decode())
    difference = f"{abs(price_run_admin.fen(result['change'])) / 100:,.2f}"
    assert f"{'+' if result['change'] > 0 else '−'}{difference}" in re.sub("<[^>]+>", "", page)
    for shown in (
        "Pet recognition",
        "cn-hongkong",
        "pet-100k",
        "alice",
        "eve",
        "Every account as CSV",
        "application/json",
    ):
        assert shown in page
    answer: Any = desk.get(reverse("admin:settlement_pricerun_accounts", args=[run.pk]))
    file = b"".join(answer.streaming_content).decode()
    rows = list(csv.DictReader(file.removeprefix("\ufeff").splitlines()))
    assert {int(row["account_id"]): round(float(row["change"]) * 10**6) for row in rows} == effects
    assert [float(row["change"]) for row in rows] == sorted((float(row["change"]) for row in rows), reverse=True)
    # again: what the last one kept of each account goes
    again = do_all(rehearse(proposal_id=proposal.pk, now=at(NOW), started_by=None))
    assert PriceEffect.objects.filter(run=run).count() == 0
    assert again.result == result


@db
def test_a_size_that_ends_is_not_bought_and_an_item_that_ends_is_not_used(clock: None) -> None:
    held, twin, cook, other = (opened(name) for name in ("held", "twin", "cook", "other"))
    buy(held, "pet-1m", "2026-03-01T09:00")
    buy(held, "pet-100k", "2026-03-02T09:00", 2)
    buy(cook, "kitchen-100k", "2026-03-01T09:00")
    buy(other, "kitchen-100k", "2026-03-01T09:00")
    covered = [kind.code for kind in PackType.objects.get(code="kitchen").covers.order_by("position")]
    for day in range(3, 19):
        when = f"2026-03-{day:02}T10:00"
        for account in (held, twin):
            use(account, "ai.pet", 7_003 * day, when)
            use(account, "ai.face", 501, when)
        use(cook, covered[0], 6_000 + day, when)
        use(cook, covered[1], 5_001, when)
        use(other, covered[1], 5_001, when)
        night(f"2026-03-{day + 1:02}T02:00")
    night("2026-03-20T02:00")
    run = do_all(
        rehearse(proposal_id=proposed(pack("pet-100k", None), pack("pet-1m", None)).pk, now=at(NOW), started_by=None)
    )
    effects = {one.account_id: one.change for one in PriceEffect.objects.filter(run=run)}
    rated = {account.pk: sum(bill.rated_total for bill in bills_of(account)) for account in (held, twin, cook, other)}
    # what was left in the packs counts for nothing; what was drawn is charged as it was to who had none
    paid = (220_000 + 2 * 25_000) * MICRO_PER_FEN
    assert effects == {held.pk: rated[twin.pk] - rated[held.pk] - paid}
    sku = str(Sku.objects.get(code="pet-100k").pk)
    assert (run.result or {})["packs"][sku] == [2, 50_000 * MICRO_PER_FEN, 0, 0, 1]
    page = staff("ann").get(reverse("admin:settlement_pricerun_change", args=[run.pk])).content.decode()
    assert "taken not to have been bought" in page
    # an item that ends leaves its pack to the others: what cook used of the second is then as other's
    ends = item(covered[0], None, "2026-04-01")
    run = do_all(rehearse(proposal_id=proposed(ends).pk, now=at(NOW), started_by=None))
    effects = {one.account_id: one.change for one in PriceEffect.objects.filter(run=run)}
    assert effects == {cook.pk: rated[other.pk] - rated[cook.pk]}
    assert rated[cook.pk] > rated[other.pk]


@db
def test_only_who_may_propose_rehearses_and_only_who_may_look_sees(clock: None) -> None:
    proposal = proposed(pack("pet-100k", "200"))
    address = reverse("admin:settlement_pricerun_rehearse", args=[proposal.pk])
    for client in (staff("pia", "packs.view_priceproposal", "packs.publish_prices"), staff("nat", "packs.view_order")):
        assert client.post(address).status_code == 403
    desk = staff("ann")
    assert desk.get(address).status_code == 405
    assert desk.post(reverse("admin:settlement_pricerun_rehearse", args=[10**9])).status_code == 404
    run = do_all(rehearse(proposal_id=proposal.pk, now=at(NOW), started_by=None))
    assert run.result == {"accounts": 0, "more": 0, "less": 0} | {
        "before": 0,
        "charged": 0,
        "change": 0,
        "items": {},
        "packs": {},
        "bars": [0] * 10,
    }
    assert desk.get(reverse("admin:settlement_pricerun_change", args=[run.pk])).status_code == 200
    nobody = staff("lou", "packs.view_sku")
    assert nobody.get(reverse("admin:settlement_pricerun_accounts", args=[run.pk])).status_code == 403


@db
def test_what_cannot_be_rated_stops_a_run_and_says_why(clock: None, monkeypatch: pytest.MonkeyPatch) -> None:
    world()
    run = rehearse(proposal_id=proposed(*changes()).pk, now=at(NOW), started_by=None)
    monkeypatch.setattr(price_runs, "reprice", lambda *_: 1 // 0)
    do_all(run)
    assert (run.error.split(":")[0], run.finished_at) == ("ZeroDivisionError", None)
    assert left() == []
    page = staff("ann").get(reverse("admin:settlement_pricerun_change", args=[run.pk])).content.decode()
    assert "ZeroDivisionError" in page
    assert "hx-trigger" not in page
    assert rehearse(proposal_id=run.proposal_id, now=at(NOW), started_by=None).pk != run.pk


# rises are told


def rise(*cells: Any) -> PriceRun:
    proposal = change_prices(cells=cells, reason="costs", now=at(NOW))
    return PriceRun.objects.get(proposal=proposal, purpose="announce")


@db
def test_whoever_uses_an_item_hears_of_its_rise_with_what_the_last_30_days_would_have_cost(clock: None) -> None:
    alice, bob, _carol, dora, _eve = world()
    anne = open_account(name="anne", now=at("2026-03-01T00:00"), email="anne@example.com", language="en")
    top_up(anne, "100", "2026-03-01T00:00")
    use(anne, "ai.pet", 10_000, "2026-03-18T10:00")
    use(anne, "ai.plate", 100, "2026-03-18T10:00")
    night("2026-03-20T02:00")
    # a fall is told nobody, and no rise of an item is told who does not use it
    fall = change_prices(cells=[item("ai.plate", "1.00", "2026-04-01")], reason="x", now=at(NOW))
    assert not PriceRun.objects.filter(proposal=fall).exists()
    run = do_all(rise(*changes()))
    assert (run.result or {})["told"] == 3
    told = {notice.account_id: notice for notice in Notice.objects.filter(kind="price_rise")}
    assert told.keys() == {alice.pk, bob.pk, anne.pk}
    data = told[anne.pk].data
    # 10,000 calls at 2.6 and at 3 per 1,000, and 100 plates at 100
    assert (data["after"] - data["before"], [entry["item"] for entry in data["items"]]) == (400, ["ai.pet"])
    assert {entry["item"] for entry in told[bob.pk].data["items"]} == {"ai.pet", "traffic.down"}
    mail.outbox.clear()
    deliver(at(NOW))
    [letter] = [one for one in mail.outbox if one.to == ["anne@example.com"] and one.subject == "Prices rise"]
    for words in ("CNY 3 / 1,000 calls instead of CNY 2.6 / 1,000 calls", "1 Apr 2026", "would have cost"):
        assert words in letter.body
    client = Client()
    assert anne.user is not None
    client.force_login(anne.user)
    inbox = client.get(reverse("inbox"), headers={"Accept-Language": "en"})
    assert "CNY 3 / 1,000 calls" in unescape(inbox.content.decode())
    before = Notice.objects.count()
    PriceShard.objects.filter(run=run).update(done_at=None)
    PriceRun.objects.filter(pk=run.pk).update(finished_at=None)
    do_all(run)
    assert Notice.objects.count() == before
    assert dora.pk not in told
    assert_books()


@db
def test_a_withdrawal_is_told_and_what_was_cancelled_meanwhile_is_not(clock: None) -> None:
    alice, *_others = world()
    run = do_all(rise(item("ai.face", None, "2026-04-01")))
    notice = Notice.objects.get(kind="price_rise", account=alice)
    assert notice.data["items"][0]["after"] is None
    assert notice.data["before"] == notice.data["after"]
    assert (run.result or {})["told"] == 1
    later = rise(item("ai.pet", "9.00", "2026-04-01"))
    change_prices(cells=[item("ai.pet", None, "2026-04-01", cancels=True)], reason="x", now=at(NOW))
    assert (do_all(later).result or {})["told"] == 0
    # who has heard of one hears that it is cancelled, and nobody else
    off = rise(item("ai.face", None, "2026-04-01", cancels=True))
    assert (do_all(off).result or {})["told_of_cancellation"] == 1
    first, second = Notice.objects.filter(kind="price_rise").order_by("id")
    assert (first.account, second.account) == (alice, alice)
    with translation.override("en"):
        assert "the price stays CNY 0.5 / 1,000 calls" in text_of(second)[1]


@db
def test_a_notice_says_that_packs_cover_all(clock: None) -> None:
    alice = opened()
    buy(alice, "pet-100k", "2026-03-10T09:00")
    use(alice, "ai.pet", 10, "2026-03-18T10:00")
    night("2026-03-19T02:00")
    do_all(rise(item("ai.pet", "9.00", "2026-04-01")))
    with translation.override("en"):
        assert "would have been the same" in text_of(Notice.objects.get(kind="price_rise"))[1]
    with translation.override("zh-hans"):
        subject, body = text_of(Notice.objects.get(kind="price_rise"))
    assert not re.search("[a-z]{4}", subject + body), body


@db
def test_whoever_holds_or_bought_such_packs_hears_that_they_rise_and_that_the_rise_does_not_come(clock: None) -> None:
    names = ("alice", "bob", "carol", "dora", "eve")
    holds, bought, used_up, gave_back, other = (opened(name, "2025-12-01") for name in names)
    buy(holds, "pet-1m", "2026-01-05T09:00")  # another size of the type
    buy(bought, "pet-100k", "2026-03-10T09:00", 2)
    buy(used_up, "pet-100k", "2026-01-05T09:00")
    use(used_up, "ai.pet", 100_000, "2026-01-06T10:00")
    night("2026-01-07T02:00")
    given_back = buy(gave_back, "pet-100k", "2026-03-19T09:00")[0]
    refund_pack(account_id=gave_back.pk, pack_id=given_back.pk, now=at("2026-03-19T10:00"))
    buy(other, "plate-100k", "2026-03-10T09:00")
    night("2026-03-20T02:00")
    Notice.objects.all().delete()
    # at once there is nothing left to do about it
    change_prices(cells=[pack("pet-100k", "260")], reason="x", now=at(NOW))
    assert not PriceRun.objects.exists()
    run = do_all(rise(pack("pet-100k", "300", "2026-04-01"), pack("pet-1m", None, "2026-04-02")))
    assert (run.result or {})["told"] == 2
    told = {notice.account_id: notice for notice in Notice.objects.filter(kind="price_rise")}
    assert told.keys() == {holds.pk, bought.pk}
    assert [entry["sku"] for entry in told[holds.pk].data["packs"]] == ["pet-100k", "pet-1m"]
    with translation.override("en"):
        body = text_of(told[bought.pk])[1]
        assert "100,000 calls: CNY 300.00 from 1 Apr 2026 on; until then it can be bought at CNY 260.00." in body
        assert "no longer sold from 2 Apr 2026 on" in body
        # two at 250.00; nothing is said of usage
        assert "you paid CNY 500.00 for packs of these sizes; they would have cost CNY 600.00" in body
        assert "you paid" not in text_of(told[holds.pk])[1]
        assert "pay-as-you-go" not in body
        assert link_of(told[holds.pk]) == (reverse("buy"), "Packs")
    with translation.override("zh-hans"):
        assert not re.search("[a-z]{4}", "".join(text_of(told[bought.pk])))
    # a later word for the same day that is no rise takes it back for who heard of it; a cancellation does the same
    off = do_all(rise(pack("pet-100k", "255", "2026-04-01"), pack("pet-1m", None, "2026-04-02", cancels=True)))
    assert (off.result or {})["told_of_cancellation"] == 2
    with translation.override("en"):
        subject, body = text_of(Notice.objects.filter(kind="price_rise", account=bought).latest("pk"))
        assert "cancelled" in subject
        assert "the price is then CNY 255.00" in body
        assert "the price stays" in body
    again = change_prices(cells=[pack("pet-100k", "256", "2026-04-01")], reason="x", now=at(NOW))
    assert not PriceRun.objects.filter(proposal=again).exists()
    # a rise is one against the day before, not against the word that it replaces
    more = do_all(rise(pack("pet-100k", "400", "2026-04-01")))
    less = do_all(rise(pack("pet-100k", "280", "2026-04-01")))
    assert [(run.result or {})["told"] for run in (more, less)] == [2, 2]
    last = Notice.objects.filter(kind="price_rise").latest("pk").data["packs"][0]
    assert (last["before"], last["after"]) == (26_000, 28_000)


# shards


@given(before=st.integers(0, 10**9), change=st.integers(-(10**9), 10**9).filter(bool))
def test_a_change_falls_into_the_bar_of_its_size(before: int, change: int) -> None:
    bar = bar_of(before, change)
    assert (bar <= STEPS.index(0)) == (change < 0)
    if before:
        thousandths = change * 1000 / before
        if bar > 0:
            assert STEPS[bar - 1] <= thousandths
        if bar < len(STEPS):
            assert thousandths <= STEPS[bar]


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "accounts": st.integers(0, 9),
                "items": st.dictionaries(st.sampled_from("ab"), st.lists(st.integers(0, 9), min_size=2, max_size=2)),
            }
        )
    )
)
def test_the_results_of_shards_add_up(results: list[dict[str, Any]]) -> None:
    found = total(results)
    assert found.get("accounts", 0) == sum(one["accounts"] for one in results)
    for name in "ab":
        kept = [one["items"][name] for one in results if name in one["items"]]
        assert found.get("items", {}).get(name, [0, 0]) == [sum(pair[place] for pair in kept) for place in (0, 1)]


@pytest.mark.django_db(transaction=True)
def test_a_rehearsal_goes_on_after_its_worker_was_killed(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(price_runs, "SHARD", 1)
    world()
    proposal = proposed(*changes())
    run = rehearse(proposal_id=proposal.pk, now=at(NOW), started_by=None)
    PriceRun.objects.update(started_at=timezone.now())  # what is old is forgotten
    redis.flushdb()  # the tasks are lost
    with celery_worker("-Q", "celery") as worker:
        with psycopg.connect(database_url()) as other:  # somebody has the second shard in hand
            second = run.shards.order_by("pk")[1].pk
            other.execute("SELECT FROM settlement_priceshard WHERE id = %s FOR UPDATE", [second])
            handed_out = left()
            assert len(handed_out) == 4
            assert second not in handed_out
            for shard_id in handed_out[:2]:
                tasks.price_shard.delay(shard_id)
            assert eventually(lambda: run.shards.exclude(done_at=None).count() == 2)
            other.rollback()
        os.killpg(worker.pid, signal.SIGKILL)
    assert len(left()) == 3
    with celery_worker("-Q", "celery"):
        tasks.go_on_with_prices.delay()
        assert eventually(lambda: PriceRun.objects.filter(pk=run.pk, finished_at__isnull=False).exists())
    run.refresh_from_db()
    assert (run.result or {})["accounts"] == 4
    assert PriceEffect.objects.filter(run=run).count() == 3
    assert left() == []


# a browser


@pytest.mark.django_db(transaction=True)
def test_a_price_change_from_the_sheet_to_its_publication_in_a_browser(
    page: Page, live_server: LiveServer, redis: Redis
) -> None:
    world()
    User.objects.create_superuser("ann@example.com", "correct horse battery")
    with time_machine.travel(at(NOW), tick=True):
        page.goto("/admin/login/?next=/admin/packs/pricelist/")
        page.fill("input[name=username]", "ann@example.com")
        page.fill("input[name=password]", "correct horse battery")
        page.click("input[type=submit]")
        page.fill('input[name="p:pet-100k"]', "0")
        page.fill('input[name="t:ai.pet:cn-mainland"]', "3")
        page.fill("input[name=reason]", "成本上升")
        page.click(".submit-row input")
        page.wait_for_selector(".price-grid .errors")
        assert page.locator(".price-grid .errors").count() == 1
        page.fill('input[name="p:pet-100k"]', "240")
        page.click(".submit-row input")
        page.wait_for_selector("form[action*=rehearse]")
        assert page.locator(".price-rows tbody tr").count() == 2
        page.click("form[action*=rehearse] button")
        page.wait_for_selector(".price-facts progress")
        run = PriceRun.objects.get()
        do_all(run)
        page.reload()
        page.wait_for_selector(".canvas[data-drawn]")
        assert page.locator("[style]").count() == page.locator(".canvas [style], .canvas[style]").count()
        page.click("dl.price-facts a")
        page.click("form[action*=publish] button")
        page.wait_for_selector(".price-state.published")
    proposal = PriceProposal.objects.latest("pk")
    assert proposal.state == "published"
    assert PriceRun.objects.filter(proposal=proposal, purpose="announce").count() == 1
