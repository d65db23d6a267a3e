"""Exports read back: complete, exact, in order, safe to open, and never whole in memory."""

import csv
import io
import re
import tracemalloc
from datetime import date, datetime
from decimal import Decimal
from io import BytesIO
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from openpyxl import load_workbook

from accounts.ledger import record_adjustment
from accounts.models import Account, Transfer
from iss_billing import tables
from iss_billing.tables import Column, csv_pieces, decimal, neutral, write_workbook
from settlement import exports
from settlement.export_tables import TABLES
from settlement.exports import export
from settlement.models import Bill, BillLine, Drawdown
from tests.test_pages import customer, lived_in
from tests.worlds import assert_books, at, night, use

pytestmark = pytest.mark.django_db

NOW = "2026-03-10T10:00"
EVERYTHING = {"from": "", "to": ""}


@pytest.fixture
def lived() -> tuple[Account, Client]:
    return lived_in()


def asked(client: Client, **query: str) -> Any:
    with time_machine.travel(at(NOW), tick=False):
        return client.get("/export/file/", query, headers={"accept-language": query.pop("language", "zh-hans")})


def read_csv(response: Any) -> list[list[str]]:
    body = response.getvalue()
    assert body.startswith(b"\xef\xbb\xbf")
    text = body.decode("utf-8-sig")
    assert text.endswith("\r\n")
    return list(csv.reader(io.StringIO(text, newline="")))


def records(response: Any) -> list[dict[str, str]]:
    heading, *rows = read_csv(response)
    return [dict(zip(heading, row, strict=True)) for row in rows]


def read_workbook(response: Any) -> list[list[Any]]:
    body = response.getvalue()
    assert int(response["Content-Length"]) == len(body)
    [sheet] = load_workbook(BytesIO(body), read_only=True).worksheets
    return [list(row) for row in sheet.iter_rows(values_only=True)]


def test_csv_reconciles_with_bills_lines_drawdowns_and_ledger_to_the_fen(lived: tuple[Account, Client]) -> None:
    account, client = lived
    found = {what: records(asked(client, what=what, format="csv", columns="codes", **EVERYTHING)) for what in TABLES}
    bills, lines, draws, transfers = (found[what] for what in ("bills", "lines", "drawdowns", "transfers"))
    assert [row["bill_id"] for row in bills] == [
        str(pk) for pk in Bill.objects.order_by("day", "sequence").values_list("pk", flat=True)
    ]
    assert len(lines) == BillLine.objects.count() > 7
    assert len(draws) == Drawdown.objects.count() == 3
    for bill in bills:
        of_bill = [row for row in lines if row["bill_id"] == bill["bill_id"]]
        assert sum(Decimal(row["amount"]) for row in of_bill) == Decimal(bill["rated_total"])
        exact = Decimal(bill["rated_total"]) + Decimal(bill["carry_in"])
        assert exact == Decimal(bill["amount_due"]) + Decimal(bill["carry_out"])
        for line in of_bill:
            assert int(line["quantity"]) == int(line["drawn"]) + int(line["charged"])
            mine = [row for row in draws if (row["bill_id"], row["item"]) == (bill["bill_id"], line["item"])]
            assert sum(int(row["quantity"]) for row in mine) == int(line["drawn"])
    usage = sum(Decimal(row["amount"]) for row in transfers if row["kind"] == "usage")
    assert -usage == sum(Decimal(row["amount_due"]) for row in bills)
    balance = Decimal(0)
    for row in transfers:
        balance += Decimal(row["amount"])
        assert balance == Decimal(row["balance_after"])
    account.refresh_from_db()
    assert balance == decimal(account.balance, 2)
    assert {row["kind"] for row in transfers} == {"top_up", "purchase", "refund", "usage"}
    assert_books()


@pytest.mark.parametrize("what", TABLES)
def test_excel_holds_the_same_with_numbers_as_numbers(what: str, lived: tuple[Account, Client]) -> None:
    _, client = lived
    plain = read_csv(asked(client, what=what, format="csv", **EVERYTHING))
    sheet = read_workbook(asked(client, what=what, format="xlsx", **EVERYTHING))
    assert sheet[0] == plain[0]
    assert len(sheet) == len(plain) > 1
    numbers = 0
    for theirs, row in zip(plain[1:], sheet[1:], strict=True):
        for text, cell in zip(theirs, row, strict=True):
            if isinstance(cell, datetime):
                assert cell.isoformat() in (text[:19], f"{text}T00:00:00")
            elif isinstance(cell, (int, float)):
                numbers += 1
                assert Decimal(str(cell)) == Decimal(text)
            else:
                assert (cell or "") == text
    assert numbers >= 2 * (len(sheet) - 1)


