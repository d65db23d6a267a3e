"""An account's packs for its pages: the next of each type in drawing order, and those that have ended.

Two statements, however many packs there are: what is not shown is counted and added up where it lies.
"""

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any, NamedTuple

from django.contrib.postgres.expressions import ArraySubquery
from django.core.paginator import Page, Paginator
from django.db import connection
from django.db.models import BooleanField, Case, Count, F, OuterRef, Q, QuerySet, Sum, Value, When, Window
from django.db.models.functions import JSONObject, RowNumber

from iss_billing import bulk
from packs.models import REFUND_WINDOW, Item, Pack
from settlement.models import Drawdown

SHOWN = 5
"""Packs of a type, from the one in use on."""
FRESH_SHOWN = 3
"""Of those after them that can still be given back, the latest."""
ENDED_SHOWN = 20


def is_open(today: date) -> Q:
    """Packs that have units left and have neither been refunded nor expired (rules 4.6)."""
    return Q(refunded_at=None, remaining__gt=0, valid_until__gte=today)


def queued(account_id: int, today: date, now: datetime) -> QuerySet[Pack]:
    """The account's packs with what its queue knows of each: place, what stands before it, the sums of its type."""
    fresh = Q(purchased_at__gte=now - REFUND_WINDOW, remaining=F("total")) & is_open(today)
    kind = [F("ended"), F("pack_type_id")]
    covered = Item.objects.filter(pack_types=OuterRef("pack_type_id")).order_by("position")
    return (
        Pack.objects.filter(account_id=account_id)
        .select_related("pack_type")
        .annotate(
            ended=_flag(~is_open(today)),
            fresh=_flag(fresh),
        )
        .annotate(
            place=Window(RowNumber(), partition_by=kind, order_by="id"),
            through=Window(Sum("remaining"), partition_by=kind, order_by="id"),
            of_type=Window(Count("id"), partition_by=kind),
            left=Window(Sum("remaining"), partition_by=kind),
            bought=Window(Sum("total"), partition_by=kind),
            back=Window(RowNumber(), partition_by=[F("ended")], order_by="-id"),
            of_ended=Window(Count("id"), partition_by=[F("ended")]),
            fresh_back=Window(RowNumber(), partition_by=[*kind, F("fresh")], order_by="-id"),
            of_fresh=Window(Count("id"), partition_by=[*kind, F("fresh")]),
            covered=ArraySubquery(covered.values(found=JSONObject(id="id", zh="name_zh", en="name_en"))),
        )
        .order_by("id")
    )


def _flag(condition: Q) -> Case:
    return Case(When(condition, then=Value(True)), default=Value(False), output_field=BooleanField())


class Shown(NamedTuple):
    """The packs of a page: open ones by pack type, in drawing order, and a page of the ended ones, latest first."""

    types: dict[int, list[Any]]
    ended: list[Any]
    page: Page[int] | None


def shown_packs(account_id: int, today: date, now: datetime, page: int) -> Shown:
    """The next packs of each type and those still refundable; ended ones page by page. One statement, two at most."""
    first = (page - 1) * ENDED_SHOWN
    of_queue = Q(ended=False, place__lte=SHOWN) | Q(ended=False, fresh=True, fresh_back__lte=FRESH_SHOWN)
    rows = queued(account_id, today, now).filter(
        of_queue | Q(ended=True, back__gt=first, back__lte=first + ENDED_SHOWN)
    )
    types: dict[int, list[Any]] = {}
    ended: list[Any] = []
    for pack in rows:
        if getattr(pack, "ended"):  # noqa: B009 - an annotation
            ended.append(pack)
        else:
            types.setdefault(pack.pack_type_id, []).append(pack)
    if not ended and page > 1:
        return shown_packs(account_id, today, now, 1)
    ended.reverse()
    numbers = Paginator(range(ended[0].of_ended), ENDED_SHOWN).get_page(page) if ended else None
    return Shown(types, ended, numbers)


class Record(NamedTuple):
    """What one bill drew from a pack, and what it left there."""

    bill_id: int
    day: date
    sequence: int
    quantity: int
    remaining_after: int


RECORDS = """
SELECT drawdown.pack_id, bill.id, bill.day, bill.sequence, sum(drawdown.quantity), min(drawdown.remaining_after)
FROM settlement_drawdown AS drawdown JOIN settlement_billline AS line ON line.id = drawdown.line_id
JOIN settlement_bill AS bill ON bill.id = line.bill_id
WHERE drawdown.pack_id = ANY(%(packs)s::bigint[]) AND bill.day >= %(since)s
GROUP BY drawdown.pack_id, bill.id, bill.day, bill.sequence
UNION ALL
SELECT latest.* FROM unnest(%(ended)s::bigint[]) AS pack (id) CROSS JOIN LATERAL (
    SELECT drawdown.pack_id, bill.id, bill.day, bill.sequence, drawdown.quantity, drawdown.remaining_after
    FROM settlement_drawdown AS drawdown JOIN settlement_billline AS line ON line.id = drawdown.line_id
    JOIN settlement_bill AS bill ON bill.id = line.bill_id
    WHERE drawdown.pack_id = pack.id ORDER BY drawdown.id + 0 DESC LIMIT 1  -- + 0: found by pack, not from the end
) AS latest
ORDER BY 2 DESC
"""


def records(packs: Iterable[int], since: date, ended: Iterable[int] = ()) -> dict[int, list[Record]]:
    """What bills of days from `since` on drew from packs, the latest bill first; of `ended` ones the last drawdown."""
    found: dict[int, list[Record]] = {}
    with connection.cursor() as cursor:
        cursor.execute(RECORDS, {"packs": bulk.array(packs), "since": since, "ended": bulk.array(ended)})
        for pack, bill, day, sequence, quantity, after in cursor.fetchall():
            found.setdefault(pack, []).append(Record(bill, day, sequence, int(quantity), after))
    return found


def drawn_by_day(rows: Iterable[Record]) -> dict[date, int]:
    """What was drawn of each day's usage."""
    found: dict[date, int] = {}
    for row in rows:
        found[row.day] = found.get(row.day, 0) + row.quantity
    return found


class DrawnDay(NamedTuple):
    """What was drawn from a pack of a day's usage, in so many drawdowns."""

    day: date
    quantity: int
    rows: int


def drawn_daily(pack_id: int) -> list[DrawnDay]:
    """All that was drawn from one pack, by day of usage, the oldest first."""
    days = Drawdown.objects.filter(pack_id=pack_id).order_by("line__bill__day").values_list("line__bill__day")
    return [DrawnDay(day, int(quantity), rows) for day, quantity, rows in days.annotate(Sum("quantity"), Count("id"))]
