"""Every address of the URL conf, asked by those who may not: nobody, a wrong key, another account, a wrong role."""

from collections.abc import Iterator
from copy import deepcopy
from datetime import date
from typing import Any

import pytest
import time_machine
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone

from accounts.keys import make_key
from accounts.letters import parts_of_link, token_of
from accounts.logins import ask_contact, ask_email, ask_password, ask_sign_up
from accounts.models import Account, Letter, User
from accounts.opening import open_account
from accounts.payments import gateway as gateways
from packs.checkout import begin_checkout
from packs.models import Checkout, Order
from packs.orders import LineRequest
from tests.api_client import problem
from tests.conftest import made_once
from tests.hooks import listen
from tests.worlds import at, buy, night, top_up, use

pytestmark = pytest.mark.django_db

OPEN = {"api-catalogue", "api-schema"}
"""API calls for anyone."""
PLATFORM = {"api-entitlements", "api-entitlement"}
"""API calls of the platform; `api-usage` is the platform's to POST and the customer's to GET."""
OPEN_PAGES = {
    "healthz",
    "readyz",
    "metrics",
    "sign-up",
    "sign-up-sent",
    "sign-up-confirm",
    "confirm-contact",
    "sign-in",
    "sign-out",
    "password-reset",
    "password-reset-sent",
    "password-reset-confirm",
    "payment-notify",
    "preferences",
    "tariff",
    "api-reference",
    "favicon.ico",
}
"""Pages for anyone."""
FOR_ANYONE = ("sign-in", "sign-up", "password-reset", "password-reset-sent", "tariff", "api-reference")
"""Those of them that are looked at, without anything that came by mail."""
BY_MAIL = ("sign-up-confirm", "password-reset-confirm", "confirm-contact")
"""Those of them that are reached by a mail's link alone."""
EITHERS = {"api-webhooks", "api-webhook", "api-webhook-rotate", "api-webhook-enable", "api-deliveries", "api-resend"}
"""API calls of customers and the platform, each for its own."""
EVERYBODYS = {"item-usage", "day-usage", "day-slots"}
"""Pages whose address names a thing of nobody's: everyone sees their own there."""
OWN_FIELDS = ("delivery_pk", "act", "number", "gateway", "token", "code", "day", "kind")
"""Fields of routes that name one thing wherever they stand."""
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
ADMIN_OPEN = {"login", "logout", "jsi18n"}


def walk(patterns: list[Any], prefix: str = "", space: str = "") -> Iterator[tuple[str, URLPattern]]:
    """Every pattern with its name, in the namespace it is in; what has no name goes by its route."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            inner = f"{space}{pattern.namespace}:" if pattern.namespace else space
            yield from walk(pattern.url_patterns, prefix + str(pattern.pattern), inner)
        else:
            name = f"{space}{pattern.name}" if pattern.name else prefix + str(pattern.pattern)
            yield name, pattern


ROUTES = dict(walk(get_resolver().url_patterns))
API = sorted(name for name in ROUTES if name.startswith("api-") and name not in OPEN | OPEN_PAGES)
ADMIN = sorted(name for name in ROUTES if name.startswith("admin:"))
PAGES = sorted(name for name in ROUTES if name not in {*API, *ADMIN, *OPEN, *OPEN_PAGES} and "/" not in name)

ACTS = {
    "act-on-webhook",
    "begin-checkout",
    "cancel-checkout",
    "cancel-email",
    "cancel-payment",
    "change-cart",
    "pay-checkout",
    "read-messages",
    "resend-message",
}
"""Pages' addresses that take a form and show nothing."""
FILES = {"bill-recheck", "bill-slots", "day-slots", "export-file", "monthly-statement"}
"""Pages' addresses that answer with a file."""
PASSING = {"pay", "payment", "payment-return"}
"""Pages' addresses that lead on at once: to the cashier, to the purchase."""
SHOWN = [name for name in PAGES if name not in {*ACTS, *FILES, *PASSING}]
"""What a signed-in customer looks at: the pages that are checked for every quality of a page."""


