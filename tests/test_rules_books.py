"""Rules 7: the ledger, deferred revenue and its recognition, and what must hold at all times."""

from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.models import Sum

from accounts.ledger import record_adjustment
from accounts.models import MOVES, Account, Book, Kind, Transfer
from packs.models import Pack, Sku
from packs.refunds import refund_pack
from settlement.audit import audit
from settlement.models import Bill, BillLine, Drawdown
from settlement.staff_refunds import refund_used_pack
from tests.worlds import assert_books, at, buy, night, opened, set_pack_price, use, yuan

pytestmark = pytest.mark.django_db


def lived() -> Account:
    """An account that has known every movement of money."""
    alice = opened(balance="2000")
    [used, _, back] = buy(alice, "pet-100k", "2026-03-01T10:00", 3)
    refund_pack(account_id=alice.pk, pack_id=back.pk, now=at("2026-03-01T11:00"))
    use(alice, "ai.pet", 33_333, "2026-03-02T10:00")
    use(alice, "ai.face", 777, "2026-03-02T10:00")
    night("2026-03-03T02:00")
    refund_used_pack(pack_id=used.pk, reason="complaint", now=at("2026-03-03T10:00"))
    record_adjustment(account_id=alice.pk, amount=1234, reason="ours", reference="a1", now=at("2026-03-03T11:00"))
    record_adjustment(account_id=alice.pk, amount=-234, reason="theirs", reference="a2", now=at("2026-03-03T12:00"))
    alice.refresh_from_db()
    return alice


def book(account: Account, name: Book) -> int:
    """What a book holds: its credits less its debits."""
    rows = Transfer.objects.filter(account=account)
    totals = [rows.filter(**{side: name}).aggregate(sum=Sum("amount"))["sum"] or 0 for side in ("credit", "debit")]
    return int(totals[0] - totals[1])


def test_rule_7_1_every_movement_is_one_transfer_between_two_books_with_its_cause() -> None:
    alice = lived()
    rows = alice.transfers.order_by("id").values_list("kind", "debit", "credit", "amount", "balance_after")
    assert list(rows) == [
        ("top_up", "cash", "balance", 200_000, 200_000),
        ("purchase", "balance", "deferred", 75_000, 125_000),
        ("refund", "deferred", "balance", 25_000, 150_000),
        ("usage", "balance", "usage_revenue", 39, 149_961),  # 777 x 0.0005 = 0.3885
        ("recognition", "deferred", "pack_revenue", 8_333, None),  # 250.00 x 33,333 / 100,000 = 83.3325
        ("refund", "deferred", "balance", 16_667, 166_628),  # 250 - 83.3325 = 166.6675, and 166.67 is deferred
        ("adjustment", "usage_revenue", "balance", 1_234, 167_862),
        ("adjustment", "balance", "usage_revenue", 234, 167_628),
    ]
    assert all(row.reference and (row.debit, row.credit) in MOVES[Kind(row.kind)] for row in alice.transfers.all())
    assert alice.balance == book(alice, Book.BALANCE) == sum(row.signed_amount for row in alice.transfers.all())
    assert_books()


