"""Bills as pages: a month's calendar, totals and items; the bill's curves, its CSV, its paper."""

import csv
import json
import re
from datetime import date, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import Account
from settlement.models import Bill, BillLine
from settlement.months import Month, items_of_month
from tests.test_pages import customer, frozen_clock, text_of
from tests.worlds import GB, MBPS, assert_books, bill_of, buy, night, use

pytestmark = pytest.mark.django_db


def curve_of(response: Any, position: int) -> dict[str, Any]:
    """The data of one chart of the page."""
    body = response.content.decode()
    found = re.search(rf'<script id="slots-{position}" type="application/json">(.*?)</script>', body)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def tight(response: Any) -> str:
    """What a page says, without any space: figures are in parts."""
    return text_of(response).replace(" ", "")


def position_of(bill: Bill, item: str) -> int:
    """Where an item's line stands."""
    return BillLine.objects.get(bill=bill, item__code=item).position


def test_the_curve_marks_what_was_charged() -> None:
    account, client = customer()
    for slot, quantity in (("10:00", 40), ("10:07", 70), ("19:50", 70), ("23:59", 10)):
        use(account, "bandwidth.down", quantity * MBPS, f"2026-03-02T{slot}", source="/edge/a")
    use(account, "bandwidth.down", 5 * MBPS, "2026-03-02T10:08", source="/edge/b")
    use(account, "bandwidth.down", 5 * MBPS, "2026-03-02T19:54", source="/edge/c")
    use(account, "storage.standard", 288 * GB, "2026-03-02T00:00")
    night("2026-03-03T02:00")
    bill = bill_of(account, "2026-03-02")
    with frozen_clock():
        response = client.get(reverse("bill", args=[bill.pk]))
    down = curve_of(response, position_of(bill, "bandwidth.down"))
    assert (down["mark"]["at"], down["mark"]["label"]) == (121, "10:05  75.00 Mbps"), "of equal peaks the earliest"
    assert (down["rule"], len(down["values"]), down["values"][120], down["values"][287]) == (
        75 * MBPS,
        288,
        40 * MBPS,
        10 * MBPS,
    )
    assert (down["labels"][0], down["labels"][287]) == ("00:00–00:05", "23:55–24:00")
    stored = curve_of(response, position_of(bill, "storage.standard"))
    assert (stored["mark"], stored["rule"]) == (None, 1 * GB), "of a mean the rule, and no dot"
    said = text_of(response)
    assert "10:05–10:10，持续 5 分钟" in said
    assert "/edge/a70.000000Mbps/edge/b5.000000Mbps相加75.000000Mbps" in tight(response)
    assert "第二高的时段是19:50，75.00Mbps" in tight(response)
    assert "287 个时段没有上报，按 0 计" in said
    assert "各时段相加288.000000GB除以288平均1.000000GB" in tight(response)


def test_the_slots_as_csv() -> None:
    account, client = customer()
    _charlie, outsider = customer("charlie")
    use(account, "bandwidth.up", 70 * MBPS, "2026-03-02T23:58")
    use(account, "ai.pet", 5, "2026-03-02T23:58")
    night("2026-03-03T02:00")
    bill = bill_of(account, "2026-03-02")
    path = reverse("bill-slots", args=[bill.pk, position_of(bill, "bandwidth.up")])
    rows = list(csv.DictReader(client.get(path).content.decode().splitlines()))
    assert len(rows) == 288
    assert (rows[0]["begin"], rows[0]["quantity"]) == ("2026-03-02T00:00:00+08:00", "0")
    assert (rows[287]["end"], rows[287]["quantity"]) == ("2026-03-03T00:00:00+08:00", str(70 * MBPS))
    assert outsider.get(path).status_code == 404
    assert client.get(reverse("bill-slots", args=[bill.pk, position_of(bill, "ai.pet")])).status_code == 404
    assert client.get(reverse("bill-slots", args=[10**30, 10**30])).status_code == 404


