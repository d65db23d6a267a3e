"""The whole journey in a real browser: sign up, buy, use, the night, the bill; a price edited by staff; arrears.

The clock is this process's, which also serves the site: the browser sees what a customer would see on those days.
"""

import json
import re
import urllib.request
from typing import Any

import pytest
from django.core.management import call_command
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts.keys import make_key
from accounts.models import Account, User
from packs.models import Order, SkuPrice
from settlement.models import Bill
from tests.conftest import Clock
from tests.mailbox import sign_up_in
from tests.worlds import assert_books, at, event, top_up

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "correct horse battery"


def report(site: LiveServer, key: str, *events: dict[str, Any]) -> dict[str, Any]:
    """Usage as the platform reports it, over HTTP."""
    request = urllib.request.Request(
        f"{site.url}/api/v1/usage/",
        data=json.dumps(events).encode(),
        headers={"Content-Type": "application/cloudevents-batch+json", "Authorization": f"Bearer {key}"},
    )
    with urllib.request.urlopen(request) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


def test_from_signing_up_to_reading_the_bill(page: Page, live_server: LiveServer, clock: Clock) -> None:
    clock.move(at("2026-03-05T09:00"))
    sign_up_in(page, "云岚连锁", "owner@example.com", PASSWORD)
    expect(page.locator(".figures")).to_contain_text("0.00元")
    expect(page.get_by_text("还没有资源包。按量计费，用多少付多少。")).to_be_visible()
    account = Account.objects.get(user__email="owner@example.com")
    top_up(account, "300", "2026-03-05T09:05")

    # buying: two packs of 100,000, one of them by pressing twice
    page.goto("/buy/")
    page.get_by_role("button", name="宠物识别 10 万次").click()
    expect(page.locator("aside")).to_contain_text("购买后余额")
    page.get_by_role("button", name="去确认").click()
    expect(page.locator("main")).to_contain_text("50.00元")
    confirmation = page.url
    page.get_by_role("button", name="支付 250.00 元").dblclick()
    expect(page.get_by_role("heading", name=re.compile("^订单"))).to_be_visible()
    page.goto(confirmation)
    expect(page).to_have_url(re.compile("/buy/$"))
    assert Order.objects.filter(account=account).count() == 1
    expect(page.locator("aside")).to_contain_text("50.00元")

    # using it
    _, key = make_key(account_id=None, name="platform", now=at("2026-03-05T09:00"))
    sent = report(
        live_server,
        key,
        event(account, "ai.pet", 99_000, "2026-03-05T08:00:00"),
        event(account, "ai.vehicle", 1_001, "2026-03-05T08:30:00"),
        event(account, "ai.unknown", 1, "2026-03-05T08:30:00"),
    )
    assert (sent["accepted"], [refused["code"] for refused in sent["rejected"]]) == (2, ["unknown_item"])
    page.goto("/")
    expect(page.locator("main")).to_contain_text("车辆识别3.00元")

    # the night, and the bill next morning
    clock.move(at("2026-03-06T02:00"))
    call_command("settle")
    clock.move(at("2026-03-06T08:00"))
    page.goto("/")
    page.get_by_role("link", name="3月5日 周四").click()
    main = page.locator("main")
    expect(main).to_contain_text("3.00元")
    expect(main).to_contain_text("50.00元 → 47.00元")
    expect(main).to_contain_text("3月5日买的 10 万次包抵扣 99,000 次，之后剩 1,000 次")
    expect(main).to_contain_text("1,001 次 × 3 元/千次 = 3.003000 元")
    expect(main).to_contain_text("0.003000 元 的尾差转入下一份账单")
    page.goto("/packs/")
    expect(main).to_contain_text("剩余 1,000次")
    page.get_by_text("抵扣记录", exact=True).click()
    expect(page.locator("details table.fold")).to_contain_text("99,000")
    assert_books()