class Alices:
    """An account with one of everything, and the addresses of its things."""

    def __init__(self) -> None:
        self.account = open_account(name="alice", now=at("2026-03-01T00:00"), email="alice@example.com", password="x")
        top_up(self.account, "1000", "2026-03-01T00:00")
        [pack] = buy(self.account, "pet-100k", "2026-03-01T10:00")
        use(self.account, "ai.pet", 400, "2026-03-01T11:00")
        night("2026-03-02T02:00")
        key, self.key = make_key(account_id=self.account.pk, name="alice", now=timezone.now())
        order, bill = Order.objects.get(account=self.account), self.account.bills.get()
        self.things: dict[str, Any] = {
            "order": order.pk,
            "pack": pack.pk,
            "refund": pack.pk,
            "bill": bill.pk,
            "key": key.pk,
        }
        endpoint, _ = listen(self.account, "https://example.com/hook")
        top_up(self.account, "1", "2026-03-02T10:00")
        delivery = endpoint.deliveries.get()
        self.things |= {"webhook": endpoint.pk, "deliveries": endpoint.pk, "resend": endpoint.pk}
        self.things |= {"delivery_pk": delivery.pk, "act": "rotate"}
        lines = [LineRequest("pet-100k", 10, 25_000)]
        gateway, now = gateways.active(), at("2026-03-02T11:00")
        checkout = begin_checkout(account_id=self.account.pk, lines=lines, key="short", gateway=gateway, now=now)
        assert isinstance(checkout, Checkout)
        assert checkout.payment is not None
        assert self.account.user is not None
        ask_email(user=self.account.user, email="new@example.com", language="en", now=timezone.now())
        self.things |= {"token": token_of(Letter.objects.get(to="new@example.com"))}
        self.things |= {"checkout": checkout.pk, "number": checkout.payment.number, "gateway": "sandbox"}
        self.things |= {"code": "bandwidth.down", "day": date(2026, 3, 2), "kind": "pet"}

    seen = at("2026-03-02T11:30")
    """When her pages show the most: a purchase waits for its payment, a new address for its confirmation."""

    def browser(self) -> Client:
        """A browser that is signed in as her, with something in its cart."""
        assert self.account.user is not None
        with time_machine.travel(self.seen, tick=False):
            client = Client()
            client.force_login(self.account.user)
            client.post(reverse("change-cart"), {"add": "pet-100k"})
        return client

    def address(self, name: str) -> str:
        """The address of a route, with her own ids in it."""
        fields = ROUTES[name].pattern.converters
        return reverse(name, kwargs={field: self.thing(name, field) for field in fields})

    def letters(self) -> list[str]:
        """The addresses that mails lead to: a new account, a new password, an address for bills; and a link used up."""
        user = self.account.user
        assert user is not None
        found, now = [], timezone.now()
        ask_sign_up(name="carol", email="carol@example.com", language="en", now=now)
        ask_password(email=user.email, language="en", now=now)
        ask_contact(user=user, email="books@example.com", language="en", now=now)
        kinds = (Letter.Kind.SIGN_UP, Letter.Kind.PASSWORD, Letter.Kind.CONTACT)
        for name, kind in zip(BY_MAIL, kinds, strict=True):
            found.append(reverse(name, args=parts_of_link(Letter.objects.filter(kind=kind).latest("pk"))))
        return [*found, reverse("sign-up-confirm", args=["nonsense"])]

    def thing(self, name: str, field: str) -> Any:
        """Which of her things an id in a route names; a new route must be told of here."""
        if field == "account_id":
            return self.account.pk
        if (name, field) == ("queue", "code"):
            return "pet"  # a type of packs; elsewhere a code is an item's
        if field in OWN_FIELDS:
            return self.things[field]
        words = name.removeprefix("api-").split("-")
        found = [self.things[word] for word in words if word in self.things and word not in OWN_FIELDS]
        assert found, f"name a thing of alice's for <{field}> of the route {name}"
        return found[0]


alice_of_all = made_once(Alices)


@pytest.fixture
def alice(alice_of_all: Alices) -> Alices:
    return deepcopy(alice_of_all)


def account_of(name: str) -> tuple[Account, User]:
    account = open_account(name=name, now=at("2026-03-01T00:00"), email=f"{name}@example.com", password="x")
    assert account.user is not None
    return account, account.user


def refused(response: Any) -> tuple[int, str]:
    return response.status_code, problem(response)["code"]


