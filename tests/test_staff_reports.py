"""Reports of the books: each figure against the ledger itself, in pages and in files."""

import csv
import io
import zipfile
from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.ledger import record_adjustment
from accounts.models import Account, Book, Transfer
from iss_billing import roles
from packs.models import Pack, PackType
from packs.refunds import refund_pack
from settlement import book_days, reports
from settlement.audit import audit
from settlement.book_days import count_days, months
from settlement.models import BookDay, SettlementRun
from settlement.staff_refunds import refund_used_pack
from tests.test_staff_audit import member
from tests.worlds import assert_books, at, buy, night, opened, top_up, use, yuan

pytestmark = pytest.mark.django_db
FEBRUARY, MARCH = date(2026, 2, 1), date(2026, 3, 1)


@pytest.fixture(autouse=True)
def clock() -> Iterator[time_machine.Traveller]:
    """Noon of 8 March 2026; the books are true in the end."""
    with time_machine.travel(at("2026-03-08T12:00"), tick=False) as traveller:
        yield traveller
    assert_books()


@pytest.fixture
def alice() -> Account:
    """An account with every kind of transfer, in two months and two pack types."""
    alice = opened(on="2026-02-20", balance="5000.00")
    [pet] = buy(alice, "pet-100k", "2026-02-20T10:00")  # 250.00
    buy(alice, "face-100k", "2026-02-27T10:00")
    [back] = buy(alice, "pet-100k", "2026-02-27T10:00")
    use(alice, "ai.pet", 40_000, "2026-02-20T11:00")
    night("2026-02-21T02:00")  # recognises 100.00
    use(alice, "ai.pet", 20_000, "2026-02-28T11:00")
    use(alice, "ai.plate", 400, "2026-02-28T11:00")
    night("2026-03-01T02:00")  # recognised in March, by when it was posted
    refund_pack(account_id=alice.pk, pack_id=back.pk, now=at("2026-03-01T10:00"))
    refund_used_pack(pack_id=pet.pk, reason="complaint", now=at("2026-03-02T10:00"))
    for amount, reason in ((1234, "our mistake"), (-34, "=too much")):
        record_adjustment(
            account_id=alice.pk, amount=amount, reason=reason, reference=f"t{amount}", now=at("2026-03-03T10:00")
        )
    return alice


def ledger(until: date) -> Counter[str]:
    """Each book's debits less credits, from the raw rows, before a day."""
    found: Counter[str] = Counter()
    for row in Transfer.objects.filter(time__lt=at(f"{until}T00:00")):
        found[row.debit] += row.amount
        found[row.credit] -= row.amount
    return found


def reported(month: date) -> dict[str, int]:
    return {line.book.value: line.closing for line in reports.trial_balance(*months(), month).lines}


@pytest.mark.parametrize("page", ["reports", "report-movements", "report-trial-balance"])
@pytest.mark.parametrize("asked", ["9999-12", "0001-01", "2026-13", "２０２６-01"])
def test_a_month_that_no_book_has_is_this_month(alice: Account, page: str, asked: str) -> None:
    response = member(roles.FINANCE).get(reverse(f"admin:{page}"), {"month": asked})
    assert 'value="2026-03"' in response.content.decode()


def test_revenue_by_month_and_pack_type_is_the_ledgers(alice: Account) -> None:
    february, march = reports.revenue(months()[0])
    pet, face = (PackType.objects.get(code=code).pk for code in ("pet", "face"))
    assert (february.month, march.month) == (FEBRUARY, MARCH)
    of_pet = february.types[pet]
    assert (of_pet.opening, of_pet.sold, of_pet.refunded, of_pet.recognised) == (0, yuan("500.00"), 0, yuan("100.00"))
    of_pet = march.types[pet]
    # 50.00 drawn at night; 100.00 of the used pack are given back, all of the other; nothing is left
    assert (of_pet.opening, of_pet.sold, of_pet.refunded, of_pet.recognised) == (
        yuan("400.00"),
        0,
        yuan("350.00"),
        yuan("50.00"),
    )
    assert of_pet.closing == 0
    [held] = Pack.objects.filter(pack_type=face)
    assert march.types[face].closing == held.price - held.recognised
    assert (march.usage, march.adjusted) == (alice.transfers.get(kind="usage", amount__gt=0).amount, -1200)
    assert march.revenue == yuan("50.00") + march.usage - 1200


