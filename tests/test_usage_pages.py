"""Usage pages: per item and day, by hour or five minutes, by region and source, and where an event stands."""

import re
from datetime import date
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import Account
from accounts.modes import switch_mode
from packs.models import Item
from settlement.expiry import expire_usage
from tests.test_pages import customer, frozen_clock, text_of
from tests.worlds import MBPS, at, buy, event, night, send, set_tariff, use

pytestmark = pytest.mark.django_db

NOW = "2026-03-10T10:00"
PATHS = (
    "/usage/",
    "/usage/?from=2026-03-01&to=2026-03-04",
    "/usage/ai.pet/",
    "/usage/ai.pet/2026-03-08/",
    "/usage/bandwidth.down/2026-03-08/",
    "/usage/storage.standard/2026-03-08/",
    "/usage/device.gb28181/2026-03-08/",
    "/usage/traffic.down/2026-03-08/",
    "/usage/event/?day=2026-03-08&source=/edge/1&id=late",
    "/usage/event/?day=2026-03-08&source=/edge/1&id=none",
    "/usage/event/?day=x",
)


def used_up(name: str = "alice") -> tuple[Account, Client]:
    """A customer with use of every aggregation, of two sources, settled, late and pending."""
    account, client = customer(name)
    buy(account, "pet-100k", "2026-03-01T09:00")
    for day in range(5, 9):
        on = f"2026-03-0{day}"
        use(account, "ai.pet", 30_000, f"{on}T10:15")
        use(account, "ai.pet", 2_000, f"{on}T23:59", source="/edge/2")
        use(account, "bandwidth.down", 40 * MBPS, f"{on}T19:51", resource="a")
        use(account, "bandwidth.down", 20 * MBPS, f"{on}T19:52", source="/edge/2", resource="b")
        use(account, "bandwidth.down", 50 * MBPS, f"{on}T08:00", resource="a")
        use(account, "storage.standard", 288 * 10**9, f"{on}T12:00")
        use(account, "device.gb28181", 1, f"{on}T07:00", resource="c1")
        use(account, "device.gb28181", 1, f"{on}T08:00", resource="c1")
        use(account, "device.gb28181", 1, f"{on}T08:00", resource="c2")
        use(account, "traffic.down", 7 * 10**9, f"{on}T08:00")
        night(f"2026-03-0{day + 1}T02:00")
    use(account, "ai.pet", 500, "2026-03-08T11:00", id="late", received="2026-03-09T09:00")
    night("2026-03-10T02:00")
    use(account, "ai.pet", 70, "2026-03-10T08:00", id="today")
    return account, client


def page(client: Client, path: str, **more: Any) -> str:
    with frozen_clock(NOW):
        response = client.get(path, **more)
    assert response.status_code == 200, path
    return text_of(response)


def test_items_with_their_days_and_where_they_stand() -> None:
    _account, client = used_up()
    said = page(client, "/usage/")
    # four days of 32,000, 500 late and 70 today
    assert "宠物识别 累计 12.86 万次 合计 已结算 4 天 待结算 1 天" in said
    assert "下行日峰值带宽 日峰值 60.00 Mbps 最高一天 已结算 4 天" in said
    assert "标准视图存储 日均值 1.00 GB 日平均" in said
    assert "国标设备管理 不同资源数 2 路 最高一天" in said
    assert re.search(r"下行流量 累计 28\.00 GB 合计 此计费模式下不计费 4 天", said)
    assert "12.86" not in page(client, "/usage/?from=2026-03-05&to=2026-03-06")
    assert "这些天没有用量" in page(client, "/usage/?from=2026-03-01&to=2026-03-04")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("from=2026-03-09&to=2026-03-08", "起始日晚于截止日"),
        ("from=2026-99-01", "现在显示的是近 30 天"),
        ("to=0001-01-01", ""),
        ("from=9999-12-31", "起始日晚于截止日"),
        ("from=0001-01-01&to=9999-12-31", ""),
    ],
)
def test_a_range_that_is_none(query: str, words: str) -> None:
    _account, client = used_up()
    assert words in page(client, f"/usage/?{query}")


