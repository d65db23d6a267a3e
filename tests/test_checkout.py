"""A purchase that is short of money: the difference is topped up, and whatever credits it completes the order, once."""

from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.test import Client
from pytest_django import Settings

from accounts import notices
from accounts.ledger import record_adjustment, record_top_up
from accounts.models import BANDWIDTH, TRAFFIC, Account, Notice, Payment
from accounts.modes import switch_mode
from accounts.notice_texts import text_of
from accounts.payments import gateway as gateways
from accounts.payments.gateway import Report, Trade
from accounts.payments.paying import take_report
from iss_billing.gateways import Payments
from packs import checkout as checkouts
from packs.checkout import begin_checkout, complete_waiting, pay_rest, sweep
from packs.models import Checkout, Order, Pack, Sku
from packs.orders import LineRequest, OrderRefused, place_order
from tests.test_pages import customer, frozen_clock
from tests.test_pages import text_of as said
from tests.test_races import race
from tests.worlds import assert_books, at, set_pack_price, top_up, withdraw_from_sale, yuan

pytestmark = pytest.mark.django_db

NOW, LATER = "2026-03-10T10:00", "2026-03-10T11:00"
LINES = [LineRequest("pet-100k", 1, 25_000)]


def short(name: str = "alice", balance: str = "100", key: str = "k") -> tuple[Account, Checkout]:
    """An account that wants a pack of 250.00 and has less."""
    account = customer(name, balance=balance)[0]
    return account, waiting(account, key)


def waiting(account: Account, key: str = "k", when: str = NOW, lines: list[LineRequest] = LINES) -> Checkout:
    begun = begin_checkout(account_id=account.pk, lines=lines, key=key, gateway=gateways.active(), now=at(when))
    assert isinstance(begun, Checkout)
    return begun


def paid(payment: Payment | None, when: str = LATER) -> None:
    """The gateway reports that it was paid."""
    assert payment is not None
    take_report(Report(payment.number, Trade.PAID, payment.amount), gateway="sandbox", now=at(when))


def outcome(checkout: Checkout) -> tuple[str, str]:
    checkout.refresh_from_db()
    return checkout.state, checkout.reason


def balance_of(account: Account) -> int:
    account.refresh_from_db()
    return account.balance


def told(account: Account) -> list[str]:
    """The outcomes that the customer was told, in the console and, in the same words, by mail."""
    found = list(Notice.objects.filter(account=account, kind=Notice.Type.CHECKOUT).order_by("pk"))
    notices.deliver(at("2026-04-01T00:00"))
    mailed = [message.subject for message in mail.outbox]
    assert account.user is not None
    client = Client()
    client.force_login(account.user)
    inbox = client.get("/inbox/").content.decode()
    for notice in found:
        subject, _body = text_of(notice)
        assert subject in inbox
        assert subject in mailed
    return [notice.data["outcome"] for notice in found]


def assert_nothing_bought(account: Account, checkout: Checkout, reason: str, balance: str) -> None:
    assert outcome(checkout) == (Checkout.State.ENDED, reason)
    assert not Order.objects.filter(account=account).exists()
    assert not Pack.objects.filter(account=account).exists()
    assert balance_of(account) == yuan(balance)
    assert told(account) == [reason]
    assert_books()


