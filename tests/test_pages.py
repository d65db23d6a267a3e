"""The console's pages as a browser without scripts would get them."""

import re
from html import unescape
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import Account, User
from accounts.opening import open_account
from packs.models import Order, Sku
from packs.refunds import refund_pack
from settlement.models import Bill
from tests.mailbox import delivered, link_to
from tests.test_outsiders import FOR_ANYONE, SHOWN, Alices
from tests.worlds import (
    GB,
    assert_books,
    at,
    bill_of,
    bills_of,
    buy,
    night,
    set_pack_price,
    top_up,
    use,
    withdraw_from_sale,
)

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"
NOW = "2026-03-10T10:00"


def customer(name: str = "alice", on: str = "2026-03-01", balance: str = "10000") -> tuple[Account, Client]:
    """An account with a login, and a browser that is signed in to it."""
    account = open_account(name=name, now=at(f"{on}T00:00"), email=f"{name}@example.com", password=PASSWORD)
    top_up(account, balance, f"{on}T00:00")
    client = Client()
    assert account.user is not None
    client.force_login(account.user)
    return account, client


def lived_in(name: str = "alice") -> tuple[Account, Client]:
    """A customer with packs of every status, bills of every kind of line, a supplementary bill, and a message."""
    account, client = customer(name)
    buy(account, "pet-100k", "2026-03-01T09:00", 2)
    buy(account, "kitchen-100k", "2026-03-01T09:00")
    buy(account, "traffic-down-1tb", "2026-03-02T09:00")
    refund_pack(
        account_id=account.pk, pack_id=buy(account, "face-100k", "2026-03-02T09:00")[0].pk, now=at("2026-03-02T10:00")
    )
    use(account, "ai.pet", 150_000, "2026-03-02T10:00")
    use(account, "ai.kitchen.hat", 40, "2026-03-02T10:00")
    use(account, "ai.vehicle", 1_234, "2026-03-02T10:00")
    use(account, "bandwidth.down", 96_851_224, "2026-03-02T19:51")
    use(account, "traffic.down", 5 * GB, "2026-03-02T19:51")
    use(account, "storage.standard", 100 * GB, "2026-03-02T19:51")
    use(account, "device.gb28181", 1, "2026-03-02T19:51", resource="camera-1")
    use(account, "video.transcode-h264", 61, "2026-03-02T19:51")
    night("2026-03-03T02:00")
    use(account, "ai.vehicle", 40, "2026-03-02T11:00", received="2026-03-04T10:00")
    night("2026-03-05T02:00")
    use(account, "ai.vehicle", 70, "2026-03-10T08:00")
    return account, client


def paths(account: Account) -> list[str]:
    """Every page of the console that a customer can open."""
    bill, pack = bills_of(account)[0], account.packs.order_by("pk")[0]
    frozen = account.packs.get(sku__code="traffic-down-1tb")
    order = Order.objects.filter(account=account).order_by("pk")[0]
    names = (
        "overview",
        "packs",
        "bills",
        "buy",
        "orders",
        "ledger",
        "inbox",
        "account",
        "rename",
        "change-email",
        "change-password",
        "contact",
        "notice-settings",
        "close-account",
        "top-up",
        "payments",
        "billing-mode",
        "tariff",
    )
    return [reverse(name) for name in names] + [
        reverse("bill", args=[bill.pk]),
        reverse("bill", args=[bills_of(account)[1].pk]),
        reverse("pack", args=[pack.pk]),
        reverse("refund", args=[pack.pk]),
        reverse("refund", args=[frozen.pk]),
        reverse("order", args=[order.pk]),
    ]


ALWAYS = ["/export/"]
"""Pages that are every customer's, whatever the account holds; beside `paths`."""


def text_of(response: Any) -> str:
    """What a page says, without its tags, with single spaces."""
    body = re.sub(r"(?s)<title>.*?</title>|<script.*?</script>|<[^>]+>", " ", response.content.decode())
    return re.sub(r"\s+", " ", unescape(body))


def frozen_clock(moment: str = NOW) -> Any:
    """The clock of a page view."""
    return time_machine.travel(at(moment), tick=False)


KNOWN = {
    "alice",
    "carol",
    "mary",
    "English",
    "Excel",
    "Python",
    "python",
    "recheck",
    "iss",
    "json",
    "JSON",
    "example",
    "com",
    "Mbps",
    "mainland",
    "camera",
    "billing",
    "localhost",
    "Billing",
    "Webhook",
    "edge",
    "test",
    "https",
}
"""What a Chinese page says in Latin letters: names, units, what is typed, and the link to the other language."""
ENGLISH = re.compile(r"[A-Za-z][a-z]{2,}")