def test_a_supplementary_bill_names_the_late_usage_and_shows_what_it_raised() -> None:
    account, client = customer()
    use(account, "bandwidth.down", 40 * MBPS, "2026-03-02T10:00")
    night("2026-03-03T02:00")
    use(account, "bandwidth.down", 100 * MBPS, "2026-03-02T11:00", received="2026-03-04T10:00")
    use(account, "ai.vehicle", 40, "2026-03-02T11:00", received="2026-03-04T10:00")
    night("2026-03-05T02:00")
    first, late = bill_of(account, "2026-03-02"), bill_of(account, "2026-03-02", 2)
    with frozen_clock():
        earlier, said = client.get(reverse("bill", args=[first.pk])), client.get(reverse("bill", args=[late.pk]))
    assert "补充账单（第 2 份）" in text_of(said)
    late_usage = "车辆识别40次、下行日峰值带宽60.000000Mbps"
    assert f"这份账单只含当天前一份账单之后才报来的用量：{late_usage}" in tight(said)
    assert "迟报的用量把当天峰值从 40.000000 Mbps 抬到 100.000000 Mbps" in text_of(said)
    data = curve_of(said, position_of(late, "bandwidth.down"))
    assert (data["mark"]["at"], data["rule"]) == (132, 100 * MBPS)
    assert "曲线已经抬高" in text_of(earlier)
    assert curve_of(earlier, position_of(first, "bandwidth.down"))["rule"] == 40 * MBPS
    assert "曲线已经抬高" not in text_of(said)
    assert_books()


def test_the_kitchens_lines_have_a_subtotal_and_prints_are_light() -> None:
    account, client = customer()
    Account.objects.filter(pk=account.pk).update(theme="dark")
    buy(account, "kitchen-100k", "2026-03-02T09:00")
    for number, item in enumerate(("uniform", "hat", "mask"), start=1):
        use(account, f"ai.kitchen.{item}", number * 40_000, "2026-03-02T10:00")
    night("2026-03-03T02:00")
    path = reverse("bill", args=[bill_of(account, "2026-03-02").pk])
    with frozen_clock():
        page, paper = client.get(path), client.get(path, {"print": "1"})
    body = page.content.decode()
    family = re.search(r'(?s)<tr class="family-sum".*?</tr>', body)
    assert family is not None
    folded = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", family[0]))
    assert "明厨亮灶 3 项" in folded
    assert "240,000 次" in folded
    assert "100,000 次" in folded
    assert "350.00 0000 元" in folded
    assert 'data-bs-theme="dark"' in body
    assert 'data-bs-theme="light"' in paper.content.decode()
    assert "console/print" in paper.content.decode()


def test_a_month_of_bills() -> None:
    account, client = customer(on="2026-02-01")
    for day in ("2026-02-28", "2026-03-01", "2026-03-02"):
        use(account, "ai.vehicle", 1_000, f"{day}T23:59")
        use(account, "bandwidth.down", 10 * MBPS, f"{day}T23:59")
        use(account, "storage.standard", 288 * GB, f"{day}T23:59")
        night(f"{(date.fromisoformat(day) + timedelta(days=1))}T02:00")
    use(account, "ai.vehicle", 500, "2026-03-01T11:00", received="2026-03-03T10:00")
    night("2026-03-04T02:00")
    use(account, "ai.vehicle", 9, "2026-03-09T11:00")
    bills = list(Bill.objects.filter(account=account, day__gte="2026-03-01"))
    with frozen_clock("2026-03-10T01:00"):
        march, february = client.get("/bills/"), client.get("/bills/?month=2026-02")
    said = text_of(march)
    total = sum(bill.amount_due for bill in bills)
    assert f"本月应付 {total // 100} .{total % 100:02} 元" in said
    assert "已出账 2 天" in said
    assert "补充账单 1 份" in said
    assert "1 天有用量待结算： 3月9日" in said
    cells = re.findall(
        r"(?s)<td class=\"[^\"]*\">(.*?)</td>", march.content.decode().split('class="cal"')[1].split("</table>")[0]
    )
    first, ninth, tenth = (cell for cell in cells if re.search(r'class="d"[^>]*>(1|9|10)</span>', cell))
    assert "含补充 1 份" in first
    assert "待结算" in ninth
    assert "今天" in tenth
    assert "2026 年 2 月" in said
    assert "2月28日" in text_of(february)
    assert "3月1日 周日" not in text_of(february)
    assert "2026 年 3 月 →" in text_of(february)
    rows = {row.item.code: row for row in items_of_month(account.pk, Month(2026, 3))}
    assert (rows["ai.vehicle"].days, rows["ai.vehicle"].quantity) == (2, 2_500)
    assert (rows["bandwidth.down"].quantity, rows["storage.standard"].quantity) == (10 * MBPS, GB)
    assert sum(row.amount for row in rows.values()) == sum(bill.rated_total for bill in bills)
    for wrong in ("0001-01", "9999-12", "2026-3"):
        assert client.get(f"/bills/?month={wrong}").status_code == 404


