"""The last 30 settled days of an account, out of its bills: what charts, the pace and advice are made from.

Found by account and day, however long the account has been billed: two short statements, no event is read.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import date, timedelta
from fractions import Fraction
from typing import NamedTuple

from django.db import connection

from packs.models import PackType
from settlement.metering import pending_days
from settlement.models import Bill
from settlement.pace import LOOK_BACK, WINDOW, cost_per_day, per_day, settled_through

LATEST = 5
"""Bills that are read in any case, however old."""
Key = tuple[int, str]
"""(item id, region)."""


class RecentLine(NamedTuple):
    """A day's use of an item in a region over all bills of the day; amounts in micro-yuan."""

    day: date
    item_id: int
    region: str
    quantity: int
    drawn: int
    charged: int
    amount: int
    worth: int
    """What the drawn quantity would have cost pay-as-you-go, at that day's tariff."""


class RecentBill(NamedTuple):
    """A bill, in short; the due in fen."""

    id: int
    day: date
    sequence: int
    mode: str
    amount_due: int


class Recent(NamedTuple):
    """30 settled days, `first` to `last`: their lines by day; and bills, newest first: of these days and
    after, some before, the latest in any case.
    """

    last: date
    lines: list[RecentLine]
    bills: list[RecentBill]

    @property
    def first(self) -> date:
        """The first of the 30 days."""
        return self.last - timedelta(days=LOOK_BACK - 1)

    def due_per_day(self) -> Fraction | None:
        """Fen a day that bills came to of late; None with too few days of use to say."""
        due: dict[date, int] = {}
        for bill in self.bills:
            due[bill.day] = due.get(bill.day, 0) + bill.amount_due
        return per_day(due, self.last)

    def use_per_day(self, keys: Collection[Key]) -> Fraction | None:
        """Base units a day of these items together; None with too few days of use to say."""
        daily: dict[date, int] = {}
        for line in self.lines:
            if (line.item_id, line.region) in keys:
                daily[line.day] = daily.get(line.day, 0) + line.quantity
        return per_day(daily, self.last)

    def cost_per_day(self, keys: Collection[Key], tariff: Mapping[Key, tuple[int, int]]) -> int:
        """Micro-yuan a day that these items would cost pay-as-you-go, each at its own pace; too little use is nothing.

        The use that `use_per_day` of all of them knows is shared out by what each had in the window.
        """
        whole = self.use_per_day(keys)
        window = [line for line in self.lines if (line.item_id, line.region) in keys and self._in_window(line.day)]
        total = sum(line.quantity for line in window)
        if not whole or not total:
            return 0
        paces: dict[Key, Fraction] = {}
        for line in window:
            key = (line.item_id, line.region)
            paces[key] = paces.get(key, Fraction(0)) + whole * line.quantity / total
        return cost_per_day(paces, tariff)

    def _in_window(self, day: date) -> bool:
        return self.last - timedelta(days=WINDOW) < day <= self.last


LINES = """
SELECT bill.day, line.item_id, line.region, sum(line.quantity), sum(line.drawn), sum(line.charged), sum(line.amount),
       sum(div(2 * line.drawn * line.price + line.per, 2 * line.per))
FROM settlement_bill AS bill JOIN settlement_billline AS line ON line.bill_id = bill.id
WHERE bill.account_id = %(account)s AND bill.day BETWEEN %(first)s AND %(last)s
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""


def recent(account_id: int, today: date, pending: Iterable[date] | None = None) -> Recent:
    """The last 30 settled days before `today`; `pending` are the days that wait for a run, asked for when not given."""
    since = today - timedelta(days=2 * LOOK_BACK)  # a night may be days behind, and a month has 31
    rows = Bill.objects.filter(account_id=account_id).order_by("-day", "-sequence")
    columns = ("id", "day", "sequence", "billing_mode", "amount_due")
    # both parts end their walk along the account's bills early, however many there are
    both = rows.filter(day__gte=since).order_by().values_list(*columns).union(rows.values_list(*columns)[:LATEST])
    bills = [RecentBill(*row) for row in both.order_by("-day", "-sequence")]
    waiting = pending_days(account_id) if pending is None else pending
    last = settled_through(today, {bill.day for bill in bills}, waiting)
    found = Recent(last, [], bills)
    with connection.cursor() as cursor:
        cursor.execute(LINES, {"account": account_id, "first": found.first, "last": last})
        for day, item, region, *numbers in cursor.fetchall():
            found.lines.append(RecentLine(day, item, region, *map(int, numbers)))
    return found


def keys_of(pack_type: PackType, items: Iterable[int]) -> set[Key]:
    """What a pack type draws for: its items in its region."""
    return {(item, pack_type.region) for item in items}