def test_one_item_by_day() -> None:
    _account, client = used_up()
    said = page(client, "/usage/ai.pet/")
    assert "3月8日 周日 结算状态 已结算 32,500 次" in said
    assert "3月10日 周二 结算状态 待结算 70 次" in said
    with frozen_clock(NOW):
        assert client.get("/usage/ai.nothing/").status_code == 404
        assert client.get("/usage/ai.%00pet/").status_code == 404
        assert client.get("/usage/ai.pet/2026-03-12/").status_code == 404
        assert client.get("/usage/ai.pet/2026-02-28/").status_code == 404
        assert client.get("/usage/ai.pet/2026-13-01/").status_code == 404


def test_a_day_by_hour_by_source_and_by_bill() -> None:
    account, client = used_up()
    said = page(client, "/usage/ai.pet/2026-03-08/")
    assert "10:00 3.00 万次" in said or "10:00 3 万次" in said
    assert "23:00 2,000 次" in said
    assert re.search(r"按来源 3\.25 万次 /edge/1 3\.05 万次 /edge/2 2,000 次", said)
    # the pack of 100,000 had 4,000 left on the 8th
    assert "当天的账单 资源包抵扣 4,000 次 计费量 28,000 次" in said
    assert "补充账单（第 2 份） 资源包抵扣 0 次 计费量 500 次" in said
    assert "待结算 今晚 02:00 结算" in page(client, "/usage/ai.pet/2026-03-10/")
    assert "没有这个计费项的用量" in page(client, "/usage/ai.pet/2026-03-09/")
    assert account.pk


def test_a_peak_names_its_slot_and_what_each_source_had_in_it() -> None:
    _account, client = used_up()
    said = page(client, "/usage/bandwidth.down/2026-03-08/")
    assert "最高的 5 分钟 19:50–19:55 60.00 Mbps /edge/1 40.00 Mbps /edge/2 20.00 Mbps" in said
    assert "19:00 19:50 60.00 Mbps" in said
    assert "各占平均值的多少 1.00 GB /edge/1 1.00 GB" in page(client, "/usage/storage.standard/2026-03-08/")
    assert "08:00 2 路" in page(client, "/usage/device.gb28181/2026-03-08/")
    with frozen_clock(NOW):
        csv = client.get("/usage/bandwidth.down/2026-03-08/slots.csv").content.decode().splitlines()
        assert client.get("/usage/ai.pet/2026-03-08/slots.csv").status_code == 404
    assert len(csv) == 289
    assert csv[1 + 19 * 12 + 10].startswith("bandwidth.down,cn-mainland,2026-03-08T19:50:00+08:00")
    assert ",60000000,bit/s" in csv[1 + 19 * 12 + 10]


def test_what_the_mode_does_not_bill() -> None:
    account, client = used_up()
    said = page(client, "/usage/traffic.down/2026-03-08/")
    assert "不计费：当天网络的计费模式是“日峰值带宽”" in said
    assert re.search(r"中国大陆 结算状态 此计费模式下不计费 7\.00 0000 GB", said), said
    switch_mode(account_id=account.pk, mode="traffic", now=at("2026-03-10T09:00"))
    assert "不计费" in page(client, "/usage/traffic.down/2026-03-08/"), "a day keeps its mode"


def test_two_regions_of_a_day() -> None:
    account, client = customer()
    set_tariff(
        item=Item.objects.get(code="ai.pet"), region="eu", price=1, per=1, effective_day=at("2026-03-05T00:00").date(),
        reason="test", now=at("2026-03-01T10:00"),
    )  # fmt: skip
    use(account, "ai.pet", 10, "2026-03-08T10:00")
    use(account, "ai.pet", 99, "2026-03-08T11:00", region="eu")
    said = page(client, "/usage/ai.pet/2026-03-08/")
    assert "eu 结算状态 待结算" in said
    assert "11:00 99 次" in said
    assert "10:00 10 次" in page(client, "/usage/ai.pet/2026-03-08/?region=cn-mainland")


