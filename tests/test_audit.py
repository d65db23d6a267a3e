"""The audit finds every kind of damage (rules 7.3): a sound world, one fault planted, and the check that names it."""

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from datetime import date
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from accounts.ledger import record_adjustment
from accounts.models import Account
from accounts.payments.gateway import Report, Trade
from accounts.payments.models import Payment
from accounts.payments.paying import start_payment, take_report
from accounts.payments.sandbox import Sandbox
from packs.models import Order, Pack
from packs.refunds import refund_pack
from settlement.audit import CHECKS, Audit, Check, audit
from settlement.book_days import count_days
from settlement.book_models import BookDay
from settlement.expiry import expire_usage
from settlement.models import Bill, BillLine, Drawdown, UsageEvent
from settlement.staff_refunds import refund_used_pack
from tests.conftest import made_once
from tests.worlds import GB, MBPS, assert_books, at, bill_of, buy, night, opened, top_up, use

pytestmark = pytest.mark.django_db


@dataclass
class World:
    """A small world with a row for every check, and the rows that faults are planted in."""

    alice: Account
    bob: Account
    carol: Account
    pack: Pack
    drawdown: Drawdown
    line: BillLine
    first: Bill
    second: Bill
    order: Order
    payment: Payment

    def transfer(self, kind: str) -> int:
        """The id of the first transfer of a kind."""
        return int(self.alice.transfers.filter(kind=kind).order_by("id").values_list("id", flat=True)[0])


KEPT = {
    "ai.face": 777,
    "bandwidth.down": 30 * MBPS,
    "storage.standard": 500 * GB,
    "device.gb28181": 1,
    "traffic.up": GB,
}
"""What Carol used on 5 January, and one thing that her mode does not bill."""


def _world() -> World:
    """Alice has bought, used, refunded and been corrected; Bob is in arrears; Carol's one day has expired."""
    alice, bob, carol = opened("alice"), opened("bob", balance="0.01"), opened("carol", on="2026-01-04")
    for item, quantity in KEPT.items():
        use(carol, item, quantity, "2026-01-05T10:00", resource="a")
    night("2026-01-06T02:00")
    [expired] = expire_usage(before=date(2026, 1, 6), now=at("2026-02-05T00:00"))
    assert expired.stays is None
    [pack, unused, complaint] = buy(alice, "pet-100k", "2026-03-01T10:00", 3)
    refund_pack(account_id=alice.pk, pack_id=unused.pk, now=at("2026-03-01T11:00"))
    for day in (5, 6):
        use(alice, "ai.pet", 60_000, f"2026-03-0{day}T10:00")
        use(alice, "ai.face", 777, f"2026-03-0{day}T10:00")
        use(alice, "bandwidth.down", 30 * MBPS, f"2026-03-0{day}T10:00", resource="a")
        use(alice, "traffic.down", GB, f"2026-03-0{day}T10:00")  # metered, and not billed in this mode
        use(alice, "storage.standard", 500 * GB, f"2026-03-0{day}T10:00")
        use(alice, "device.gb28181", 1, f"2026-03-0{day}T10:00", resource="camera-1")
        use(bob, "ai.face", 123, f"2026-03-0{day}T10:00")
        night(f"2026-03-0{day + 1}T02:00")
    payment = start_payment(account_id=carol.pk, amount=5_00, gateway=Sandbox(), key="form", now=at("2026-03-07T09:00"))
    take_report(Report(payment.number, Trade.PAID, 5_00), gateway="sandbox", now=at("2026-03-07T09:01"))
    refund_used_pack(pack_id=complaint.pk, reason="complaint", now=at("2026-03-07T10:00"))
    record_adjustment(account_id=alice.pk, amount=77, reason="ours", reference="adjustment", now=at("2026-03-07T11:00"))
    count_days(at("2026-03-07T12:00"))
    alice.refresh_from_db()
    first = bill_of(alice, "2026-03-05")
    drawdown = Drawdown.objects.get(line__bill=first)
    second = bill_of(alice, "2026-03-06")
    line = BillLine.objects.get(bill=first, item__code="ai.face")
    return World(alice, bob, carol, pack, drawdown, line, first, second, pack.order_line.order, payment)


