"""What an attacker would try: nothing moves, nothing leaks, and every answer says what was wrong with the request."""

import hmac
import json
from copy import deepcopy
from typing import Any

import pytest
from django.core import mail
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from accounts import keys
from accounts.keys import make_key
from accounts.models import Account, ApiKey, User
from accounts.tasks import deliver_notices
from packs.models import Order
from settlement.models import UsageEvent
from tests.conftest import made_once
from tests.test_outsiders import ADMIN, OPEN_PAGES, PAGES, ROUTES, Alices
from tests.test_staff_roles import AT_ONCE, furnished
from tests.test_staff_roles import address as admin_address
from tests.worlds import assert_books

pytestmark = pytest.mark.django_db


alice_of_all = made_once(Alices)


@pytest.fixture
def alice(alice_of_all: Alices) -> Alices:
    return deepcopy(alice_of_all)


def with_key(alice: Alices) -> Client:
    return Client(headers={"Authorization": f"Bearer {alice.key}"})


def state(alice: Alices) -> tuple[Any, ...]:
    """What an attack must not move."""
    account = Account.objects.get(pk=alice.account.pk)
    money = (account.balance, account.carry, account.opened_at, account.name, account.user_id)
    return money, account.packs.count(), account.transfers.count(), Order.objects.count(), ApiKey.objects.count()


# ── bodies ───────────────────────────────────────────────────────────────────────────────────────────