def test_the_day_turns_at_midnight_in_shanghai() -> None:
    account, client = customer(on="2026-03-01")
    use(account, "ai.vehicle", 1_000, "2026-03-31T23:59:59")
    use(account, "ai.vehicle", 2_000, "2026-04-01T00:00:00")
    night("2026-04-02T02:00")
    march, april = items_of_month(account.pk, Month(2026, 3)), items_of_month(account.pk, Month(2026, 4))
    assert ([row.quantity for row in march], [row.quantity for row in april]) == ([1_000], [2_000])
    with frozen_clock("2026-03-31T23:59:59"):
        assert 'class="today' not in client.get("/bills/?month=2026-04").content.decode()
        assert 'class="today' in client.get("/bills/?month=2026-03").content.decode()
    with frozen_clock("2026-04-01T00:00:00"):
        assert 'class="today' in client.get("/bills/?month=2026-04").content.decode()


def many_bills(account: Account, days: int) -> None:
    """A plain bill for each of so many days, the last of them 2026-03-09."""
    last = Bill.objects.filter(account=account).latest("day")
    line = BillLine.objects.filter(bill=last).first()
    assert line is not None
    first_id = Bill.objects.latest("pk").pk + 1
    bills = [
        Bill(
            id=first_id + back,
            account=account,
            day=last.day - timedelta(days=back),
            sequence=1,
            billing_mode="bandwidth",
            rated_total=last.rated_total,
            carry_in=0,
            amount_due=last.amount_due,
            carry_out=0,
            balance_after=0,
            settled_at=last.settled_at,
        )
        for back in range(1, days)
    ]
    Bill.objects.bulk_create(bills)
    columns = {
        name: getattr(line, name) for name in ("item_id", "region", "quantity", "drawn", "charged", "price", "per")
    }
    BillLine.objects.bulk_create(
        BillLine(id=bill.pk * 1000 + 1, bill=bill, position=1, amount=line.amount, **columns) for bill in bills
    )


def test_three_years_of_bills_are_read_a_month_at_a_time() -> None:
    account, client = customer(on="2022-01-01")
    use(account, "ai.vehicle", 1_000, "2026-03-09T10:00")
    night("2026-03-10T02:00")
    path = reverse("bill", args=[bill_of(account, "2026-03-09").pk])

    def queries() -> list[int]:
        found = []
        for address in ("/bills/", path):
            with frozen_clock(), CaptureQueriesContext(connection) as asked:
                assert client.get(address).status_code == 200
            found.append(len(asked))
        return found

    before = queries()
    many_bills(account, 1_100)
    assert queries() == before
    assert max(before) < 12
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE settlement_bill, settlement_billline")
        with frozen_clock(), CaptureQueriesContext(connection) as asked:
            client.get("/bills/")
        reading = [query["sql"] for query in asked if "settlement_bill" in query["sql"] and "SELECT" in query["sql"]]
        assert reading
        for sql in reading:
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}")
            [(plan,)] = cursor.fetchall()
            found = json.loads(plan) if isinstance(plan, str) else plan
            assert most_rows(found[0]["Plan"]) <= 100, sql


def most_rows(plan: dict[str, Any]) -> int:
    """The most rows of bills and lines that one node of a plan read."""
    own = plan["Actual Rows"] * plan["Actual Loops"] + plan.get("Rows Removed by Filter", 0)
    mine = own if plan.get("Relation Name", "").startswith("settlement_bill") else 0
    return int(max([mine, *(most_rows(inner) for inner in plan.get("Plans", []))]))
