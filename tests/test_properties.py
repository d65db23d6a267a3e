"""Properties of the pure modules, and of how usage is cut into batches and runs (rules 1.4, 2, 4.3, 5.4, 7.2)."""

import random
from datetime import date
from fractions import Fraction
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from accounts.models import Account
from accounts.standing import RECLAIM_AFTER, Standing, after_posting, status
from iss_billing.days import SLOTS_PER_DAY, day_of, start_of
from iss_billing.money import format_decimal, parse_decimal, round_half_up
from packs.drawdown import PackState, draw
from packs.models import Item
from packs.revenue import DrawnItem, recognised, refund_of_used
from settlement import aggregation
from settlement.aggregation import Report
from settlement.models import Bill, BillLine
from settlement.rating import DayRules, ItemRule, Usage, amount_due, rate
from settlement.usage import day_quantities, quantities_of_days
from tests.worlds import assert_books, at, buy, event, night, opened, send

DAY = date(2026, 3, 5)
quantities = st.integers(0, 10**15)


class Price(NamedTuple):
    """A tariff price for a test."""

    price: int
    per: int


@st.composite
def pack_states(draw_: st.DrawFn) -> list[PackState]:
    """Packs in drawing order, some of them used before."""
    packs = []
    for number in range(draw_(st.integers(0, 6))):
        total = draw_(st.integers(1, 10**6))
        remaining = draw_(st.integers(0, total))
        price = draw_(st.integers(1, 10**7))
        done = recognised(price, total - remaining, total)
        packs.append(PackState(number, 1, total, remaining, price, done, date(2026, 3, 1), date(2099, 12, 31)))
    return packs


@given(st.integers(-(10**30), 10**30), st.integers(1, 10**20))
def test_round_half_up_is_the_nearest_integer_halves_up(numerator: int, denominator: int) -> None:
    distance = round_half_up(numerator, denominator) - Fraction(numerator, denominator)
    assert -Fraction(1, 2) < distance <= Fraction(1, 2)


@given(st.integers(0, 10**15), st.integers(1, 6))
def test_decimals_are_read_as_they_are_written(value: int, places: int) -> None:
    text = format_decimal(value, places)
    assert parse_decimal(text, places) == value


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "1e3", "NaN", "1,000", "１２", " 1", "1.", ".5", "0x1", "1_0", "1.005"]
)
def test_what_is_no_plain_decimal_of_two_places_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="“"):
        parse_decimal(text, 2)


@given(pack_states(), quantities)
def test_drawing_conserves_and_keeps_the_order(packs: list[PackState], quantity: int) -> None:
    before = [pack.remaining for pack in packs]
    draws = draw(packs, quantity)
    drawn = sum(one.quantity for one in draws)
    assert drawn == min(quantity, sum(before))
    assert sum(before) - sum(pack.remaining for pack in packs) == drawn
    assert [one.pack_id for one in draws] == sorted(one.pack_id for one in draws)
    # every pack before the last one drawn from is empty
    last = draws[-1].pack_id if draws else -1
    assert all(pack.remaining == 0 for pack in packs if pack.pack_id < last)
    assert all(one.quantity > 0 for one in draws)


@given(pack_states(), st.lists(st.integers(0, 10**6), max_size=8))
def test_a_pack_recognises_cumulatively_and_exactly_its_price_in_the_end(
    packs: list[PackState], uses: list[int]
) -> None:
    recognised_by = {pack.pack_id: pack.recognised for pack in packs}
    for quantity in [*uses, 10**7]:
        for one in draw(packs, quantity):
            assert one.recognised >= 0
            recognised_by[one.pack_id] += one.recognised
    for pack in packs:
        assert recognised_by[pack.pack_id] == pack.recognised == pack.price


@given(st.lists(st.integers(0, 10**9), max_size=30))
def test_due_amounts_and_carry_are_what_was_rated(totals: list[int]) -> None:
    carry, due_so_far, rated_so_far = 0, 0, 0
    for total in totals:
        due, carry = amount_due(total, carry)
        due_so_far, rated_so_far = due_so_far + due, rated_so_far + total
        assert due >= 0
        assert -5000 <= carry <= 5000
        assert due_so_far * 10_000 + carry == rated_so_far