world_of_all = made_once(_world)


@pytest.fixture
def world(world_of_all: World) -> World:
    return deepcopy(world_of_all)


FREE = """
    SET LOCAL lock_timeout = 0;
    SET CONSTRAINTS ALL IMMEDIATE;
    ALTER TABLE accounts_transfer DISABLE TRIGGER accounts_transfer_is_immutable;
    ALTER TABLE accounts_transfer DROP CONSTRAINT transfer_books_of_its_kind, DROP CONSTRAINT transfer_two_books;
    ALTER TABLE settlement_billline DROP CONSTRAINT bill_line_drawn_or_charged;
    ALTER TABLE settlement_bill DROP CONSTRAINT bill_due_and_carry_add_up;
"""
"""What keeps most of this damage out, taken away; the test's transaction brings it back. The expiry in the world was
impatient, and this may have to wait for autovacuum."""


def plant(sql: str) -> None:
    """Damage exactly one row, past all that guards it."""
    with connection.cursor() as cursor:
        cursor.execute(FREE)
        cursor.execute(sql)
        assert cursor.rowcount == 1, sql


def rows(check: Check) -> list[dict[str, Any]]:
    """The rows that a check names."""
    broken: list[Any] = list(check.broken)
    return [json.loads(row) if isinstance(row, str) else row for row in broken]


def named(outcome: Audit, name: str) -> list[dict[str, Any]]:
    """The rows that one check of an audit names."""
    return rows(next(check for check in outcome.checks if check.name == name))


Fault = tuple[str, Callable[[World], str], Callable[[World], dict[str, Any]]]


def of_transfer(name: str, kind: str, change: str, *key: str) -> Fault:
    """A fault in the first transfer of a kind, which the check names by its id or, given a book, by the account."""
    return (
        name,
        lambda w: f"UPDATE accounts_transfer SET {change} WHERE id = {w.transfer(kind)}",
        lambda w: {"account": w.alice.pk} if key else {"transfer": w.transfer(kind)},
    )


def lost(name: str, kind: str, cause: Callable[[World], str]) -> Fault:
    """A transfer that is gone: its cause is named."""
    return (
        name,
        lambda w: f"DELETE FROM accounts_transfer WHERE id = {w.transfer(kind)}",
        lambda w: {"cause": cause(w), "kind": kind, "found": "nothing"},
    )


MOVED = "every_bill_and_order_moved_its_money"
RECEIVED = "payment_received_is_its_top_up"

SUMMED = "summed_up_day_is_its_transfers"


def summed() -> dict[str, Any]:
    """How the check names the first sum of a day."""
    one = BookDay.objects.earliest("pk")
    return {"day": one.day.isoformat(), "moved": f"{one.kind}: {one.debit} → {one.credit}"}


MORE = "UPDATE settlement_dayusage SET quantity = quantity + 1"
LESS = "UPDATE settlement_dayusage SET quantity = quantity - 1"
CURVE = "UPDATE settlement_dayusage SET"

