"""Payments through Alipay against a stand-in that signs with real keys: only what it says, verified, moves money."""

import base64
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from accounts.ledger import ReferenceReused, record_adjustment, record_top_up
from accounts.models import Account, Kind, Payment, Transfer
from accounts.payments import gateway as gateways
from accounts.payments.alipay import Alipay
from accounts.payments.chasing import LAST_WAIT, chase
from accounts.payments.models import WAITS
from accounts.payments.paying import start_payment
from accounts.payments.sandbox import Sandbox, SandboxOff
from iss_billing.gateways import Payments
from iss_billing.money import format_decimal
from packs.checkout import begin_checkout
from packs.models import Checkout
from packs.orders import LineRequest
from tests.alipay_stand_in import SELLER_ID, StandIn, configured, private_pem, public_pem, signed, stand_in
from tests.test_pages import customer, frozen_clock, text_of
from tests.test_races import race
from tests.worlds import assert_books, at, opened, yuan

pytestmark = pytest.mark.django_db

NOW = "2026-03-10T10:00"
NOTIFY = "/payments/notify/alipay/"


@pytest.fixture
def alipay(settings: Settings, tmp_path: Path) -> Iterator[StandIn]:
    """Alipay, and our site configured for it."""
    with stand_in() as it:
        settings.PAYMENTS = Payments(alipay=configured(tmp_path, it.address))
        yield it


def begun(account: Account, amount: str = "88.80", when: str = NOW, key: str = "k") -> Payment:
    gateway = gateways.active()
    assert gateway is not None
    return start_payment(account_id=account.pk, amount=yuan(amount), gateway=gateway, key=key, now=at(when))


def opened_by_payer(alipay: StandIn, payment: Payment) -> None:
    """The payer has come to Alipay's page."""
    gateway = gateways.active()
    assert gateway is not None
    alipay.open(gateway.page(payment, return_url="http://b/r", notify_url="http://b/n", now=payment.started_at))


def said(response: Any) -> str:
    return text_of(response).replace(" ", "")


def tell(fields: dict[str, str], when: str = NOW) -> tuple[int, str]:
    with frozen_clock(when):
        response = Client().post(NOTIFY, fields)
    return response.status_code, response.content.decode()


def received(account: Account) -> list[int]:
    """The fen of every top-up through a gateway, as the ledger has them; the balance is their sum."""
    rows = Transfer.objects.filter(account=account, kind=Kind.TOP_UP, reference__startswith="payment:")
    amounts = list(rows.order_by("pk").values_list("amount", flat=True))
    account.refresh_from_db()
    assert account.balance == sum(amounts)
    assert_books()
    return amounts


def test_from_the_amount_to_the_balance(alipay: StandIn) -> None:
    account, client = customer(balance="0.01")
    with frozen_clock():
        form = {"amount": "1,088.80", "key": "2c2b1a0e-7a35-4b8e-9d6a-b1e2f0c3d4e5"}
        answer = client.post("/top-up/", form)
        assert client.post("/top-up/", form).url == answer.url  # type: ignore[attr-defined]
        payment = Payment.objects.get()
        assert answer.url == f"/payments/{payment.number}/"  # type: ignore[attr-defined]
        assert "支付宝" in text_of(client.get(answer.url))  # type: ignore[attr-defined]
        asked = alipay.open(client.get(f"/payments/{payment.number}/pay/").url)  # type: ignore[attr-defined]
    assert (asked["total_amount"], asked["product_code"]) == ("1088.80", "FAST_INSTANT_TRADE_PAY")
    assert (asked["timestamp"], asked["time_expire"]) == ("2026-03-10 10:00:00", "2026-03-11 10:00:00")
    assert asked["return_url"] == f"http://localhost:8000/payments/{payment.number}/return/"
    assert asked["notify_url"] == f"http://localhost:8000{NOTIFY}"
    notification = alipay.pay(payment.number)
    for _ in range(3):
        assert tell(notification, "2026-03-10T10:01") == (200, "success")
    payment.refresh_from_db()
    assert (payment.state, payment.ended_at) == (Payment.State.PAID, at("2026-03-10T10:01"))
    assert payment.gateway_reference == f"ali{payment.number}"
    account.refresh_from_db()
    assert account.balance == yuan("1088.81")
    [transfer] = account.transfers.filter(reference__startswith="payment:")
    assert (transfer.reference, transfer.amount) == (f"payment:{payment.number}", yuan("1088.80"))
    with frozen_clock():
        assert "1,088.81元" in said(client.get(f"/payments/{payment.number}/"))
        assert payment.number in text_of(client.get("/payments/"))
        # the way to the gateway is closed
        assert client.get(f"/payments/{payment.number}/pay/").url == f"/payments/{payment.number}/"  # type: ignore[attr-defined]
    assert_books()


