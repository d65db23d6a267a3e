"""One item of one account on one day: by hour or five minutes, by region and source, and on which bills it is.

Four short statements at most, each of one account, item and day: the day's partition is never scanned. Of an expired
day the quantities, the curve and the bills are known; hours and sources are gone with the events (docs/storage.md).
"""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, NamedTuple

from django.db import connection

from accounts.modes import DEFAULT
from iss_billing import bulk
from iss_billing.days import start_of
from packs.models import Aggregation, Item
from settlement.aggregation import mean, peak
from settlement.curve import charged_slot
from settlement.metering import PENDING as PENDING_DAYS
from settlement.usage import Share, day_curves, slot_shares
from settlement.used import NOT_BILLABLE, PENDING, SETTLED

SOURCES_SHOWN = 20
CURVED = (Aggregation.PEAK, Aggregation.MEAN)

STANDS = f"""
SELECT (
    SELECT mode FROM accounts_modechange WHERE account_id = %(account)s AND effective_day <= %(day)s
    ORDER BY effective_day DESC, id DESC LIMIT 1
), EXISTS (SELECT FROM settlement_expiredday WHERE day = %(day)s),
%(day)s IN (SELECT day FROM ({PENDING_DAYS}) AS pending), (
    SELECT json_agg(json_build_array(bill.id, bill.sequence, line.region, line.quantity, line.drawn, line.charged,
                                     line.amount, bill.settled_at) ORDER BY bill.sequence, line.region)
    FROM settlement_bill AS bill JOIN settlement_billline AS line ON line.bill_id = bill.id
    WHERE bill.account_id = %(account)s AND bill.day = %(day)s AND line.item_id = %(item)s
)
"""  # noqa: S608 - constants

# kind 3 is a region, 1 an hour of it, 2 a source of it
PARTS = """
WITH event AS (
    SELECT region, source, resource, quantity, floor(extract(epoch FROM occurred_at - %(start)s) / 3600)::int AS hour
    FROM settlement_usageevent WHERE day = %(day)s AND account_id = %(account)s AND item_id = %(item)s
), part AS (
    SELECT GROUPING(hour, source) AS kind, region, hour, source, {measure} AS quantity
    FROM event GROUP BY GROUPING SETS ((region), (region, hour), (region, source))
), placed AS (
    SELECT part.*, count(*) OVER one AS number, row_number() OVER (one ORDER BY quantity DESC, source) AS place
    FROM part WINDOW one AS (PARTITION BY kind, region)
)
SELECT kind, region, hour, source, quantity, number FROM placed WHERE kind <> 2 OR place <= %(most)s
UNION ALL
SELECT 3, region, NULL, NULL, quantity, 1 FROM settlement_dayusage
WHERE account_id = %(account)s AND day = %(day)s AND item_id = %(item)s
ORDER BY 1, 2, 3, 5 DESC, 4
"""
MEASURES = {
    Aggregation.SUM: "sum(quantity)",
    Aggregation.DISTINCT: "count(DISTINCT resource) FILTER (WHERE quantity > 0)",
}
# the slots of each source added up: divided by 288 they add up to the mean
MEAN_SHARES = """
SELECT region, source, sum, number FROM (
    SELECT region, source, sum(largest) AS sum, count(*) OVER one AS number,
           row_number() OVER (one ORDER BY sum(largest) DESC, source) AS place
    FROM (
        SELECT region, source, max(quantity) AS largest FROM settlement_usageevent
        WHERE day = %(day)s AND account_id = %(account)s AND item_id = %(item)s
        GROUP BY region, source, resource, date_bin('5 minutes', occurred_at, %(start)s)
    ) AS series GROUP BY region, source WINDOW one AS (PARTITION BY region)
) AS share WHERE place <= %(most)s ORDER BY region, place
"""


class DayLine(NamedTuple):
    """What one bill holds of the item in a region; the amount in micro-yuan."""

    bill_id: int
    sequence: int
    region: str
    quantity: int
    drawn: int
    charged: int
    amount: int
    settled_at: datetime


class Stands(NamedTuple):
    """Where a day's use of an item stands."""

    mode: str
    """The day's billing mode."""
    expired: bool
    waiting: bool
    """Something of the day was reported that no run has seen."""
    lines: list[DayLine]

    def billable(self, item: Item) -> bool:
        """Whether the day's mode bills the item."""
        return item.requires_billing_mode in (None, self.mode)


