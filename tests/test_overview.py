"""The overview: what an account is told to do next, in which order, and what it holds by urgency."""

from datetime import date, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from accounts.ledger import record_adjustment
from accounts.modes import switch_mode
from packs.models import PackType, Sku
from packs.offers import on_sale, shelf_of
from packs.tariff import tariff_on, tariffs_between
from packs.whole import whole_catalogue
from settlement.cost import cost_of, parts
from settlement.estimate import load_unsettled
from settlement.loading import load_rules_between, rules_of
from settlement.recent import recent
from tests.test_pages import customer, frozen_clock, text_of
from tests.worlds import GB, MBPS, at, buy, night, set_pack_price, top_up, use, withdraw_from_sale

pytestmark = pytest.mark.django_db


def lived(account: Any, days: int, **daily: int) -> None:
    """So many days from 1 March on, each with the same use, settled; items with `__` for the point."""
    for number in range(days):
        day = date(2026, 3, 1) + timedelta(days=number)
        for item, quantity in daily.items():
            use(account, item.replace("__", "."), quantity, f"{day}T10:00")
        night(f"{day + timedelta(days=1)}T02:00")


def overview(client: Any, moment: str) -> str:
    with frozen_clock(moment):
        return text_of(client.get("/"))


def test_a_balance_that_lasts_and_one_that_does_not() -> None:
    account, client = customer(balance="1000")
    lived(account, 2, ai__vehicle=10_000)
    assert "用量还太少，无法估计够用多久" in overview(client, "2026-03-03T10:00")
    lived_more = ("2026-03-03T10:00", "2026-03-04T10:00")
    for when in lived_more:
        use(account, "ai.vehicle", 10_000, when)
    night("2026-03-05T02:00")
    # 880 left at 30 a day: 29 whole days after today
    said = overview(client, "2026-03-05T10:00")
    assert "按近 7 天的速度约够 29 天 ，到 4月3日" in said
    assert "余额只够到" not in said
    use(account, "ai.vehicle", 270_000, "2026-03-05T11:00")
    night("2026-03-06T02:00")
    # 70 left at 186 a day
    said = overview(client, "2026-03-06T10:00")
    assert "余额只够到今天" in said
    assert "充值 1,900 元，约够 10 天" in said
    with frozen_clock("2026-03-06T10:00"):
        assert "/top-up/?amount=1900" in client.get("/").content.decode()


def test_the_next_thing_is_the_first_that_holds() -> None:
    account, client = customer(balance="20000")
    # a pack of a million vehicle calls for 2,500 saves 500 of 3,000
    lived(account, 29, ai__vehicle=40_000, ai__face=1_000)
    said = overview(client, "2026-03-30T10:00")
    assert "车辆识别买 1 个 100 万次包" in said
    # held packs are enough: nothing to do
    buy(account, "vehicle-1m", "2026-03-30T11:00")
    said = overview(client, "2026-03-30T12:00")
    assert "会少花" not in said
    # a week before it is empty, it is the next thing again
    for day in range(30, 32):
        use(account, "ai.vehicle", 400_000, f"2026-03-{day}T12:00")
        night((date(2026, 3, day) + timedelta(days=1)).isoformat() + "T02:00")
    said = overview(client, "2026-04-01T10:00")
    assert "车辆识别 4月2日用完，之后 约 " in said
    # money comes first
    account.refresh_from_db()
    record_adjustment(
        account_id=account.pk,
        amount=1_00 - account.balance,
        reason="test",
        reference="test",
        now=at("2026-04-01T11:00"),
    )
    said = overview(client, "2026-04-01T12:00")
    assert "余额只够到今天" in said
    assert "会少花" not in said
    use(account, "ai.pet", 1_000_000, "2026-04-01T12:00")
    night("2026-04-02T02:00")
    said = overview(client, "2026-04-02T10:00")
    assert "距停服 16 小时 0 分" in said
    assert "余额只够到" not in said
    # what is short, and ten days more, rounded up to whole hundreds
    assert "约够 10 天" in said