@given(
    st.integers(1, 10**7),
    st.lists(
        st.tuples(st.integers(0, 10**6), st.integers(0, 10**8), st.sampled_from([1, 60, 1000, 10**9])), max_size=5
    ),
)
def test_a_staff_refund_stays_within_what_is_deferred(paid: int, drawn: list[tuple[int, int, int]]) -> None:
    done = paid // 3
    amount = refund_of_used(paid, done, [DrawnItem(*one) for one in drawn])
    exact = Fraction(paid) - sum((Fraction(q * p, per * 10_000) for q, p, per in drawn), Fraction(0))
    assert amount == min(max((2 * exact.numerator + exact.denominator) // (2 * exact.denominator), 0), paid - done)


@given(st.lists(st.integers(-(10**4), 10**4).filter(bool), max_size=12), st.data())
def test_standing_follows_the_balance_and_the_clock(movements: list[int], data: st.DataObject) -> None:
    now, balance, since, announced = at("2026-03-01T00:00"), 0, None, "active"
    told: list[tuple[str, object]] = []
    for movement in movements:
        now += data.draw(st.sampled_from([RECLAIM_AFTER / 16, RECLAIM_AFTER / 8, RECLAIM_AFTER]))
        change = after_posting(balance, balance + movement, since, announced, now)
        balance, since, announced = balance + movement, change.arrears_since, change.announced
        assert (balance < 0) == (since is not None)
        assert status(balance, since, now) == announced
        told += change.news
    assert len(told) == len(set(told)), "nothing is told twice"
    kinds = [kind for kind, _ in told]
    for place, kind in enumerate(kinds):
        if kind == "resumed":
            assert kinds[place - 1] in (Standing.SUSPENDED, Standing.RECLAIMED)


RULES = DayRules(
    DAY,
    {1: ItemRule(1, None), 2: ItemRule(2, None), 3: ItemRule(3, "traffic")},
    {(1, "cn-mainland"): Price(2_500_000, 1000), (2, "cn-mainland"): Price(7, 3), (3, "cn-mainland"): Price(1, 1)},
    {(1, "cn-mainland"): frozenset({1}), (2, "cn-mainland"): frozenset({1})},
)


@given(pack_states(), st.dictionaries(st.sampled_from([1, 2, 3]), quantities), st.integers(-5000, 5000))
def test_every_line_is_drawn_and_charged_and_every_fen_is_explained(
    packs: list[PackState], used: dict[int, int], carry: int
) -> None:
    usage = [Usage(item, "cn-mainland", quantity, 0) for item, quantity in used.items()]
    held = sum(pack.remaining for pack in packs)
    statement = rate(usage, rules=RULES, mode="bandwidth", packs=packs, carry=carry)
    expected = {item: quantity for item, quantity in used.items() if quantity and item != 3}
    if statement is None:
        assert not expected
        return
    assert {line.item_id: line.quantity for line in statement.lines} == expected
    for line in statement.lines:
        price = RULES.tariff[line.item_id, line.region]
        assert line.quantity == line.drawn + line.charged
        assert line.drawn == sum(taken.quantity for taken in line.draws)
        assert line.amount == round_half_up(line.charged * price.price, price.per)
    assert held - sum(pack.remaining for pack in packs) == sum(line.drawn for line in statement.lines)
    # packs before pay-as-you-go: whoever is charged found no unit left
    if any(line.charged for line in statement.lines):
        assert sum(pack.remaining for pack in packs) == 0
    assert statement.rated_total == sum(line.amount for line in statement.lines)
    assert statement.amount_due * 10_000 + statement.carry_out == statement.rated_total + carry


@given(pack_states(), st.lists(st.integers(0, 10**6), min_size=1, max_size=6))
def test_usage_in_parts_draws_and_bills_as_much_as_at_once(packs: list[PackState], parts: list[int]) -> None:
    whole = [replace(pack) for pack in packs]
    at_once = rate([Usage(1, "cn-mainland", sum(parts), 0)], rules=RULES, mode="traffic", packs=whole, carry=0)
    drawn = charged = billed = 0
    for part in parts:
        statement = rate(
            [Usage(1, "cn-mainland", billed + part, billed)], rules=RULES, mode="traffic", packs=packs, carry=0
        )
        billed += part
        if statement:
            drawn, charged = drawn + statement.lines[0].drawn, charged + statement.lines[0].charged
    assert (drawn, charged) == ((at_once.lines[0].drawn, at_once.lines[0].charged) if at_once else (0, 0))
    assert [pack.remaining for pack in packs] == [pack.remaining for pack in whole]


reports = st.lists(
    st.builds(
        Report,
        slot=st.sampled_from([0, 1, 143, 287]),
        source=st.sampled_from(["/a", "/b"]),
        resource=st.sampled_from(["cam-1", "cam-2"]),
        quantity=st.integers(0, 1000) | quantities,
    ),
    max_size=12,
)


@given(reports, reports)
def test_every_aggregation_only_grows_as_events_arrive(first: list[Report], more: list[Report]) -> None:
    for how in ("sum", "peak", "mean", "distinct"):
        assert aggregation.quantity(how, first) <= aggregation.quantity(how, first + more)
        assert aggregation.quantity(how, first + more) == aggregation.quantity(how, more[::-1] + first)


@pytest.mark.django_db
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(reports, min_size=4, max_size=4), st.randoms(use_true_random=False))
def test_the_night_aggregates_in_sql_what_the_rules_say(batches: list[list[Report]], shuffle: random.Random) -> None:
    items = ["ai.pet", "bandwidth.up", "storage.standard", "device.gb28181"]
    account = opened(name="property")
    events = []
    for item, own in zip(items, batches, strict=True):
        for report in own:
            minute = report.slot * 5 + shuffle.randrange(5)
            moment = f"2026-03-05T{minute // 60:02}:{minute % 60:02}:{shuffle.randrange(60):02}"
            events.append(event(account, item, report.quantity, moment, source=report.source, resource=report.resource))
    if not events:
        return
    send(events, "2026-03-06T00:30")
    codes = {item.pk: (item.code, item.aggregation) for item in Item.objects.all()}
    found = {codes[item][0]: quantity for _, item, _, quantity in day_quantities([account.pk], DAY)}
    how = dict(codes.values())
    expected = {item: aggregation.quantity(how[item], own) for item, own in zip(items, batches, strict=True) if own}
    assert found == expected
    of_few = quantities_of_days(account.pk, [DAY])[DAY]
    assert {codes[item][0]: quantity for item, _, quantity in of_few} == expected


def _bills(account: Account) -> list[tuple[object, ...]]:
    lines = BillLine.objects.filter(bill__account=account).order_by("bill__day", "bill__sequence", "position")
    heads = Bill.objects.filter(account=account).order_by("day", "sequence")
    return [
        *heads.values_list("day", "sequence", "rated_total", "amount_due", "carry_out"),
        *lines.values_list("item__code", "quantity", "drawn", "charged", "amount"),
    ]


@pytest.mark.django_db
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reports, st.randoms(use_true_random=False))
def test_order_batches_and_repeats_before_settlement_never_change_the_bill(
    own: list[Report], shuffle: random.Random
) -> None:
    ways = []
    for cut in (False, True):
        account = opened(name="property")
        buy(account, "pet-100k", "2026-03-02T10:00")
        events = [
            event(
                account,
                item,
                one.quantity,
                f"2026-03-05T{one.slot * 5 // 60:02}:{one.slot * 5 % 60:02}:00",
                resource=one.resource,
            )
            for one in own
            for item in ("ai.pet", "bandwidth.down", "storage.standard", "device.gb28181")
        ]
        if cut:
            shuffle.shuffle(events)
            while events:
                size = shuffle.randint(1, len(events))
                send([*events[:size], *events[:2]], "2026-03-06T00:30")
                events = events[size:]
        elif events:
            send(events, "2026-03-06T00:30")
        night("2026-03-06T02:00")
        ways.append(_bills(account))
    assert ways[0] == ways[1]
    assert_books()


