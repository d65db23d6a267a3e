"""Buying with advice: what the last 30 settled days say, the catalogue beside it, the cart, the billing mode's page."""

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import TRAFFIC, Account
from accounts.modes import switch_mode
from packs.models import Item, PackType, Sku
from packs.offers import on_sale, types_that_save
from settlement.advice import Advice, TypeAdvice, Verdict, advice_for
from settlement.histories import load_history, position, window_rules
from settlement.replay import Held, replay
from tests.test_pages import customer, frozen_clock
from tests.test_pages import text_of as said
from tests.worlds import GB, MBPS, assert_books, at, buy, night, opened, set_pack_price, use, withdraw_from_sale

pytestmark = pytest.mark.django_db

NOW = "2026-03-11T10:00"
"""After ten settled days, from the 1st to the 10th."""


def ten_days(account: Account, per_day: dict[str, int], days: int = 10) -> None:
    for day in range(1, days + 1):
        for item, quantity in per_day.items():
            use(account, item, quantity, f"2026-03-{day:02}T08:00")
        night(f"2026-03-{day + 1:02}T02:00")


def advice(account: Account, now: str = NOW, horizon: int = 30) -> Advice:
    return advice_for(account, at(now), horizon=horizon)


def of_type(found: Advice, code: str) -> TypeAdvice:
    [one] = [one for one in found.types if one.pack_type.code == code]
    return one


# ── advice ───────────────────────────────────────────────────────────────────────────────────────────


def test_what_would_have_cost_least() -> None:
    account = opened()
    ten_days(account, {"ai.vehicle": 110_000, "ai.face": 50_000, "ai.image-label": 20_000})
    found = advice(account)
    assert (found.known_days, found.enough) == (10, True)
    assert [one.pack_type.code for one in found.to_buy] == ["vehicle"]
    vehicle = found.to_buy[0]
    assert [(one.size.code, one.number) for one in vehicle.best.packs] == [("vehicle-1m", 1)]
    assert (vehicle.used, vehicle.best.total, vehicle.nothing.total, vehicle.saves) == (
        1_100_000,
        2_800_00,
        3_300_00,
        500_00,
    )
    assert vehicle.lasts == 9
    assert vehicle.worth_telling
    assert of_type(found, "face").verdict == Verdict.TOO_LITTLE
    assert of_type(found, "face").pays_from is not None
    assert of_type(found, "image-label").pays_from[0] == 880_000  # type: ignore[index]


def test_the_sum_is_what_rating_comes_to() -> None:
    """Packs held from the first day on leave to pay-as-you-go exactly what the advice says: the same draws."""
    account = opened()
    kitchen = {"ai.kitchen.uniform": 31_234, "ai.kitchen.hat": 40_001, "ai.kitchen.phone": 55_555}
    ten_days(account, kitchen)
    use(account, "ai.kitchen.hat", 9_999, "2026-03-04T09:00", received=NOW)
    night("2026-03-12T02:00")
    found = of_type(advice(account, "2026-03-12T10:00"), "kitchen")
    assert found.best.packs
    at_first = position(account.pk, at("2026-03-12T10:00"))
    history = load_history(account, at_first)
    packs = [
        Held(-place, found.pack_type.pk, bought.number * bought.size.quantity, at_first.window.first, until)
        for place, bought in enumerate(found.best.packs, start=1)
        for until in [Sku.objects.get(code=bought.size.code).valid_until]
    ]
    outcome = replay(history, window_rules(at_first.window), packs=packs)
    assert sum(one.quantity for one in outcome.items.values()) == found.used
    assert sum(one.charged for one in outcome.items.values()) == sum(part.quantity for part in found.best.rest)
    assert abs(outcome.total - found.best.rest_price * 10_000) <= 5_000


def test_held_packs_that_last_are_enough() -> None:
    account = opened()
    buy(account, "vehicle-10m", "2026-03-01T00:00")
    ten_days(account, {"ai.vehicle": 110_000})
    found = of_type(advice(account), "vehicle")
    assert (found.verdict, found.held, found.held_days) == (Verdict.HELD, 8_900_000, 80)
    assert not found.worth_telling
    assert not advice(account).to_buy


def test_held_packs_that_end_within_days_urge_the_next() -> None:
    account = opened()
    buy(account, "vehicle-1m", "2026-03-01T00:00")
    buy(account, "vehicle-100k", "2026-03-01T00:00", 4)
    ten_days(account, {"ai.vehicle": 110_000})
    found = of_type(advice(account), "vehicle")
    assert (found.verdict, found.held_days) == (Verdict.BUY, 2)