def with_key(key: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {key}"})


def test_the_walk_meets_the_whole_url_conf() -> None:
    assert len(API) >= 15
    assert len(PAGES) >= 18
    assert len(ADMIN) >= 60
    nameless = {name for name in ROUTES if "/" in name and "<path:object_id>" not in name}
    assert nameless == {"api/v1/", "admin/(?P<url>.*)$"}, "a new route has a name"
    assert set(API) >= PLATFORM
    assert ROUTES.keys() >= OPEN


def test_every_address_of_a_page_is_shown_or_said_not_to_be(alice: Alices) -> None:
    """So that SHOWN is every page: what takes forms, sends files or leads on does that and shows nothing."""
    browser = alice.browser()
    for name in PAGES:
        with time_machine.travel(alice.seen, tick=False):
            response = browser.get(alice.address(name))
        shows = response.status_code in (200, 409) and response["Content-Type"].startswith("text/html")
        assert shows == (name in SHOWN), (name, response.status_code)
        assert (response.status_code == 405) == (name in ACTS), name
        assert (response.status_code == 302) == (name in PASSING), name


@pytest.mark.parametrize("name", API)
def test_the_api_tells_nobody_and_a_wrong_key_nothing(name: str, alice: Alices) -> None:
    address = alice.address(name)
    for method in METHODS:
        for client in (Client(), with_key("nonsense"), with_key(alice.key + "x"), with_key(alice.key[:-1])):
            assert refused(client.generic(method, address)) == (401, "not_authenticated"), (method, address)


@pytest.mark.parametrize("name", API)
def test_the_api_asks_for_the_right_role(name: str, alice: Alices) -> None:
    platform = make_key(account_id=None, name="", now=timezone.now())[1]
    staff = Client()
    staff.force_login(User.objects.create_superuser("staff@example.com", "x"))
    address = alice.address(name)
    if name in EITHERS:
        assert refused(staff.get(address)) == (403, "wrong_role")
        return
    for method in METHODS:
        of_platform = name in PLATFORM or (name, method) == ("api-usage", "POST")
        for client in (with_key(alice.key if of_platform else platform), staff):
            assert refused(client.generic(method, address)) == (403, "wrong_role"), (method, address)


@pytest.mark.parametrize("name", [name for name in API if ROUTES[name].pattern.converters and name not in PLATFORM])
def test_the_api_has_not_what_is_anothers(name: str, alice: Alices) -> None:
    bob, login = account_of("bob")
    browser = Client()
    browser.force_login(login)
    address = alice.address(name)
    for client in (with_key(make_key(account_id=bob.pk, name="", now=timezone.now())[1]), browser):
        answers = {method: client.generic(method, address).status_code for method in METHODS}
        assert set(answers.values()) <= {404, 405}, (address, answers)
        assert 404 in answers.values(), (address, answers)
    hers = {method: with_key(alice.key).generic(method, address).status_code for method in METHODS}
    assert 404 not in hers.values(), (address, hers)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_sends_nobody_to_sign_in(name: str, alice: Alices) -> None:
    address = alice.address(name)
    for method in ("GET", "POST"):
        for client in (Client(), with_key(alice.key)):
            response = client.generic(method, address)
            assert (response.status_code, response["Location"]) == (302, f"{reverse('sign-in')}?next={address}")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_for_logins_with_an_account(name: str, alice: Alices) -> None:
    staff = Client()
    staff.force_login(User.objects.create_superuser("staff@example.com", "x"))
    for method in ("GET", "POST"):
        assert staff.generic(method, alice.address(name)).status_code == 403


@pytest.mark.parametrize("name", [name for name in PAGES if ROUTES[name].pattern.converters and name not in EVERYBODYS])
def test_a_page_of_anothers_is_not_there(name: str, alice: Alices) -> None:
    _, login = account_of("bob")
    browser = Client()
    browser.force_login(login)
    answers = {method: browser.generic(method, alice.address(name)).status_code for method in ("GET", "POST")}
    assert set(answers.values()) <= {404, 405}, answers
    assert answers["GET"] == 404 or answers["POST"] == 404


@pytest.mark.parametrize("name", ADMIN)
def test_the_admin_lets_only_staff_in(name: str, alice: Alices) -> None:
    short = name.partition(":")[2]
    if short in ADMIN_OPEN:
        return
    fields = ROUTES[name].pattern.converters | dict.fromkeys(ROUTES[name].pattern.regex.groupindex)
    known = {"app_label": "accounts", "url": "nothing/", "content_type_id": 1}
    address = reverse(name, kwargs={field: known.get(field, 1) for field in fields})
    _, login = account_of("bob")
    customer = Client()
    customer.force_login(login)
    for client in (Client(), customer, with_key(alice.key)):
        for method in ("GET", "POST"):
            response = client.generic(method, address)
            assert response.status_code == 302, (method, address, response.status_code)
            assert response["Location"].startswith(reverse("admin:login")), address


def test_staff_without_rights_may_not_do_what_needs_them(alice: Alices) -> None:
    desk = Client()
    desk.force_login(User.objects.create_user("clerk@example.com", "x", is_staff=True))
    for name in ADMIN:
        model = name.partition(":")[2].rpartition("_")[2]
        fields = ROUTES[name].pattern.converters
        if not name.startswith(("admin:accounts_", "admin:packs_", "admin:settlement_")) or model == "changelist":
            continue
        address = reverse(name, kwargs=dict.fromkeys(fields, alice.account.pk))
        for method in ("GET", "POST"):
            status = desk.generic(method, address).status_code
            assert status in (403, 404) or (status == 302 and model in ("change", "history", "delete")), (name, status)