def test_the_page_offers_the_difference_and_the_money_completes_the_order() -> None:
    account, client = customer(balance="100")
    with frozen_clock():
        client.post("/buy/cart/", {"add": "pet-100k"})
        assert "充值 150.00 元并完成购买" in said(client.get("/buy/"))
        page = client.get("/buy/confirm/")
        assert "充值 150.00 元并完成购买" in said(page)
        form = {"key": page.context["key"], "line": "pet-100k:1:25000"}
        answer = client.post("/checkout/", form)
        again = client.post("/checkout/", form)
    checkout, payment = Checkout.objects.get(), Payment.objects.get()
    assert answer.url == again.url == f"/checkout/{checkout.pk}/"  # type: ignore[attr-defined]
    assert (payment.amount, payment.cause, checkout.payment) == (yuan("150"), f"checkout:{checkout.pk}", payment)
    with frozen_clock():
        assert "付 150.00 元，购买随即完成" in said(client.get(answer.url))  # type: ignore[attr-defined]
        seen = client.get(answer.url).context["seen"]  # type: ignore[attr-defined]
        polled = client.get(answer.url, {"seen": seen}, headers={"HX-Request": "true"})  # type: ignore[attr-defined]
        assert polled.status_code == 204
        assert "待付款" in said(client.get("/buy/"))
        assert client.get(f"/payments/{payment.number}/").url == answer.url  # type: ignore[attr-defined]
    paid(payment)
    paid(payment)
    order = Order.objects.get()
    assert (order.total, order.placed_at, order.key) == (yuan("250"), at(LATER), form["key"])
    assert outcome(checkout) == (Checkout.State.BOUGHT, "")
    assert balance_of(account) == 0
    with frozen_clock(LATER):
        assert client.get(answer.url).url == f"/orders/{order.pk}/"  # type: ignore[attr-defined]
        polled = client.get(answer.url, {"seen": seen}, headers={"HX-Request": "true"})  # type: ignore[attr-defined]
        assert polled["HX-Redirect"] == f"/orders/{order.pk}/"
        # the cart was kept while it waited, and is empty now; the form sent once more is the same order
        assert "还没有选" in said(client.get("/buy/"))
        assert client.post("/checkout/", form).url == f"/orders/{order.pk}/"  # type: ignore[attr-defined]
        assert client.post("/buy/confirm/", form).url == f"/orders/{order.pk}/"  # type: ignore[attr-defined]
    assert Order.objects.count() == 1
    assert told(account) == ["bought"]
    assert_books()


def test_money_that_is_there_by_now_buys_at_once() -> None:
    account, client = customer(balance="100")
    top_up(account, "150", NOW)
    answer = client.post("/checkout/", {"key": "k", "line": "pet-100k:1:25000"})
    assert answer.url == f"/orders/{Order.objects.get().pk}/"  # type: ignore[attr-defined]
    assert not Checkout.objects.exists()


@pytest.mark.parametrize(
    "form", [{}, {"key": "k"}, {"key": "", "line": "pet-100k:1:25000"}, {"key": "k", "line": "x:y"}]
)
def test_a_form_that_is_not_ours(form: dict[str, str]) -> None:
    _, client = customer(balance="100")
    assert client.post("/checkout/", form).url == "/buy/confirm/"  # type: ignore[attr-defined]
    assert not Checkout.objects.exists()


def test_what_cannot_be_bought_does_not_wait() -> None:
    account, client = customer(balance="100")
    assert client.post("/checkout/", {"key": "k", "line": "pet-100k:1:1"}).status_code == 409
    with pytest.raises(OrderRefused, match="not on sale"):
        waiting(account, lines=[LineRequest("nothing", 1, 1)])
    record_adjustment(account_id=account.pk, amount=-yuan("100.01"), reason="x", reference="x", now=at(NOW))
    assert client.post("/checkout/", {"key": "k", "line": "pet-100k:1:25000"}).status_code == 403
    assert not Checkout.objects.exists()
    assert not Payment.objects.exists()


def test_a_price_that_changed_buys_nothing() -> None:
    account, checkout = short()
    set_pack_price(sku=Sku.objects.get(code="pet-100k"), price=24_000, reason="x", now=at("2026-03-10T10:30"))
    paid(checkout.payment)
    assert_nothing_bought(account, checkout, "price_changed", "250")


def test_a_pack_withdrawn_from_sale_buys_nothing() -> None:
    account, checkout = short()
    withdraw_from_sale("pet-100k", "2026-03-10T10:30")
    paid(checkout.payment)
    assert_nothing_bought(account, checkout, "unknown_sku", "250")