FAULTS: list[Fault] = [
    (
        "balance_is_sum_of_transfers",
        lambda w: f"UPDATE accounts_account SET balance = balance + 1 WHERE id = {w.alice.pk}",
        lambda w: {"account": w.alice.pk, "found": w.alice.balance + 1, "expected": w.alice.balance},
    ),
    of_transfer("balance_is_sum_of_transfers", "top_up", "amount = amount + 1", "account"),
    of_transfer("balance_after_each_transfer", "usage", "balance_after = balance_after + 1"),
    of_transfer("balance_after_each_transfer", "usage", "balance_after = NULL"),
    of_transfer("transfer_books_fit_its_kind", "recognition", "credit = 'usage_revenue'"),
    of_transfer("transfer_books_fit_its_kind", "recognition", "credit = 'deferred'"),
    of_transfer("transfer_books_fit_its_kind", "top_up", "kind = 'adjustment'"),
    (
        "pack_total_is_remaining_drawn_refunded",
        lambda w: f"UPDATE packs_pack SET total = total + 1 WHERE id = {w.pack.pk}",
        lambda w: {"pack": w.pack.pk, "expected": 100_001, "found": 100_000},
    ),
    (
        "pack_remaining_after_each_drawdown",
        lambda w: f"UPDATE settlement_drawdown SET remaining_after = remaining_after + 1 WHERE id = {w.drawdown.pk}",
        lambda w: {"drawdown": w.drawdown.pk, "found": 40_001, "expected": 40_000},
    ),
    (
        "pack_recognised_is_price_by_drawn",
        lambda w: f"UPDATE packs_pack SET recognised = recognised - 1 WHERE id = {w.pack.pk}",
        lambda w: {"pack": w.pack.pk, "found": 24_999, "expected": 25_000},
    ),
    (
        "drawdowns_recognise_what_the_pack_did",
        lambda w: f"UPDATE settlement_drawdown SET recognised = recognised + 1 WHERE id = {w.drawdown.pk}",
        lambda w: {"pack": w.pack.pk, "found": 25_001, "expected": 25_000},
    ),
    (
        "line_quantity_is_drawn_and_charged",
        lambda w: f"UPDATE settlement_billline SET charged = charged + 1 WHERE id = {w.line.pk}",
        lambda w: {"line": w.line.pk, "expected": 777, "found": 778},
    ),
    (
        "line_drawn_is_its_drawdowns",
        lambda w: f"UPDATE settlement_drawdown SET quantity = quantity + 1 WHERE id = {w.drawdown.pk}",
        lambda w: {"line": w.drawdown.line_id, "expected": 60_001, "found": 60_000},
    ),
    (
        "line_amount_is_charged_at_tariff",
        lambda w: f"UPDATE settlement_billline SET amount = amount + 1 WHERE id = {w.line.pk}",
        lambda w: {"line": w.line.pk, "expected": 388_500, "found": 388_501},
    ),
    (
        "line_amount_is_charged_at_tariff",
        lambda w: f"UPDATE packs_tariffprice SET price = price * 2 WHERE item_id = {w.line.item_id}",
        lambda w: {"line": w.line.pk, "expected": 777_000, "found": 388_500},
    ),
    (
        "bill_total_is_its_lines",
        lambda w: f"UPDATE settlement_bill SET rated_total = rated_total + 1 WHERE id = {w.first.pk}",
        lambda w: {"bill": w.first.pk, "found": w.first.rated_total + 1, "expected": w.first.rated_total},
    ),
    (
        "bill_due_is_total_and_carry_in_whole_fen",
        lambda w: (
            f"""UPDATE settlement_bill SET amount_due = amount_due + 1, carry_out = carry_out - 10000
            WHERE id = {w.first.pk}"""
        ),
        lambda w: {"bill": w.first.pk},
    ),
    (
        "carry_goes_from_bill_to_bill",
        lambda w: f"UPDATE settlement_bill SET carry_in = carry_in + 1 WHERE id = {w.second.pk}",
        lambda w: {"bill": w.second.pk, "found": w.first.carry_out + 1, "expected": w.first.carry_out},
    ),
    (
        "due_and_carry_are_all_lines",
        lambda w: f"UPDATE accounts_account SET carry = carry + 1 WHERE id = {w.alice.pk}",
        lambda w: {"account": w.alice.pk},
    ),
    *(
        (
            "billed_is_never_above_used",
            lambda w, item=item: f"DELETE FROM settlement_usageevent WHERE {_event(w, item)}",
            lambda w, item=item: {"account": w.alice.pk, "day": "2026-03-05", "region": "cn-mainland", "expected": 0},
        )
        for item in ("ai.pet", "bandwidth.down", "storage.standard", "device.gb28181")
    ),
    *(
        (
            "billed_is_used_unless_it_waits",
            lambda w, item=item, more=more: (
                f"UPDATE settlement_usageevent SET quantity = quantity + {more} WHERE {_event(w, item)}"
            ),
            lambda w: {"account": w.alice.pk, "day": "2026-03-05", "region": "cn-mainland"},
        )
        for item, more in (("ai.pet", 1), ("bandwidth.down", 1), ("storage.standard", 288))
    ),
    (
        "billed_is_used_unless_it_waits",
        lambda w: (
            f"""INSERT INTO accounts_modechange (account_id, effective_day, mode, decided_at)
            VALUES ({w.alice.pk}, '2026-03-06', 'traffic', '2026-03-05T10:00+08')"""
        ),
        lambda w: {"account": w.alice.pk, "day": "2026-03-06", "found": 0, "expected": GB},
    ),
    *(
        (
            name,
            lambda w, item=item, change=change: f"{change} WHERE {_kept(w, item)}",
            lambda w, row=row: {"account": w.carol.pk, "day": "2026-01-05", "region": "cn-mainland"} | row,
        )
        for name, item, change, row in (
            ("billed_is_used_unless_it_waits", "ai.face", MORE, {"expected": 778, "found": 777}),
            ("billed_is_used_unless_it_waits", "device.gb28181", MORE, {"expected": 2, "found": 1}),
            ("billed_is_never_above_used", "ai.face", "DELETE FROM settlement_dayusage", {"expected": 0}),
            ("billed_is_never_above_used", "bandwidth.down", LESS, {"expected": 30 * MBPS - 1}),
            ("kept_quantity_is_its_curve", "bandwidth.down", MORE, {"expected": 30 * MBPS}),
            ("kept_quantity_is_its_curve", "storage.standard", LESS, {}),
            ("kept_quantity_is_its_curve", "bandwidth.down", f"{CURVE} slots[121] = 1", {"expected": 1}),
            ("kept_quantity_is_its_curve", "storage.standard", f"{CURVE} slots[1] = 288", {}),
            ("kept_quantity_is_its_curve", "storage.standard", f"{CURVE} slots = NULL", {"expected": None}),
        )
    ),
    *(
        (
            "expired_day_is_kept_whole",
            lambda w, sql=sql: sql.format(kept=_kept(w, "traffic.up"), **vars(w)),
            lambda w, row=row: row,
        )
        for sql, row in (
            ("DELETE FROM settlement_dayusage WHERE {kept}", {"day": "2026-01-05", "found": "4 rows kept, 0 events"}),
            ("DELETE FROM settlement_expiredday", {"day": "2026-01-05", "expected": "0 rows kept, 0 events"}),
            (
                "UPDATE settlement_dayusage SET day = '2026-01-04' WHERE {kept}",
                {"day": "2026-01-04", "expected": "0 rows kept, 0 events", "found": "1 rows kept, 0 events"},
            ),
            (
                "INSERT INTO settlement_expiredday VALUES ('2026-03-05', now(), 0, 0, 0)",
                {"day": "2026-03-05", "found": "0 rows kept, 7 events"},
            ),
        )
    ),
    lost(MOVED, "usage", lambda w: f"bill:{w.first.pk}"),
    lost(MOVED, "purchase", lambda w: f"order:{w.order.pk}"),
    lost(MOVED, "recognition", lambda w: f"bill:{w.first.pk}"),
    lost(MOVED, "refund", lambda w: f"pack:{w.pack.pk + 1}"),
    (
        MOVED,
        lambda w: f"UPDATE accounts_transfer SET account_id = {w.bob.pk} WHERE id = {w.transfer('usage')}",
        lambda w: {"cause": f"bill:{w.first.pk}", "found": f"{w.bob.pk}: {w.first.amount_due}"},
    ),
    (
        RECEIVED,
        lambda w: f"UPDATE accounts_payment SET amount = amount + 1 WHERE id = {w.payment.pk}",
        lambda w: {"payment": w.payment.number, "expected": f"{w.carol.pk}: 501", "found": f"{w.carol.pk}: 500"},
    ),
    (
        RECEIVED,
        lambda w: f"DELETE FROM accounts_transfer WHERE reference = 'payment:{w.payment.number}'",
        lambda w: {"payment": w.payment.number, "found": "nothing"},
    ),
    (
        "order_total_is_its_packs",
        lambda w: f"UPDATE packs_order SET total = total + 1 WHERE id = {w.order.pk}",
        lambda w: {"order": w.order.pk, "expected": 75_001, "found": 75_000},
    ),
    of_transfer("deferred_is_paid_less_recognised_less_refunded", "purchase", "amount = amount + 1", "account"),
    (
        "closed_account_defers_nothing",
        lambda w: (
            f"""UPDATE accounts_account SET closed_at = '2026-03-07T10:00+08' WHERE id = {w.alice.pk};
            DELETE FROM accounts_transfer WHERE id = {w.transfer("recognition")}"""
        ),
        lambda w: {"account": w.alice.pk, "expected": 0},
    ),
    of_transfer("usage_revenue_is_bills_and_adjustments", "usage", "amount = amount + 1", "account"),
    (
        SUMMED,
        lambda w: (
            """UPDATE settlement_bookday SET amount = amount + 1
            WHERE id = (SELECT min(id) FROM settlement_bookday)"""
        ),
        lambda w: summed(),
    ),
    (
        SUMMED,
        lambda w: "DELETE FROM settlement_bookday WHERE id = (SELECT min(id) FROM settlement_bookday)",
        lambda w: summed(),
    ),
    (
        "arrears_since_the_posting_below_zero",
        lambda w: f"UPDATE accounts_account SET arrears_since = arrears_since + '1 hour' WHERE id = {w.bob.pk}",
        lambda w: {"account": w.bob.pk},
    ),
]