def test_packs_that_cost_the_same_are_never_advised() -> None:
    account = opened()
    switch_mode(account_id=account.pk, mode=TRAFFIC, now=at("2026-03-01T00:00"))
    ten_days(account, {"traffic.down": 5_000 * GB, "ai.body": 90_000})
    found = advice(account)
    assert not found.to_buy
    assert of_type(found, "traffic-down").used == 45_000 * GB, "the first day was billed by bandwidth"
    assert of_type(found, "traffic-down").verdict == Verdict.SAME_PRICE
    # 100,000 and 1,000,000 cost what body detection costs anyway; only 10,000,000 saves
    assert of_type(found, "body").verdict == Verdict.TOO_LITTLE
    codes = {PackType.objects.get(pk=pk).code for pk in types_that_save(on_sale(at(NOW)))}
    assert codes == {"pet", "vehicle", "plate", "body", "body-keypoint", "face", "image-label", "kitchen"}


def test_traffic_packs_are_not_advised_while_they_would_be_frozen() -> None:
    account = opened()
    for sku in Sku.objects.filter(pack_type__code="traffic-down"):
        set_pack_price(sku=sku, price=1, reason="test", now=at("2026-03-01T00:00"))
    ten_days(account, {"traffic.down": 500 * GB})
    assert not advice(account).types
    switch_mode(account_id=account.pk, mode=TRAFFIC, now=at(NOW))
    assert of_type(advice(account), "traffic-down").verdict == Verdict.BUY, "announced for tomorrow"


def test_what_is_withdrawn_is_not_advised_and_a_new_size_is() -> None:
    account = opened()
    ten_days(account, {"ai.vehicle": 110_000})
    withdraw_from_sale("vehicle-1m", "2026-03-01T00:00")
    assert of_type(advice(account), "vehicle").verdict == Verdict.TOO_LITTLE
    kind = PackType.objects.get(code="vehicle")
    until = Sku.objects.get(code="vehicle-100k").valid_until
    sku = Sku.objects.create(code="vehicle-500k", pack_type=kind, quantity=500_000, valid_until=until, position=99)
    set_pack_price(sku=sku, price=1_200_00, reason="test", now=at("2026-03-05T00:00"))
    found = of_type(advice(account), "vehicle")
    assert [(one.size.code, one.number) for one in found.best.packs] == [("vehicle-500k", 2)]
    assert found.best.total == 2 * 1_200_00 + 300_00


def test_longer_horizons_stretch_the_pace() -> None:
    account = opened()
    ten_days(account, {"ai.vehicle": 110_000})
    found = of_type(advice(account, horizon=365), "vehicle")
    assert found.used == 1_100_000 * 365 // 10
    assert [(one.size.code, one.number) for one in found.best.packs] == [("vehicle-10m", 4)]


def test_a_few_days_are_too_few() -> None:
    account, client = customer(on="2026-03-05")
    for day in range(5, 10):
        use(account, "ai.vehicle", 900_000, f"2026-03-{day:02}T08:00")
    night("2026-03-10T02:00")
    found = advice(account, "2026-03-10T10:00")
    assert (found.known_days, found.enough, found.to_buy) == (5, False, [])
    with frozen_clock("2026-03-10T10:00"):
        assert "需要 7 天已结算的用量，现在有 5 天" in said(client.get("/buy/"))


# ── the page ─────────────────────────────────────────────────────────────────────────────────────────


def advised() -> tuple[Account, Client]:
    account, client = customer(balance="20000")
    ten_days(account, {"ai.vehicle": 110_000, "ai.face": 50_000, "bandwidth.down": 100 * MBPS, "traffic.down": GB})
    return account, client


def test_the_page_says_what_to_buy_with_its_sum() -> None:
    _account, client = advised()
    with frozen_clock(NOW):
        page = said(client.get("/buy/"))
        for words in (
            "按近 10 天的用量，怎样买最省",
            "车辆识别 · 1 个 100 万次包",
            "用量 110 万次，比全部按量少花 500.00 元。够用约 9 天。",
            "余下 100,000 次 × 3 元/千次",
            "1 个 10 万次包，余下按量",
            "用到 800 万次起，1000 万次包才划算",
            "2月9日至3月10日的用量，按今天的价格计算。",
        ):
            assert words in page, words
        year = said(client.get("/buy/?days=365"))
        assert "按这些天的速度推算一年" in year
        assert "4 个 1000 万次包" in year
        assert client.get("/buy/?days=9x").status_code == 200
        # nothing used: a full answer
        _other, stranger = customer("bob", on="2026-01-01")
        assert "不必买" in said(stranger.get("/buy/"))
        # the advised packs, however often asked for
        for _time in range(2):
            client.post("/buy/cart/", {"advised": "vehicle-1m:2 no-such:4 vehicle-10m:x"})
        assert client.session["cart"] == {"vehicle-1m": 2}
    assert_books()


