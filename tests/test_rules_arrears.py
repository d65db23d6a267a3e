"""Rules 6: arrears, suspension and reclaim as functions of the balance and the clock, and what is announced."""

from collections.abc import Iterator

import pytest

from accounts.ledger import record_adjustment
from accounts.models import Account, Notice
from accounts.standing import Standing
from packs.refunds import refund_pack
from settlement.arrears import sweep
from tests.worlds import assert_books, at, bills_of, buy, night, opened, top_up, use, yuan

pytestmark = pytest.mark.django_db

SINCE = "2026-03-02T02:00"
"""When the bill of `in_arrears` posts."""


@pytest.fixture(autouse=True)
def proven() -> Iterator[None]:
    """Every test leaves true books."""
    yield
    assert_books()


def in_arrears(balance: str = "10.00", due_calls: int = 120) -> Account:
    """An account that a bill of 12.00 took below 0 at 02:00 on 2 March."""
    alice = opened(balance=balance)
    use(alice, "ai.plate", due_calls, "2026-03-01T10:00")  # 0.1 a call
    night(SINCE)
    alice.refresh_from_db()
    return alice


def standing(account: Account, when: str) -> Standing:
    account.refresh_from_db()
    return account.standing_at(at(when))


def told(account: Account) -> list[str]:
    """What the customer was told, in order."""
    return list(Notice.objects.filter(account=account).order_by("id").values_list("kind", flat=True))


def test_rule_6_1_below_zero_is_arrears_from_the_posting_on_and_the_customer_is_told_at_once() -> None:
    alice = in_arrears()
    assert (alice.balance, alice.arrears_since, standing(alice, SINCE)) == (yuan("-2.00"), at(SINCE), Standing.ARREARS)
    [notice] = Notice.objects.all()
    assert (notice.kind, notice.created_at, notice.data["balance"]) == ("arrears", at(SINCE), "-2.00")


def test_rule_6_1_zero_is_no_arrears() -> None:
    alice = in_arrears("12.00")
    assert (alice.balance, alice.arrears_since, standing(alice, "2026-12-31T00:00")) == (0, None, Standing.ACTIVE)
    assert told(alice) == []


def test_rule_6_1_one_fen_below_zero_is_arrears() -> None:
    alice = in_arrears("11.99")
    assert (alice.balance, standing(alice, SINCE)) == (-1, Standing.ARREARS)


def test_rule_6_2_the_service_is_suspended_24_hours_later_to_the_instant() -> None:
    alice = in_arrears()
    assert standing(alice, "2026-03-03T01:59:59.999999") == Standing.ARREARS
    assert standing(alice, "2026-03-03T02:00") == Standing.SUSPENDED  # though no sweep has run
    assert sweep(at("2026-03-03T01:59:59.999999")) == []
    assert sweep(at("2026-03-03T02:00")) == [(alice.pk, Standing.SUSPENDED)]
    assert sweep(at("2026-03-03T02:05")) == []
    assert told(alice) == ["arrears", "suspended"]


def test_rule_6_2_packs_in_force_do_not_keep_the_service_up() -> None:
    alice = opened(balance="260.00")
    buy(alice, "pet-100k", "2026-03-01T09:00")
    use(alice, "ai.plate", 120, "2026-03-01T10:00")
    night(SINCE)
    assert standing(alice, "2026-03-03T02:00") == Standing.SUSPENDED


def test_rule_6_3_reaching_zero_ends_suspension_at_once() -> None:
    alice = in_arrears()
    top_up(alice, "1.99", "2026-03-03T03:00")
    assert (standing(alice, "2026-03-03T03:00"), alice.arrears_since) == (Standing.SUSPENDED, at(SINCE))
    top_up(alice, "0.01", "2026-03-03T04:00")
    assert (standing(alice, "2026-03-03T04:00"), alice.arrears_since) == (Standing.ACTIVE, None)
    # suspended before any sweep: the customer hears of it before hearing that it is over
    assert told(alice) == ["arrears", "suspended", "resumed"]