def test_packs_by_urgency() -> None:
    account, client = customer(balance="100000")
    buy(account, "traffic-down-1tb", "2026-03-01T09:00")
    buy(account, "pet-100k", "2026-03-01T09:00")
    buy(account, "face-1m", "2026-03-01T09:00")
    buy(account, "plate-100k", "2026-03-01T09:00", 2)
    buy(account, "body-100k", "2026-03-01T09:00")
    lived(account, 9, ai__pet=1_000, ai__face=90_000, ai__plate=100)
    use(account, "ai.body", 7, "2026-03-08T10:00")
    night("2026-03-10T02:30")
    said = overview(client, "2026-03-10T10:00")
    table = said[said.index("类型 剩余") : said.index("近 30 天费用")]
    order = ["人脸检测", "宠物识别", "车牌识别", "人体识别", "下行流量"]
    assert sorted(order, key=table.index) == order
    # 1,000,000 less 9 days of 90,000 are 190,000: used up on the third day, a Thursday of this week
    assert "人脸检测 1 个包 19 万次 共 100 万次 周四 3月12日" in table
    assert "宠物识别 1 个包 9.10 万次 共 10 万次 约 3 个月后 2026 年 6 月" in table
    assert "用量还太少，无法估计" in table
    assert "冻结" in table
    assert "怎样解冻" in table


def test_a_frozen_type_and_a_pending_switch() -> None:
    account, client = customer(balance="5000")
    buy(account, "traffic-down-1tb", "2026-03-02T09:00")
    lived(account, 3, bandwidth__down=50_000_000)
    switch_mode(account_id=account.pk, mode="traffic", now=at("2026-03-04T09:00"))
    said = overview(client, "2026-03-04T10:00")
    assert "3月5日 0 点起，网络按流量计费" in said
    for day in (4, 5, 6):
        use(account, "traffic.down", 5 * 10**9, f"2026-03-0{day}T10:00")
        use(account, "bandwidth.down", 10**7, f"2026-03-0{day}T10:00")
    for day in (5, 6, 7):
        night(f"2026-03-0{day}T02:00")
    said = overview(client, "2026-03-07T10:00")
    assert "3月5日起网络改按流量计费" in said
    assert "冻结" not in said


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=8))
def test_parts_add_up_to_the_whole(amounts: list[int]) -> None:
    whole = (2 * sum(amounts) + 10_000) // 20_000
    found = parts(amounts, whole)
    assert sum(found) == whole
    assert all(abs(fen * 10_000 - amount) < 10_000 for fen, amount in zip(found, amounts, strict=True))


def test_the_cost_chart_adds_up_and_begins_with_the_account() -> None:
    account, _client = customer(balance="100000")
    buy(account, "pet-100k", "2026-03-01T09:00")
    items = {f"ai__{name}": 1_000 * place for place, name in enumerate(["vehicle", "face", "body", "image-label"], 1)}
    lived(account, 4, ai__pet=500, video__snapshot=77, ai__baby=9_000, storage__standard=10**12, **items)
    lately = recent(account.pk, date(2026, 3, 5))
    whole = whole_catalogue(at("2026-03-05T10:00"))
    cost = cost_of(lately, whole.items, date(2026, 3, 1))
    assert cost.days == [date(2026, 3, day) for day in range(1, 5)]
    assert len(cost.items) == 6
    assert cost.items[-1].name == "其他"
    assert sum(item.total for item in cost.items) == cost.total
    assert cost.total == sum(line.amount for line in lately.lines) // 10_000 or cost.total > 0
    assert [item.total for item in cost.items[:-1]] == sorted((i.total for i in cost.items[:-1]), reverse=True)
    for _day, amounts, total in cost.rows:
        assert sum(amounts) == total
    pet = next(item for item in whole.items.values() if item.code == "ai.pet")
    assert cost.worth == sum(line.worth for line in lately.lines if line.item_id == pet.pk) // 10_000