def _event(w: World, item: str) -> str:
    """The condition of Alice's one event of an item on 5 March."""
    this = f"day = '2026-03-05' AND account_id = {w.alice.pk}"
    return f"{this} AND item_id = (SELECT id FROM packs_item WHERE code = '{item}')"


def _kept(w: World, item: str) -> str:
    """The condition of what is kept of Carol's use of an item."""
    this = f"day = '2026-01-05' AND account_id = {w.carol.pk}"
    return f"{this} AND item_id = (SELECT id FROM packs_item WHERE code = '{item}')"


def test_a_sound_world_is_found_sound_and_every_check_looks_at_rows(world: World) -> None:
    outcome = audit()
    assert [check.name for check in outcome.checks if check.breaks] == []
    assert (outcome.ok, outcome.waiting, outcome.expired_days) == (True, 0, 1)
    assert [check.name for check in outcome.checks if not check.rows_checked] == []
    assert [check.name for check in outcome.checks] == list(CHECKS)


def test_every_check_has_a_fault_planted() -> None:
    assert {name for name, _, _ in FAULTS} == set(CHECKS)


@pytest.mark.parametrize("fault", FAULTS, ids=[f"{name}-{number}" for number, (name, _, _) in enumerate(FAULTS)])
def test_a_planted_fault_is_found_and_its_row_named(world: World, fault: Fault) -> None:
    name, sql, row = fault
    expected = row(world)
    plant(sql(world))
    outcome = audit()
    assert not outcome.ok
    found = named(outcome, name)
    assert any(expected.items() <= broken.items() for broken in found), (expected, found)


