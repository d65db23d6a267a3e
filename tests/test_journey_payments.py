"""Paying in a real browser, through the sandbox's cashier: topping up, the short purchase, a lost notification."""

import re

import pytest
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts.ledger import record_adjustment
from accounts.models import Account, Payment
from accounts.payments.chasing import chase
from packs.models import Checkout, Order
from tests.conftest import Clock
from tests.mailbox import sign_up_in
from tests.test_journey import PASSWORD
from tests.worlds import assert_books, at, top_up, yuan

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def site_url(live_server: LiveServer, settings: object) -> None:
    """The address that payers come back to."""
    settings.SITE_URL = live_server.url  # type: ignore[attr-defined]


def signed_up(page: Page, clock: Clock, balance: str | None = None) -> Account:
    clock.move(at("2026-03-10T10:00"))
    sign_up_in(page, "云岚连锁", "owner@example.com", PASSWORD)
    expect(page.locator(".figures")).to_contain_text("0.00元")
    account = Account.objects.get(user__email="owner@example.com")
    if balance:
        top_up(account, balance, "2026-03-10T10:00")
    return account


def test_topping_up_by_keyboard(page: Page, live_server: LiveServer, clock: Clock) -> None:
    account = signed_up(page, clock)
    page.goto("/top-up/")
    expect(page.locator("#after")).to_contain_text("500.00元")
    page.get_by_role("link", name=re.compile(r"^1,000\s*元")).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#after")).to_contain_text("1,000.00元")
    expect(page.get_by_label("金额（元）")).to_have_value("1000")
    page.get_by_label("金额（元）").fill("20.5")
    expect(page.locator("#after")).to_contain_text("20.50元")
    page.get_by_label("金额（元）").fill("0")
    page.keyboard.press("Enter")
    expect(page.locator(".errorlist")).to_contain_text("单笔 0.01 元 至 1,000,000.00 元")
    page.get_by_label("金额（元）").fill("1,200.50")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="为充值付款")).to_be_visible()
    waiting = page.url
    page.get_by_role("link", name=re.compile("付 1,200.50 元")).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="沙箱收银台")).to_be_visible()
    page.get_by_role("button", name="付 1,200.50 元").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="款项已到账")).to_be_visible()
    assert page.url == waiting
    expect(page.locator("main")).to_contain_text("1,200.50元")
    page.goto("/payments/")
    expect(page.locator("tbody tr")).to_contain_text("已到账")
    account.refresh_from_db()
    assert account.balance == yuan("1200.50")
    assert_books()


def test_the_waiting_page_hears_of_a_lost_notification(page: Page, live_server: LiveServer, clock: Clock) -> None:
    account = signed_up(page, clock)
    page.goto("/top-up/")
    page.get_by_role("button", name="去付款").click()
    page.get_by_role("link", name=re.compile("付 500.00 元")).click()
    page.get_by_role("button", name="付款，但丢失通知").click()
    expect(page.get_by_role("heading", name="为充值付款")).to_be_visible()
    assert not account.transfers.exists()
    assert chase(at("2026-03-10T10:02")) == 1
    expect(page.get_by_role("heading", name="款项已到账")).to_be_visible()  # without reloading
    assert_books()


def test_not_paying(page: Page, live_server: LiveServer, clock: Clock) -> None:
    account = signed_up(page, clock)
    page.goto("/top-up/")
    page.get_by_role("button", name="去付款").click()
    page.get_by_role("link", name=re.compile("付 500.00 元")).click()
    page.get_by_role("button", name="不付款").click()
    expect(page.get_by_role("heading", name="这笔没有付款")).to_be_visible()
    page.goto(f"/sandbox/cashier/{Payment.objects.get().number}/")
    expect(page.locator("main")).to_contain_text("已不能付款")
    assert not account.transfers.exists()