def without(fields: dict[str, str], name: str) -> dict[str, str]:
    return {key: text for key, text in fields.items() if key != name}


FORGED: dict[str, Callable[[StandIn, str], dict[str, str]]] = {
    "signed by somebody else": lambda it, number: it.notification(number, by="stranger"),
    "signed with our own key": lambda it, number: it.notification(number, by="app"),
    "amount changed afterwards": lambda it, number: it.notification(number) | {"total_amount": "8880.00"},
    "a field added afterwards": lambda it, number: it.notification(number) | {"extra": "1"},
    "not signed": lambda it, number: without(it.notification(number), "sign"),
    "an empty signature": lambda it, number: it.notification(number) | {"sign": ""},
    "a signature that is no base64": lambda it, number: it.notification(number) | {"sign": "%%%é="},
    "another kind of signature": lambda it, number: it.notification(number) | {"sign_type": "RSA"},
    "no kind of signature": lambda it, number: without(it.notification(number), "sign_type"),
    "a smaller amount, signed": lambda it, number: it.notification(number, total_amount="88.79"),
    "a larger amount, signed": lambda it, number: it.notification(number, total_amount="888.00"),
    "an amount in a strange form": lambda it, number: it.notification(number, total_amount="8.88e1"),
    "no amount": lambda it, number: it.notification(number, total_amount=None),
    "another seller": lambda it, number: it.notification(number, seller_id="2088000000000002"),
    "no seller": lambda it, number: it.notification(number, seller_id=None),
    "another application": lambda it, number: it.notification(number, app_id="2026000000000002"),
    "an unknown order": lambda it, number: it.notification("2026031000000000000000000"),
    "no order": lambda it, number: it.notification(number, out_trade_no=None),
    "an order that is no number": lambda it, number: it.notification(number, out_trade_no="\x00' OR 1=1"),
    "no state": lambda it, number: it.notification(number, trade_status=None),
    "an unknown state": lambda it, number: it.notification(number, trade_status="TRADE_MAGIC"),
    "what the browser brings back": lambda it, number: signed(
        {"app_id": it.notification(number)["app_id"], "out_trade_no": number, "total_amount": "88.80"}
        | {"seller_id": SELLER_ID, "method": "alipay.trade.page.pay.return", "timestamp": "2026-03-10 10:00:00"}
    ),
    "nothing": lambda it, number: {},
}


@pytest.mark.parametrize("forgery", FORGED)
def test_a_notification_that_is_not_right_credits_nothing(alipay: StandIn, forgery: str) -> None:
    account = opened(balance=None)
    payment = begun(account)
    opened_by_payer(alipay, payment)
    genuine = alipay.pay(payment.number)
    assert tell(FORGED[forgery](alipay, payment.number)) == (400, "fail")
    assert received(account) == []
    assert Payment.objects.get().state == Payment.State.WAITING
    # and the genuine one still counts
    assert tell(genuine) == (200, "success")
    assert received(account) == [yuan("88.80")]