def test_an_arrears_mark_that_is_missing_is_found(world: World) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE accounts_account DROP CONSTRAINT account_arrears_iff_negative")
        cursor.execute("UPDATE accounts_account SET arrears_since = NULL WHERE id = %s", [world.bob.pk])
    [broken] = named(audit(), "arrears_since_the_posting_below_zero")
    assert (broken["account"], broken["found"]) == (world.bob.pk, None)


def test_the_broken_rows_are_objects(world: World) -> None:
    plant(f"UPDATE accounts_account SET balance = balance + 1 WHERE id = {world.alice.pk}")
    broken = next(check.broken for check in audit().checks if check.breaks)
    assert [type(row) for row in broken] == [dict]


def test_the_first_ten_rows_are_named_and_all_are_counted(world: World) -> None:
    for number in range(12):
        opened(f"customer {number}")
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("UPDATE accounts_account SET balance = balance + 1 WHERE name LIKE 'customer%'")
    [check] = [check for check in audit().checks if check.breaks]
    assert (check.name, check.breaks, len(check.broken)) == ("balance_is_sum_of_transfers", 12, 10)


def run_command(*arguments: str) -> tuple[str, int]:
    """What `audit_books` prints, and its exit code."""
    out = StringIO()
    try:
        call_command("audit_books", *arguments, stdout=out)
    except CommandError as error:
        return out.getvalue(), error.returncode
    return out.getvalue(), 0