QUANTITIES = [
    "-1",
    "0",
    "1.5",
    "1.0",
    "1e2",
    "NaN",
    "Infinity",
    '"1"',
    '"١"',
    "true",
    "null",
    "[]",
    "1" + "0" * 30,
    "1001",
]


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_an_order_takes_no_quantity_but_a_number_of_packs(quantity: str, alice: Alices) -> None:
    before = state(alice)
    body = f'{{"lines": [{{"sku": "pet-100k", "quantity": {quantity}}}]}}'
    answer = with_key(alice).post(
        "/api/v1/orders/", body, content_type="application/json", headers={"Idempotency-Key": "k"}
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    assert state(alice) == before


@pytest.mark.parametrize("quantity", [one for one in QUANTITIES if one not in ("0", "1001")] + ["1000000000000001"])
def test_usage_takes_no_quantity_but_an_integer_in_bounds(quantity: str, alice: Alices) -> None:
    platform = make_key(account_id=None, name="", now=timezone.now())[1]
    now, before = timezone.now().isoformat(), UsageEvent.objects.count()
    body = f"""[{{"specversion": "1.0", "type": "iss.usage", "id": "a", "source": "/edge",
        "subject": "{alice.account.pk}", "time": "{now}", "data": {{"item": "ai.pet", "quantity": {quantity}}}}}]"""
    answer = Client(headers={"Authorization": f"Bearer {platform}"}).post(
        "/api/v1/usage/", body, content_type="application/cloudevents-batch+json"
    )
    if answer.status_code == 200:
        assert [one["code"] for one in answer.json()["rejected"]] in (["invalid_quantity"], ["invalid_event"])
    else:  # NaN and Infinity are no JSON
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    assert UsageEvent.objects.count() == before


@pytest.mark.parametrize(
    "amount", ["-5", "0", "0.001", "1e9", "NaN", "Infinity", "٥", "５", "1,000", " ", "9" * 40, "5\x00"]
)
def test_a_top_up_takes_no_amount_but_yuan_and_fen(amount: str, alice: Alices) -> None:
    browser, before = Client(), state(alice)
    assert alice.account.user is not None
    browser.force_login(alice.account.user)
    payments = alice.account.payments.count()
    answer = browser.post("/top-up/", {"amount": amount, "key": "k"})
    assert answer.status_code in (200, 400, 422), answer.status_code
    assert (alice.account.payments.count(), state(alice)) == (payments, before)


def test_what_a_body_says_beyond_what_is_asked_changes_nothing(alice: Alices) -> None:
    """Mass assignment: balances, owners and prices are nobody's to send."""
    client, bob = with_key(alice), User.objects.create_user("bob@example.com", "x")
    more = {
        "account": bob.pk, "account_id": "1", "user": bob.pk, "balance": "999", "carry": "1", "price": "0.01",
        "total": "0.01", "status": "active", "opened_at": "2020-01-01", "is_staff": True, "is_superuser": True,
    }  # fmt: skip
    line = {"sku": "pet-100k", "quantity": 1} | more
    answer = client.post(
        "/api/v1/orders/",
        json.dumps({"lines": [line]} | more),
        content_type="application/json",
        headers={"Idempotency-Key": "k"},
    )
    if answer.status_code == 201:
        assert answer.json()["total"]["amount"] == "250.00"
    else:
        assert answer.json()["code"] == "invalid"
    client.put(
        "/api/v1/account/billing-mode/", json.dumps({"mode": "bandwidth"} | more), content_type="application/json"
    )
    account = Account.objects.get(pk=alice.account.pk)
    assert (account.user_id, account.opened_at) == (alice.account.user_id, alice.account.opened_at)
    assert not User.objects.filter(is_staff=True).exists()
    browser = Client()
    assert alice.account.user is not None
    browser.force_login(alice.account.user)
    for name in PAGES:
        browser.post(alice.address(name), {key: str(value) for key, value in more.items()})
    alice.account.user.refresh_from_db()
    assert not alice.account.user.is_staff
    assert not alice.account.user.is_superuser
    assert_books()


def test_json_that_is_nested_beyond_reason_is_no_json(alice: Alices) -> None:
    for path, method in (
        ("/api/v1/orders/", "POST"),
        ("/api/v1/webhooks/", "POST"),
        ("/api/v1/account/billing-mode/", "PUT"),
    ):
        answer = with_key(alice).generic(
            method, path, b"[" * 100_000, content_type="application/json", headers={"Idempotency-Key": "k"}
        )
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid"), path


def test_what_the_admins_lists_cannot_read_is_a_bad_request(alice: Alices) -> None:
    staff = Client()
    staff.force_login(User.objects.create_superuser("root@example.com", "x"))
    for path in (
        "/admin/accounts/endpoint/?events=%EF%BF%BD",
        "/admin/accounts/account/?name=%00",
        "/admin/packs/sku/1/delete/?_to_field=",
        "/admin/packs/sku/1/change/?_to_field=",
    ):
        assert staff.get(path).status_code in (200, 302, 400, 403, 404), path
    assert staff.get("/admin/accounts/endpoint/?events=%EF%BF%BD").status_code == 400


# ── other sites ──────────────────────────────────────────────────────────────────────────────────────


def test_no_page_takes_a_form_of_another_site(alice: Alices) -> None:
    """Every page, the admin's too, asks for the token of a form."""
    browser, staff = Client(enforce_csrf_checks=True), Client(enforce_csrf_checks=True)
    assert alice.account.user is not None
    furnished(alice.account)
    browser.force_login(alice.account.user)
    staff.force_login(User.objects.create_superuser("root@example.com", "x"))
    before = state(alice)
    signed = {"payment-notify"}  # what a gateway sends carries its signature instead
    for name in sorted({*PAGES, *OPEN_PAGES} - signed):
        if not ROUTES[name].name or name.startswith("api-") or name in {"healthz", "readyz", "metrics"}:
            continue
        if name in PAGES:
            url = alice.address(name)
        elif ROUTES[name].pattern.converters:
            url = reverse(name, kwargs=dict.fromkeys(ROUTES[name].pattern.converters, "nonsense"))
        else:
            url = reverse(name)
        assert browser.post(url, {"reason": "x"}).status_code in (403, 405), url
    for full in ADMIN:
        name = full.partition(":")[2]
        url = reverse(full) if name in ("login", "logout") else admin_address(full, alice.account)
        assert staff.post(url, {"reason": "x"}).status_code == 403, url
    assert AT_ONCE
    assert state(alice) == before


@pytest.mark.parametrize(
    "place",
    [
        "//evil.example/",
        "https://evil.example/",
        "/\\evil.example",
        "javascript:alert(1)",
        "a:b",
        "\thttps://evil.example",
    ],
)
def test_nobody_is_sent_to_another_site(place: str, alice: Alices) -> None:
    user = alice.account.user
    assert user is not None
    user.set_password("a long enough password")
    user.save()
    root = User.objects.create_superuser("root@example.com", "a long enough password")
    for address, email in (("/sign-in/", user.email), (reverse("admin:login"), root.email)):
        browser = Client()
        answer = browser.post(
            f"{address}?next={place}", {"username": email, "password": "a long enough password", "next": place}
        )
        assert answer.status_code == 302, address
        assert answer["Location"].startswith("/"), answer["Location"]
        assert not answer["Location"].startswith(("//", "/\\")), answer["Location"]
    browser = Client()
    browser.force_login(user)
    for name in PAGES:
        answer = browser.post(alice.address(name), {"next": place})
        assert "evil" not in answer.headers.get("Location", ""), name


@override_settings(DEBUG=False, ALLOWED_HOSTS=["localhost"], SITE_URL="https://billing.example.com")
def test_a_host_that_somebody_writes_into_a_request_is_not_believed(alice: Alices) -> None:
    assert Client().get("/sign-in/", headers={"Host": "evil.example"}).status_code == 400
    client = Client(headers={"Host": "localhost", "X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"})
    assert "evil" not in client.get("/api/reference/").content.decode()
    user = alice.account.user
    assert user is not None
    client.post("/password-reset/", {"email": user.email})
    deliver_notices()
    from accounts.tasks import deliver_letters

    deliver_letters()
    bodies = " ".join(str(message.body) for message in mail.outbox)
    assert "billing.example.com/password-reset/" in bodies
    assert "evil" not in bodies


def test_a_line_break_makes_no_header(alice: Alices) -> None:
    browser = Client()
    assert alice.account.user is not None
    browser.force_login(alice.account.user)
    for name in PAGES:
        for method in (browser.get, browser.post):
            answer = method(
                alice.address(name), {"next": "/\r\nX-Evil: 1", "language": "en\r\nX-Evil: 1", "q": "\r\nX-Evil: 1"}
            )
            assert not answer.has_header("X-Evil"), name


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_is_compared_in_constant_time_whether_it_is_known_or_not(
    alice: Alices, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same steps for a wrong secret and for an unknown prefix: one look-up, one comparison of equal lengths."""
    compared: list[tuple[int, int]] = []

    def compare(left: Any, right: Any) -> bool:
        compared.append((len(left), len(right)))
        return hmac.compare_digest(left, right)

    class Spied:
        compare_digest = staticmethod(compare)

    monkeypatch.setattr(keys, "hmac", Spied)
    prefix, _, secret = alice.key.partition(".")
    for wrong in (f"{prefix}.{secret[:-1]}x", f"ck_000000000000.{secret}", f"{prefix}.", "ck_000000000000.x"):
        compared.clear()
        assert keys.find_key(wrong, timezone.now()) is None
        assert len(compared) == 1, wrong
        assert compared[0][0] == compared[0][1], wrong
    assert not ApiKey.objects.filter(digest__contains=secret).exists()