def test_with_script_only_what_changed_is_sent() -> None:
    _account, client = customer(balance="3000")
    with frozen_clock(NOW):

        def post(**form: str) -> str:
            return client.post("/buy/cart/", form, headers={"HX-Request": "true"}).content.decode()

        answer = post(add="pet-1m")
        assert re.findall(r'<button[^>]* id="([a-z0-9-]+)" hx-swap-oob="true"', answer) == ["pet-1m"]
        assert "购物车 1 件，2,200.00 元" in answer
        assert "800<span" in answer
        answer = post(**{"quantity-pet-1m": "2"})
        assert "还差 1,400.00 元" in answer
        assert "充值 1,400.00 元并完成购买" in answer
        answer = post(**{"quantity-pet-1m": "2"})
        assert 'hx-swap-oob="true"' not in answer, "nothing changed"
        answer = post(**{"take-out": "pet-1m"})
        assert "购物车是空的" in answer
        assert "price-in" not in answer


def test_in_arrears_prices_are_words() -> None:
    account, client = customer(balance="1")
    use(account, "ai.vehicle", 5_000, "2026-03-09T10:00")
    night("2026-03-10T02:00")
    with frozen_clock("2026-03-10T10:00"):
        response = client.get("/buy/")
        page = response.content.decode()
        assert "余额低于 0 元 14.00 元" in said(response)
        assert 'name="add"' not in page
        assert page.count("price-text") == 34
        mode = client.get("/billing-mode/")
        assert "欠费账户不能切换计费模式" in said(mode)
        assert 'value="traffic"' not in mode.content.decode()


def test_the_modes_side_by_side() -> None:
    account, client = advised()
    buy(account, "traffic-down-100gb", "2026-03-10T09:00")
    buy(account, "traffic-up-100gb", "2026-03-10T09:00")
    with frozen_clock(NOW):
        page = said(client.get("/billing-mode/"))
        for words in (
            "近 10 天各要多少钱",
            "700 .00 元",  # ten days of 100 Mbps at 0.7
            "4 .50 元",  # nine days of 1 GB at 0.5; the tenth from the pack
            "不计资源包 5.00 元",
            "另一种方式（按流量计费）会少花 695 .50 元",
            "资源包抵扣 1.00 GB",
            "切换后，3月12日 0 点起",
            "解冻，可抵扣",
        ):
            assert words in page, words
        client.post("/billing-mode/", {"mode": "traffic"})
        page = said(client.get("/billing-mode/"))
        assert "3月12日 0 点起（已预定）" in page
        assert "撤回" in page
        assert "3月12日 0 点起按流量计费，流量包从那时起抵扣" in said(client.get("/buy/"))
    with frozen_clock("2026-03-12T10:00"):
        assert "今天的方式（按流量计费）少花" in said(client.get("/billing-mode/"))


def test_the_pages_ask_the_database_little_however_much_there_is() -> None:
    account, client = advised()
    paths = ["/buy/", "/billing-mode/", "/buy/confirm/"]

    def counts() -> list[int]:
        found = []
        for path in paths:
            with CaptureQueriesContext(connection) as queries:
                assert client.get(path).status_code == 200
            found.append(len(queries))
        return found

    with frozen_clock(NOW):
        client.post("/buy/cart/", {"add": "vehicle-1m"})
        before = counts()
        assert max(before) < 12, before
    buy(account, "traffic-down-100gb", "2026-03-10T09:00", 20)
    buy(account, "pet-100k", "2026-03-10T09:00", 20)
    switch_mode(account_id=account.pk, mode=TRAFFIC, now=at("2026-03-10T12:00"))
    for code in Item.objects.exclude(aggregation="distinct").values_list("code", flat=True):
        use(account, code, 5, "2026-03-10T09:00", received=NOW)
    night("2026-03-12T02:00")
    with frozen_clock("2026-03-12T10:00"):
        client.post("/buy/cart/", {"add": "pet-1m"})
        client.post("/buy/cart/", {"add": "traffic-up-1tb"})
        after = counts()
    assert after == before