def test_a_short_purchase_is_topped_up_and_completed(page: Page, live_server: LiveServer, clock: Clock) -> None:
    account = signed_up(page, clock, "100")
    page.goto("/buy/")
    page.get_by_role("button", name="宠物识别 10 万次").click()
    page.get_by_role("button", name=re.compile("充值 150.00 元并完成购买")).click()
    confirmation = page.url
    page.get_by_role("button", name=re.compile("充值 150.00 元并完成购买")).dblclick()
    expect(page.get_by_role("heading", name=re.compile("付 150.00 元"))).to_be_visible()
    page.get_by_role("link", name=re.compile("付 150.00 元")).click()
    page.get_by_role("button", name="付 150.00 元").click()
    expect(page.get_by_role("heading", name=re.compile("^订单"))).to_be_visible()
    assert Order.objects.filter(account=account).count() == 1
    assert Payment.objects.filter(account=account).count() == 1
    page.goto(confirmation)
    expect(page).to_have_url(re.compile("/buy/$"))
    account.refresh_from_db()
    assert account.balance == 0
    assert_books()


def test_the_waiting_purchase_hears_of_a_transfer_and_of_a_change(
    page: Page, live_server: LiveServer, clock: Clock
) -> None:
    account = signed_up(page, clock, "100")
    for changed in (False, True):
        page.goto("/buy/")
        page.get_by_role("button", name="宠物识别 10 万次").click()
        page.get_by_role("button", name=re.compile("并完成购买")).click()
        page.get_by_role("button", name=re.compile("并完成购买")).click()
        expect(page.get_by_role("heading", name=re.compile("购买随即完成"))).to_be_visible()
        if changed:
            record_adjustment(account_id=account.pk, amount=-1, reason="x", reference="x", now=at("2026-03-10T10:30"))
        top_up(account, "250", "2026-03-10T10:30")
        if changed:
            expect(page.get_by_role("heading", name="没有购买")).to_be_visible()  # without reloading
            expect(page.locator("main")).to_contain_text("账户曾欠费")
        else:
            top_up(account, "0.01", "2026-03-10T10:31")
            expect(page.get_by_role("heading", name=re.compile("^订单"))).to_be_visible()
            record_adjustment(
                account_id=account.pk, amount=-yuan("100.01"), reason="y", reference="y", now=at("2026-03-10T10:20")
            )
    assert Checkout.objects.filter(state="bought").count() == 1
    page.goto("/inbox/")
    expect(page.locator("main")).to_contain_text("购买没有完成")
    assert_books()


def test_without_scripts(browser: Browser, page: Page, live_server: LiveServer, clock: Clock) -> None:
    signed_up(page, clock, "100")
    context = browser.new_context(
        base_url=live_server.url,
        java_script_enabled=False,
        storage_state=page.context.storage_state(),
        locale="zh-CN",
    )
    context.set_default_timeout(15_000)
    plain = context.new_page()
    plain.goto("/top-up/")
    plain.get_by_role("link", name=re.compile(r"^1,000\s*元")).click()
    expect(plain.locator("#after")).to_contain_text("1,100.00元")
    plain.get_by_role("button", name="去付款").click()
    plain.get_by_role("link", name=re.compile("付 1,000.00 元")).click()
    plain.get_by_role("button", name="付款，但丢失通知").click()
    chase(at("2026-03-10T10:02"))
    plain.get_by_role("link", name="再看一次").click()
    expect(plain.get_by_role("heading", name="款项已到账")).to_be_visible()
    plain.goto("/buy/")
    plain.get_by_role("button", name="车牌识别 10 万次").click()
    plain.get_by_role("button", name=re.compile("并完成购买")).click()
    plain.get_by_role("button", name=re.compile("并完成购买")).click()
    plain.get_by_role("link", name=re.compile("付 8,900.00 元")).click()
    plain.get_by_role("button", name="付 8,900.00 元").click()
    expect(plain.get_by_role("heading", name=re.compile("^订单"))).to_be_visible()
    context.close()
    assert_books()