def in_its_language(response: Any, language: str) -> None:
    """The page says nothing in the other language, beside addresses and what is code."""
    body = response.content.decode()
    assert f'lang="{language}"' in body
    response.content = re.sub(r"(?s)<code\b[^>]*>.*?</code>|<pre\b[^>]*>.*?</pre>", " ", body)
    said = re.sub(r"\S+@\S+|https://\S+", "", text_of(response))
    if language == "zh-hans":
        assert not re.search(r".{9}[。；] +[\u4e00-\u9fff\d].{9}", unescape(body)), "no space between sentences"
        assert not {word for word in ENGLISH.findall(said) if word not in KNOWN}, response.request["PATH_INFO"]
    else:
        assert not re.search(r"[\u4e00-\u9fff]", said.replace("简体中文", "").replace("中文", "")), said


@pytest.mark.parametrize("language", ["zh-hans", "en"])
def test_every_page_in_both_languages(language: str) -> None:
    alice = Alices()
    account, client = lived_in("mary")
    browser = alice.browser()
    with frozen_clock():
        for path in [*paths(account), *ALWAYS]:
            response = client.get(path, headers={"accept-language": language})
            assert response.status_code in (200, 409), (path, response.status_code)
            in_its_language(response, language)
    with time_machine.travel(alice.seen, tick=False):
        for name in SHOWN:
            in_its_language(browser.get(alice.address(name), headers={"accept-language": language}), language)
        for name in {*FOR_ANYONE} - {"api-reference"}:  # names of the API; tests/test_api_schema.py reads its texts
            in_its_language(Client().get(reverse(name), headers={"accept-language": language}), language)
        for path in alice.letters():
            in_its_language(Client().get(path, follow=True, headers={"accept-language": language}), language)


def test_pages_obey_a_strict_content_security_policy() -> None:
    account, client = lived_in()
    with frozen_clock():
        for path in [*paths(account), *ALWAYS, "/nothing-here/"]:
            response = client.get(path)
            policy = response["Content-Security-Policy"]
            assert "default-src 'none'" in policy, path
            assert "unsafe" not in policy, path
            assert "script-src 'self'" in policy, path
            # a chart's data is a block of JSON, which no browser runs
            body = re.sub(r'<script id="[\w-]+" type="application/json">', "<data>", response.content.decode())
            assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", body), path


def test_no_page_asks_the_database_much() -> None:
    alice = Alices()
    account, client = lived_in("mary")
    with frozen_clock():
        for path in paths(account):
            assert asked(client, path) < 12, path
    browser = alice.browser()
    with time_machine.travel(alice.seen, tick=False):
        for name in SHOWN:
            assert asked(browser, alice.address(name)) < 12, name


def asked(client: Client, path: str) -> int:
    """How many questions a page asks the database."""
    with CaptureQueriesContext(connection) as queries:
        assert client.get(path).status_code in (200, 409), path
    return len(queries)


def test_queries_do_not_grow_with_what_is_shown() -> None:
    account, client = lived_in()
    shown = [
        reverse("overview"),
        reverse("packs"),
        reverse("bills"),
        reverse("orders"),
        reverse("ledger"),
        reverse("inbox"),
    ]

    def counts() -> list[int]:
        found = []
        for path in shown:
            with CaptureQueriesContext(connection) as queries:
                client.get(path)
            found.append(len(queries))
        return found

    with frozen_clock():
        before = counts()
    buy(account, "pet-100k", "2026-03-05T09:00", 20)
    for day in range(5, 9):
        use(account, "ai.pet", 60_000, f"2026-03-0{day}T10:00")
        night(f"2026-03-0{day + 1}T02:00")
    with frozen_clock():
        assert counts() == before


def test_another_customers_things_are_not_there() -> None:
    account, _client = lived_in()
    _charlie, outsider = customer("charlie")
    with frozen_clock():
        for path in paths(account)[18:]:
            assert outsider.get(path).status_code == 404, path
        pack = account.packs.order_by("-pk")[0]
        assert outsider.post(reverse("refund", args=[pack.pk])).status_code == 404
        for path in ("/bills/0/", f"/bills/{10**30}/", "/packs/99999999999999999999/"):
            assert outsider.get(path).status_code == 404


def test_nobody_is_sent_to_sign_in_and_comes_back() -> None:
    _account, client = customer()
    client.logout()
    response = client.get("/bills/")
    assert (response.status_code, response["Location"]) == (302, "/sign-in/?next=/bills/")
    form = {"username": "ALICE@example.com", "password": PASSWORD, "next": "/bills/"}
    assert client.post("/sign-in/", form)["Location"] == "/bills/"
    client.logout()
    outside = form | {"next": "https://evil.example/"}
    assert client.post("/sign-in/", outside)["Location"] == "/"
    assert client.post("/preferences/", {"language": "en", "next": "//evil.example/"})["Location"] == "/"


