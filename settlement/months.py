"""A month of an account's bills: its days, its totals, its items. Found by account and day: only the month is read."""

from calendar import monthrange
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import NamedTuple

from django.db import connection
from django.db.models import Max, Min

from iss_billing.money import round_half_up
from packs.models import Aggregation, Item
from settlement.models import Bill

FIRST_YEAR, LAST_YEAR = 2000, 2100
"""Months outside are no months of ours."""


class Month(NamedTuple):
    """A calendar month of billing days."""

    year: int
    number: int

    @classmethod
    def of(cls, day: date) -> "Month":
        """The month in which a billing day lies."""
        return cls(day.year, day.month)

    @classmethod
    def parse(cls, text: str) -> "Month":
        """The month of a text such as 2026-11. Raises ValueError."""
        day = date.fromisoformat(f"{text}-01")
        if not FIRST_YEAR <= day.year <= LAST_YEAR or len(text) != 7:
            raise ValueError(f"“{text[:20]}” is no month")
        return cls.of(day)

    def __str__(self) -> str:
        return f"{self.year:04}-{self.number:02}"

    @property
    def first(self) -> date:
        """Its first day."""
        return date(self.year, self.number, 1)

    @property
    def last(self) -> date:
        """Its last day."""
        return date(self.year, self.number, monthrange(self.year, self.number)[1])

    @property
    def before(self) -> "Month":
        """The month before."""
        return Month.of(self.first - timedelta(days=1))

    @property
    def after(self) -> "Month":
        """The month after."""
        return Month.of(self.last + timedelta(days=1))


def months_between(first: Month, last: Month) -> list[Month]:
    """All months from one to another, newest first."""
    found = []
    while last >= first:
        found.append(last)
        last = last.before
    return found


def billed_days(account_id: int) -> tuple[date, date] | None:
    """The first and the last day of an account that has a bill: both ends of an index."""
    reach = Bill.objects.filter(account_id=account_id).aggregate(first=Min("day"), last=Max("day"))
    return (reach["first"], reach["last"]) if reach["last"] else None


def bills_of_month(account_id: int, month: Month) -> list[Bill]:
    """Its bills, newest day first, of a day the latest first; late usage makes at most 31 of a day."""
    rows = Bill.objects.filter(account_id=account_id, day__gte=month.first, day__lte=month.last)
    return list(rows.order_by("-day", "-sequence"))


class CalendarDay(NamedTuple):
    """A day of the calendar: what its bills come to in fen, and how it stands."""

    day: date
    due: int
    bills: int
    first_bill: int | None
    """The id of the day's first bill."""
    waiting: bool
    """Usage of this day has been reported that no run has seen yet."""
    today: bool
    coming: bool

    @property
    def supplementary(self) -> int:
        """Bills of late usage."""
        return max(self.bills - 1, 0)


def calendar(
    month: Month, bills: Iterable[Bill], waiting: Iterable[date], today: date
) -> list[list[CalendarDay | None]]:
    """The weeks of a month, Monday first; None outside of it. `waiting` are days whose usage is not settled."""
    by_day: dict[date, list[Bill]] = {}
    for bill in bills:
        by_day.setdefault(bill.day, []).append(bill)
    pending = set(waiting)
    cells: list[CalendarDay | None] = [None] * month.first.weekday()
    for number in range(1, month.last.day + 1):
        day = date(month.year, month.number, number)
        of_day = by_day.get(day, [])
        first = min(of_day, key=lambda bill: bill.sequence).pk if of_day else None
        due = sum(bill.amount_due for bill in of_day)
        cells.append(
            CalendarDay(day, due, len(of_day), first, day in pending and day < today, day == today, day > today)
        )
    cells += [None] * (-len(cells) % 7)
    return [cells[start : start + 7] for start in range(0, len(cells), 7)]


class ItemMonth(NamedTuple):
    """An item and region over the days of a month; amounts in micro-yuan."""

    item: Item
    region: str
    days: int
    quantity: int
    """The sum of the days' quantities; of a peak or of channels the highest day, of a mean the mean of its days."""
    drawn: int
    charged: int
    amount: int
    full: int
    """What all of it would have cost pay-as-you-go."""

    @property
    def adds_up(self) -> bool:
        """Whether quantities of several days can be added."""
        return self.item.aggregation == Aggregation.SUM

    @property
    def is_mean(self) -> bool:
        """Whether the quantity is a mean of the days."""
        return self.item.aggregation == Aggregation.MEAN


ITEMS = """
SELECT item_id, region, count(*), sum(quantity), max(quantity), sum(drawn), sum(charged), sum(amount), sum(worth)
FROM (
    SELECT line.item_id, line.region, sum(line.quantity) AS quantity, sum(line.drawn) AS drawn,
           sum(line.charged) AS charged, sum(line.amount) AS amount,
           sum(div(2 * line.quantity * line.price + line.per, 2 * line.per)) AS worth
    FROM settlement_bill AS bill JOIN settlement_billline AS line ON line.bill_id = bill.id
    WHERE bill.account_id = %s AND bill.day BETWEEN %s AND %s
    GROUP BY line.item_id, line.region, bill.day
) AS day JOIN packs_item AS item ON item.id = item_id
GROUP BY item.position, item_id, region ORDER BY item.position, region
"""


def items_of_month(account_id: int, month: Month) -> list[ItemMonth]:
    """What each item came to in a month, in catalogue order."""
    with connection.cursor() as cursor:
        cursor.execute(ITEMS, [account_id, month.first, month.last])
        rows = cursor.fetchall()
    items = Item.objects.in_bulk([row[0] for row in rows]) if rows else {}
    return [_item_month(items[item], region, list(map(int, numbers))) for item, region, *numbers in rows]


def _item_month(item: Item, region: str, numbers: Sequence[int]) -> ItemMonth:
    days, total, highest, *rest = numbers
    quantity = {Aggregation.SUM: total, Aggregation.MEAN: round_half_up(total, days)}.get(
        Aggregation(item.aggregation), highest
    )
    return ItemMonth(item, region, days, quantity, *rest)


class MonthSum(NamedTuple):
    """A month in four figures: due in fen; all usage pay-as-you-go, what packs took off it, lines in micro-yuan."""

    due: int
    full: int
    drawn: int
    rated: int


def month_sum(bills: Iterable[Bill], items: Iterable[ItemMonth]) -> MonthSum:
    """The totals of a month."""
    rows, worth = list(bills), sum(item.full for item in items)
    rated = sum(bill.rated_total for bill in rows)
    return MonthSum(sum(bill.amount_due for bill in rows), worth, worth - rated, rated)