def test_a_notification_about_another_payment_credits_that_one(alipay: StandIn) -> None:
    alice, bob = opened(balance=None), opened("bob", balance=None)
    hers, his = begun(alice, "88.80"), begun(bob, "1.00")
    for payment in (hers, his):
        opened_by_payer(alipay, payment)
    told = alipay.pay(his.number)
    assert tell(told | {"out_trade_no": hers.number}) == (400, "fail")
    assert tell(told) == (200, "success")
    assert (received(alice), received(bob)) == ([], [100])


def test_notifications_out_of_order(alipay: StandIn) -> None:
    account = opened(balance=None)
    payment = begun(account)
    opened_by_payer(alipay, payment)
    closed = alipay.notification(payment.number, trade_status="TRADE_CLOSED")
    waiting = alipay.notification(payment.number)
    assert tell(closed) == (200, "success")
    assert Payment.objects.get().state == Payment.State.CLOSED
    paid = alipay.pay(payment.number)
    for fields in (paid, waiting, closed, alipay.notification(payment.number, trade_status="TRADE_FINISHED"), paid):
        assert tell(fields) == (200, "success")
        assert Payment.objects.get().state == Payment.State.PAID
    assert received(account) == [yuan("88.80")]
    assert "refunded there" in Payment.objects.get().trouble


def test_a_lost_notification_is_found_by_asking(alipay: StandIn) -> None:
    account = opened(balance=None)
    payment = begun(account)
    assert chase(at(NOW)) == 0  # a minute for the notification
    assert chase(at("2026-03-10T10:01")) == 1  # the payer has not got to the page yet
    opened_by_payer(alipay, payment)
    asked = []
    for minute in range(2, 240):
        when = at(NOW) + timedelta(minutes=minute)
        if chase(when):
            asked.append(minute)
    assert asked == [2, 4, 8, 16, 32, 64, 124, 184]  # twice as long each time, then hourly
    assert (Payment.objects.get().next_query_at - when) <= LAST_WAIT
    alipay.pay(payment.number)
    assert chase(at("2026-03-10T14:32")) == 1
    assert received(account) == [yuan("88.80")]
    assert chase(at("2026-03-12T10:00")) == 0
    assert tell(alipay.notification(payment.number)) == (200, "success")
    assert received(account) == [yuan("88.80")]


def test_what_was_not_paid_is_closed_and_late_money_is_credited_all_the_same(alipay: StandIn) -> None:
    account = opened(balance=None)
    never, unpaid, late = (begun(account, amount, key=amount) for amount in ("1.00", "2.00", "3.00"))
    for payment in (unpaid, late):
        opened_by_payer(alipay, payment)
    chase(at(NOW) + WAITS - timedelta(seconds=1))
    assert set(Payment.objects.values_list("state", flat=True)) == {Payment.State.WAITING}
    chase(at(NOW) + WAITS + LAST_WAIT)
    assert set(Payment.objects.values_list("state", flat=True)) == {Payment.State.CLOSED}
    assert ("alipay.trade.close", never.number) in alipay.calls
    assert alipay.trades[unpaid.number]["trade_status"] == "TRADE_CLOSED"
    told = alipay.notification(late.number, trade_status="TRADE_SUCCESS")
    assert tell(told, "2026-03-20T10:00") == (200, "success")
    assert received(account) == [300]
    assert Payment.objects.get(pk=late.pk).state == Payment.State.PAID


def test_paid_between_the_question_and_the_closing(alipay: StandIn) -> None:
    account = opened(balance=None)
    payment = begun(account)
    opened_by_payer(alipay, payment)
    alipay.before_close = alipay.pay
    chase(at(NOW) + WAITS)
    assert Payment.objects.get().state == Payment.State.WAITING
    chase(at(NOW) + WAITS + LAST_WAIT)
    assert received(account) == [yuan("88.80")]