def test_staff_without_an_account_are_told_so() -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("staff@example.com", PASSWORD))
    response = client.get("/")
    assert response.status_code == 403
    assert "/admin/" in response.content.decode()


def test_password_reset_by_mail_in_the_language_of_the_page() -> None:
    _account, client = customer()
    client.logout()
    assert client.post("/password-reset/", {"email": "Alice@example.com"}).status_code == 302
    assert client.post("/password-reset/", {"email": "nobody@example.com"}).status_code == 302
    [sent] = delivered()
    assert "设置新密码" in sent.subject
    link = link_to("alice@example.com")
    landed = client.get(link, follow=True)
    done = client.post(
        landed.redirect_chain[-1][0], {"new_password1": "another long one", "new_password2": "another long one"}
    )
    assert done["Location"] == "/"
    assert client.get("/").status_code == 200
    assert "链接已用过" in text_of(Client().get(link, follow=True))
    signed_in = Client().post("/sign-in/", {"username": "alice@example.com", "password": "another long one"})
    assert signed_in["Location"] == "/"


def test_language_is_kept_and_speaks_in_mails() -> None:
    account, client = customer()
    client.post("/preferences/", {"language": "en", "next": "/"})
    account.refresh_from_db()
    assert account.language == "en"
    assert "Overview" in text_of(client.get("/"))
    client.post("/preferences/", {"theme": "dark", "next": "/"})
    assert 'data-bs-theme="dark"' in client.get("/").content.decode()
    elsewhere = Client()
    assert account.user is not None
    elsewhere.force_login(account.user)
    assert 'data-bs-theme="dark"' in elsewhere.get("/").content.decode(), "another browser of the customer's"
    client.post("/preferences/", {"theme": "", "next": "/"})
    assert "data-bs-theme" not in client.get("/").content.decode()


# ── buying ───────────────────────────────────────────────────────────────────────────────────────────


def test_only_packs_that_save_claim_to() -> None:
    _account, client = customer()
    with frozen_clock():
        said = client.get("/buy/").content.decode()
    labels = re.findall(r'class="price"><span class="visually-hidden">([^<]+)<', said)
    assert len(labels) == 34
    assert sum("比按量省" in label for label in labels) == 13
    assert sum("与按量同价" in label for label in labels) == 21
    assert "车牌识别 1000 万次，410,000 元，比按量省 59%，加入购物车" in labels


def choose(client: Client, *skus: str) -> str:
    """Put packs into the cart and open the confirmation; its page."""
    for sku in skus:
        client.post("/buy/cart/", {"add": sku})
    return client.get("/buy/confirm/").content.decode()


def form_of(page: str) -> dict[str, Any]:
    """The hidden fields of the confirmation."""
    key = re.search(r'name="key" value="([^"]+)"', page)
    assert key is not None
    return {"key": key[1], "line": re.findall(r'name="line" value="([^"]+)"', page)}


def test_buying_several_packs() -> None:
    account, client = customer(balance="10000")
    with frozen_clock():
        page = choose(client, "pet-1m", "pet-1m", "plate-100k", "traffic-down-1tb")
        client.post("/buy/cart/", {"take-out": "plate-100k"})
        client.post("/buy/cart/", {"quantity-traffic-down-1tb": "2"})
        page = client.get("/buy/confirm/").content.decode()
        said = text_of(client.get("/buy/confirm/"))
        assert "支付 5,400.00 元" in said
        assert "4,600 .00 元" in said
        assert "流量包购买后会冻结" in said
        form = form_of(page)
        first = client.post("/buy/confirm/", form)
        again = client.post("/buy/confirm/", form)
    order = Order.objects.get(account=account)
    assert first["Location"] == again["Location"] == f"/orders/{order.pk}/"
    account.refresh_from_db()
    assert (order.total, account.balance, account.packs.count()) == (540_000, 460_000, 4)
    with frozen_clock():
        assert "还没有选择" in text_of(client.get("/buy/"))
        assert "5,400 .00 元" in text_of(client.get(f"/orders/{order.pk}/"))
    assert_books()


