"""A month of an account: what its balance began and ended with, what moved it, and what the bills and packs of it were.

Money moves when it is posted, usage belongs to its day: the bill of a month's last day is posted in the next month.
`Month.usage` shows how the two come together.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from django.db.models import Count, ExpressionWrapper, F, Q, Sum

from accounts.models import Account, Kind
from accounts.transfers import SIGNED, WIDE, moving_balance
from iss_billing.days import start_of
from packs.models import Item, OrderLine, Pack, PackType, Sku
from settlement.estimate import one_snapshot
from settlement.models import Bill, BillLine, Drawdown


class Movement(NamedTuple):
    """All transfers of one kind: how many, and fen as they moved the balance."""

    kind: Kind
    number: int
    amount: int


class UsagePosted(NamedTuple):
    """How bills by day become usage by posting, in fen: posted = of_days - later + earlier."""

    of_days: int
    later: int
    earlier: int

    @property
    def posted(self) -> int:
        """What usage took from the balance in the month."""
        return self.of_days - self.later + self.earlier


class ItemTotal(NamedTuple):
    """An item's bill lines of the month, added up; the amount in micro-yuan."""

    item: Item
    quantity: int
    drawn: int
    charged: int
    amount: int


class PackMovement(NamedTuple):
    """Packs bought or refunded, or units drawn: how many packs, units, and fen (None where no money moved)."""

    what: str
    """bought, refunded or drawn"""
    kind: PackType
    size: int | None
    number: int
    quantity: int
    amount: int | None


class Month(NamedTuple):
    """A month's figures; money in fen. `until` is the moment that they go to: the month's end, or now."""

    first: date
    until: datetime
    over: bool
    opening: int
    closing: int
    movements: Sequence[Movement]
    bills: Sequence[Bill]
    usage: UsagePosted
    items: Sequence[ItemTotal]
    packs: Sequence[PackMovement]


def monthly(account: Account, first: date, now: datetime) -> Month:
    """The figures of the month that begins on `first`, as of `now` while it runs; one snapshot."""
    after = (first + timedelta(days=32)).replace(day=1)
    begin, end = start_of(first), start_of(after)
    with one_snapshot():
        opening = _balance(account, begin)
        movements = _movements(account, begin, end)
        bills = list(Bill.objects.filter(account=account, day__gte=first, day__lt=after).order_by("day", "sequence"))
        return Month(
            first,
            min(end, now),
            end <= now,
            opening,
            opening + sum(movement.amount for movement in movements),
            movements,
            bills,
            _usage(account, first, after),
            _items(account, first, after),
            [*_bought(account, begin, end), *_refunded(account, begin, end), *_drawn(account, first, after)],
        )


def _balance(account: Account, at: datetime) -> int:
    """The sum of what had moved the balance before a moment."""
    return int(moving_balance(account).filter(time__lt=at).aggregate(sum=Sum(SIGNED))["sum"] or 0)


def _movements(account: Account, begin: datetime, end: datetime) -> list[Movement]:
    rows = moving_balance(account).filter(time__gte=begin, time__lt=end).values("kind").order_by()
    found = {row["kind"]: row for row in rows.annotate(number=Count("pk"), sum=Sum(SIGNED))}
    return [Movement(kind, found[kind]["number"], int(found[kind]["sum"])) for kind in Kind if kind in found]


def _usage(account: Account, first: date, after: date) -> UsagePosted:
    """A bill's transfer carries the time that the bill was settled at."""
    begin, end = start_of(first), start_of(after)
    of_days = Q(day__gte=first, day__lt=after)
    sums = Bill.objects.filter(account=account).aggregate(
        of_days=Sum("amount_due", filter=of_days),
        later=Sum("amount_due", filter=of_days & Q(settled_at__gte=end)),
        earlier=Sum("amount_due", filter=Q(day__lt=first, settled_at__gte=begin, settled_at__lt=end)),
    )
    return UsagePosted(*(int(sums[name] or 0) for name in UsagePosted._fields))


def _items(account: Account, first: date, after: date) -> list[ItemTotal]:
    items = {item.pk: item for item in Item.objects.all()}
    lines = BillLine.objects.filter(bill__account=account, bill__day__gte=first, bill__day__lt=after).order_by()
    names = ("quantity", "drawn", "charged", "amount")
    # not under their own names: a filter by one would then mean the sum
    rows = lines.values("item_id").annotate(**{f"sum_{name}": Sum(name) for name in names})
    found: list[dict[str, Any]] = [dict(row) for row in rows]
    totals = [ItemTotal(items[row["item_id"]], *(int(row[f"sum_{name}"]) for name in names)) for row in found]
    return sorted(totals, key=lambda total: total.item.position)


_PAID = ExpressionWrapper(F("quantity") * F("price"), output_field=WIDE)


def _bought(account: Account, begin: datetime, end: datetime) -> list[PackMovement]:
    lines = OrderLine.objects.filter(order__account=account, order__placed_at__gte=begin, order__placed_at__lt=end)
    rows = lines.order_by().values("sku_id").annotate(number=Sum("quantity"), paid=Sum(_PAID))
    skus = Sku.objects.select_related("pack_type").in_bulk([row["sku_id"] for row in rows])
    return [
        _of_sku("bought", skus[row["sku_id"]], int(row["number"]), -int(row["paid"]))
        for row in sorted(rows, key=lambda row: skus[row["sku_id"]].position)
    ]


def _of_sku(what: str, sku: Sku, number: int, amount: int) -> PackMovement:
    return PackMovement(what, sku.pack_type, sku.quantity, number, number * sku.quantity, amount)


def _refunded(account: Account, begin: datetime, end: datetime) -> list[PackMovement]:
    packs = Pack.objects.filter(account=account, refunded_at__gte=begin, refunded_at__lt=end).order_by()
    rows = packs.values("sku_id").annotate(number=Count("pk"), back=Sum("refunded"), units=Sum("refunded_quantity"))
    skus = Sku.objects.select_related("pack_type").in_bulk([row["sku_id"] for row in rows])
    return [
        _of_sku("refunded", skus[row["sku_id"]], row["number"], int(row["back"]))._replace(quantity=int(row["units"]))
        for row in sorted(rows, key=lambda row: skus[row["sku_id"]].position)
    ]


def _drawn(account: Account, first: date, after: date) -> list[PackMovement]:
    """By the day of the usage, as the bills have it."""
    drawn = Drawdown.objects.filter(
        line__bill__account=account, line__bill__day__gte=first, line__bill__day__lt=after
    ).order_by()
    rows = drawn.values("pack__pack_type_id").annotate(number=Count("pack_id", distinct=True), units=Sum("quantity"))
    kinds = PackType.objects.in_bulk([row["pack__pack_type_id"] for row in rows])
    found = [
        PackMovement("drawn", kinds[row["pack__pack_type_id"]], None, row["number"], int(row["units"]), None)
        for row in rows
    ]
    return sorted(found, key=lambda one: one.kind.position)
