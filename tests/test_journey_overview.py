"""The overview and the usage pages in a real browser: both languages, light and dark, wide and narrow, no script."""

import pytest
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts.models import Account
from tests.axe import assert_accessible
from tests.conftest import Clock
from tests.test_pages import PASSWORD
from tests.test_usage_pages import used_up
from tests.worlds import assert_books, at, buy, night, use

pytestmark = pytest.mark.django_db(transaction=True)

NARROW = {"width": 390, "height": 844}


def sign_in(page: Page, name: str) -> None:
    page.goto("/sign-in/")
    page.locator("main [name=username]").fill(f"{name}@example.com")
    page.locator("main [name=password]").fill(PASSWORD)
    page.locator("main button[type=submit]").first.click()
    expect(page.locator(".figures")).to_be_visible()
    page.wait_for_load_state()


def fits(page: Page) -> None:
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth"), page.url


def test_looking_and_drilling_down(page: Page, clock: Clock) -> None:
    account, _ = used_up()
    buy(account, "traffic-down-1tb", "2026-03-09T09:00")
    clock.move(at("2026-03-10T10:00"))
    sign_in(page, "alice")

    expect(page.get_by_text("按近 7 天的速度约够")).to_be_visible()
    chart = page.locator("[data-chart=stacked]")
    chart.scroll_into_view_if_needed()
    expect(chart.locator("canvas")).to_be_visible()
    expect(page.locator(".chart-data > summary")).to_be_visible()
    assert_accessible(page)
    page.locator(".chart-data > summary").click()
    assert_accessible(page)

    page.get_by_role("link", name="用量", exact=True).click()
    assert_accessible(page)
    page.get_by_role("link", name="下行日峰值带宽").click()
    expect(page.locator("[data-chart=stacked] canvas")).to_be_visible()
    assert_accessible(page)
    page.get_by_role("link", name="3月8日 周日").click()
    expect(page.locator("[data-chart=day] canvas")).to_be_visible()
    expect(page.get_by_text("最高的 5 分钟 19:50–19:55")).to_be_visible()
    assert_accessible(page)
    page.get_by_role("link", name="当天的账单").click()
    expect(page.locator("h1")).to_contain_text("3月8日")

    page.goto("/usage/")
    page.locator("[name=day]").fill("2026-03-08")
    page.locator("[name=source]").fill("/edge/1")
    page.locator("[name=id]").fill("late")
    page.get_by_role("button", name="查询").click()
    expect(page.get_by_text("补充账单（第 2 份）")).to_be_visible()
    assert_accessible(page)


def test_in_english_in_the_dark_on_a_phone_and_in_arrears(page: Page, clock: Clock) -> None:
    account, _ = used_up()
    for day in (10, 11):
        use(account, "ai.plate", 100_000, f"2026-03-{day}T12:00")
    night("2026-03-12T02:00")
    clock.move(at("2026-03-12T10:00"))
    page.set_viewport_size({"width": NARROW["width"], "height": NARROW["height"]})
    page.emulate_media(color_scheme="dark")
    sign_in(page, "alice")
    fits(page)
    assert_accessible(page)
    page.goto("/account/")
    page.locator("main").get_by_role("button", name="English").click()
    expect(page.get_by_role("link", name="Overview")).to_be_visible()
    page.goto("/")
    expect(page.get_by_role("heading", name="Until the service is suspended")).to_be_visible()
    for path in ("/", "/usage/", "/usage/ai.pet/", "/usage/ai.pet/2026-03-08/", "/usage/event/?day=x"):
        page.goto(path)
        fits(page)
        assert_accessible(page)
    Account.objects.get(pk=account.pk)
    assert_books()


def test_without_script_the_charts_are_tables(browser: Browser, live_server: LiveServer, clock: Clock) -> None:
    used_up()
    clock.move(at("2026-03-10T10:00"))
    context = browser.new_context(base_url=live_server.url, locale="zh-CN", java_script_enabled=False)
    page = context.new_page()
    sign_in(page, "alice")
    expect(page.get_by_role("row", name="3月8日").first).to_be_visible()
    expect(page.locator("[data-chart]")).to_be_hidden()
    page.goto("/usage/bandwidth.down/2026-03-08/")
    expect(page.get_by_role("row", name="19:00").first).to_be_visible()
    context.close()