@pytest.mark.parametrize("arrives", [LATER, "2026-03-11T09:00"])
def test_a_billing_mode_that_changed_buys_nothing(arrives: str) -> None:
    account, checkout = short()
    switch_mode(account_id=account.pk, mode=TRAFFIC, now=at("2026-03-10T10:30"))
    paid(checkout.payment, arrives)
    assert_nothing_bought(account, checkout, "mode_changed", "250")


def test_a_switch_that_was_announced_before_is_no_change() -> None:
    account = customer(balance="100")[0]
    switch_mode(account_id=account.pk, mode=TRAFFIC, now=at("2026-03-10T09:00"))
    checkout = waiting(account)
    paid(checkout.payment, "2026-03-11T09:00")
    assert outcome(checkout) == (Checkout.State.BOUGHT, "")


def test_a_switch_taken_back_is_a_change() -> None:
    account = customer(balance="100")[0]
    switch_mode(account_id=account.pk, mode=TRAFFIC, now=at("2026-03-10T09:00"))
    checkout = waiting(account)
    switch_mode(account_id=account.pk, mode=BANDWIDTH, now=at("2026-03-10T10:30"))
    paid(checkout.payment, "2026-03-11T09:00")
    assert_nothing_bought(account, checkout, "mode_changed", "250")


@pytest.mark.parametrize("recovers", [False, True])
def test_an_account_that_fell_into_arrears_buys_nothing(recovers: bool) -> None:
    account, checkout = short()
    fell = at("2026-03-10T10:30")
    record_adjustment(account_id=account.pk, amount=-yuan("100.01"), reason="x", reference="x", now=fell)
    if recovers:
        record_adjustment(account_id=account.pk, amount=yuan("500"), reason="x", reference="y", now=fell)
    paid(checkout.payment)
    assert_nothing_bought(account, checkout, "account_in_arrears", "649.99" if recovers else "149.99")


@pytest.mark.parametrize("changed", ["price", "sale", "mode", "standing"])
def test_whoever_is_about_to_pay_is_told_first_that_nothing_would_be_bought(changed: str) -> None:
    account, checkout = short()
    client, then = Client(), at("2026-03-10T10:30")
    assert account.user is not None
    client.force_login(account.user)
    with frozen_clock(LATER):
        page = client.get(f"/checkout/{checkout.pk}/")
        assert "去沙箱付 150.00 元" in said(page)
        seen = page.context["seen"]
        if changed == "price":
            set_pack_price(sku=Sku.objects.get(code="pet-100k"), price=24_000, reason="x", now=then)
        elif changed == "sale":
            withdraw_from_sale("pet-100k", "2026-03-10T10:30")
        elif changed == "mode":
            switch_mode(account_id=account.pk, mode=TRAFFIC, now=then)
        else:
            for number, amount in enumerate(("-100.01", "100.01")):
                record_adjustment(
                    account_id=account.pk, amount=yuan(amount), reason="x", reference=f"{number}", now=then
                )
        page = client.get(f"/checkout/{checkout.pk}/", {"seen": seen}, headers={"HX-Request": "true"})
        words = {"price": "价格", "sale": "停售", "mode": "计费模式", "standing": "欠费"}[changed]
        assert words in said(page)
        assert "去沙箱付" not in said(page)
        assert f"/payments/{checkout.payment}/pay/" not in page.content.decode()
        assert outcome(checkout) == (Checkout.State.WAITING, ""), "looking at it changes nothing"
        assert client.post(f"/checkout/{checkout.pk}/cancel/").url == "/buy/"  # type: ignore[attr-defined]
    assert outcome(checkout) == (Checkout.State.CANCELLED, "")


