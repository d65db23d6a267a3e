"""How long packs and money last at the present pace: against a count day by day, and out of an account's bills."""

from datetime import date, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packs.models import Item, PackType
from packs.tariff import tariff_on
from settlement.pace import FEWEST, WINDOW, lasts_until, per_day, runs_out, settled_through
from settlement.recent import Recent, keys_of, recent
from tests.worlds import buy, night, opened, use

LAST = date(2026, 3, 31)
PACES = st.fractions(min_value=0, max_value=10**6, max_denominator=7)


def back(days: int) -> date:
    return LAST - timedelta(days=days)


@given(st.integers(0, 10**6), PACES.filter(lambda pace: pace > 1000))
def test_a_pack_is_empty_on_the_day_that_takes_its_last_unit(left: int, pace: Fraction) -> None:
    rest, day = Fraction(left), LAST
    while rest > 0:
        rest, day = rest - pace, day + timedelta(days=1)
    assert runs_out(left, pace, LAST) == day


@given(st.integers(0, 10**6), PACES.filter(lambda pace: pace > 1000))
def test_the_balance_lasts_as_long_as_no_bill_exceeds_it(balance: int, pace: Fraction) -> None:
    rest, day = Fraction(balance), LAST
    while rest >= pace:
        rest, day = rest - pace, day + timedelta(days=1)
    # `day` is the last day whose bill it pays; the next day's bill comes a night after that day has ended
    assert lasts_until(balance, pace, LAST) == day + timedelta(days=1)


@given(st.dictionaries(st.integers(-3, 40).map(back), st.integers(0, 10**9)))
def test_the_mean_is_of_the_last_seven_days_from_the_first_use_on(daily: dict[date, int]) -> None:
    known = {day: used for day, used in daily.items() if back(30) < day <= LAST}
    window = [known[back(n)] for n in range(WINDOW) if back(n) in known]
    found = per_day(daily, LAST)
    if len(window) < FEWEST:
        assert found is None
    else:
        assert found is not None
        counted = min(7, len([n for n in range(30) if any(day <= back(n) for day in known)]))
        assert found == Fraction(sum(window), counted)


def test_nothing_is_promised_that_cannot_be_known() -> None:
    assert runs_out(5, None, LAST) is None
    assert runs_out(5, Fraction(0), LAST) is None
    assert runs_out(10**15, Fraction(1, 7), LAST) is None, "beyond a lifetime"
    assert lasts_until(-1, Fraction(5), LAST) is None
    assert lasts_until(10**15, Fraction(1, 7), LAST) is None


def test_settled_through_waits_for_a_night_and_not_for_late_usage() -> None:
    assert settled_through(LAST, [], []) == back(1)
    assert settled_through(LAST, [back(2)], [back(1), LAST]) == back(2)
    assert settled_through(LAST, [back(5)], [back(1), back(3)]) == back(4)
    assert settled_through(LAST, [back(1), back(9)], [back(9), LAST]) == back(1), "a late event of an older day"


@pytest.mark.django_db
def test_the_pace_of_an_account() -> None:
    account = opened(on="2026-03-01")
    buy(account, "kitchen-100k", "2026-03-01T09:00")
    for day in range(1, 10):
        use(account, "ai.kitchen.hat", 3_000, f"2026-03-{day:02}T10:00")
        use(account, "ai.kitchen.mask", 1_000, f"2026-03-{day:02}T10:00")
        use(account, "ai.vehicle", 1_000 * day, f"2026-03-{day:02}T10:00")
        night(f"2026-03-{day + 1:02}T02:00")
    use(account, "ai.vehicle", 99_000, "2026-03-02T11:00", received="2026-03-10T08:00")
    use(account, "ai.vehicle", 99_000, "2026-03-10T08:00")

    found = recent(account.pk, date(2026, 3, 10))
    assert (found.last, found.first) == (date(2026, 3, 9), date(2026, 2, 8))
    kitchen = PackType.objects.get(code="kitchen")
    keys = keys_of(kitchen, kitchen.covers.values_list("pk", flat=True))
    assert found.use_per_day(keys) == 4_000
    # 100,000 less nine days of 4,000 are 64,000: 16 days
    assert runs_out(64_000, found.use_per_day(keys), found.last) == date(2026, 3, 25)
    prices = {key: (price.price, price.per) for key, price in tariff_on(date(2026, 3, 10)).items()}
    hat, mask = (prices[Item.objects.get(code=f"ai.kitchen.{name}").pk, "cn-mainland"] for name in ("hat", "mask"))
    assert found.cost_per_day(keys, prices) == 3_000 * hat[0] // hat[1] + 1_000 * mask[0] // mask[1]
    # vehicles at 3 CNY per 1,000: days 3 to 9 of 1,000 to 9,000 calls
    assert found.due_per_day() == Fraction(sum(300 * day for day in range(3, 10)), 7)
    drawn = [line for line in found.lines if (line.item_id, line.region) in keys]
    assert {(line.charged, line.amount) for line in drawn} == {(0, 0)}
    assert sum(line.worth for line in drawn) == 9 * found.cost_per_day(keys, prices)

    early = recent(account.pk, date(2026, 3, 11))
    assert early.last == date(2026, 3, 9), "the 10th waits for its night"
    assert isinstance(early, Recent)
    assert recent(opened("bob").pk, date(2026, 3, 10)).use_per_day(keys) is None


def test_other_accounts_and_two_days_of_use_say_nothing(db: None) -> None:
    alice, bob = opened("alice"), opened("bob")
    for day in (5, 6):
        use(alice, "ai.pet", 10, f"2026-03-0{day}T10:00")
    night("2026-03-07T02:00")
    pet = PackType.objects.get(code="pet")
    keys = keys_of(pet, pet.covers.values_list("pk", flat=True))
    assert recent(alice.pk, date(2026, 3, 7)).use_per_day(keys) is None
    assert recent(alice.pk, date(2026, 3, 7)).cost_per_day(keys, {}) == 0
    assert recent(bob.pk, date(2026, 3, 7)).lines == []