def test_headings_and_names_in_the_language_of_the_reader_or_as_codes(lived: tuple[Account, Client]) -> None:
    _, client = lived
    chinese = read_csv(asked(client, what="transfers", format="csv", **EVERYTHING))
    assert chinese[0] == ["流水号", "时间", "类别", "金额（元）", "之后余额（元）", "凭证", "原因"]
    assert {row[2] for row in chinese[1:]} == {"充值", "购买", "退款", "用量"}
    english = read_csv(asked(client, what="bills", format="csv", language="en", **EVERYTHING))
    assert english[0][:4] == ["Day", "Bill of the day", "Bill", "Billing mode"]
    codes = read_csv(asked(client, what="bills", format="csv", columns="codes", **EVERYTHING))
    assert ",".join(codes[0]) == (
        "day,sequence,bill_id,billing_mode,rated_total,carry_in,amount_due,carry_out,balance_after,settled_at"
    )
    assert {row[3] for row in codes[1:]} == {"bandwidth"}
    for what, table in TABLES.items():
        assert len({field.code for field in table.fields}) == len(table.fields), what


def test_a_range_takes_both_of_its_days_and_an_open_end_all(lived: tuple[Account, Client]) -> None:
    account, client = lived

    def days(**query: str) -> list[str]:
        return [row["day"] for row in records(asked(client, what="bills", format="csv", columns="codes", **query))]

    assert days(**{"from": "2026-03-02", "to": "2026-03-02"}) == ["2026-03-02"] * 2
    assert days(**{"from": "2026-03-03"}) == []
    assert days(to="2026-03-01") == []
    assert len(days()) == Bill.objects.filter(account=account).count()

    def posted(day: str) -> list[str]:
        query = {"from": day, "to": day, "what": "transfers", "format": "csv", "columns": "codes"}
        return [row["kind"] for row in records(asked(client, **query))]

    # by the Chinese day of posting, to its last instant: the bill of the 2nd is posted in the night to the 3rd
    assert posted("2026-03-02") == ["purchase", "purchase", "refund"]
    assert posted("2026-03-03") == ["usage"]
    name = asked(client, what="bills", format="csv", **{"from": "2026-03-02", "to": "2026-03-09"})
    assert name["Content-Disposition"] == 'attachment; filename="iss-bills-2026-03-02-2026-03-09.csv"'
    assert name["Content-Type"] == "text/csv; charset=utf-8"
    assert "no-store" in name["Cache-Control"]


def test_what_cannot_be_exported_says_why(lived: tuple[Account, Client]) -> None:
    _, client = lived
    for query, said in (
        ({"what": "bills", "from": "2026-03-09", "to": "2026-03-02"}, "截止日早于起始日。"),
        ({"what": "bills", "from": "9 March"}, "输入一个有效的日期。"),
        ({"what": "everything"}, "everything"),
        ({"what": "bills", "format": "doc"}, "doc"),
        ({}, "errorlist"),
    ):
        response = asked(client, **query)
        assert response.status_code == 400, query
        assert said in response.content.decode(), query


def test_another_account_sees_its_own_and_nobody_elses(lived: tuple[Account, Client]) -> None:
    _, client = customer("bob")
    for what in TABLES:
        rows = read_csv(asked(client, what=what, format="csv", **EVERYTHING))
        assert len(rows) == (2 if what == "transfers" else 1)


def test_an_account_in_arrears_exports_as_ever() -> None:
    account, client = customer(balance="0.01")
    use(account, "ai.pet", 4_000, "2026-03-05T10:00")
    night("2026-03-06T02:00")
    account.refresh_from_db()
    assert account.balance < 0
    [row] = records(asked(client, what="bills", format="csv", columns="codes", **EVERYTHING))
    assert row["balance_after"] == "-9.99"


# ── formulas ─────────────────────────────────────────────────────────────────────────────────────────