def test_an_order_by_its_key_that_is_another_ends_it_in_words() -> None:
    account, checkout = short()
    place_order(account_id=account.pk, lines=[LineRequest("face-100k", 1)], key=checkout.key, now=at(NOW))
    record_top_up(account_id=account.pk, amount=yuan("200"), reference="bank", now=at(LATER))
    assert outcome(checkout) == (Checkout.State.ENDED, "idempotency_key_reused")
    assert told(account) == ["idempotency_key_reused"]
    assert_books()


def test_it_waits_24_hours_and_late_money_stays_on_the_balance() -> None:
    alice, in_time = short()
    bob, late = short("bob")
    paid(in_time.payment, "2026-03-11T09:59:59")
    assert outcome(in_time) == (Checkout.State.BOUGHT, "")
    assert sweep(at("2026-03-11T09:59:59")) == 0
    paid(late.payment, "2026-03-11T10:00:00")
    assert_nothing_bought(bob, late, "lapsed", "250")
    assert balance_of(alice) == 0


def test_what_nobody_paid_lapses_by_itself() -> None:
    account, checkout = short()
    assert sweep(at(NOW) + timedelta(hours=23)) == 0
    assert sweep(at(NOW) + timedelta(hours=24)) == 1
    assert sweep(at(NOW) + timedelta(hours=25)) == 0
    assert_nothing_bought(account, checkout, "lapsed", "100")
    # money that comes after all is not lost, and the customer hears where it went; told twice, it is told once
    for _twice in range(2):
        paid(checkout.payment, "2026-03-11T12:00")
    assert balance_of(account) == yuan("250")
    assert not Order.objects.exists()
    assert told(account) == ["lapsed", "late"]
    assert_books()


def test_whoever_brings_the_money_completes_it() -> None:
    by_hand, transferred = short()
    record_top_up(account_id=by_hand.pk, amount=yuan("150"), reference="bank 1", now=at(LATER))
    assert outcome(transferred) == (Checkout.State.BOUGHT, "")
    corrected, adjusted = short("bob")
    record_adjustment(account_id=corrected.pk, amount=yuan("150"), reason="x", reference="y", now=at(LATER))
    assert outcome(adjusted) == (Checkout.State.WAITING, "")
    assert sweep(at(LATER)) == 1
    assert outcome(adjusted) == (Checkout.State.BOUGHT, "")
    # its own payment still arrives: the money is not lost
    paid(transferred.payment, "2026-03-12T10:00")
    assert balance_of(by_hand) == yuan("150")
    assert told(by_hand) == ["bought", "late"]
    assert Order.objects.count() == 2
    assert_books()


def test_money_that_does_not_do_leaves_it_waiting_and_the_rest_can_be_paid() -> None:
    account, checkout = short()
    record_adjustment(account_id=account.pk, amount=-yuan("20"), reason="x", reference="x", now=at("2026-03-10T10:30"))
    paid(checkout.payment)
    assert outcome(checkout) == (Checkout.State.WAITING, "")
    assert told(account) == ["short"]
    client = Client()
    assert account.user is not None
    client.force_login(account.user)
    with frozen_clock(LATER):
        page = client.get(f"/checkout/{checkout.pk}/")
        assert "还差 20.00 元" in said(page)
        for _ in range(2):
            client.post(f"/checkout/{checkout.pk}/pay/")
    checkout.refresh_from_db()
    assert Payment.objects.filter(account=account).count() == 2
    paid(checkout.payment)
    assert outcome(checkout) == (Checkout.State.BOUGHT, "")
    assert balance_of(account) == 0
    assert told(account) == ["short", "bought"]
    assert_books()


def test_more_than_one_payment_may_be_is_paid_in_parts() -> None:
    account = customer(balance="100")[0]
    checkout = waiting(account, lines=[LineRequest("plate-10m", 4, 41_000_000)])
    assert checkout.payment is not None
    assert checkout.payment.amount == yuan("1000000")
    paid(checkout.payment)
    gateway = gateways.active()
    assert gateway is not None
    checkout = pay_rest(checkout, gateway=gateway, now=at(LATER))
    assert checkout.payment is not None
    assert checkout.payment.amount == yuan("639900")
    paid(checkout.payment)
    assert outcome(checkout) == (Checkout.State.BOUGHT, "")
    assert_books()


