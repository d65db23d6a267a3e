"""What finance asks of the books: revenue recognised and deferred, debts by age, money moved by hand, all books.

Amounts are fen. Every report is one or two set-based statements over sums (`book_days.py`) or small indexes.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import NamedTuple

from django.db.models import Case, CharField, Count, QuerySet, Sum, Value, When

from accounts import standing
from accounts.models import Account, Book, Kind, Transfer
from iss_billing.days import start_of
from settlement.book_days import Held, MonthSum

BY_HAND = (Kind.TOP_UP, Kind.REFUND, Kind.ADJUSTMENT, Kind.WITHDRAWAL)
"""The kinds that people cause, not the night."""


def month_after(month: date) -> date:
    """The first day of the next month."""
    return (month.replace(day=28) + timedelta(days=4)).replace(day=1)


@dataclass
class TypeRevenue:
    """A pack type in a month: deferred at its beginning, sold, refunded, recognised; `pack_type` None for all."""

    pack_type: int | None = None
    opening: int = 0
    sold: int = 0
    refunded: int = 0
    recognised: int = 0

    @property
    def closing(self) -> int:
        """Deferred at the month's end."""
        return self.opening + self.sold - self.refunded - self.recognised

    def add(self, other: "TypeRevenue") -> None:
        """Add another type."""
        self.opening += other.opening
        self.sold += other.sold
        self.refunded += other.refunded
        self.recognised += other.recognised


@dataclass
class MonthRevenue:
    """A month: its packs by type, usage charged pay-as-you-go, and what adjustments made of it."""

    month: date
    types: dict[int, TypeRevenue] = field(default_factory=dict)
    usage: int = 0
    adjusted: int = 0
    """Below 0 in the customers' favour."""

    @property
    def packs(self) -> TypeRevenue:
        """All types together."""
        total = TypeRevenue()
        for one in self.types.values():
            total.add(one)
        return total

    @property
    def revenue(self) -> int:
        """All that the month earned."""
        return self.packs.recognised + self.usage + self.adjusted


def revenue(sums: Iterable[MonthSum]) -> list[MonthRevenue]:
    """Month by month from the first to the last that moved anything, without gaps."""
    by_month: dict[date, list[MonthSum]] = defaultdict(list)
    for one in sums:
        by_month[one.month].append(one)
    found: list[MonthRevenue] = []
    month = min(by_month, default=None)
    while month is not None and month <= max(by_month):
        row = MonthRevenue(month)
        for pack_type, before in found[-1].types.items() if found else ():
            row.types[pack_type] = TypeRevenue(pack_type, opening=before.closing)
        for one in by_month.get(month, ()):
            _count(row, one)
        found.append(row)
        month = month_after(month)
    return found


def _count(row: MonthRevenue, one: MonthSum) -> None:
    if one.kind == Kind.USAGE:
        row.usage += one.amount
    elif one.kind == Kind.ADJUSTMENT:
        row.adjusted += one.amount if one.credit == Book.USAGE_REVENUE else -one.amount
    elif one.pack_type is not None:
        packs = row.types.setdefault(one.pack_type, TypeRevenue(one.pack_type))
        if one.kind == Kind.PURCHASE:
            packs.sold += one.amount
        elif one.kind == Kind.REFUND:
            packs.refunded += one.amount
        elif one.kind == Kind.RECOGNITION:
            packs.recognised += one.amount


@dataclass
class BookLine:
    """A book in a month; amounts are debits less credits, so assets are above 0 and what we owe or earned below."""

    book: Book
    opening: int = 0
    debits: int = 0
    credits: int = 0

    @property
    def closing(self) -> int:
        """At the month's end."""
        return self.opening + self.debits - self.credits


class TrialBalance(NamedTuple):
    """Every book in a month, and whether the books agree with what accounts and packs hold now (None: a past month)."""

    month: date
    lines: list[BookLine]
    balances: bool
    agrees: bool | None


def trial_balance(sums: Iterable[MonthSum], held: Held, month: date) -> TrialBalance:
    """The books at the end of a month: all debits ever are all credits, and no month begins anew."""
    lines = {book: BookLine(book) for book in Book}
    later = False
    for one in sums:
        later = later or one.month > month
        if one.month > month:
            continue
        debit, credit = lines[Book(one.debit)], lines[Book(one.credit)]
        if one.month < month:
            debit.opening += one.amount
            credit.opening -= one.amount
        else:
            debit.debits += one.amount
            credit.credits += one.amount
    agrees = (lines[Book.BALANCE].closing, lines[Book.DEFERRED].closing) == (-held.balances, -held.deferred)
    balanced = not sum(line.closing for line in lines.values())
    return TrialBalance(month, list(lines.values()), balanced, None if later else agrees)


class Age(NamedTuple):
    """Debts of one age: arrears that began at least `from_days` and less than `to_days` × 24 h ago."""

    from_days: int
    to_days: int | None
    accounts: int = 0
    owed: int = 0


AGES = (Age(0, 1), Age(1, 8), Age(8, 30), Age(30, 60), Age(60, 90), Age(90, None))
"""In grace, suspended, reclaimed (rules 6), and then as receivables are usually aged."""


def receivables(now: datetime) -> list[Age]:
    """What customers owe by the age of their arrears; an index of those in arrears alone is read."""
    whens = [
        When(arrears_since__gt=now - timedelta(days=age.to_days), then=Value(str(number)))
        for number, age in enumerate(AGES)
        if age.to_days is not None
    ]
    aged = debtors().annotate(age=Case(*whens, default=Value(str(len(AGES) - 1)), output_field=CharField()))
    rows = aged.order_by().values_list("age").annotate(Count("pk"), Sum("balance"))
    sums = {int(age): (accounts, -int(owed)) for age, accounts, owed in rows}
    return [age._replace(accounts=sums[n][0], owed=sums[n][1]) if n in sums else age for n, age in enumerate(AGES)]


def debtors() -> QuerySet[Account]:
    """The accounts in arrears, the longest first."""
    return Account.objects.filter(arrears_since__isnull=False).order_by("arrears_since", "pk")


def standing_of(account: Account, now: datetime) -> standing.Standing:
    """What arrears have led to."""
    return account.standing_at(now)


def by_hand(month: date, kind: str = "") -> QuerySet[Transfer]:
    """The top-ups, refunds, adjustments and withdrawals of a month, the latest first; of one kind, if one is given."""
    # the conditions are written as the index has them
    rows = Transfer.objects.filter(kind__in=[one.value for one in BY_HAND])
    rows = rows.filter(time__gte=start_of(month), time__lt=start_of(month_after(month)))
    return (rows.filter(kind=kind) if kind else rows).order_by("-time", "-pk")


class KindSum(NamedTuple):
    """What a kind moved in a month into customers' balances, and out of them."""

    kind: Kind
    transfers: int
    into: int
    out: int


def kind_sums(month: date) -> list[KindSum]:
    """Totals of the movements by hand."""
    found = {kind: [0, 0, 0] for kind in BY_HAND}
    rows = by_hand(month).order_by().values_list("kind", "credit").annotate(Count("pk"), Sum("amount"))
    for kind, credit, transfers, amount in rows:
        sums = found[Kind(kind)]
        sums[0] += transfers
        sums[1 if credit == Book.BALANCE else 2] += int(amount)
    return [KindSum(kind, *sums) for kind, sums in found.items()]


def months_back(first: date, last: date) -> Iterator[date]:
    """The months from the last to the first."""
    month = last.replace(day=1)
    while month >= first.replace(day=1):
        yield month
        month = (month - timedelta(days=1)).replace(day=1)