@pytest.mark.django_db
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reports, st.randoms(use_true_random=False))
def test_arriving_over_several_runs_never_changes_the_quantity_billed(
    own: list[Report], shuffle: random.Random
) -> None:
    totals = []
    for cut in (False, True):
        account = opened(name="property")
        buy(account, "pet-100k", "2026-03-02T10:00")
        events = [
            event(
                account,
                item,
                one.quantity,
                f"2026-03-05T{one.slot * 5 // 60:02}:{one.slot * 5 % 60:02}:00",
                resource=one.resource,
            )
            for one in own
            for item in ("ai.pet", "bandwidth.down", "storage.standard", "device.gb28181")
        ]
        night_number = 6
        while events:
            size = shuffle.randint(1, len(events)) if cut else len(events)
            send(events[:size], f"2026-03-{night_number:02}T00:30")
            night(f"2026-03-{night_number:02}T02:00")
            again = night(f"2026-03-{night_number:02}T02:30")
            assert (again.bills, again.due) == (0, 0), "settled twice is settled once"
            events = events[size:]
            night_number = min(night_number + 1, 31)
        lines = BillLine.objects.filter(bill__account=account)
        billed: dict[str, list[int]] = {}
        for code, quantity, drawn in lines.values_list("item__code", "quantity", "drawn"):
            sums = billed.setdefault(code, [0, 0])
            sums[0], sums[1] = sums[0] + quantity, sums[1] + drawn
        totals.append(billed)
    assert totals[0] == totals[1]
    assert_books()


def test_the_slots_of_a_day_are_288() -> None:
    assert SLOTS_PER_DAY == 288
    assert day_of(start_of(DAY)) == DAY