def test_the_command_says_that_all_holds(world: World) -> None:
    printed, code = run_command("--json")
    shown = json.loads(printed)
    assert (code, shown["ok"], [check["name"] for check in shown["checks"]]) == (0, True, list(CHECKS))
    assert all(check["broken"] == [] and check["rows_checked"] > 0 for check in shown["checks"])
    assert shown["expired_days"] == 1
    assert "1 days are proved against what is kept" in run_command()[0]


def test_the_command_exits_1_and_names_the_row(world: World) -> None:
    plant(f"UPDATE packs_order SET total = total + 1 WHERE id = {world.order.pk}")
    printed, code = run_command("--json")
    shown = json.loads(printed)
    [broken] = [check for check in shown["checks"] if check["name"] == "order_total_is_its_packs"]
    assert (code, shown["ok"], broken["rows_checked"], len(broken["broken"])) == (1, False, 1, 1)
    with pytest.raises(CommandError, match=rf"1 broken, the first: .*order:{world.order.pk}\b"):
        call_command("audit_books", stdout=StringIO())


def test_usage_that_arrived_after_the_run_is_waiting_and_no_break(world: World) -> None:
    use(world.alice, "ai.pet", 5, "2026-03-05T11:00", received="2026-03-07T12:00")
    use(world.alice, "ai.pet", 5, "2026-03-07T11:00")
    outcome = audit()
    assert (outcome.ok, outcome.waiting) == (True, 2)
    assert UsageEvent.objects.filter(day=date(2026, 3, 7)).exists()


def test_waiting_usage_hides_no_bill_above_it(world: World) -> None:
    plant(f"DELETE FROM settlement_usageevent WHERE {_event(world, 'ai.face')}")
    use(world.alice, "ai.pet", 5, "2026-03-05T11:00", received="2026-03-07T12:00")
    [broken] = named(audit(), "billed_is_never_above_used")
    assert (broken["account"], broken["day"], broken["found"], broken["expected"]) == (
        world.alice.pk,
        "2026-03-05",
        777,
        0,
    )


@pytest.mark.django_db
def test_arrears_begin_with_the_posting_not_with_a_clock_read_before_it() -> None:
    account = opened(balance="0.10")
    use(account, "ai.pet", 100, "2026-03-01T10:00")
    night("2026-03-02T02:00")
    # a request that read its clock, then waited for the account that the night had in hand
    top_up(account, "0.01", "2026-03-02T01:59:59")
    assert_books()
