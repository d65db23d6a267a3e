"""Buying with advice in a real browser and without a mouse: advice, cart, short balance, top-up, order; the switch."""

import re

import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts.models import TRAFFIC, Account
from accounts.modes import mode_on
from iss_billing.days import day_of
from packs.models import Order
from tests.axe import assert_accessible
from tests.conftest import Clock
from tests.test_pages import PASSWORD, customer
from tests.worlds import GB, MBPS, assert_books, at, buy, night, use, yuan

pytestmark = pytest.mark.django_db(transaction=True)

NOW = "2026-03-09T10:00"


@pytest.fixture(autouse=True)
def site_url(live_server: LiveServer, settings: object) -> None:
    """The address that payers come back to."""
    settings.SITE_URL = live_server.url  # type: ignore[attr-defined]


def lived_in(page: Page, clock: Clock) -> Account:
    """Eight days of vehicles and network use, then signed in."""
    account = customer("owner", balance="4000")[0]
    buy(account, "traffic-down-100gb", "2026-03-01T10:00")
    for day in range(1, 9):
        use(account, "ai.vehicle", 125_000, f"2026-03-{day:02}T11:00")
        use(account, "bandwidth.down", 20 * MBPS, f"2026-03-{day:02}T11:00")
        use(account, "traffic.down", 3 * GB, f"2026-03-{day:02}T11:00")
    night("2026-03-09T02:00")
    clock.move(at(NOW))
    page.goto("/sign-in/?next=/buy/")
    page.get_by_label("邮箱").fill("owner@example.com")
    page.get_by_label("密码", exact=True).fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="购买资源包")).to_be_visible()
    return account


def press_until(page: Page, name: str | re.Pattern[str], key: str = "Tab", most: int = 90) -> None:
    """Go on with the keyboard until the control of that name has the focus."""
    wanted = page.get_by_role("button", name=name).or_(page.get_by_role("link", name=name)).or_(page.get_by_label(name))
    for _press in range(most):
        page.keyboard.press(key)
        if wanted.evaluate_all("found => found.includes(document.activeElement)"):
            return
    raise AssertionError(f"the keyboard does not reach {name}")


def test_advice_cart_and_short_purchase_by_keyboard(page: Page, live_server: LiveServer, clock: Clock) -> None:
    account = lived_in(page, clock)
    expect(page.get_by_role("heading", name="车辆识别 · 1 个 100 万次包")).to_be_visible()
    expect(page.locator("#advice")).to_contain_text("比全部按量少花 500.00 元")
    press_until(page, "放入购物车", most=60)
    page.keyboard.press("Enter")
    cart = page.locator("#cart-panel")
    expect(cart).to_contain_text("2,500.00元")
    expect(page.locator("#vehicle-1m")).to_contain_text("已选 1")
    expect(page.locator("#cart-said")).to_contain_text("购物车 1 件，2,500.00 元")
    # a price, twice; the focus stays where it was although the button was replaced
    press_until(page, re.compile("^宠物识别 10 万次"))
    page.keyboard.press("Enter")
    expect(page.locator("#pet-100k")).to_contain_text("已选 1")
    expect(page.locator("#pet-100k")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#pet-100k")).to_contain_text("已选 2")
    expect(cart).to_contain_text("3,000.00元")
    # the total follows while a quantity is typed
    quantity = page.locator("#q-pet-100k")
    press_until(page, "数量")
    while not quantity.evaluate("one => one === document.activeElement"):
        press_until(page, "数量")
    page.keyboard.press("ArrowUp")
    expect(cart).to_contain_text("3,250.00元")
    expect(page.locator("#pet-100k")).to_contain_text("已选 3")
    expect(quantity).to_be_focused()
    press_until(page, re.compile("移除宠物识别"))
    page.keyboard.press("Enter")
    expect(page.locator("#pet-100k")).not_to_contain_text("已选")
    expect(page.locator("#cart")).to_be_focused()
    assert_accessible(page)
    missing = yuan("2500") - Account.objects.get(pk=account.pk).balance
    assert missing > 0
    press_until(page, re.compile(r"^充值 .* 元并完成购买$"))
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/buy/confirm/$"))
    assert_accessible(page)
    press_until(page, re.compile(r"^充值 .* 元并完成购买$"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=re.compile("购买随即完成"))).to_be_visible()
    assert_accessible(page)
    press_until(page, re.compile(r"付 .* 元$"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="沙箱收银台")).to_be_visible()
    press_until(page, re.compile(r"付 .* 元$"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=re.compile("^订单"))).to_be_visible()
    assert_accessible(page)
    order = Order.objects.get(account=account, total=yuan("2500"))
    assert [(line.sku.code, line.quantity) for line in order.lines.all()] == [("vehicle-1m", 1)]
    account.refresh_from_db()
    assert account.balance == 0
    page.goto("/buy/")
    expect(page.locator("#cart-panel")).to_contain_text("还没有选择")
    expect(page.locator("#advice")).to_contain_text("不必买")
    assert_books()


def test_switching_the_mode_with_what_it_changes(page: Page, live_server: LiveServer, clock: Clock) -> None:
    account = lived_in(page, clock)
    page.goto("/billing-mode/")
    expect(page.locator("main")).to_contain_text("近 8 天各要多少钱")
    expect(page.locator("main")).to_contain_text("另一种方式（按流量计费）会少花 112.00元")
    expect(page.locator("main")).to_contain_text("解冻，可抵扣")
    page.get_by_text("逐日").click()
    expect(page.get_by_role("table").first).to_contain_text("3月8日")
    assert_accessible(page)
    page.get_by_role("button", name="3月10日 0 点起切换").click()
    expect(page.locator("main")).to_contain_text("3月10日 0 点起（已预定）")
    assert_accessible(page)
    page.get_by_role("button", name="撤回").click()
    expect(page.locator("main")).to_contain_text("切换后，3月10日 0 点起")
    page.set_viewport_size({"width": 390, "height": 844})
    for path in ("/billing-mode/", "/buy/", "/orders/", "/top-up/"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") == 390, path
        assert_accessible(page)
    page.goto("/billing-mode/")
    page.get_by_role("button", name="3月10日 0 点起切换").click()
    expect(page.locator("main")).to_contain_text("已预定")
    assert mode_on(account.pk, day_of(at("2026-03-10T09:00"))) == TRAFFIC
    assert_books()


def test_buying_in_english_and_dark(page: Page, live_server: LiveServer, clock: Clock) -> None:
    lived_in(page, clock)
    page.emulate_media(color_scheme="dark")
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("heading", name="Vehicle recognition · 1 pack of 1,000,000 calls")).to_be_visible()
    page.get_by_role("link", name="a year").click()
    expect(page.locator("#advice")).to_contain_text("stretched to a year")
    page.get_by_text("Other ways to buy").first.click()
    page.get_by_role("button", name=re.compile("^Upstream traffic 1 TB")).click()
    expect(page.locator("#cart-panel")).to_contain_text("frozen at first")
    assert_accessible(page)
    page.goto("/billing-mode/")
    assert_accessible(page)