def test_where_an_event_stands() -> None:
    _account, client = used_up()
    late = page(client, "/usage/event/?day=2026-03-08&source=/edge/1&id=late")
    assert "已结算" in late
    assert "3月8日 周日，补充账单（第 2 份）" in late
    assert "待结算 今晚结算" in page(client, "/usage/event/?day=2026-03-10&source=/edge/1&id=today")
    assert "没有这条事件" in page(client, "/usage/event/?day=2026-03-09&source=/edge/1&id=late")
    _charlie, outsider = customer("charlie")
    assert "没有这条事件" in page(outsider, "/usage/event/?day=2026-03-08&source=/edge/1&id=late")
    assert "没有这条事件" not in page(client, "/usage/event/?day=x&source=%00&id=")


def test_another_account_sees_nothing_of_it() -> None:
    used_up()
    _charlie, outsider = customer("charlie")
    assert "这些天没有用量" in page(outsider, "/usage/")
    for path in PATHS[3:8]:
        assert "没有这个计费项的用量" in page(outsider, path), path


def test_an_expired_day_keeps_its_quantities_and_curve() -> None:
    account, client = used_up()
    outcomes = expire_usage(before=date(2026, 3, 8), now=at("2026-05-01T10:00"))
    assert [outcome.day for outcome in outcomes][-1] == date(2026, 3, 7)
    with frozen_clock("2026-05-01T10:00"):
        said = text_of(client.get("/usage/bandwidth.down/2026-03-07/"))
        assert "不再保留" in said
        assert "19:00 19:50 60.00 Mbps" in said
        assert "来源只在事件保留期内可查" in said
        counted = text_of(client.get("/usage/ai.pet/2026-03-07/"))
        assert "这一天不再保留每小时的用量" in counted
        assert "32,000 次" in counted
    assert account.pk


@pytest.mark.parametrize("language", ["zh-hans", "en"])
def test_pages_in_both_languages_ask_little(language: str) -> None:
    account, client = used_up()
    send([event(account, "ai.pet", 3, "2026-03-10T09:00:00", source=f"/edge/{n}") for n in range(50)], NOW)
    for path in (*PATHS, "/usage/ai.pet/2026-03-10/"):
        with CaptureQueriesContext(connection) as queries:
            said = page(client, path, headers={"accept-language": language})
        assert len(queries) <= 11, (path, [query["sql"][:80] for query in queries.captured_queries])
        if language == "en":
            assert not re.search(r"[\u4e00-\u9fff]", said.replace("中文", "")), path
        else:
            left = re.findall(r"[A-Za-z][a-z]{2,}", said)
            assert set(left) <= {"English", "alice", "edge", "pet", "mainland", "Mbps", "late", "CSV"}, path


def test_no_partition_is_scanned() -> None:
    """A day's events are found by account and item, an event by its key: with a full day of others beside them."""
    account, _client = used_up()
    bob, _ = customer("bob")
    others = [event(bob, "ai.pet", 1, "2026-03-08T10:00:00", id=f"b{n}") for n in range(5_000)]
    assert send(others, "2026-03-08T12:00").accepted == len(others)
    from settlement import used_day

    asked: dict[str, Any] = {"account": account.pk, "day": "2026-03-08", "most": 20, "start": at("2026-03-08T00:00")}
    asked["item"] = Item.objects.get(code="ai.pet").pk
    statements = [used_day.PARTS.format(measure="sum(quantity)"), used_day.MEAN_SHARES]
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE settlement_usageevent")
        for statement in statements:
            cursor.execute(f"EXPLAIN {statement}", asked)
            plan = "\n".join(row for (row,) in cursor.fetchall())
            assert "Seq Scan on settlement_usageevent" not in plan, plan
            assert len(set(re.findall(r"settlement_usageevent_\d{8}(?!_)", plan))) <= 1, plan
        cursor.execute(
            "EXPLAIN SELECT * FROM settlement_usageevent WHERE day = %s AND source = %s AND event_id = %s",
            ["2026-03-08", "/edge/1", "late"],
        )
        assert "Index Scan" in "\n".join(row for (row,) in cursor.fetchall())