def test_the_trial_balance_is_the_sum_of_the_ledger_and_agrees_with_what_is_held(alice: Account) -> None:
    for counted in (False, True):
        if counted:
            count_days(timezone.now())
        for month, until in ((FEBRUARY, MARCH), (MARCH, date(2026, 4, 1))):
            found = ledger(until)
            assert reported(month) == {book.value: found[book] for book in Book}
        now = reports.trial_balance(*months(), MARCH)
        assert (now.balances, now.agrees) == (True, True)
        assert reports.trial_balance(*months(), FEBRUARY).agrees is None
    march = {line.book: line for line in now.lines}
    assert march[Book.BALANCE].opening == ledger(MARCH)[Book.BALANCE]


def test_what_moves_after_the_count_is_in_the_report_at_once_and_once(
    alice: Account, clock: time_machine.Traveller
) -> None:
    count_days(timezone.now())
    top_up(alice, "10.00", "2026-03-08T13:00")  # today
    top_up(alice, "20.00", "2026-02-25T13:00")  # with an older time, in a day that is summed up
    for days in range(5):
        clock.move_to(at("2026-03-09T04:30") + timedelta(days=days))
        found = ledger(date(2026, 4, 1))
        assert reported(MARCH) == {book.value: found[book] for book in Book}
        assert reports.trial_balance(*months(), MARCH).agrees
        count_days(timezone.now())
        count_days(timezone.now())
        assert reported(MARCH) == {book.value: found[book] for book in Book}
    kept = sum(BookDay.objects.filter(day=date(2026, 2, 25)).values_list("amount", flat=True))
    assert kept == yuan("20.00")  # it is in its day's sum now


def test_sums_that_are_wrong_are_seen(alice: Account) -> None:
    count_days(timezone.now())
    top_up = BookDay.objects.get(kind="top_up")
    BookDay.objects.filter(pk=top_up.pk).update(amount=1)
    balance = reports.trial_balance(*months(), MARCH)
    assert (balance.balances, balance.agrees) == (True, False)
    page = member(roles.FINANCE).get(reverse("admin:report-trial-balance")).content.decode()
    assert "which is something else" in page
    assert [check.name for check in audit().checks if check.breaks] == ["summed_up_day_is_its_transfers"]
    top_up.save()  # as it was: the books are true in the end


def test_debts_by_age(clock: time_machine.Traveller) -> None:
    now = timezone.now()
    for number, age in enumerate((timedelta(hours=23), timedelta(hours=25), timedelta(days=8), timedelta(days=400))):
        account = opened(f"debtor {number}", on="2025-01-01", balance=None)
        record_adjustment(
            account_id=account.pk, amount=-100 * (number + 1), reason="x", reference=f"d{number}", now=now - age
        )
    opened("rich")
    found = [(age.from_days, age.accounts, age.owed) for age in reports.receivables(now)]
    assert found == [(0, 1, 100), (1, 1, 200), (8, 1, 300), (30, 0, 0), (60, 0, 0), (90, 1, 400)]
    page = member(roles.FINANCE).get(reverse("admin:report-receivables")).content.decode()
    assert page.index("debtor 3") < page.index("debtor 0")
    assert "rich" not in page


def read(client: Client, name: str, **query: str) -> list[list[str]]:
    response = client.get(reverse(f"admin:{name}"), query | {"format": "csv"})
    assert response.status_code == 200
    assert response.streaming
    text = b"".join(response).decode("utf-8-sig")
    return list(csv.reader(io.StringIO(text)))