@pytest.mark.parametrize(
    "broken",
    [
        b"<html>502</html>",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"alipay_trade_query_response":{"code":"10000","trade_status":"TRADE_SUCCESS","total_amount":"88.80"}}',
        b'{"error_response":{"code":"40002","sub_code":"isv.invalid-app-id"},"sign":"x"}',
        b'{"alipay_trade_query_response":"paid","sign":"x"}',
    ],
)
def test_an_answer_that_proves_nothing_credits_nothing(alipay: StandIn, broken: bytes) -> None:
    account = opened(balance=None)
    payment = begun(account)
    opened_by_payer(alipay, payment)
    alipay.pay(payment.number)
    alipay.broken = broken
    chase(at("2026-03-10T10:01"))
    assert received(account) == []
    assert Payment.objects.get().trouble
    alipay.broken, alipay.signs_with = None, "stranger"
    chase(at("2026-03-10T10:03"))
    assert received(account) == []
    assert "signature" in Payment.objects.get().trouble
    alipay.signs_with = "alipay"
    chase(at("2026-03-10T10:10"))
    assert received(account) == [yuan("88.80")]


def test_a_gateway_that_is_away_keeps_nobody_waiting(settings: Settings, tmp_path: Path) -> None:
    settings.PAYMENTS = Payments(alipay=configured(tmp_path, "http://127.0.0.1:9/gateway.do"))
    account = opened(balance=None)
    for number in range(5):
        begun(account, key=str(number))
    assert chase(at("2026-03-10T10:02")) == 3  # three failures in a row, and the others wait for the next tick
    assert chase(at("2026-03-10T10:02")) == 2
    assert received(account) == []
    assert not Payment.objects.filter(trouble="", queries=1).exists()


def test_the_browsers_return_alone_credits_nothing(alipay: StandIn) -> None:
    account, client = customer(balance="1")
    payment = begun(account)
    opened_by_payer(alipay, payment)
    back = reverse("payment-return", args=[payment.number])
    claims = {"trade_status": "TRADE_SUCCESS", "total_amount": "88.80", "out_trade_no": payment.number}
    with frozen_clock("2026-03-10T10:00:10"):
        assert client.get(back, claims).status_code == 302
    assert Payment.objects.get().state == Payment.State.WAITING
    with frozen_clock("2026-03-10T10:00:12"):
        client.get(back, claims)  # at once again: nobody is asked
    assert len(alipay.calls) == 1
    alipay.pay(payment.number)
    with frozen_clock("2026-03-10T10:00:20"):
        client.get(back)  # but it makes us ask, and the answer counts
    assert Payment.objects.get().state == Payment.State.PAID
    account.refresh_from_db()
    assert account.balance == yuan("89.80")
    assert_books()


def test_cancelling_closes_it_at_the_gateway_unless_it_was_paid(alipay: StandIn) -> None:
    account, client = customer(balance="1")
    unpaid, paid = begun(account, key="a"), begun(account, "5.00", key="b")
    for payment in (unpaid, paid):
        opened_by_payer(alipay, payment)
    alipay.pay(paid.number)
    with frozen_clock():
        for payment in (unpaid, paid):
            client.post(f"/payments/{payment.number}/cancel/")
    assert alipay.trades[unpaid.number]["trade_status"] == "TRADE_CLOSED"
    assert Payment.objects.get(pk=unpaid.pk).state == Payment.State.CLOSED
    assert Payment.objects.get(pk=paid.pk).state == Payment.State.PAID
    account.refresh_from_db()
    assert account.balance == yuan("6.00")


def test_anothers_payment_is_not_found(alipay: StandIn) -> None:
    account, _ = customer()
    _, outsider = customer("charlie")
    payment = begun(account)
    for name in ("payment", "pay", "payment-return"):
        assert outsider.get(reverse(name, args=[payment.number])).status_code == 404
    assert outsider.post(reverse("cancel-payment", args=[payment.number])).status_code == 404
    assert payment.number not in text_of(outsider.get("/payments/"))
    assert Client().get(reverse("payment", args=[payment.number])).status_code == 302


