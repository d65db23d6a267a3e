"""Every page on a phone: accessible, and a customer's in both languages, light and dark, not too wide, no complaint."""

from collections.abc import Iterator

import pytest
from django.conf import settings
from django.db import transaction
from django.template.loader import render_to_string
from django.test import Client
from django.urls import reverse
from django.utils import timezone, translation
from playwright.sync_api import Browser, BrowserContext, Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts.payments.paying import start_payment
from accounts.payments.sandbox import Sandbox
from iss_billing.roles import ADMINISTRATOR
from packs.proposal_models import PriceProposal
from settlement.price_runs import do_shard, rehearse
from tests.axe import assert_accessible, with_axe
from tests.conftest import Clock
from tests.test_outsiders import FOR_ANYONE, ROUTES, SHOWN, Alices
from tests.test_pages import lived_in, paths
from tests.test_staff_roles import LOOKED_AT, MATRIX, furnished, signed_in
from tests.test_staff_roles import address as address_of
from tests.worlds import at, bills_of

pytestmark = pytest.mark.django_db(transaction=True)

FULL = ("overview", "packs", "bills", "ledger", "inbox", "usage")
"""Pages that a fuller account shows more on."""
DRILLED = ["/usage/ai.pet/", "/usage/bandwidth.down/", "/usage/bandwidth.down/2026-03-02/"]
LOOKS = [("zh-CN", "light"), ("en-GB", "dark")]
ACCIDENTS = ("429.html", "500.html")
"""Pages that only an accident shows."""
EXPECTED = ("404 (Not Found)", "409 (Conflict)", "410 (Gone)")
"""What the browser says of a page that says no, and says why."""


@pytest.fixture
def phone(browser: Browser, live_server: LiveServer, request: pytest.FixtureRequest) -> Iterator[BrowserContext]:
    """A phone of 390 px, in the language and colours of the test."""
    language, colours = request.param
    context = browser.new_context(
        base_url=live_server.url,
        locale=language,
        color_scheme=colours,
        timezone_id="Asia/Shanghai",
        viewport={"width": 390, "height": 844},
    )
    context.set_default_timeout(15_000)
    with_axe(context)
    yield context
    context.close()


def enter(context: BrowserContext, site: LiveServer, client: Client) -> None:
    """Sign in as who is signed in to a test client."""
    name = settings.SESSION_COOKIE_NAME
    context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": site.url}])


def complaints_of(page: Page) -> list[str]:
    """What a page's console complains of from now on, its content security policy's refusals among it."""
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    return complaints


def assert_content(address: str, complaints: list[str]) -> None:
    """Nothing in the console but what the browser says of an answer that is meant."""
    said = [text for text in complaints if not text.strip().endswith(EXPECTED)]
    assert not said, (address, said)


def look_over(page: Page, address: str, complaints: list[str]) -> None:
    """One page: whole on the screen, accessible, and nothing in the console."""
    complaints.clear()
    page.goto(address)
    wide = page.evaluate(
        """() => document.documentElement.scrollWidth > innerWidth ? [...document.querySelectorAll("main *")]
          .filter((one) => one.getBoundingClientRect().right > innerWidth + 1).slice(0, 5)
          .map((one) => one.outerHTML.slice(0, 160)) : null"""
    )
    assert wide is None, f"{address} is wider than the screen: {wide}"
    assert_accessible(page)
    assert_content(address, complaints)


def serve(page: Page, template: str) -> None:
    """Have the browser find a page under its template's name, in its language."""
    with translation.override("zh-hans" if page.evaluate("navigator.language") == "zh-CN" else "en"):
        body = render_to_string(template, {"minutes": 3, "locked_out": True})
    page.route(f"**/{template}", lambda route: route.fulfill(body=body, content_type="text/html"))