def test_arrears_suspension_and_the_way_out(page: Page, live_server: LiveServer, clock: Clock) -> None:
    clock.move(at("2026-03-01T09:00"))
    sign_up_in(page, "青石便利", "debtor@example.com", PASSWORD)
    account = Account.objects.get(user__email="debtor@example.com")
    top_up(account, "10", "2026-03-01T09:00")
    _, key = make_key(account_id=None, name="platform", now=at("2026-03-01T09:00"))
    report(live_server, key, event(account, "ai.plate", 120, "2026-03-01T09:00:00"))
    clock.move(at("2026-03-02T02:00"))
    call_command("settle")
    clock.move(at("2026-03-02T19:59:20"))
    page.goto("/")
    main = page.locator("main")
    expect(main).to_contain_text("−2.00元")
    expect(main).to_contain_text("距停服 6 小时 0 分")
    expect(main).to_contain_text("停服 3月3日 02:00")
    page.goto("/inbox/")
    expect(main).to_contain_text("账户已欠费")
    clock.move(at("2026-03-03T02:00"))
    call_command("sweep_arrears")
    page.goto("/inbox/")
    expect(main).to_contain_text("服务已停止")
    page.goto("/")
    expect(main).to_contain_text("已停服")
    top_up(account, "2", "2026-03-03T03:00")
    page.goto("/")
    expect(main).to_contain_text("正常")
    page.goto("/inbox/")
    expect(main).to_contain_text("服务已恢复")
    assert_books()


def test_staff_edit_a_price_and_the_shop_shows_it(page: Page, live_server: LiveServer, clock: Clock) -> None:
    clock.move(at("2026-03-05T09:00"))
    User.objects.create_superuser("staff@example.com", PASSWORD)
    page.goto("/admin/")
    page.locator("[name=username]").fill("staff@example.com")
    page.locator("[name=password]").fill(PASSWORD)
    page.locator("[type=submit]").click()
    page.goto("/admin/packs/pricelist/")
    page.locator('[name="p:pet-100k"]').fill("0")
    page.locator("[name=reason]").fill("促销")
    page.locator(".submit-row input").first.click()
    expect(page.locator(".price-grid .errors")).to_have_count(1)
    page.locator('[name="p:pet-100k"]').fill("200")
    page.locator(".submit-row input").first.click()
    page.locator("form[action*=publish] button").click()
    expect(page.locator(".price-state.published")).to_be_visible()
    price = SkuPrice.objects.order_by("-pk")[0]
    assert (price.price, price.from_price, price.reason) == (20_000, 25_000, "促销")
    page.context.clear_cookies()
    sign_up_in(page, "alice", "alice@example.com", PASSWORD)
    page.goto("/buy/")
    expect(page.get_by_role("button", name="宠物识别 10 万次，200 元，比按量省 20%")).to_be_visible()
    assert_books()


@pytest.mark.parametrize("width", [1440, 390])
def test_nothing_overflows_and_keys_alone_can_buy(
    page: Page, live_server: LiveServer, clock: Clock, width: int, browser: Browser
) -> None:
    clock.move(at("2026-03-05T09:00"))
    page.set_viewport_size({"width": width, "height": 900})
    sign_up_in(page, "一个名字很长的连锁餐饮管理有限公司", "long@example.com", PASSWORD)
    account = Account.objects.get(user__email="long@example.com")
    top_up(account, "123456789.01", "2026-03-05T09:00")
    page.goto("/buy/")
    button = page.get_by_role("button", name="车牌识别 1000 万次")
    button.focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="去确认").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="支付 410,000.00 元").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=re.compile("^订单"))).to_be_visible()
    assert Bill.objects.count() == 0
    for path in (
        "/",
        "/packs/",
        "/buy/",
        "/bills/",
        "/ledger/",
        "/inbox/",
        "/account/",
        "/billing-mode/",
        "/tariff/",
        "/orders/",
    ):
        for language in ("zh-hans", "en"):
            page.context.add_cookies([{"name": "django_language", "value": language, "url": live_server.url}])
            page.goto(path)
            beyond = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert beyond <= 0, (path, language, width, beyond)
    assert_books()
