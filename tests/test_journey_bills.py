"""In a real browser, wide and narrow, in both languages and themes: from the calendar to a bill, its curve and its
paper; packs, a pack and its refund.
"""

import re

import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts.models import Account
from accounts.opening import open_account
from tests.axe import assert_accessible
from tests.conftest import Clock
from tests.worlds import GB, MBPS, assert_books, at, buy, night, top_up, use

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "correct horse battery"


def lived_in() -> Account:
    """A customer with a bill of every kind of line, a supplementary one, a day that waits, and packs in every state."""
    account = open_account(name="云岚连锁", now=at("2026-02-20T00:00"), email="owner@example.com", password=PASSWORD)
    top_up(account, "10000", "2026-02-20T00:00")
    buy(account, "kitchen-100k", "2026-02-27T09:00")
    buy(account, "pet-100k", "2026-02-27T09:00")
    buy(account, "traffic-down-1tb", "2026-02-28T09:00")
    for day in ("02-27", "02-28", "03-01", "03-02"):
        for item in ("uniform", "hat", "mask"):
            use(account, f"ai.kitchen.{item}", 4_000, f"2026-{day}T10:00")
        use(account, "ai.pet", 30_000, f"2026-{day}T10:00")
        for number, hour in enumerate(("09", "20")):
            use(account, "bandwidth.down", (40 + 30 * number) * MBPS, f"2026-{day}T{hour}:00")
            use(account, "storage.standard", 900 * GB, f"2026-{day}T{hour}:00")
    night("2026-03-03T02:00")
    use(account, "ai.vehicle", 400, "2026-03-01T10:00", received="2026-03-03T10:00")
    night("2026-03-04T02:00")
    buy(account, "kitchen-1m", "2026-03-03T14:00")
    use(account, "ai.pet", 10, "2026-03-03T15:00")
    return account


def sign_in(page: Page) -> None:
    """Sign in by the form."""
    page.goto("/sign-in/")
    page.fill("[name=username]", "owner@example.com")
    page.fill("[name=password]", PASSWORD)
    page.get_by_role("button", name="登录").click()
    expect(page).to_have_url(re.compile("/$"))


def look_over(page: Page) -> None:
    """Nothing for axe to find, nothing beside the screen, no chart left undrawn once it was in view."""
    for canvas in page.locator("[data-chart]").all():
        canvas.scroll_into_view_if_needed()
        expect(canvas).to_have_attribute("data-drawn", "")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), page.url
    assert_accessible(page)


def test_bills_and_packs_in_the_browser(page: Page, live_server: LiveServer, clock: Clock) -> None:
    account = lived_in()
    clock.move(at("2026-03-04T10:00"))
    page.add_init_script("window.print = () => { window.asked = true; }")
    sign_in(page)

    # the calendar, its months, a day
    page.goto("/bills/")
    expect(page.locator(".cal .wait-mark")).to_have_count(1)
    expect(page.locator(".cal .today")).to_contain_text("今天")
    look_over(page)
    page.get_by_role("link", name="2026 年 2 月").click()
    expect(page.get_by_role("heading", name="2026 年 2 月", exact=True)).to_be_visible()
    page.get_by_role("combobox", name="月份").select_option("2026-03")
    page.get_by_role("button", name="查看").click()
    page.get_by_role("link", name=re.compile("3月1日 周日.*含补充 1 份")).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("3月1日 周日的账单")
    bill = page.url

    # the bill: a curve for each peak and mean, its table behind it
    expect(page.locator(".family-sum")).to_be_hidden()
    look_over(page)
    page.locator(".curve summary").first.click()
    expect(page.get_by_role("link", name="下载全部 288 行（CSV）").first).to_be_visible()
    assert_accessible(page)
    page.set_viewport_size({"width": 390, "height": 844})
    hat = page.get_by_role("row").filter(has_text="厨师帽识别").last
    expect(hat).to_be_hidden()
    look_over(page)
    page.locator(".family-sum summary").click()
    expect(hat).to_be_visible()
    look_over(page)

    # paper: light though the screen is dark, all drawn, the total once, a table though paper is narrow
    page.emulate_media(color_scheme="dark")
    page.goto(f"{bill}?print=1")
    page.wait_for_function("window.asked")
    assert page.locator("[data-chart]:not([data-drawn])").count() == 0
    assert page.evaluate("getComputedStyle(document.body).getPropertyValue('--iss-surface').trim()") == "#ffffff"
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.querySelector('.bill-lines')).display") == "table"
    expect(page.locator(".family-sum")).to_be_hidden()
    expect(hat).to_be_visible()
    expect(page.locator(".mast")).to_be_hidden()
    assert len(page.pdf(prefer_css_page_size=True)) > 10_000
    for curve in page.locator("[data-chart]").all():
        drawn = curve.locator("canvas").bounding_box()
        assert drawn is not None
        assert drawn["height"] > 60, "the drawing is on the sheet"
        expect(curve.locator("xpath=following-sibling::details")).to_be_hidden()
    page.emulate_media(media="screen")
    page.goto(bill)
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    expect(page.locator(".curve table").last).to_be_visible()
    page.emulate_media(media="screen", color_scheme="light")

    # packs: narrow and wide, then a refund
    for width in (390, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        page.goto("/packs/")
        look_over(page)
    expect(page.get_by_text("用到 5月29日")).to_be_visible()
    page.get_by_role("link", name="退款…").first.click()
    expect(page.get_by_role("button", name="退款 2,200.00 元")).to_be_visible()
    look_over(page)
    page.get_by_role("button", name="退款 2,200.00 元").click()
    expect(page.get_by_text("2,200.00 元 已退回余额")).to_be_visible()
    page.get_by_role("link", name="明厨亮灶 100 万次").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("已退款")
    look_over(page)
    pack = page.url
    page.goto(f"{pack}refund/")
    expect(page.get_by_role("alert")).to_contain_text("已经退过款")
    assert_accessible(page)

    # in English, on a dark screen
    page.get_by_role("button", name="English").first.click()
    page.emulate_media(color_scheme="dark")
    for address in ("/bills/", bill, "/packs/", pack, "/packs/types/pet/"):
        for width in (390, 1440):
            page.set_viewport_size({"width": width, "height": 900})
            page.goto(address)
            look_over(page)
    account.refresh_from_db()
    assert_books()