@pytest.mark.parametrize("phone", LOOKS, indirect=True, ids=[" ".join(look) for look in LOOKS])
def test_every_page_on_a_phone(phone: BrowserContext, live_server: LiveServer, clock: Clock) -> None:
    page = phone.new_page()
    complaints = complaints_of(page)
    wrong: list[str] = []

    def look(addresses: list[str]) -> None:
        for address in addresses:
            try:
                look_over(page, address, complaints)
            except AssertionError as error:
                wrong.append(str(error))

    alice = Alices()
    mary, marys = lived_in("mary")
    clock.move(alice.seen)
    look([*(reverse(name) for name in FOR_ANYONE), "/nothing-here/", *alice.letters()])
    for template in ACCIDENTS:
        serve(page, template)
        look([f"/{template}"])
    enter(phone, live_server, alice.browser())
    look([alice.address(name) for name in SHOWN])
    clock.move(at("2026-03-10T10:00"))
    assert mary.user is not None
    marys.force_login(mary.user)
    enter(phone, live_server, marys)
    plain = {reverse(name) for name in SHOWN if name not in FULL and not ROUTES[name].pattern.converters}
    payment = start_payment(account_id=mary.pk, amount=100, gateway=Sandbox(), key="phone", now=timezone.now())
    own = [reverse("payment", args=[payment.number]), "/usage/", *DRILLED]
    look([path for path in [*paths(mary), *own] if path not in plain])
    assert not wrong, "\n\n".join(wrong)


NO_PAGES = {"jsi18n", "packs_pricelist_export", "settlement_pricerun_accounts"}
"""Scripts and files."""
DJANGOS = {
    # its own pages as they come
    *("password_change", "password_change_done", "second-factor", "second-factor-codes", "app_list"),
    *("auth_group_changelist", "auth_group_history", "settlement_alarm_change", "settlement_usagerefusal_change"),
    *("accounts_transfer_change", "accounts_payment_change", "accounts_endpoint_change", "accounts_delivery_change"),
    *("packs_checkout_change", "packs_packtype_change"),
    *(f"{model}_changelist" for model in LOOKED_AT),
} - {"packs_priceproposal_changelist", "settlement_settlementrun_changelist", "accounts_account_changelist"}
STAFFS = {
    *(name for name, (who, _posts) in MATRIX.items() if ADMINISTRATOR in who),
    *(f"{model}_{page}" for model in LOOKED_AT for page in ("change", "changelist")),
} - NO_PAGES


@pytest.mark.parametrize("phone", [("zh-CN", "dark")], indirect=True, ids=["zh-CN dark"])
def test_every_page_of_staff_on_a_phone(phone: BrowserContext, live_server: LiveServer, clock: Clock) -> None:
    alice = Alices()
    clock.move(alice.seen)
    with transaction.atomic():
        account = furnished(alice.account)
    run = rehearse(proposal_id=PriceProposal.objects.latest("pk").pk, now=alice.seen, started_by=None)
    for shard in run.shards.all():
        do_shard(shard.pk, alice.seen)
    enter(phone, live_server, signed_in(ADMINISTRATOR))
    page = phone.new_page()
    complaints = complaints_of(page)
    wrong: list[str] = []
    for name in sorted(STAFFS):
        complaints.clear()
        answer = page.goto(address_of(f"admin:{name}", account))
        try:
            assert answer is not None
            assert answer.status == 200, (name, answer.status)
            assert_content(name, complaints)
            if name not in DJANGOS:
                assert_accessible(page)
        except AssertionError as error:
            wrong.append(str(error))
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize("start", ["/sign-in/", "/admin/login/"])
def test_a_page_that_offends_its_policy_is_seen(browser: Browser, live_server: LiveServer, start: str) -> None:
    page = browser.new_page(base_url=live_server.url)
    complaints = complaints_of(page)
    page.goto(start)
    assert_content(start, complaints)
    with page.expect_console_message():
        page.evaluate("document.body.setAttribute('style', 'color: red')")
    with pytest.raises(AssertionError, match="Content Security Policy"):
        assert_content(start, complaints)
    page.close()


def test_charts_are_tables_without_script(browser: Browser, live_server: LiveServer, clock: Clock) -> None:
    """Overview, usage, packs, bill and buy are read and used with scripts turned off."""
    mary, marys = lived_in("mary")
    clock.move(at("2026-03-10T10:00"))
    assert mary.user is not None
    marys.force_login(mary.user)
    context = browser.new_context(base_url=live_server.url, locale="zh-CN", java_script_enabled=False)
    enter(context, live_server, marys)
    page = context.new_page()
    bill = bills_of(mary)[0]
    charts = 0
    for address in ("/", "/usage/", *DRILLED, "/packs/", "/packs/types/pet/", reverse("bill", args=[bill.pk]), "/buy/"):
        page.goto(address)
        for chart in page.locator("[data-chart]").all():
            charts += 1
            expect(chart).to_be_hidden()
            expect(chart.locator("xpath=ancestor::*[.//table][1]").locator("table").first).to_be_visible()
    assert charts >= 5
    page.get_by_role("button", name="加入购物车").first.click()
    expect(page.get_by_role("heading", name="购物车")).to_be_visible()
    context.close()