def test_staff_recorded_it_by_hand(alipay: StandIn) -> None:
    account = opened(balance=None)
    right, wrong = begun(account, "5.00", key="a"), begun(account, "6.00", key="b")
    for payment in (right, wrong):
        opened_by_payer(alipay, payment)
    record_top_up(account_id=account.pk, amount=500, reference=f"payment:{right.number}", now=at(NOW))
    record_top_up(account_id=account.pk, amount=1, reference=f"payment:{wrong.number}", now=at(NOW))
    assert tell(alipay.pay(right.number)) == (200, "success")
    assert tell(alipay.pay(wrong.number)) == (400, "fail")
    assert received(account) == [500, 1]
    assert "used before" in Payment.objects.get(pk=wrong.pk).trouble
    right.refresh_from_db()
    for bare in (right.number, right.gateway_reference):
        with pytest.raises(ReferenceReused, match="payment:NUMBER"):
            record_top_up(account_id=account.pk, amount=500, reference=bare, now=at(NOW))
    assert received(account) == [500, 1], "under its bare number it would have been credited twice"


def test_a_crash_before_or_after_the_commit_leaves_one_credit(alipay: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    account = opened(balance=None)
    payment = begun(account)
    opened_by_payer(alipay, payment)
    notification = alipay.pay(payment.number)

    class Killed(BaseException):
        """As when the process dies there."""

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:  # the money is posted, not committed
        patch.setattr("accounts.ledger.AFTER_TOP_UP", [die])
        with pytest.raises(Killed):
            tell(notification)
    assert received(account) == []
    assert Payment.objects.get().state == Payment.State.WAITING
    with monkeypatch.context() as patch:  # committed, and never answered
        patch.setattr("accounts.payments.views.HttpResponse", die)
        with pytest.raises(Killed):
            tell(notification)
    assert tell(notification) == (200, "success")
    assert received(account) == [yuan("88.80")]


@pytest.mark.django_db(transaction=True)
def test_deliveries_and_a_query_at_the_same_instant_are_one_credit(alipay: StandIn) -> None:
    for number in range(15):
        account = opened(f"racer {number}", balance=None)
        payment = begun(account)
        opened_by_payer(alipay, payment)
        notification = alipay.pay(payment.number)
        deliver = lambda: Client().post(NOTIFY, notification).content  # noqa: B023, E731 - raced here
        outcomes = race(deliver, deliver, deliver, lambda: chase(at("2026-03-10T10:02")))
        assert outcomes[:3] == [b"success"] * 3, outcomes
        assert list(account.transfers.values_list("amount", flat=True)) == [yuan("88.80")]
        account.refresh_from_db()
        assert account.balance == yuan("88.80")
    assert_books()


@pytest.mark.parametrize("amount", ["0", "0.001", "-5", "1000000.01", "1e3", "ten", "", "٣", "5" * 30])
def test_amounts_that_cannot_be(alipay: StandIn, amount: str) -> None:
    _, client = customer()
    with frozen_clock():
        response = client.post("/top-up/", {"amount": amount, "key": "2c2b1a0e-7a35-4b8e-9d6a-b1e2f0c3d4e5"})
        assert 'class="errorlist"' in response.content.decode()
        assert client.get("/top-up/", {"amount": amount}).status_code == 200
    assert not Payment.objects.exists()


def test_what_the_top_up_page_says(alipay: StandIn) -> None:
    _, client = customer(balance="10")
    with frozen_clock():
        assert "510.00元" in said(client.get("/top-up/"))
        assert "10.01元" in said(client.get("/top-up/", {"amount": "0.01"}))
    debtor, client = customer("debtor", balance="10")
    record_adjustment(account_id=debtor.pk, amount=-yuan("81.79"), reason="test", reference="d", now=at(NOW))
    with frozen_clock():
        text = said(client.get("/top-up/"))
        assert "充71.79元即可结清欠费" in text
        assert "充值后余额28.21元" in text  # the smallest choice that clears it is suggested
        assert "仍欠费" in said(client.get("/top-up/", {"amount": "71.78"}))
        assert "充值后余额0.00元" in said(client.get("/top-up/", {"amount": "71.79"}))


def test_without_a_gateway_the_page_tells_how_to_transfer(settings: Settings) -> None:
    settings.PAYMENTS = Payments()
    account, client = customer()
    assert str(account.pk) in text_of(client.get("/top-up/"))
    assert client.post("/top-up/", {"amount": "5", "key": "2c2b1a0e-7a35-4b8e-9d6a-b1e2f0c3d4e5"}).status_code == 404
    assert client.post(NOTIFY, {}).status_code == 404


def test_a_sandbox_that_is_off_does_nothing(settings: Settings) -> None:
    account, client = customer(balance="1")
    payment = begun(account)
    assert payment.gateway == "sandbox"
    cashier = reverse("sandbox-cashier", args=[payment.number])
    assert client.get(cashier).status_code == 200
    genuine = Sandbox().pay(payment)
    settings.PAYMENTS = Payments()
    assert client.get(cashier).status_code == 404
    assert client.post(cashier, {"act": "pay"}).status_code == 404
    assert client.post("/payments/notify/sandbox/", genuine).status_code == 404
    with pytest.raises(SandboxOff):
        Sandbox()
    chase(at("2026-03-10T10:02"))
    assert "not in use" in Payment.objects.get().trouble
    assert not account.transfers.filter(reference__startswith="payment:").exists()
    settings.PAYMENTS = Payments(sandbox=True)
    assert client.post("/payments/notify/sandbox/", {"message": genuine["message"] + "x"}).status_code == 400
    assert customer("charlie")[1].get(cashier).status_code == 404
    assert client.post("/payments/notify/sandbox/", genuine).content == b"success"
    account.refresh_from_db()
    assert account.balance == yuan("89.80")


def test_pages_ask_the_database_few_questions(django_assert_max_num_queries: Any) -> None:
    account, client = customer()
    payment = begun(account)
    begin_checkout(
        account_id=account.pk,
        lines=[LineRequest("plate-10m", 1, 41_000_000)],
        key="k",
        gateway=gateways.active(),
        now=at(NOW),
    )
    for path in ("/top-up/", "/payments/", f"/payments/{payment.number}/", f"/checkout/{Checkout.objects.get().pk}/"):
        with frozen_clock(), django_assert_max_num_queries(11):
            assert client.get(path).status_code == 200


def test_keys_as_alipays_console_gives_them(alipay: StandIn, tmp_path: Path) -> None:
    config = configured(tmp_path, alipay.address)
    for file, pem in ((config.private_key_file, private_pem("app")), (config.public_key_file, public_pem("alipay"))):
        file.write_text("".join(line for line in pem.decode().splitlines() if "-----" not in line))
    account = opened(balance=None)
    payment = begun(account)
    gateway = Alipay(config)
    alipay.open(gateway.page(payment, return_url="http://b/r", notify_url="http://b/n", now=at(NOW)))
    alipay.pay(payment.number)
    assert gateway.query(payment.number, at(NOW)).amount == yuan("88.80")


def test_keys_that_cannot_be_right_are_refused(tmp_path: Path) -> None:
    config = configured(tmp_path, "https://gateway.invalid/")
    config.public_key_file.write_bytes(public_pem("app"))
    with pytest.raises(ImproperlyConfigured, match="own key"):
        Alipay(config)
    config.public_key_file.write_bytes(b"not a key")
    with pytest.raises(ImproperlyConfigured, match="ALIPAY_PUBLIC_KEY_FILE"):
        Alipay(config)
    config.public_key_file.write_bytes(base64.b64encode(b"not a key"))
    with pytest.raises(ImproperlyConfigured, match="ALIPAY_PUBLIC_KEY_FILE"):
        Alipay(config)
    config.public_key_file.write_bytes(public_pem("alipay"))
    config.private_key_file.write_bytes(public_pem("app"))
    with pytest.raises(ImproperlyConfigured, match="no private key"):
        Alipay(config)


def test_amounts_at_the_gateway_have_two_decimals() -> None:
    assert [format_decimal(fen, 2) for fen in (1, 100, 100_000_000)] == ["0.01", "1.00", "1000000.00"]