def test_the_whole_catalogue_is_what_its_parts_say() -> None:
    now = at("2026-03-10T10:00")
    set_pack_price(sku=Sku.objects.get(code="pet-100k"), price=26_000, reason="test", now=at("2026-03-09T10:00"))
    set_pack_price(sku=Sku.objects.get(code="pet-1m"), price=1, reason="test", now=at("2026-03-11T10:00"))
    withdraw_from_sale("face-100k", "2026-03-10T09:00")
    whole, shelf = whole_catalogue(now), on_sale(now)
    assert whole.tariff(date(2026, 3, 10)) == tariff_on(date(2026, 3, 10)) == shelf.tariff
    assert {pk: whole.prices[pk] for pk in whole.prices} == {
        sku.pk: shelf.prices[sku.pk] for skus in shelf.skus.values() for sku in skus
    }
    assert {kind: [sku.code for sku in skus] for kind, skus in whole.skus.items()} == {
        kind: [sku.code for sku in skus] for kind, skus in shelf.skus.items()
    }
    assert shelf_of(whole) == shelf
    for kind in PackType.objects.prefetch_related("covers"):
        assert list(whole.types[kind.pk].covers.all()) == list(kind.covers.all())
        assert (whole.types[kind.pk].name_zh, whole.types[kind.pk].region) == (kind.name_zh, kind.region)
    days = tariffs_between(date(2026, 3, 1), date(2026, 3, 10))
    assert all(whole.tariff(day) == tariff for day, tariff in days.items())
    first, last = date(2026, 2, 20), date(2026, 3, 10)
    assert rules_of(whole)(first, last) == load_rules_between(first, last)
    assert rules_of(whole)(date(2025, 1, 1), date(2025, 1, 2)) == load_rules_between(date(2025, 1, 1), date(2025, 1, 2))


def test_the_estimate_is_the_same_with_rules_that_were_read_before() -> None:
    account, _client = customer()
    use(account, "ai.pet", 500, "2026-03-08T10:00")
    use(account, "ai.pet", 500, "2026-03-10T09:00")
    now = at("2026-03-10T10:00")
    assert load_unsettled(account.pk, now, rules_of=rules_of(whole_catalogue(now))) == load_unsettled(account.pk, now)


def test_the_overview_asks_as_little_of_a_long_history() -> None:
    """As many statements for 50 days of bills, packs and late usage as for one, and no rows of old bills."""
    account, client = customer(balance="100000")
    lived(account, 1, ai__pet=500)

    def asked() -> list[str]:
        with frozen_clock("2026-05-01T10:00"), CaptureQueriesContext(connection) as queries:
            assert client.get("/").status_code == 200
        return [query["sql"] for query in queries.captured_queries]

    use(account, "ai.vehicle", 70, "2026-05-01T08:00")
    few = asked()
    buy(account, "pet-100k", "2026-03-02T09:00", 50)
    for number in range(1, 61):
        day = date(2026, 3, 1) + timedelta(days=number)
        use(account, "ai.pet", 500, f"{day}T10:00", received=f"{min(day, date(2026, 4, 30))}T23:00")
    night("2026-05-01T02:00")
    for number in range(3, 28):
        use(account, "ai.pet", 5, f"2026-04-{number:02}T11:00", received="2026-05-01T09:00")
    many = asked()
    assert len(many) <= 11, many
    assert len(many) == len(few)
    top_up(account, "1", "2026-05-01T09:00")


