"""Packs as pages: panels by urgency, queues, burn-down, ended packs, refunds; however many packs there are."""

import json
import re
import time
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import Account
from accounts.modes import mode_on, mode_since, mode_state, pending_mode, switch_mode
from packs.models import Pack
from packs.refunds import refund_pack
from tests.test_pages import customer, frozen_clock, text_of
from tests.worlds import GB, assert_books, at, bill_of, buy, night, top_up, use

pytestmark = pytest.mark.django_db


def days_of_use(account: Account, item: str, quantity: int, first: int, last: int) -> None:
    """The same use on days of March, each settled in the night after it."""
    for day in range(first, last + 1):
        use(account, item, quantity, f"2026-03-{day:02}T10:00")
        night(f"2026-03-{day + 1:02}T02:00")


def burn_of(response: Any, name: str) -> dict[str, Any]:
    """The data of one burn-down chart of the page."""
    found = re.search(rf'<script id="{name}" type="application/json">(.*?)</script>', response.content.decode())
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def headings(response: Any) -> list[str]:
    """The sections of the page in their order."""
    return [text.strip() for text in re.findall(r"<h2 id=\"\w+\">([^<]+)", response.content.decode())]


def test_panels_by_urgency_with_their_ends() -> None:
    account, client = customer()
    switch_mode(account_id=account.pk, mode="traffic", now=at("2026-03-01T08:00"))
    buy(account, "traffic-down-1tb", "2026-03-01T09:00")
    buy(account, "face-10m", "2026-03-01T09:00")
    first, second = buy(account, "pet-100k", "2026-03-01T09:00", 2)
    use(account, "traffic.down", 100 * GB, "2026-03-02T10:00")
    use(account, "ai.face", 10, "2026-03-02T10:00")
    switch_mode(account_id=account.pk, mode="bandwidth", now=at("2026-03-05T08:00"))
    days_of_use(account, "ai.pet", 20_000, 2, 9)
    with frozen_clock():
        response = client.get("/packs/")
        one = client.get(reverse("pack", args=[second.pk]))
    assert headings(response) == ["宠物识别", "人脸检测", "下行流量", "已结束"]
    said = text_of(response)
    # 40,000 are left after the 9th, at 20,000 a day: the 10th and the 11th
    assert "按近7天约2万次/天，用到3月11日" in said.replace(" ", "")
    assert "之后按量计费，约 50 元/天" in said
    assert "10 万次包与按量同价，不必急着续买" in said
    assert "用量还太少，无法估计" in said, "one day of face detection says nothing"
    assert "3月6日 0 点起冻结" in said
    assert "改为按流量计费后，次日 0 点解冻" in said
    assert "3月6日 用完" in said, "the first pack, with the bill that used it up"
    assert f'href="{reverse("bill", args=[bill_of(account, "2026-03-06").pk])}"' in response.content.decode()
    chart = burn_of(response, "burn-pet")
    solid, dotted = chart["series"]
    assert [level for level in solid["data"] if level is not None][-3:] == [80_000, 60_000, 40_000]
    assert [level for level in dotted["data"] if level is not None] == [40_000, 20_000, 0]
    assert dotted["mark"]["label"] == "第 1 个用完\n3月11日"
    frozen = burn_of(response, "burn-traffic-down")
    assert (frozen["frozen"], len(frozen["series"]), frozen["series"][0]["data"][-3]) == (True, 1, 900 * GB)
    assert "约 3月11日用完" in text_of(one)
    assert Pack.objects.get(pk=first.pk).remaining == 0
    assert_books()


def test_a_second_pack_waits_for_its_turn_and_can_be_given_back() -> None:
    account, client = customer()
    buy(account, "pet-1m", "2026-03-01T09:00")
    days_of_use(account, "ai.pet", 100_000, 2, 8)
    [late] = buy(account, "pet-1m", "2026-03-09T09:00")
    with frozen_clock("2026-03-09T10:00"):
        said = text_of(client.get("/packs/"))
        assert "可自助全额退款 2,200.00 元" in said
        # 300,000 are left: the 9th to the 11th use them up, the 12th reaches the second
        assert "按现在的速度，3月12日的用量会用到它" in said
        assert "约 3月12日轮到它" in text_of(client.get(reverse("pack", args=[late.pk])))