def test_a_price_that_changed_since_the_page_was_shown() -> None:
    account, client = customer()
    with frozen_clock():
        form = form_of(choose(client, "pet-100k"))
    set_pack_price(sku=Sku.objects.get(code="pet-100k"), price=26_000, reason="test", now=at(NOW))
    with frozen_clock():
        refused = client.post("/buy/confirm/", form)
        said = text_of(refused)
        assert refused.status_code == 409
        assert "没有购买，也没有扣款" in said
        assert "250.00 元" in said
        assert "支付 260.00 元" in said
        assert account.packs.count() == 0
        assert client.post("/buy/confirm/", form_of(refused.content.decode())).status_code == 302
    account.refresh_from_db()
    assert account.balance == 1_000_000 - 26_000


def test_not_enough_money_takes_nothing() -> None:
    account, client = customer(balance="100")
    with frozen_clock():
        page = choose(client, "pet-100k")
        assert "充值 150.00 元" in page
        refused = client.post("/buy/confirm/", form_of(page))
        assert refused.status_code == 402
        assert "余额还差 150.00 元" in text_of(refused)
        top_up(account, "150", NOW)
        assert client.post("/buy/confirm/", form_of(page)).status_code == 302, "the same form, once the money is there"
    account.refresh_from_db()
    assert account.balance == 0


def test_arrears_can_neither_buy_nor_switch() -> None:
    account, client = customer(balance="1")
    with frozen_clock():
        form = form_of(choose(client, "traffic-up-100gb"))
    use(account, "ai.vehicle", 5_000, "2026-03-09T10:00")
    night("2026-03-10T02:00")
    with frozen_clock():
        refused = client.post("/buy/confirm/", form)
        assert refused.status_code == 403
        assert "没有购买，也没有扣款" in text_of(refused)
        assert "欠费账户不能购买资源包" in text_of(client.get("/buy/"))
        said = text_of(client.post("/billing-mode/", {"mode": "traffic"}, follow=True))
        assert "欠费账户不能切换计费模式，没有改动" in said
        said = text_of(client.get("/"))
        assert "距停服 16 小时 0 分" in said
        assert "欠费 3月10日 02:00" in said
        assert "停服 3月11日 02:00" in said
    with frozen_clock("2026-03-11T02:00"):
        assert "已停服。距释放资源 7 天 0 小时" in text_of(client.get("/"))
    with frozen_clock("2026-03-18T02:00"):
        assert account.user is not None
        client.force_login(account.user)  # a week later
        assert "资源已于 3月18日 02:00 释放" in text_of(client.get("/"))
    top_up(account, "14", "2026-03-18T03:00")
    with frozen_clock("2026-03-18T03:00"):
        assert "0 .00 元" in text_of(client.get("/"))
        assert "正常" in text_of(client.get("/"))


def test_a_withdrawn_pack_leaves_the_cart_with_a_word() -> None:
    account, client = customer()
    with frozen_clock():
        form = form_of(choose(client, "pet-100k", "face-100k"))
        withdraw_from_sale("pet-100k", NOW)
        said = text_of(client.post("/buy/confirm/", form, follow=True))
        assert "停售" in said
        assert account.packs.count() == 0
        assert "支付 50.00 元" in text_of(client.get("/buy/confirm/"))


@pytest.mark.parametrize(
    "line", ["pet-100k", "pet-100k:0:25000", "pet-100k:1:-5", "pet-100k:1001:1", "pet-100k:٣:1", "x\x00:1:1", ""]
)
def test_a_form_that_is_not_ours_buys_nothing(line: str) -> None:
    account, client = customer()
    with frozen_clock():
        choose(client, "pet-100k")
        response = client.post("/buy/confirm/", {"key": "k", "line": line}, follow=True)
        assert "没有购买" in text_of(response)
    assert account.packs.count() == 0


# ── mode, packs, bills ───────────────────────────────────────────────────────────────────────────────


def test_switching_and_taking_it_back() -> None:
    account, client = customer()
    buy(account, "traffic-down-1tb", "2026-03-02T09:00")
    with frozen_clock():
        assert "冻结" in text_of(client.get("/packs/"))
        response = client.post("/billing-mode/", {"mode": "traffic", "next": "/"}, follow=True)
        assert "3月11日 0 点起：按流量计费" in text_of(response)
        assert "3月11日 0 点起，网络按流量计费" in text_of(client.get("/"))
        assert "维持不变：日峰值带宽" in text_of(client.post("/billing-mode/", {"mode": "bandwidth"}, follow=True))
        client.post("/billing-mode/", {"mode": "traffic"})
        assert client.post("/billing-mode/", {"mode": "pigeon"}).status_code == 404
    with frozen_clock("2026-03-11T00:00"):
        assert "冻结" not in text_of(client.get("/packs/")).replace("不会冻结", "")


