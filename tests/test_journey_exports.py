"""Taking things away in a real browser: a bill that is downloaded and rechecked, a table, a month on paper."""

import csv
import io
import os
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from pypdf import PdfReader
from pytest_django.live_server_helper import LiveServer

from tests.axe import assert_accessible
from tests.conftest import Clock
from tests.recheck_tool import SCRIPT, run
from tests.test_pages import PASSWORD, lived_in
from tests.worlds import assert_books, at, bill_of

pytestmark = pytest.mark.django_db(transaction=True)


def shot(page: Page, name: str) -> None:
    """A picture of the page for who asks for them (`SHOTS=folder`)."""
    if folder := os.environ.get("SHOTS"):
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)


def fits(page: Page) -> None:
    """Nothing scrolls sideways."""
    assert page.evaluate("document.documentElement.scrollWidth") <= page.evaluate("window.innerWidth")


def test_a_customer_takes_bill_table_and_statement_away(
    page: Page, live_server: LiveServer, clock: Clock, tmp_path: Path
) -> None:
    account, _ = lived_in()
    clock.move(at("2026-03-10T10:00"))
    page.goto("/sign-in/")
    page.get_by_label("邮箱").fill("alice@example.com")
    page.get_by_label("密码").fill(PASSWORD)
    page.get_by_role("button", name="登录").click()

    # the bill's page: file and script, run side by side on the customer's own computer
    bill = bill_of(account, "2026-03-02")
    page.goto(f"/bills/{bill.pk}/")
    with page.expect_download() as coming:
        page.get_by_role("link", name="复核文件").click()
    name = coming.value.suggested_filename
    coming.value.save_as(tmp_path / name)
    page.get_by_text("怎样运行").click()
    expect(page.get_by_text(f"python3 recheck.py {name}")).to_be_visible()
    with page.expect_download() as coming:
        page.get_by_role("link", name="脚本").click()
    assert coming.value.suggested_filename == "recheck.py"
    coming.value.save_as(tmp_path / "recheck.py")
    assert (tmp_path / "recheck.py").read_bytes() == SCRIPT.read_bytes()
    ran = run(tmp_path / name, script=tmp_path / "recheck.py")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "复核无误" in ran.stdout
    shot(page, "bill-1440-zh")

    # the day's lines by the link of the bill, then a range that is none
    page.get_by_role("link", name="导出当天的明细").click()
    assert_accessible(page)
    fits(page)
    shot(page, "export-1440-zh")
    page.get_by_label("CSV").check()
    with page.expect_download() as coming:
        page.get_by_role("button", name="下载", exact=True).click()
    assert coming.value.suggested_filename == "iss-lines-2026-03-02-2026-03-02.csv"
    rows = list(csv.reader(io.StringIO(coming.value.path().read_text(encoding="utf-8-sig"))))
    assert (rows[0][0], len(rows)) == ("日期", 9)
    page.set_viewport_size({"width": 390, "height": 844})
    fits(page)
    shot(page, "export-390-zh")

    with page.expect_download() as coming:
        page.get_by_role("button", name="下载 PDF").click()
    assert coming.value.suggested_filename == "iss-statement-2026-03.pdf"
    assert "月结单" in PdfReader(coming.value.path()).pages[0].extract_text()

    # in English, dark, on a phone
    context = page.context
    context.add_cookies(
        [
            {"name": "django_language", "value": "en", "url": live_server.url},
            {"name": "theme", "value": "dark", "url": live_server.url},
        ]
    )
    page.goto("/export/?what=transfers")
    expect(page.get_by_role("heading", name="Monthly statement")).to_be_visible()
    assert page.get_by_label("Transfers").is_checked()
    assert_accessible(page)
    fits(page)
    shot(page, "export-390-en-dark")
    page.goto(f"/bills/{bill.pk}/")
    fits(page)
    page.get_by_text("How to run it").click()
    fits(page)
    shot(page, "bill-390-en-dark")
    page.set_viewport_size({"width": 1440, "height": 900})
    page.goto("/export/")
    shot(page, "export-1440-en-dark")
    assert_books()