def test_the_overview_advises_what_the_page_of_buying_advises() -> None:
    """Also the day after a switch, when the bills tell nothing of what was metered in the mode that counts now."""
    account, client = customer(balance="100000")
    set_pack_price(
        sku=Sku.objects.get(code="traffic-down-1tb"), price=200_00, reason="test", now=at("2026-03-01T00:00")
    )
    lived(account, 10, traffic__down=200 * GB, bandwidth__down=MBPS, ai__pet=500)
    with frozen_clock("2026-03-11T10:00"):
        assert client.get("/").context["next"] is None
        switch_mode(account_id=account.pk, mode="traffic", now=at("2026-03-11T10:00"))
        client.post("/buy/cart/", {"add": "pet-1m"})
        with CaptureQueriesContext(connection) as queries:
            told = client.get("/").context["next"]
        assert len(queries) < 12
        advised = client.get("/buy/").context["advice"]
        assert (told.kind, told.advice) == ("saves", advised.to_buy[0])
        assert told.advice.pack_type.code == "traffic-down"
        # the dearest view of the page of buying: a cart that waited for money, and has what it waited for by now
        page = client.get("/buy/confirm/")
        client.post("/buy/cart/", {"add": "vehicle-10m", "quantity-pet-1m": "50"})
        lines = [f"pet-1m:50:{220_000}", f"vehicle-10m:1:{2_000_000}"]
        client.post("/checkout/", {"key": page.context["key"], "line": lines})
        top_up(account, "100000", "2026-03-11T10:00")
        with CaptureQueriesContext(connection) as queries:
            assert not client.get("/buy/").context["cart"].lines
        assert len(queries) < 12, queries.captured_queries


THREE_YEARS = """
WITH bill AS (
    INSERT INTO settlement_bill (account_id, day, sequence, billing_mode, rated_total, carry_in, amount_due, carry_out,
                                 balance_after, settled_at)
    SELECT %(account)s, day, 1, 'bandwidth', 21000000, 0, 2100, 0, 0, day + interval '26 hours'
    FROM generate_series(%(first)s::date, %(last)s::date, '1 day') AS day RETURNING id
)
INSERT INTO settlement_billline (bill_id, position, item_id, region, quantity, drawn, charged, price, per, amount)
SELECT bill.id, item.position, item.id, 'cn-mainland', 1000, 0, 1000, 1000, 1, 1000000
FROM bill CROSS JOIN packs_item AS item
"""


def rows_read(sql: str) -> tuple[int, list[str]]:
    """How many rows all nodes of a statement's plan bring forth, and the tables that it reads whole."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}")
        [[[found]]] = cursor.fetchall()

    def walk(node: dict[str, Any]) -> tuple[int, list[str]]:
        whole = [node["Relation Name"]] if node["Node Type"] == "Seq Scan" else []
        rows = int(node["Actual Rows"] * node["Actual Loops"])
        for inner in node.get("Plans", ()):
            more, tables = walk(inner)
            rows, whole = rows + more, whole + tables
        return rows, whole

    return walk(found["Plan"])


def test_three_years_of_bills_are_not_read() -> None:
    """The overview of an old account reads as much as that of one with 40 days: by rows, not by the clock."""
    read: dict[str, int] = {}
    for name, first in (("young", date(2026, 1, 29)), ("old", date(2023, 3, 2))):
        account, client = customer(name, on="2023-03-01")
        with connection.cursor() as cursor:
            cursor.execute(THREE_YEARS, {"account": account.pk, "first": first, "last": date(2026, 3, 9)})
            cursor.execute("ANALYZE settlement_bill, settlement_billline")
        with frozen_clock("2026-03-10T10:00"), CaptureQueriesContext(connection) as queries:
            client.get("/")
        statements = [query["sql"] for query in queries.captured_queries if "settlement_bill" in query["sql"]]
        assert len(statements) >= 2
        read[name] = 0
        for sql in statements:
            rows, whole = rows_read(sql)
            read[name] += rows
            assert name == "young" or not {"settlement_bill", "settlement_billline"} & set(whole), sql
    assert read["old"] <= read["young"] * 1.5, read