def test_rule_6_3_any_posting_that_brings_the_balance_to_zero_ends_arrears() -> None:
    alice = in_arrears()
    record_adjustment(account_id=alice.pk, amount=200, reason="ours", reference="a", now=at("2026-03-02T03:00"))
    assert (standing(alice, "2026-03-04T03:00"), told(alice)) == (Standing.ACTIVE, ["arrears"])

    bob = opened("bob", balance="250.00")
    [pack] = buy(bob, "pet-100k", "2026-03-01T09:00")
    use(bob, "ai.plate", 2500, "2026-03-01T10:00", received="2026-03-02T03:00")
    night("2026-03-02T04:00")
    assert standing(bob, "2026-03-02T04:00") == Standing.ARREARS
    refund_pack(account_id=bob.pk, pack_id=pack.pk, now=at("2026-03-02T05:00"))
    assert (bob.balance, standing(bob, "2026-03-02T05:00")) == (yuan("-250.00"), Standing.ACTIVE)


def test_rule_6_3_another_bill_does_not_move_the_beginning() -> None:
    alice = in_arrears()
    use(alice, "ai.plate", 10, "2026-03-02T10:00")
    night("2026-03-03T01:00")
    assert (standing(alice, "2026-03-03T01:59"), alice.arrears_since) == (Standing.ARREARS, at(SINCE))
    assert (alice.balance, told(alice)) == (yuan("-3.00"), ["arrears"])


def test_rule_6_3_a_later_fall_begins_a_new_24_hours() -> None:
    alice = in_arrears()
    top_up(alice, "2.00", "2026-03-02T20:00")
    use(alice, "ai.plate", 1, "2026-03-02T21:00")
    night("2026-03-03T02:00")
    assert (standing(alice, "2026-03-04T01:59:59"), alice.arrears_since) == (Standing.ARREARS, at("2026-03-03T02:00"))
    assert standing(alice, "2026-03-04T02:00") == Standing.SUSPENDED
    assert sweep(at("2026-03-04T02:00")) == [(alice.pk, Standing.SUSPENDED)]
    assert told(alice) == ["arrears", "arrears", "suspended"]


def test_rule_6_4_resources_are_reclaimed_seven_days_after_suspension_to_the_instant() -> None:
    alice = in_arrears()
    assert sweep(at("2026-03-03T02:00")) == [(alice.pk, Standing.SUSPENDED)]
    assert standing(alice, "2026-03-10T01:59:59.999999") == Standing.SUSPENDED
    assert sweep(at("2026-03-10T01:59:59.999999")) == []
    assert standing(alice, "2026-03-10T02:00") == Standing.RECLAIMED
    assert sweep(at("2026-03-10T02:00")) == [(alice.pk, Standing.RECLAIMED)]
    assert sweep(at("2026-04-10T02:00")) == []
    assert told(alice) == ["arrears", "suspended", "reclaimed"]


def test_rule_6_4_a_first_sweep_after_eight_days_announces_the_reclaim() -> None:
    alice = in_arrears()
    assert sweep(at("2026-03-20T02:00")) == [(alice.pk, Standing.RECLAIMED)]


def test_rule_6_4_packs_ledger_and_bills_are_kept_and_clearing_the_debt_reactivates() -> None:
    alice = opened(balance="260.00")
    [pack] = buy(alice, "pet-100k", "2026-03-01T09:00")
    use(alice, "ai.plate", 120, "2026-03-01T10:00")
    night(SINCE)
    sweep(at("2026-03-10T02:00"))
    pack.refresh_from_db()
    assert (pack.remaining, len(bills_of(alice)), alice.transfers.count()) == (100_000, 1, 3)
    top_up(alice, "2.00", "2026-03-11T02:00")
    assert standing(alice, "2026-03-11T02:00") == Standing.ACTIVE
    assert told(alice) == ["arrears", "reclaimed", "resumed"]
    use(alice, "ai.pet", 1000, "2026-03-11T03:00")
    night("2026-03-12T02:00")
    pack.refresh_from_db()
    assert pack.remaining == 99_000


def test_rule_6_5_usage_is_billed_whatever_the_status() -> None:
    alice = in_arrears()
    for day in (2, 4, 20):  # in arrears, suspended, reclaimed
        use(alice, "ai.plate", 10, f"2026-03-{day:02}T10:00")
        night(f"2026-03-{day + 1:02}T02:00")
    assert standing(alice, "2026-03-21T02:00") == Standing.RECLAIMED
    assert [bill.amount_due for bill in bills_of(alice)] == [1200, 100, 100, 100]
    assert alice.balance == yuan("-5.00")
