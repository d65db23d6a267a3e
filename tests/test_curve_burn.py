"""The marks of a day's curve, the burn-down of packs and the calendar's months: pure, over all that can come."""

from datetime import date, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from settlement.aggregation import peak
from settlement.burn import MOST_POINTS, Burning, begins, burn
from settlement.curve import charged_slot, filled, hourly, runner_up
from settlement.months import Month, calendar, months_between
from settlement.pace import runs_out

TODAY = date(2026, 3, 20)
LAST = TODAY - timedelta(days=1)

slots = st.dictionaries(st.integers(0, 287), st.integers(0, 5), max_size=288)


@given(slots)
def test_the_dot_is_on_the_earliest_of_equal_peaks(curve: dict[int, int]) -> None:
    top = peak(curve)
    slot = charged_slot(curve, top)
    if not curve:
        assert slot is None
        return
    assert slot is not None
    assert filled(curve)[slot] == max(filled(curve))
    assert all(quantity < top for place, quantity in curve.items() if place < slot)
    second = runner_up(curve, slot)
    assert second is None if len(curve) == 1 else second is not None and second.slot != slot
    assert second is None or second.quantity == max(quantity for place, quantity in curve.items() if place != slot)


def test_a_peak_that_later_reports_have_raised_has_no_dot() -> None:
    assert charged_slot({3: 7, 9: 7}, 7) == 3
    assert charged_slot({3: 8, 9: 7}, 7) == 9, "another slot still shows it"
    assert charged_slot({3: 8}, 7) is None


@given(slots)
def test_the_hours_are_the_maxima_of_their_twelve_slots(curve: dict[int, int]) -> None:
    rows, whole = hourly(curve), filled(curve)
    assert len(rows) == 24
    for hour, row in enumerate(rows):
        of_hour = whole[hour * 12 : hour * 12 + 12]
        assert row.slot == hour * 12 + of_hour.index(max(of_hour))
        assert row.quantity == max(of_hour)


@st.composite
def queues(draw: st.DrawFn) -> list[Burning]:
    """Packs of a type in drawing order, the first perhaps drawn from."""
    packs: list[Burning] = []
    ahead = 0
    for place in range(draw(st.integers(1, 3))):
        total = draw(st.integers(1, 1000))
        drawn: dict[date, int] = {}
        effective = LAST - timedelta(days=draw(st.integers(-1, 900)))
        if place == 0 and effective <= LAST:
            left = total - 1
            for back in draw(st.lists(st.integers(0, (LAST - effective).days), max_size=8, unique=True)):
                taken = draw(st.integers(0, left))
                drawn[LAST - timedelta(days=back)] = taken
                left -= taken
        remaining = total - sum(drawn.values())
        packs.append(Burning(total, remaining, effective, drawn, ahead))
        ahead += remaining
    return packs


@given(queues(), st.one_of(st.none(), st.fractions(Fraction(1, 50), 500)))
def test_burning_down(packs: list[Burning], pace: Fraction | None) -> None:
    drawn = burn(packs, pace, LAST)
    assert len(drawn.days) <= MOST_POINTS
    assert drawn.days[drawn.last] == LAST
    assert {later - earlier for earlier, later in zip(drawn.days, drawn.days[1:], strict=False)} <= {
        drawn.days[1] - drawn.days[0] if len(drawn.days) > 1 else timedelta(1)
    }
    for pack, line in zip(packs, drawn.lines, strict=True):
        levels = [level for level in line.settled if level is not None]
        assert levels == sorted(levels, reverse=True), "nothing comes back"
        assert all(0 <= level <= pack.total for level in levels)
        if levels:
            assert line.settled[drawn.last] == pack.remaining
        assert all(level is None for level in line.settled[drawn.last + 1 :])
        expected = [level for level in line.projected if level is not None]
        assert bool(expected) == bool(pace)
        assert expected == sorted(expected, reverse=True)
        if pace:
            assert line.projected[drawn.last] == pack.remaining
            assert line.empty == runs_out(pack.ahead + pack.remaining, pace, LAST)
            if line.empty and 0 in expected:
                at = drawn.days[line.projected.index(0)]
                step = drawn.days[1] - drawn.days[0]
                assert line.empty - step < at < line.empty + step, "the dot stands where it ends"
                assert expected.index(0) == len(expected) - 1, "and nothing follows"


def test_a_queue_day_by_day() -> None:
    first = Burning(100, 40, LAST - timedelta(days=3), {LAST: 30, LAST - timedelta(days=2): 30})
    second = Burning(100, 100, LAST, {}, ahead=40)
    drawn = burn([first, second], Fraction(30), LAST)
    assert drawn.days[0] == first.effective_day - timedelta(days=1)
    assert [level for level in drawn.lines[0].settled if level is not None] == [100, 100, 70, 70, 40]
    assert [level for level in drawn.lines[0].projected if level is not None] == [40, 10, 0]
    assert drawn.lines[0].empty == LAST + timedelta(days=2)
    assert [level for level in drawn.lines[1].projected if level is not None] == [100, 100, 80, 50, 20, 0]
    assert begins(second, Fraction(30), LAST) == LAST + timedelta(days=2), "in the day that ends the first"
    assert begins(second, Fraction(20), LAST) == LAST + timedelta(days=3), "after a day that ends it exactly"
    assert begins(second, None, LAST) is None


def test_months_and_their_weeks() -> None:
    assert (str(Month(2026, 3).before), str(Month(2026, 1).before)) == ("2026-02", "2025-12")
    assert (str(Month(2026, 12).after), Month.parse("2026-11")) == ("2027-01", Month(2026, 11))
    assert [str(month) for month in months_between(Month(2025, 12), Month(2026, 2))] == [
        "2026-02",
        "2026-01",
        "2025-12",
    ]
    for wrong in ("2026-13", "2026-1", "0001-01", "9999-12", "2026-03-01", "", "２０２６-03"):
        with pytest.raises(ValueError, match=r".+"):
            Month.parse(wrong)


@given(st.dates(date(2000, 1, 1), date(2100, 12, 31)))
def test_a_calendar_has_every_day_once_under_its_weekday(day: date) -> None:
    month = Month.of(day)
    weeks = calendar(month, [], [day], day + timedelta(days=1))
    days = [cell for week in weeks for cell in week if cell is not None]
    assert [cell.day for cell in days] == [month.first + timedelta(days=n) for n in range(month.last.day)]
    assert all(cell is None or cell.day.weekday() == place for week in weeks for place, cell in enumerate(week))
    assert all(len(week) == 7 and any(week) for week in weeks)
    assert [cell.day for cell in days if cell.waiting] == [day]