def test_every_refusal_of_a_refund_in_words() -> None:
    account, client = customer()
    [used] = buy(account, "pet-100k", "2026-03-08T09:00")
    [old] = buy(account, "face-100k", "2026-03-01T09:00")
    [back] = buy(account, "face-100k", "2026-03-09T09:00")
    refund_pack(account_id=account.pk, pack_id=back.pk, now=at("2026-03-09T10:00"))
    use(account, "ai.pet", 1, "2026-03-08T10:00")
    night("2026-03-09T02:00")
    words = {used: "已开始抵扣", old: "5 × 24 小时", back: "已经退过款"}
    with frozen_clock():
        for pack, expected in words.items():
            for answer in (
                client.get(reverse("refund", args=[pack.pk])),
                client.post(reverse("refund", args=[pack.pk])),
            ):
                assert answer.status_code == 409
                assert expected in text_of(answer), expected
    _charlie, outsider = customer("charlie")
    assert outsider.get("/packs/types/pet/").status_code == 404
    assert client.get("/packs/types/pet/").status_code == 200
    assert client.get("/packs/types/pigeon/").status_code == 404
    assert_books()


def test_a_thousand_packs_are_eleven_queries_and_short() -> None:
    account, client = customer(balance="1000000")
    days = [buy(account, "pet-100k", "2026-03-01T09:00")[0]]
    days_of_use(account, "ai.pet", 10_000, 2, 5)
    paths = ["/packs/", "/packs/types/pet/", f"/packs/{days[0].pk}/", f"/packs/{days[0].pk + 1}/refund/"]
    buy(account, "pet-100k", "2026-03-08T09:00")
    use(account, "ai.pet", 10_000, "2026-03-09T10:00")
    use(account, "ai.pet", 10_000, "2026-03-10T08:00")

    def queries() -> list[int]:
        found = []
        for path in paths:
            with frozen_clock(), CaptureQueriesContext(connection) as asked:
                assert client.get(path).status_code == 200, path
            found.append(len(asked))
        return found

    before = queries()
    assert max(before) < 12, before
    buy(account, "pet-100k", "2026-03-08T09:00", 900)
    for pack in buy(account, "face-100k", "2026-03-08T10:00", 60):
        refund_pack(account_id=account.pk, pack_id=pack.pk, now=at("2026-03-08T11:00"))
    assert queries() == before
    with frozen_clock():
        started = time.perf_counter()
        response = client.get("/packs/")
        assert time.perf_counter() - started < 5
        body = response.content.decode()
        assert len(body) < 120_000
        assert body.count('<li id="pack-') == 8, "five from the front, the latest three that can be given back"
        said = text_of(response)
        assert "中间还有 894 个" in said
        assert "第 1 页，共 3 页" in said
        assert "第 3 页，共 3 页" in text_of(client.get("/packs/?page=3"))
        assert "第 1 页，共 3 页" in text_of(client.get("/packs/?page=999"))
        assert client.get("/packs/?page=x").status_code == 200
        assert "第 2 页，共 19 页" in text_of(client.get("/packs/types/pet/?page=2"))


def test_unsettled_days_cost_a_refund_no_query_each() -> None:
    account, client = customer()
    [pack] = buy(account, "pet-100k", "2026-03-08T09:00")
    use(account, "ai.pet", 4_000, "2026-03-10T09:30")
    path = reverse("refund", args=[pack.pk])

    def queries() -> int:
        with frozen_clock(), CaptureQueriesContext(connection) as asked:
            client.get(path)
        return len(asked)

    before = queries()
    for day in (8, 9):
        use(account, "ai.pet", 4_000, f"2026-03-0{day}T10:00")
    assert queries() == before
    with frozen_clock():
        assert "尚未结算的用量会因此多花约 30.00 元" in text_of(client.get(path))


def test_the_modes_state_is_what_its_parts_say() -> None:
    account, _client = customer()
    moments = ["2026-03-01T10:00", "2026-03-03T10:00", "2026-03-03T11:00", "2026-03-04T10:00", "2026-03-06T23:59"]
    for moment, mode in zip(moments, ["traffic", "bandwidth", "traffic", "bandwidth", "traffic"], strict=True):
        switch_mode(account_id=account.pk, mode=mode, now=at(moment))
        for day in range(1, 10):
            today = at(f"2026-03-0{day}T12:00").date()
            state = mode_state(account.pk, today)
            assert state == (mode_on(account.pk, today), mode_since(account.pk, today), pending_mode(account.pk, today))


def test_top_up_and_buy_are_offered_as_the_balance_allows() -> None:
    account, client = customer(balance="1")
    use(account, "ai.vehicle", 5_000, "2026-03-09T10:00")
    night("2026-03-10T02:00")
    with frozen_clock():
        assert "欠费账户不能购买资源包" in text_of(client.get("/packs/"))
    top_up(account, "100", "2026-03-10T03:00")
    with frozen_clock():
        assert "看看资源包" in text_of(client.get("/packs/"))
