"""Closing an account: with nothing owed and nothing under way, once, whatever arrives at the same instant."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection, transaction
from django.test import Client
from django.utils import translation

from accounts.keys import find_key, make_key, revoke_key
from accounts.ledger import AccountClosed, find_account, record_top_up
from accounts.models import Account, AuditEntry, Kind, Notice, Payment, Transfer, User
from accounts.modes import switch_mode
from accounts.notice_texts import text_of as words_of
from accounts.payments import gateway as gateways
from accounts.payments.gateway import Report, Trade
from accounts.payments.paying import start_payment, take_report
from accounts.webhook_models import Delivery, Endpoint
from accounts.webhooks import add_endpoint
from packs.checkout import begin_checkout
from packs.models import Checkout, Pack
from packs.orders import LineRequest, OrderRefused, place_order
from settlement.closing import (
    ClosingRefused,
    PayoutRefused,
    UsageArrives,
    close_account,
    look,
    pay_out,
    reopen_account,
)
from settlement.models import Bill, PendingDay
from tests.api_client import Api
from tests.hooks import listen
from tests.test_admin import complaints, submit
from tests.test_pages import PASSWORD, customer, text_of
from tests.test_races import race
from tests.worlds import assert_books, at, bills_of, buy, event, night, opened, send, top_up, use, yuan

pytestmark = pytest.mark.django_db
NOW = at("2026-03-10T10:00")


@pytest.fixture(autouse=True)
def books() -> Iterator[None]:
    yield
    assert_books()


@pytest.fixture
def clock() -> Any:
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


def close(account: Account, when: str = "2026-03-10T10:00") -> Account:
    """Close it as its page would."""
    account.refresh_from_db()
    return close_account(account_id=account.pk, now=at(when), agreed=look(account, at(when)).fingerprint)


def obstacles(account: Account) -> set[str]:
    with pytest.raises(ClosingRefused) as refused:
        close(account)
    account.refresh_from_db()
    assert account.closed_at is None
    return set(refused.value.closing.obstacles)


def test_what_stands_in_the_way() -> None:
    alice = opened(balance="10.00")
    use(alice, "ai.plate", 120, "2026-03-09T10:00")
    assert obstacles(alice) == {"usage"}, "yesterday's"
    night("2026-03-10T02:00")
    assert obstacles(alice) == {"debt"}
    top_up(alice, "2.00", "2026-03-10T03:00")
    use(alice, "ai.plate", 1, "2026-03-10T09:00")
    assert obstacles(alice) == {"usage"}, "today's"
    night("2026-03-11T02:00")
    top_up(alice, "1.00", "2026-03-11T03:00")
    gateway = gateways.active()
    assert gateway is not None
    payment = start_payment(account_id=alice.pk, amount=100, gateway=gateway, key="k", now=NOW)
    assert obstacles(alice) == {"payment"}
    take_report(Report(payment.number, Trade.CLOSED), gateway=gateway.name, now=NOW)
    begun = begin_checkout(
        account_id=alice.pk, lines=[LineRequest("pet-100k", 1, 25_000)], key="c", gateway=None, now=NOW
    )
    assert isinstance(begun, Checkout)
    assert obstacles(alice) == {"purchase"}


def test_closing_gives_back_what_can_be_returned_and_ends_the_rest() -> None:
    alice = opened(balance="20000.00")
    [old] = buy(alice, "pet-100k", "2026-03-01T09:00")
    [used] = buy(alice, "plate-100k", "2026-03-08T09:00")
    [fresh] = buy(alice, "face-100k", "2026-03-08T10:00")
    use(alice, "ai.plate", 1_000, "2026-03-08T11:00")
    night("2026-03-09T02:00")
    alice.refresh_from_db()
    closing = look(alice, NOW)
    assert (closing.returned, closing.refund, closing.payout) == (1, fresh.price, alice.balance + fresh.price)
    given_up = {one.pack_type.code: (one.packs, one.remaining) for one in closing.given_up}
    assert given_up == {"pet": (1, 100_000), "plate": (1, 99_000)}
    with pytest.raises(ClosingRefused) as refused:
        close_account(account_id=alice.pk, now=NOW, agreed="other figures")
    assert refused.value.closing == closing
    close(alice)
    assert Pack.objects.get(pk=fresh.pk).refunded == fresh.price
    # given up: what of their prices was neither drawn nor refunded is revenue with the closing
    ended = [Pack.objects.get(pk=pack.pk) for pack in (old, used)]
    assert [(pack.remaining, pack.refunded_quantity, pack.refunded) for pack in ended] == [
        (0, 100_000, 0),
        (0, 99_000, 0),
    ]
    assert [pack.recognised for pack in ended] == [old.price, used.price]
    breakage = Transfer.objects.filter(kind=Kind.RECOGNITION, reference__startswith="pack:", time=NOW).order_by("pk")
    assert [one.amount for one in breakage] == [one.worth for one in closing.given_up]
    assert [one.amount for one in breakage] == [old.price, used.price - used.price // 100]
    alice.refresh_from_db()
    assert (alice.closed_at, alice.balance) == (NOW, closing.payout)
    moment, transfers = alice.closed_at, Transfer.objects.count()
    assert close(alice, "2026-03-11T10:00").closed_at == moment, "again changes nothing"
    assert Transfer.objects.count() == transfers


def test_a_closed_account_does_nothing_any_more(clock: time_machine.Traveller) -> None:
    alice, client = customer("alice")
    key, plain = make_key(account_id=alice.pk, name="", now=NOW)
    listen(alice, "https://example.com/hook")
    listen(None, "https://platform.example/hook")
    close(alice)
    assert find_key(plain, NOW) is None
    revoke_key(key, NOW)
    assert not Endpoint.objects.filter(account=alice, deleted_at=None).exists()
    told = list(Delivery.objects.filter(type="account.closed").values_list("endpoint__account_id", flat=True))
    assert told == [None], "the platform hears of it"
    line = LineRequest("pet-100k", 1)
    with pytest.raises(OrderRefused) as refused:
        place_order(account_id=alice.pk, lines=[line], key="k", now=NOW)
    assert refused.value.code == "account_closed"
    with pytest.raises(OrderRefused):
        begin_checkout(account_id=alice.pk, lines=[line], key="k", gateway=None, now=NOW)
    gateway = gateways.active()
    assert gateway is not None
    for act in (
        lambda: switch_mode(account_id=alice.pk, mode="traffic", now=NOW),
        lambda: start_payment(account_id=alice.pk, amount=100, gateway=gateway, key="k", now=NOW),
        lambda: make_key(account_id=alice.pk, name="", now=NOW),
        lambda: add_endpoint(account=alice, url="https://example.com/x", events=["bill.ready"], now=NOW),
    ):
        with pytest.raises(AccountClosed):
            act()
    # its login reads, for a while
    for path in ("/", "/bills/", "/ledger/", "/inbox/", "/account/", "/packs/", "/buy/", "/billing-mode/", "/top-up/"):
        response = client.get(path)
        assert response.status_code == 200, path
        assert "已于 3月10日 10:00 关闭" in text_of(response), path
    for path in ("/buy/cart/", "/billing-mode/", "/top-up/", "/account/keys/", "/account/name/", "/account/notices/"):
        assert client.post(path, {"mode": "traffic", "add": "pet-100k", "name": "x"}).status_code == 403, path
    assert client.get("/api/v1/account/").json()["closed_at"] == "2026-03-10T10:00:00+08:00"
    assert client.put("/api/v1/account/billing-mode/", "{}", "application/json").json()["code"] == "account_closed"
    assert client.post("/inbox/read/", {"shown": Notice.objects.latest("pk").pk}).status_code == 302
    clock.shift(timedelta(days=181))
    client.force_login(User.objects.get(email="alice@example.com"))
    assert client.get("/bills/").status_code == 403
    assert client.get("/api/v1/bills/").json()["code"] == "account_closed"
    alice.refresh_from_db()
    assert alice.name == "alice"


def test_usage_is_refused_from_that_moment_on_and_what_was_before_is_billed() -> None:
    alice = opened(balance="10.00")
    platform = Api(None)
    close(alice)
    before = event(alice, "ai.plate", 100, "2026-03-10T09:59:59")
    after = [event(alice, "ai.plate", 1, f"2026-03-10T{time}") for time in ("10:00:00", "10:00:01")]
    done = send([before, *after], "2026-03-10T10:05")
    assert (done.accepted, [one.code for one in done.rejected]) == (1, ["unknown_account"] * 2)
    shown = platform.get(f"entitlements/{alice.pk}/")
    assert (shown["allowed"], shown["reason"], shown["status"]) == (False, "closed", "active")
    with pytest.raises(PayoutRefused) as refused:
        pay_out(account_id=alice.pk, amount=yuan("10.00"), reference="r", reason="closed", now=NOW)
    assert refused.value.code == "usage_waits"
    night("2026-03-11T02:00")
    [bill] = bills_of(alice)
    assert bill.amount_due == yuan("10.00")


def test_what_was_given_up_is_drawn_no_more_and_not_there_again(clock: time_machine.Traveller) -> None:
    alice, client = customer("alice")
    [pack] = buy(alice, "pet-100k", "2026-03-01T09:00")
    close(alice)
    for path, words in (("/packs/", "未退款"), (f"/packs/{pack.pk}/", "未退款")):
        assert words in text_of(client.get(path)), path
    use(alice, "ai.pet", 1_000, "2026-03-10T09:00", received="2026-03-10T11:00")
    night("2026-03-11T02:00")
    [bill] = bills_of(alice)
    assert (bill.amount_due, bill.lines.get().drawn) == (yuan("2.50"), 0)
    assert reopen_account(account_id=alice.pk, now=at("2026-03-11T10:00"))
    pack.refresh_from_db()
    assert (pack.remaining, pack.recognised) == (0, pack.price)


def test_late_usage_may_leave_a_debt_that_can_be_paid(clock: time_machine.Traveller) -> None:
    alice, _client = customer("alice", balance="5")
    close(alice)
    pay_out(account_id=alice.pk, amount=yuan("5.00"), reference="r", reason="closed", now=NOW)
    use(alice, "ai.plate", 20, "2026-03-10T09:00", received="2026-03-10T11:00")
    night("2026-03-11T02:00")
    alice.refresh_from_db()
    assert alice.balance == yuan("-2.00")
    gateway = gateways.active()
    assert gateway is not None
    with pytest.raises(AccountClosed):
        start_payment(account_id=alice.pk, amount=201, gateway=gateway, key="k", now=NOW)
    payment = start_payment(account_id=alice.pk, amount=200, gateway=gateway, key="k", now=NOW)
    take_report(Report(payment.number, Trade.PAID, payment.amount), gateway=gateway.name, now=NOW)
    alice.refresh_from_db()
    assert alice.balance == 0


def test_staff_pay_the_balance_out_and_open_it_again(clock: time_machine.Traveller) -> None:
    alice, client = customer("alice", balance="123.45")
    staff = User.objects.create_superuser("staff@example.com", "x")
    desk = Client(headers={"Accept-Language": "en"})
    desk.force_login(staff)
    base = f"/admin/settlement/closedaccount/{alice.pk}"
    assert desk.get(f"{base}/pay-out/").status_code == 404, "it is open"
    close(alice)
    assert "123.45" in desk.get("/admin/settlement/closedaccount/").content.decode()
    assert complaints(submit(desk, f"{base}/pay-out/", reference="bank-1", reason=" "))
    assert "not what the page showed" in complaints(
        submit(desk, f"{base}/pay-out/", reference="bank-1", reason="closed", amount="100")
    )
    for _twice in range(2):
        form = {"reference": "bank-1", "reason": "closed by phone", "amount": "12345"}
        assert desk.post(f"{base}/pay-out/", form)["Location"] == f"{base}/change/"
    [transfer] = Transfer.objects.filter(kind=Kind.WITHDRAWAL)
    assert (transfer.signed_amount, transfer.reason, transfer.made_by) == (-12_345, "closed by phone", staff)
    alice.refresh_from_db()
    assert alice.balance == 0
    with translation.override("zh-hans"):
        notices = [words_of(notice)[0] for notice in Notice.objects.filter(account=alice).order_by("pk")]
    assert notices == ["账户已关闭", "已退回 123.45 元"]
    assert submit(desk, f"{base}/reopen/", reason="back again").redirect_chain
    assert AuditEntry.objects.filter(account=alice).count() == 2
    alice.refresh_from_db()
    assert (alice.closed_at, alice.reopened_at) == (None, NOW)
    use(alice, "ai.plate", 1, "2026-03-10T10:00")
    assert client.post("/billing-mode/", {"mode": "traffic"}).status_code == 302
    assert not reopen_account(account_id=alice.pk, now=NOW)
    clerk = User.objects.create_user("clerk@example.com", "x", is_staff=True)
    desk.force_login(clerk)
    assert desk.post(f"{base}/reopen/", {"reason": "x"}).status_code == 403


def test_a_payout_needs_a_closed_account_and_its_whole_balance() -> None:
    alice = opened(balance="10.00")
    words: dict[str, Any] = {"account_id": alice.pk, "reference": "r", "now": NOW}
    for amount, reason, code in ((1000, "why", "not_closed"), (1000, " ", None)):
        with pytest.raises((PayoutRefused, ValueError)) as refused:
            pay_out(**words, amount=amount, reason=reason)
        assert getattr(refused.value, "code", None) == code
    close(alice)
    for amount in (999, 1001, 0, -1000):
        with pytest.raises(PayoutRefused) as refused:
            pay_out(**words, amount=amount, reason="why")
        assert refused.value.code == "balance_changed"
    first = pay_out(**words, amount=1000, reason="why")
    assert pay_out(**words, amount=1000, reason="why").pk == first.pk


def test_the_page_says_what_closing_does_and_asks_for_the_password(clock: time_machine.Traveller) -> None:
    alice, client = customer("alice", balance="20000")
    buy(alice, "pet-100k", "2026-03-09T09:00")
    buy(alice, "plate-100k", "2026-03-01T09:00")
    page = client.get("/account/close/")
    for words in ("可退的资源包 1 个", "放弃的资源包", "车牌识别", "关闭账户，退回", "9月6日"):
        assert words in text_of(page), words
    agreed = page.context["closing"].fingerprint
    assert "密码不对" in text_of(client.post("/account/close/", {"agreed": agreed, "password": "not it"}))
    top_up(alice, "5", "2026-03-10T09:30")
    changed = client.post("/account/close/", {"agreed": agreed, "password": PASSWORD})
    assert changed.status_code == 409
    assert "数字有变化" in text_of(changed)
    agreed = changed.context["closing"].fingerprint
    assert client.post("/account/close/", {"agreed": agreed, "password": PASSWORD})["Location"] == "/account/"
    assert client.get("/account/close/").status_code == 302
    alice.refresh_from_db()
    assert alice.closed_at == NOW


# at the same instant


def racing(account: Account) -> Any:
    """Closing, with the figures that hold before the race."""
    account.refresh_from_db()
    agreed = look(account, NOW).fingerprint
    return lambda: close_account(account_id=account.pk, now=NOW, agreed=agreed)


@pytest.mark.django_db(transaction=True)
def test_an_order_or_the_closing_comes_first() -> None:
    for number in range(20):
        alice = opened(balance="300.00")
        order = [LineRequest("pet-100k", 1)]
        closed, bought = race(
            racing(alice),
            lambda: place_order(account_id=alice.pk, lines=order, key=f"k{number}", now=NOW),  # noqa: B023
        )
        alice.refresh_from_db()
        if isinstance(bought, OrderRefused):
            assert (bought.code, alice.closed_at) == ("account_closed", NOW)
        else:
            assert isinstance(closed, ClosingRefused), "the figures are others then"
            assert alice.closed_at is None


@pytest.mark.django_db(transaction=True)
def test_a_payment_or_the_closing_comes_first_and_money_is_never_lost() -> None:
    gateway = gateways.active()
    assert gateway is not None
    for number in range(20):
        alice = opened(balance="10.00")
        closed, begun, _credited = race(
            racing(alice),
            lambda: start_payment(account_id=alice.pk, amount=100, gateway=gateway, key="k", now=NOW),  # noqa: B023
            lambda: record_top_up(account_id=alice.pk, amount=500, reference=f"bank-{number}", now=NOW),  # noqa: B023
        )
        alice.refresh_from_db()
        assert alice.balance == yuan("15.00"), "money that was received is received"
        if isinstance(closed, Account):
            assert isinstance(begun, AccountClosed)
        else:
            assert alice.closed_at is None
            assert isinstance(closed, ClosingRefused)


@pytest.mark.django_db(transaction=True)
def test_usage_or_the_closing_comes_first_and_what_is_accepted_is_billed() -> None:
    for _number in range(8):
        alice = opened(balance="10.00")
        used = [event(alice, "ai.plate", 10, "2026-03-10T09:59:00")]
        closed, sent = race(racing(alice), lambda: send(used, "2026-03-10T10:00"))  # noqa: B023
        assert sent.accepted == 1, "it occurred before"
        alice.refresh_from_db()
        assert isinstance(closed, Account | ClosingRefused)
        assert (alice.closed_at is None) == isinstance(closed, ClosingRefused)
        late = send([event(alice, "ai.plate", 1, "2026-03-10T10:00:30")], "2026-03-10T10:01")
        assert late.accepted == (alice.closed_at is None)
        night("2026-03-11T02:00")
        assert Bill.objects.filter(account=alice).exists()


@pytest.mark.django_db(transaction=True)
def test_closing_waits_for_usage_that_is_being_stored_and_then_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    alice = opened(balance="10.00")
    alice.refresh_from_db()
    agreed = look(alice, NOW).fingerprint
    stored, go_on = threading.Event(), threading.Event()

    def slow_ingest() -> None:
        with transaction.atomic():
            send([event(alice, "ai.plate", 10, "2026-03-10T09:59:00")], "2026-03-10T10:00")
            stored.set()
            assert go_on.wait(timeout=30)
        connection.close()

    thread = threading.Thread(target=slow_ingest)
    thread.start()
    assert stored.wait(timeout=30)
    monkeypatch.setattr("settlement.closing.LOCK_PATIENCE", "200ms")
    with pytest.raises(UsageArrives):
        close_account(account_id=alice.pk, now=NOW, agreed=agreed)
    threading.Timer(0.3, go_on.set).start()
    monkeypatch.setattr("settlement.closing.LOCK_PATIENCE", "20s")
    with pytest.raises(ClosingRefused) as refused:
        close_account(account_id=alice.pk, now=NOW, agreed=agreed)
    thread.join(timeout=30)
    assert set(refused.value.closing.obstacles) == {"usage"}
    assert find_account(str(alice.pk)).closed_at is None  # type: ignore[union-attr]
    night("2026-03-11T02:00")
    assert not PendingDay.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_that_close_or_pay_out_at_once_do_it_once() -> None:
    for number in range(10):
        alice = opened(balance="10.00")
        closed = race(racing(alice), racing(alice))
        assert [one.closed_at for one in closed] == [NOW, NOW]
        assert Notice.objects.filter(account=alice, kind=Notice.Type.CLOSED).count() == 1
        paid = race(
            *(
                lambda: pay_out(
                    account_id=alice.pk,  # noqa: B023
                    amount=1000,
                    reference=f"bank-{number}",  # noqa: B023
                    reason="closed",
                    now=NOW,
                )
                for _ in range(2)
            )
        )
        assert paid[0].pk == paid[1].pk
    assert Payment.objects.count() == 0