class RegionUse(NamedTuple):
    """What was used in a region, and its parts as far as they are known."""

    region: str
    quantity: int
    billed: int
    billable: bool
    hours: dict[int, int]
    """By hour, of items that are added up or counted."""
    slots: Mapping[int, int]
    """By five minutes, of peak and mean items."""
    slot: int | None
    """The slot that is the peak."""
    shares: list[Share]
    """What each source had: of the day, of its highest slot, or of its mean; the largest first."""

    @property
    def unsettled(self) -> int:
        """What no bill holds."""
        return max(self.quantity - self.billed, 0)

    @property
    def state(self) -> str:
        """Where what no bill holds stands; settled where there is no such part."""
        if not self.unsettled:
            return SETTLED
        return PENDING if self.billable else NOT_BILLABLE

    @property
    def other_sources(self) -> int:
        """Sources beside those named."""
        return self.shares[0].sources - len(self.shares) if self.shares else 0


def stands(account_id: int, item: Item, day: date) -> Stands:
    """Mode, bills and pending marks of a day, as they concern one item."""
    with connection.cursor() as cursor:
        cursor.execute(STANDS, {"account": account_id, "ids": bulk.array([account_id]), "item": item.pk, "day": day})
        mode, expired, waiting, lines = cursor.fetchone()
    found = [DayLine._make([*line[:7], datetime.fromisoformat(line[7])]) for line in lines or ()]
    return Stands(mode or DEFAULT, expired, waiting, found)


def regions_of_day(account_id: int, item: Item, day: date, where: Stands) -> list[RegionUse]:
    """The item's use by region, the largest first; empty where nothing was reported."""
    billed: dict[str, int] = {}
    for line in where.lines:
        billed[line.region] = billed.get(line.region, 0) + line.quantity
    found = _curved(account_id, item, day) if item.aggregation in CURVED else _counted(account_id, item, day)
    found = [use._replace(billed=billed.get(use.region, 0), billable=where.billable(item)) for use in found]
    return sorted(found, key=lambda use: (-use.quantity, use.region))


def _ask(account_id: int, item: Item, day: date) -> dict[str, Any]:
    return {"account": account_id, "item": item.pk, "day": day, "start": start_of(day), "most": SOURCES_SHOWN}


def _counted(account_id: int, item: Item, day: date) -> list[RegionUse]:
    with connection.cursor() as cursor:
        cursor.execute(PARTS.format(measure=MEASURES[Aggregation(item.aggregation)]), _ask(account_id, item, day))
        rows = cursor.fetchall()
    found = {
        region: RegionUse(region, int(quantity), 0, True, {}, {}, None, [])
        for kind, region, _hour, _source, quantity, _number in rows
        if kind == 3
    }
    for kind, region, hour, source, quantity, number in rows:
        if kind == 1:
            found[region].hours[hour] = int(quantity)
        elif kind == 2:
            found[region].shares.append(Share(source, int(quantity), number))
    return list(found.values())


def _curved(account_id: int, item: Item, day: date) -> list[RegionUse]:
    curves = {region: slots for (_item, region), slots in day_curves(account_id, [item.pk], day).items()}
    if item.aggregation == Aggregation.MEAN:
        shares = _mean_shares(account_id, item, day)
        return [
            RegionUse(region, mean(slots), 0, True, {}, slots, None, shares.get(region, []))
            for region, slots in curves.items()
        ]
    points = {region: charged_slot(slots, peak(slots)) for region, slots in curves.items()}
    at_peak = slot_shares(
        account_id,
        {(item.pk, region): slot for region, slot in points.items() if slot is not None},
        day,
        SOURCES_SHOWN,
    )
    return [
        RegionUse(region, peak(slots), 0, True, {}, slots, points[region], at_peak.get((item.pk, region), []))
        for region, slots in curves.items()
    ]


def _mean_shares(account_id: int, item: Item, day: date) -> dict[str, list[Share]]:
    found: dict[str, list[Share]] = {}
    with connection.cursor() as cursor:
        cursor.execute(MEAN_SHARES, _ask(account_id, item, day))
        for region, source, total, number in cursor.fetchall():
            found.setdefault(region, []).append(Share(source, mean({0: int(total)}), number))
    return found