def test_refund_says_what_it_would_cost() -> None:
    account, client = customer()
    [pack] = buy(account, "pet-100k", "2026-03-10T09:00")
    use(account, "ai.pet", 4_000, "2026-03-10T09:30")
    path = reverse("refund", args=[pack.pk])
    with frozen_clock():
        said = text_of(client.get(path))
        assert "尚未结算的用量会因此多花约 10.00 元" in said
        assert "截止 3月15日 09:00，还剩 4 天 23 小时" in said
        assert "退款 250.00 元" in said
        assert client.post(path).status_code == 302
        assert "已经退过款" in text_of(client.post(path))
    account.refresh_from_db()
    assert account.balance == 1_000_000
    night("2026-03-11T02:00")
    assert bill_of(account, "2026-03-10").amount_due == 1_000
    assert_books()


def test_a_used_pack_is_not_refunded() -> None:
    account, client = lived_in()
    pack = account.packs.order_by("pk")[1]
    with frozen_clock("2026-03-05T10:00"):
        response = client.post(reverse("refund", args=[pack.pk]))
    assert response.status_code == 409
    assert "已开始抵扣" in text_of(response)


def test_the_bill_explains_each_line() -> None:
    account, client = lived_in()
    first, second = Bill.objects.filter(account=account).order_by("pk")
    with frozen_clock():
        said = text_of(client.get(reverse("bill", args=[first.pk])))
        for words in (
            "3月1日买的 10 万次包抵扣 100,000 次，至此用完",
            "3月1日买的 10 万次包抵扣 50,000 次，之后剩 5 万次",
            "1,234 次 × 3 元/千次 = 3.702000 元",
            "19:50–19:55 最高",
            "96.851224 Mbps × 0.7 元/Mbps = 67.795857 元",
            "61 秒 × 0.136 元/分钟 = 0.138267 元",
            "全天 288 个时段的平均占用",
            "1 路 × 0.1 元/路 = 0.100000 元",
            "这一天有用量迟报",
        ):
            assert words in said, words
        assert "下行流量" not in said, "what the mode does not bill is not on the bill"
        late = text_of(client.get(reverse("bill", args=[second.pk])))
        assert "补充账单（第 2 份）" in late
        assert "40 次 × 3 元/千次 = 0.120000 元" in late


def test_messages_are_read_once_seen() -> None:
    _account, client = lived_in()
    with frozen_clock():
        assert "消息 1" in text_of(client.get("/"))
        shown = client.get("/inbox/")
        assert "宠物识别资源包：一个包已用完" in text_of(shown)
        assert "消息 1" in text_of(client.get("/")), "looking changes nothing"
        [new] = shown.context["new"]
        client.post("/inbox/read/", {"shown": new.notice.pk})
        assert "消息 1" not in text_of(client.get("/"))


def test_empty_pages_tell_what_to_do() -> None:
    _account, client = customer()
    with frozen_clock():
        assert "还没有资源包。按量计费，用多少付多少。" in text_of(client.get("/"))
        assert "第一份账单将在有用量的次日 02:00 后出现。" in text_of(client.get("/bills/"))
        assert "还没有订单" in text_of(client.get("/orders/"))
        assert "没有消息" in text_of(client.get("/inbox/"))


@pytest.mark.parametrize("query", ["month=2026-13", "month=x", "month=2026-03-01"])
def test_a_month_that_is_none(query: str) -> None:
    _account, client = lived_in()
    assert client.get(f"/bills/?{query}").status_code == 404


def test_error_pages_without_debug(settings: Any) -> None:
    settings.DEBUG = False
    response = Client().get("/nothing/")
    assert response.status_code == 404
    assert "没有这个页面" in text_of(response)
    from django.views.defaults import server_error

    failed = server_error(response.wsgi_request)
    assert "我们这边出错了" in text_of(failed)


def test_forms_need_their_token() -> None:
    account, _client = customer()
    client = Client(enforce_csrf_checks=True)
    assert account.user is not None
    client.force_login(account.user)
    for path in ("/buy/confirm/", "/buy/cart/", "/billing-mode/", "/preferences/", "/sign-out/"):
        assert client.post(path, {"mode": "traffic"}).status_code == 403, path


def test_the_dark_blocks_of_the_stylesheet_are_equal() -> None:
    from tests.conftest import ROOT

    css = (ROOT / "static" / "console" / "console.css").read_text()
    chosen = re.search(r'(?s)\n\[data-bs-theme="dark"\] \{(.*?)\n\}', css)
    system = re.search(r"(?s):root:not\(\[data-bs-theme\]\) \{(.*?)\n\} \}", css)
    assert chosen is not None
    assert system is not None
    assert chosen[1] == system[1]