@pytest.mark.parametrize(
    "change", ["UPDATE accounts_transfer SET amount = amount + 1", "DELETE FROM accounts_transfer"]
)
def test_rule_7_1_a_transfer_is_never_changed_or_deleted(change: str) -> None:
    alice = opened()
    with pytest.raises(DatabaseError, match="never changed"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(change)
    assert [row.amount for row in alice.transfers.all()] == [yuan("100000")]


@pytest.mark.parametrize(
    "fault",
    [
        {"amount": 0},
        {"amount": -1},
        {"debit": "balance"},
        {"debit": "deferred"},
        {"credit": "usage_revenue"},
        {"kind": "nonsense"},
        {"reference": "first"},
    ],
)
def test_rule_7_1_the_database_refuses_a_transfer_that_is_none(fault: dict[str, Any]) -> None:
    alice = opened(balance=None)
    sound = {"kind": "top_up", "debit": "cash", "credit": "balance", "amount": 1, "time": at("2026-03-01T10:00")}
    Transfer.objects.create(account=alice, reference="first", balance_after=1, **sound)
    with pytest.raises(DatabaseError), transaction.atomic():
        Transfer.objects.create(account=alice, balance_after=2, **(sound | {"reference": "second"} | fault))


def test_rule_7_2_a_sale_is_deferred_and_each_drawdown_recognises_its_share() -> None:
    alice = opened()
    [pack] = buy(alice, "pet-100k", "2026-03-01T10:00")
    assert (book(alice, Book.DEFERRED), book(alice, Book.PACK_REVENUE)) == (25_000, 0)
    use(alice, "ai.pet", 40_000, "2026-03-01T10:00")
    night("2026-03-02T02:00")
    assert (book(alice, Book.DEFERRED), book(alice, Book.PACK_REVENUE)) == (15_000, 10_000)
    pack.refresh_from_db()
    assert pack.recognised == 10_000
    assert_books()


def test_rule_7_2_recognition_is_rounded_cumulatively_so_that_a_used_up_pack_has_recognised_its_price() -> None:
    sku = Sku.objects.get(code="pet-100k")
    set_pack_price(sku=sku, price=100, reason="test", now=at("2026-03-01T00:00"))  # half a fen for 500 calls
    alice = opened()
    [pack] = buy(alice, "pet-100k", "2026-03-01T10:00")
    for day, calls in enumerate((500, 500, 500, 499, 98_001), start=1):
        use(alice, "ai.pet", calls, f"2026-03-{day:02}T10:00")
    night("2026-03-06T02:00")
    # 0.5 -> 1, 1.0 -> 1, 1.5 -> 2, 1.999 -> 2, 100
    assert list(Drawdown.objects.order_by("id").values_list("recognised", flat=True)) == [1, 0, 1, 0, 98]
    pack.refresh_from_db()
    assert (pack.remaining, pack.recognised, book(alice, Book.DEFERRED)) == (0, 100, 0)
    assert [row.amount for row in alice.transfers.filter(kind="recognition").order_by("id")] == [1, 1, 98]
    assert_books()


def test_rule_7_3_every_equation_holds_by_hand_too() -> None:
    alice = lived()
    for pack in Pack.objects.all():
        drawn = sum(draw.quantity for draw in pack.drawdowns.all())
        assert pack.total == pack.remaining + drawn + pack.refunded_quantity
        assert pack.refunded_at is None or pack.recognised + pack.refunded == pack.price
    for line in BillLine.objects.all():
        assert line.quantity == line.drawn + line.charged
        assert line.drawn == sum(draw.quantity for draw in line.drawdowns.all())
    due, rated = (sum(getattr(bill, name) for bill in Bill.objects.all()) for name in ("amount_due", "rated_total"))
    assert due * 10_000 + alice.carry == rated
    deferred = sum(pack.price - pack.recognised - pack.refunded for pack in Pack.objects.all())
    assert deferred == book(alice, Book.DEFERRED) == 25_000
    assert book(alice, Book.USAGE_REVENUE) == due - 1234 + 234
    assert audit().ok


def test_rule_7_3_usage_that_arrived_after_the_run_is_waiting_and_no_break() -> None:
    alice = opened()
    use(alice, "ai.pet", 100, "2026-03-05T10:00")
    assert (audit().ok, audit().waiting) == (True, 1)
    night("2026-03-06T02:00")
    assert (audit().ok, audit().waiting) == (True, 0)
    use(alice, "ai.pet", 50, "2026-03-05T10:00", received="2026-03-06T03:00")
    assert (audit().ok, audit().waiting) == (True, 1)
    night("2026-03-07T02:00")
    assert (audit().ok, audit().waiting) == (True, 0)