ATTACKS = ["=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "\n=1", " =1+1", "＝1", "-2+3+cmd|' /C calc'!A0"]


def test_texts_that_could_be_formulas_are_neutralised_and_numbers_are_not(lived: tuple[Account, Client]) -> None:
    account, client = lived
    for number, reason in enumerate(ATTACKS):
        record_adjustment(account_id=account.pk, amount=-1, reason=reason, reference=f"={number}", now=at(NOW))
    query = {"what": "transfers", "from": "2026-03-10", "to": "2026-03-10"}
    rows = records(asked(client, format="csv", columns="codes", **query))
    assert [row["reason"] for row in rows] == [f"'{reason}" for reason in ATTACKS]
    assert {row["reference"][:2] for row in rows} == {"'="}
    assert {row["amount"] for row in rows} == {"-0.01"}
    response = asked(client, format="xlsx", columns="codes", **query)
    [sheet] = load_workbook(BytesIO(response.getvalue())).worksheets
    for row in list(sheet.iter_rows())[1:]:
        assert all(cell.data_type in ("s", "n", "d") for cell in row)
        assert row[3].value == -0.01
        assert row[6].value.startswith("'")


@pytest.mark.parametrize("text", ["", "ai.pet", "a=b", "5-1", "’", "明瞳", "0", "'quoted"])
def test_a_harmless_text_stays_as_it_is(text: str) -> None:
    assert neutral(text) == text


# ── exactness ────────────────────────────────────────────────────────────────────────────────────────

LONG = [10**14, 10**15 - 1, 10**15, 10**19 + 1]


def test_no_digit_is_lost_however_large_the_number() -> None:
    rows: list[list[tables.Cell]] = [
        [number, decimal(number * 1_000_000 + 1, 6), decimal(-number, 2)] for number in LONG
    ]
    rows += [[7, decimal(-5000, 6), decimal(0, 2)]]
    columns = [Column("a", 9), Column("b", 9), Column("c", 9)]
    back = list(csv.reader(io.StringIO(b"".join(csv_pieces(columns, rows)).decode("utf-8-sig"))))[1:]
    assert [[Decimal(cell) for cell in row] for row in back] == rows
    file = BytesIO()
    write_workbook(file, "sheet", columns, rows)
    [sheet] = load_workbook(BytesIO(file.getvalue())).worksheets
    values = [[cell.value for cell in row] for row in list(sheet.iter_rows())[1:]]
    assert [[Decimal(str(cell)) for cell in row] for row in values] == rows
    assert [type(row[0]) for row in values] == [int, int, str, str, int]


def test_a_sheet_that_is_full_goes_on_in_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "ROWS_PER_SHEET", 4)
    file = BytesIO()
    write_workbook(file, "账单", [Column("n", 5)], [[number] for number in range(7)])
    sheets = load_workbook(BytesIO(file.getvalue())).worksheets
    assert [sheet.title for sheet in sheets] == ["账单", "账单 2", "账单 3"]
    assert [[row[0] for row in sheet.iter_rows(values_only=True)] for sheet in sheets] == [
        ["n", 0, 1, 2],
        ["n", 3, 4, 5],
        ["n", 6],
    ]


# ── size ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def many() -> Account:
    """An account with 20,000 transfers from 2 March on, one every ten seconds."""
    account, _client = customer()
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO accounts_transfer
                   (account_id, kind, debit, credit, amount, time, reference, balance_after, reason)
               SELECT %s, 'top_up', 'cash', 'balance', 1, timestamptz '2026-03-02 00:00+08' + n * interval '10 seconds',
                      'many-' || n, 1000000 + n, 'for the measure' FROM generate_series(1, 20000) AS n""",
            [account.pk],
        )
    return account


def peak(account: Account, last: date | None, suffix: str) -> tuple[int, int]:
    """Rows written and the most memory that Python held meanwhile."""
    columns, rows = export(TABLES["transfers"], account, None, last, codes=True)
    tracemalloc.start()
    try:
        if suffix == "csv":
            number = sum(piece.count(b"\r\n") for piece in csv_pieces(columns, rows))
        else:
            file = BytesIO()
            write_workbook(file, "sheet", columns, rows)
            number = file.getvalue().count(b"PK\x01\x02")
        return number, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_stays_flat_and_rows_come_some_at_a_time(many: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "ROWS_AT_A_TIME", 500)
    with CaptureQueriesContext(connection) as queries:
        columns, rows = export(TABLES["transfers"], many, None, None, codes=True)
        first = next(iter(csv_pieces(columns, rows)))
    assert first.count(b"\r\n") == tables.ROWS_PER_PIECE + 1, "the first piece is there before the rest is read"
    assert len(queries) <= 4
    few, little = peak(many, date(2026, 3, 1), "csv")
    all_, much = peak(many, None, "csv")
    assert (few, all_) == (2, 20_002)
    assert much < little + 3_000_000
    assert Transfer.objects.count() == 20_001


def test_a_workbook_of_many_rows_takes_little_memory(many: Account) -> None:
    """Some 8,600 rows, beside the finished file itself, which here is kept in memory: the page has it on disk."""
    _, little = peak(many, date(2026, 3, 1), "xlsx")
    _, much = peak(many, date(2026, 3, 2), "xlsx")
    assert much < little + 2_500_000


def test_the_page_offers_what_there_is_and_costs_few_queries(lived: tuple[Account, Client]) -> None:
    account, client = lived
    with time_machine.travel(at(NOW), tick=False), CaptureQueriesContext(connection) as queries:
        page = client.get("/export/?what=lines&from=2026-03-02&to=2026-03-02").content.decode()
    assert len(queries) < 12
    assert re.search(r'<input[^>]* value="lines"[^>]* checked', page)
    assert page.count('value="2026-03-02"') == 2
    assert '<option value="2026-03">2026 年 3 月</option>' in page
    bill = account.bills.earliest("pk")
    assert f"/bills/{bill.pk}/recheck/" in client.get(f"/bills/{bill.pk}/").content.decode()
    assert "/statements/?month=2026-03" in client.get("/bills/?month=2026-03").content.decode()
    assert "/export/?what=transfers" in client.get("/ledger/").content.decode()