def test_every_report_is_taken_away_as_csv_and_excel(alice: Account) -> None:
    desk = member(roles.FINANCE)
    rows = read(desk, "report-movements", month="2026-03")
    assert len(rows) == 1 + 4
    assert {row[3] for row in rows[1:]} == {"refund", "adjustment"}
    assert ["'=too much", "-0.34"] in [[row[7], row[4]] for row in rows]
    assert len(read(desk, "report-movements", month="2026-03", kind="refund")) == 3
    balance = read(desk, "report-trial-balance", month="2026-03")
    assert {row[1] for row in balance[1:]} == {str(book.label) for book in Book}
    assert len(read(desk, "reports")) > 4
    record_adjustment(account_id=alice.pk, amount=-(10**6), reason="x", reference="debt", now=timezone.now())
    [_titles, debtor] = read(desk, "report-receivables")
    alice.refresh_from_db()
    assert (debtor[0], debtor[3]) == (str(alice.pk), f"{-alice.balance / 100:.2f}")
    for name in ("reports", "report-movements", "report-trial-balance", "report-receivables"):
        response = desk.get(reverse(f"admin:{name}"), {"format": "xlsx", "month": "2026-03"})
        assert "attachment" in response.headers["Content-Disposition"]
        with zipfile.ZipFile(io.BytesIO(b"".join(response))) as book:
            assert "<f>" not in book.read("xl/worksheets/sheet1.xml").decode()


def test_the_pages_show_it_and_ask_no_more_with_more_rows(alice: Account) -> None:
    desk = member(roles.FINANCE)

    def queries(name: str) -> int:
        desk.get(reverse(f"admin:{name}"), {"month": "2026-03"})
        with CaptureQueriesContext(connection) as asked:
            page = desk.get(reverse(f"admin:{name}"), {"month": "2026-03"}).content.decode()
        assert "2026-03" in page or name == "report-receivables"
        return len(asked)

    debtor = opened("dora", balance=None)
    record_adjustment(account_id=debtor.pk, amount=-1, reason="x", reference="dora", now=at("2026-03-05T10:00"))
    names = ("reports", "report-movements", "report-trial-balance", "report-receivables")
    before = {name: queries(name) for name in names}
    for number in range(4):
        other = opened(f"bob {number}", on="2026-03-02")
        buy(other, "vehicle-100k", "2026-03-02T10:00")
        record_adjustment(
            account_id=other.pk, amount=-(10**9), reason="why", reference=f"b{number}", now=at("2026-03-05T10:00")
        )
    assert {name: queries(name) for name in names} == before
    page = desk.get(reverse("admin:report-movements"), {"month": "2026-03"}).content.decode()
    assert "our mistake" in page
    for nonsense in ("2026-13", "x", "2026-3", "9999-99", "0000-01", "２０２６-03"):
        for name in names:
            assert desk.get(reverse(f"admin:{name}"), {"month": nonsense}).status_code == 200
    assert desk.get(reverse("admin:report-movements"), {"kind": "usage", "page": "99"}).status_code == 200


def test_the_books_are_summed_up_once_a_day_and_after_much_has_moved(
    alice: Account, clock: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book_days, "MUCH", 3)
    assert book_days.count_if_due(timezone.now())
    assert not book_days.count_if_due(timezone.now())
    clock.move_to(at("2026-03-09T02:10"))
    for _ in range(4):
        top_up(alice, "1.00", "2026-03-09T02:00")
    run = SettlementRun.objects.latest("pk")
    SettlementRun.objects.filter(pk=run.pk).update(finished_at=None, started_at=at("2026-03-09T02:00"))
    assert not book_days.count_if_due(timezone.now())  # the night has not ended
    SettlementRun.objects.filter(pk=run.pk).update(finished_at=run.finished_at, started_at=run.started_at)
    assert book_days.count_if_due(timezone.now())
    assert reports.trial_balance(*months(), MARCH).agrees
    due = {"2026-03-09T04:25": False, "2026-03-09T09:00": True, "2026-03-09T09:05": False}
    for moment, counted in due.items():
        clock.move_to(at(moment))
        assert book_days.count_if_due(timezone.now()) is counted