def test_one_waits_at_a_time_and_can_be_cancelled() -> None:
    account, first = short()
    second = waiting(account, "other", lines=[LineRequest("pet-100k", 2, 25_000)])
    assert outcome(first) == (Checkout.State.CANCELLED, "")
    paid(first.payment)  # 250.00 now: not enough for the second
    assert outcome(second) == (Checkout.State.WAITING, "")
    assert told(account) == ["late", "short"]
    client, outsider = Client(), customer("charlie")[1]
    assert account.user is not None
    client.force_login(account.user)
    for method, path in (("get", ""), ("post", "pay/"), ("post", "cancel/")):
        assert getattr(outsider, method)(f"/checkout/{second.pk}/{path}").status_code == 404
    with frozen_clock(LATER):
        client.post(f"/checkout/{second.pk}/cancel/")
        assert "购买已取消" in said(client.get(f"/checkout/{second.pk}/"))
    assert outcome(second) == (Checkout.State.CANCELLED, "")
    assert second.payment is not None
    second.payment.refresh_from_db()
    assert second.payment.state == Payment.State.CLOSED
    top_up(account, "1000", LATER)
    assert not Order.objects.exists()
    assert_books()


def test_the_same_key_for_other_packs_is_refused() -> None:
    account, _ = short()
    with pytest.raises(OrderRefused) as refusal:
        waiting(account, lines=[LineRequest("pet-100k", 2, 25_000)])
    assert refusal.value.code == "idempotency_key_reused"


def test_a_purchase_that_fails_leaves_the_money_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    account, checkout = short()

    def broken(**_: Any) -> None:
        raise RuntimeError("a mistake of ours")

    with monkeypatch.context() as patch:
        patch.setattr(checkouts, "place_order", broken)
        paid(checkout.payment)
    assert "was not completed" in caplog.text
    assert balance_of(account) == yuan("250")
    assert outcome(checkout) == (Checkout.State.WAITING, "")
    assert sweep(at(LATER)) == 1
    assert outcome(checkout) == (Checkout.State.BOUGHT, "")
    assert_books()


def test_without_a_gateway_it_waits_for_the_transfer(settings: Settings) -> None:
    settings.PAYMENTS = Payments()
    account, client = customer(balance="100")
    with frozen_clock():
        client.post("/buy/cart/", {"add": "pet-100k"})
        assert "转账 150.00 元并完成购买" in said(client.get("/buy/confirm/"))
        answer = client.post("/checkout/", {"key": "k", "line": "pet-100k:1:25000"})
        assert f"账户编号 {account.pk}" in said(client.get(answer.url))  # type: ignore[attr-defined]
    assert not Payment.objects.exists()
    record_top_up(account_id=account.pk, amount=yuan("150"), reference="bank 1", now=at(LATER))
    assert outcome(Checkout.objects.get()) == (Checkout.State.BOUGHT, "")


@pytest.mark.django_db(transaction=True)
def test_confirmations_and_deliveries_at_the_same_instant_are_one_order() -> None:
    for number in range(10):
        account = customer(f"racer{number}", balance="100")[0]
        begun = race(*[lambda: waiting(account)] * 3)  # noqa: B023 - raced here
        assert len({checkout.pk for checkout in begun}) == 1, begun
        assert Payment.objects.filter(account=account).count() == 1
        payment = begun[0].payment
        outcomes = race(
            lambda: paid(payment),  # noqa: B023
            lambda: paid(payment),  # noqa: B023
            lambda: complete_waiting(account.pk, at(LATER)),  # noqa: B023
            lambda: sweep(at(LATER)),
        )
        assert outcomes[:3] == [None] * 3, outcomes
        assert Order.objects.filter(account=account).count() == 1
        assert balance_of(account) == 0
    assert_books()
