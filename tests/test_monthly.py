"""The monthly statement: figures that add up, and a PDF that shows them in both languages."""

import re
from datetime import date
from io import BytesIO
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pypdf import PdfReader

from accounts.models import Account, Kind
from iss_billing import formats
from settlement.models import Bill
from settlement.monthly import monthly
from tests.test_pages import customer, lived_in
from tests.worlds import assert_books, at, buy, night, top_up, use

pytestmark = pytest.mark.django_db

MARCH = date(2026, 3, 1)


def text_of(response: Any) -> tuple[int, str]:
    """How many pages, and all their text with single spaces."""
    assert response.status_code == 200
    assert response["Content-Type"] == "application/pdf"
    reader = PdfReader(BytesIO(response.content))
    text = re.sub(r"\s+", " ", " ".join(page.extract_text() for page in reader.pages))
    return len(reader.pages), text


def resources(page: Any) -> Any:
    """What a page is drawn with."""
    return page["/Resources"]


def statement(client: Client, month: str, now: str, language: str = "zh-hans") -> Any:
    with time_machine.travel(at(now), tick=False):
        return client.get("/statements/", {"month": month}, headers={"accept-language": language})


def two_months() -> tuple[Account, Client]:
    """Usage on the last days of February and of March: their bills are posted in the month after."""
    account, client = customer("张喆的连锁店", on="2026-02-01")
    for day, after in (("2026-02-28", "2026-03-01"), ("2026-03-01", "2026-03-02"), ("2026-03-31", "2026-04-01")):
        use(account, "ai.vehicle", 40_000, f"{day}T10:00")
        use(account, "ai.face", 4, f"{day}T10:00")
        night(f"{after}T02:00")
    top_up(account, "123.45", "2026-03-15T10:00")
    return account, client


def test_a_month_adds_up_and_says_how_bills_by_day_became_usage() -> None:
    account, _ = two_months()
    found = monthly(account, MARCH, at("2026-04-10T10:00"))
    assert found.over
    assert found.opening == 10_000_00
    assert {one.kind: (one.number, one.amount) for one in found.movements} == {
        Kind.TOP_UP: (1, 12_345),
        Kind.USAGE: (2, -24_000),
    }
    assert found.closing == found.opening + 12_345 - 24_000
    assert [bill.day for bill in found.bills] == [date(2026, 3, 1), date(2026, 3, 31)]
    assert found.usage == (24_001, 12_001, 12_000)
    assert found.usage.posted == 24_000
    [face, vehicle] = sorted(found.items, key=lambda total: total.quantity)
    assert (face.quantity, face.charged, face.amount) == (8, 8, 4_000)
    assert (vehicle.quantity, vehicle.drawn, vehicle.amount) == (80_000, 0, 240_000_000)
    april = monthly(account, date(2026, 4, 1), at("2026-04-10T10:00"))
    assert (april.opening, april.over, april.until) == (found.closing, False, at("2026-04-10T10:00"))
    account.refresh_from_db()
    assert april.closing == account.balance
    assert_books()


def test_packs_of_a_month_are_bought_refunded_and_drawn() -> None:
    account, _ = lived_in()
    found = monthly(account, MARCH, at("2026-04-10T10:00"))
    shown = [(one.what, one.kind.code, one.number, one.quantity, one.amount) for one in found.packs]
    assert ("bought", "pet", 2, 200_000, -50_000) in shown
    assert ("refunded", "face", 1, 100_000, 5_000) in shown
    assert ("drawn", "pet", 2, 150_000, None) in shown
    assert ("drawn", "kitchen", 1, 40, None) in shown
    bought = sum(one.amount or 0 for one in found.packs if one.what == "bought")
    assert bought == next(one.amount for one in found.movements if one.kind == Kind.PURCHASE)
    account.refresh_from_db()
    assert found.closing == account.balance


@pytest.mark.parametrize("language", ["zh-hans", "en"])
def test_the_pdf_says_all_of_it_in_selectable_text(language: str) -> None:
    account, client = two_months()
    response = statement(client, "2026-03", "2026-04-10T10:00", language)
    assert response["Content-Disposition"] == 'attachment; filename="iss-statement-2026-03.pdf"'
    pages, text = text_of(response)
    assert pages == 1
    assert "张喆的连锁店" in text, "a name with a character that GB 2312 has not"
    assert str(account.pk) in text
    words = {
        "zh-hans": [
            *("月结单", "2026 年 3 月", "期初余额", "期末余额", "逐日账单", "车辆识别"),
            *("10,000.00 元", "3月31日 周二", "第 1 页，共 1 页"),
        ],
        "en": ["Monthly statement", "Mar 2026", "Balance at the end", "Bills by day", "CNY 10,000.00", "Page 1 of 1"],
    }[language]
    for word in [*words, "+123.45", "−240.00", "9,883.45", "240.004000", "120.01"]:
        assert word in text, (word, text)
    if language == "en":
        assert not re.search(r"[一-鿿]", text.replace(account.name, "")), text
    else:
        assert not re.search(r"[a-z]{3,}", text), text
    document = PdfReader(BytesIO(response.content))
    fonts = [font.get_object() for page in document.pages for font in resources(page)["/Font"].values()]
    assert all(font.get("/ToUnicode") for font in fonts if "NotoSansSC" in str(font["/BaseFont"]))
    assert len(response.content) < 200_000


def test_a_long_month_takes_more_pages_each_with_its_number_and_a_heading() -> None:
    account, client = customer()
    bill = Bill(account=account, billing_mode="bandwidth", rated_total=10_000, carry_in=0, amount_due=1, carry_out=0)
    bill.balance_after, bill.settled_at = 0, at("2026-03-30T02:00")
    rows = [(day, sequence) for day in range(1, 31) for sequence in range(1, 4)]
    for day, sequence in rows:
        bill.pk, bill.day, bill.sequence = None, date(2026, 3, day), sequence
        bill.save(force_insert=True)
    pages, text = text_of(statement(client, "2026-03", "2026-04-10T10:00"))
    assert pages >= 3
    assert f"第 {pages} 页，共 {pages} 页" in text
    assert text.count("转出尾差") == pages
    assert text.count("补充账单") == 60
    assert str(formats.money(len(rows))) in text


def test_a_running_month_says_so_and_others_there_are_not() -> None:
    _, client = two_months()
    _, text = text_of(statement(client, "2026-04", "2026-04-10T10:00"))
    assert "本月尚未结束" in text
    assert "4月10日 10:00" in text
    for month in ("2026-01", "2026-05", "", "2026-13", "March", "2026-03-01"):
        assert statement(client, month, "2026-04-10T10:00").status_code == 404, month


def test_an_empty_month_and_few_queries() -> None:
    account, client = customer()
    buy(account, "pet-100k", "2026-03-01T10:00")
    _, text = text_of(statement(client, "2026-04", "2026-04-10T10:00"))
    assert "这个月没有账单" in text
    with CaptureQueriesContext(connection) as queries:
        statement(client, "2026-03", "2026-04-10T10:00")
    assert len(queries) < 18
    _, other = customer("bob")
    assert "pet" not in text_of(statement(other, "2026-03", "2026-04-10T10:00", "en"))[1]
