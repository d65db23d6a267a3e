"""An account from its first mail to its end, in a real browser: sign-up, messages, a new address, closing."""

import re

import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts.models import Account, Kind, Notice, Transfer
from tests.axe import assert_accessible
from tests.conftest import Clock
from tests.mailbox import link_to, sign_up_in
from tests.worlds import assert_books, at, buy, night, top_up, use

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "correct horse battery"


def accessible_in_both(page: Page, live_server: LiveServer, *paths: str, chinese: bool = True) -> None:
    """No complaint of axe's and nothing beyond the edge of a narrow screen, in English and Chinese."""
    page.set_viewport_size({"width": 390, "height": 844})
    for path in paths:
        for language in ("en", "zh-hans")[: 1 + chinese]:
            page.context.add_cookies([{"name": "django_language", "value": language, "url": live_server.url}])
            page.goto(path)
            assert_accessible(page)
            beyond = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert beyond <= 0, (path, language, beyond)
    page.set_viewport_size({"width": 1440, "height": 900})
    page.context.add_cookies([{"name": "django_language", "value": "zh-hans", "url": live_server.url}])


def send(page: Page, button: str) -> None:
    page.get_by_role("button", name=button).click()


def test_an_account_from_its_first_mail_to_its_end(page: Page, live_server: LiveServer, clock: Clock) -> None:
    clock.move(at("2026-03-01T09:00"))
    accessible_in_both(
        page, live_server, "/sign-up/", "/sign-in/", "/password-reset/", "/sign-up/1.forged/", chinese=False
    )
    sign_up_in(page, "云岚连锁", "owner@example.com", PASSWORD)
    account = Account.objects.get(user__email="owner@example.com")
    main = page.locator("main")

    # thresholds: what the next night tells
    top_up(account, "300", "2026-03-01T09:05")
    page.goto("/account/notices/")
    page.get_by_label("余额：低于多少时提醒（元）").fill("49.99")
    page.get_by_label("每份账单（次日清晨）").check()
    page.get_by_label("资源包不多了或用完").uncheck()
    send(page, "保存")
    expect(main).to_contain_text("已保存")
    buy(account, "pet-100k", "2026-03-01T09:10")
    use(account, "ai.pet", 85_000, "2026-03-01T10:00")
    use(account, "ai.plate", 1, "2026-03-01T10:00")
    night("2026-03-02T02:00")
    clock.move(at("2026-03-02T09:00"))
    page.goto("/")
    expect(page.locator(".nav-main")).to_contain_text("消息3")
    with page.expect_response(re.compile("/inbox/read/")):
        page.get_by_role("link", name=re.compile("^消息")).click()
    expect(main).to_contain_text("余额为 49.90 元，低于设定的 49.99 元")
    expect(main).to_contain_text("快用完了")
    assert not Notice.objects.filter(read_at=None).exists(), "seen is read"
    page.get_by_role("link", name="账单", exact=True).nth(1).click()
    expect(main.locator(".message-list li")).to_have_count(1)
    page.get_by_role("link", name="这份账单").click()
    expect(page).to_have_url(re.compile(r"/bills/\d+/$"))
    accessible_in_both(page, live_server, "/inbox/", "/account/", "/account/notices/")
    accessible_in_both(page, live_server, "/account/bills-address/", chinese=False)

    # another address, confirmed by its link
    page.goto("/account/email/")
    page.get_by_label("新邮箱").fill("boss@example.com")
    page.get_by_label("当前密码").fill(PASSWORD)
    send(page, "发送链接")
    expect(main).to_contain_text("等待打开发往 boss@example.com 的链接")
    link = link_to("boss@example.com")
    accessible_in_both(
        page, live_server, link, "/account/email/", "/account/password/", "/account/name/", chinese=False
    )
    page.goto(link)
    send(page, "更改邮箱")
    expect(main).to_contain_text("今后用 boss@example.com 登录")

    # closing: the day's usage first, then what it does, then nothing more
    use(account, "ai.plate", 1, "2026-03-02T10:00")
    page.goto("/account/close/")
    expect(main).to_contain_text("还有 1 天的用量未结算")
    night("2026-03-03T02:00")
    clock.move(at("2026-03-07T09:00"))  # less than seven days since signing in, however slow the machine
    buy(account, "traffic-up-100gb", "2026-03-07T08:00")
    accessible_in_both(page, live_server, "/account/close/")
    page.goto("/account/close/")
    expect(main).to_contain_text("可退的资源包 1 个")
    expect(main).to_contain_text("放弃的资源包")
    page.get_by_label("当前密码").fill(PASSWORD)
    send(page, "关闭账户，退回 49.80 元")
    expect(main).to_contain_text("已于 3月7日 09:00 关闭，只能查看。余额 49.80 元")
    accessible_in_both(page, live_server, "/account/", chinese=False)
    page.goto("/billing-mode/")
    expect(main).to_contain_text("只能查看")
    account.refresh_from_db()
    assert account.closed_at is not None
    assert Transfer.objects.filter(account=account, kind=Kind.REFUND).count() == 1
    assert_books()
