"""What a customer can take away, column by column: bills, their lines, drawdowns, and transfers."""

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any, NamedTuple

from django.db.models import Q, QuerySet
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from accounts.models import Account, Transfer
from accounts.transfers import SIGNED, moving_balance
from iss_billing.days import next_day, start_of
from iss_billing.tables import Cell, decimal
from settlement.models import Bill, BillLine, Drawdown


class Names(NamedTuple):
    """What codes are called: in the language of a reader, or as they are for programs."""

    items: dict[int, str]
    kinds: dict[str, str]
    modes: dict[str, str]
    units: dict[str, str]
    pack_types: dict[int, str]


class Field(NamedTuple):
    """A column: its stable name for programs, its heading for readers, its width, and where its cells come from."""

    code: str
    title: str | Promise
    width: int
    value: Any
    """As the database names it."""
    cell: Callable[[Any, Names], Cell]


class Table(NamedTuple):
    """One kind of export: its columns, and its rows of a range of days in a fixed order."""

    code: str
    title: str | Promise
    fields: Sequence[Field]
    rows: Callable[[Account, date | None, date | None], QuerySet[Any]]


def _plain(value: Any, names: Names) -> Cell:
    cell: Cell = value
    return cell


def _id(value: Any, names: Names) -> Cell:
    return str(value)


def _whole(value: Any, names: Names) -> Cell:
    return int(value)


def _fen(value: Any, names: Names) -> Cell:
    return decimal(int(value), 2)


def _micro(value: Any, names: Names) -> Cell:
    return decimal(int(value), 6)


def _unit(value: Any, names: Names) -> Cell:
    return names.units[value]


def _of_bill(prefix: str) -> tuple[Field, ...]:
    """Day, sequence and id of the bill that rows belong to."""
    return (
        Field("day", _("Day"), 12, f"{prefix}day", _plain),
        Field("sequence", _("Bill of the day"), 10, f"{prefix}sequence", _whole),
        Field("bill_id", _("Bill"), 12, f"{prefix}pk", _id),
    )


def _of_line(prefix: str) -> tuple[Field, ...]:
    """Item and region of the line that rows belong to."""
    return (
        Field("item", _("Item code"), 24, f"{prefix}item__code", _plain),
        Field("item_name", _("Item"), 22, f"{prefix}item_id", lambda value, names: names.items[value]),
        Field("region", _("Region"), 14, f"{prefix}region", _plain),
    )


def _days(name: str, first: date | None, last: date | None) -> Q:
    since = Q(**{f"{name}__gte": first}) if first else Q()
    return since & (Q(**{f"{name}__lte": last}) if last else Q())


def _bills(account: Account, first: date | None, last: date | None) -> QuerySet[Bill]:
    return Bill.objects.filter(_days("day", first, last), account=account).order_by("day", "sequence")


def _lines(account: Account, first: date | None, last: date | None) -> QuerySet[BillLine]:
    rows = BillLine.objects.filter(_days("bill__day", first, last), bill__account=account)
    return rows.order_by("bill__day", "bill__sequence", "position")


def _drawdowns(account: Account, first: date | None, last: date | None) -> QuerySet[Drawdown]:
    rows = Drawdown.objects.filter(_days("line__bill__day", first, last), line__bill__account=account)
    return rows.order_by("line__bill__day", "line__bill__sequence", "line__position", "id")


def _transfers(account: Account, first: date | None, last: date | None) -> QuerySet[Transfer]:
    """What moved the balance on the days, in the order of posting."""
    rows = moving_balance(account)
    rows = rows.filter(time__gte=start_of(first)) if first else rows
    rows = rows.filter(time__lt=start_of(next_day(last))) if last else rows
    return rows.order_by("id")


BILLS = Table(
    "bills",
    _("Bills"),
    (
        *_of_bill(""),
        Field("billing_mode", _("Billing mode"), 20, "billing_mode", lambda value, names: names.modes[value]),
        Field("rated_total", _("Sum of lines (CNY)"), 18, "rated_total", _micro),
        Field("carry_in", _("Carry in (CNY)"), 14, "carry_in", _micro),
        Field("amount_due", _("Amount due (CNY)"), 16, "amount_due", _fen),
        Field("carry_out", _("Carry out (CNY)"), 14, "carry_out", _micro),
        Field("balance_after", _("Balance after (CNY)"), 18, "balance_after", _fen),
        Field("settled_at", _("Settled"), 26, "settled_at", _plain),
    ),
    _bills,
)
LINES = Table(
    "lines",
    _("Bill lines"),
    (
        *_of_bill("bill__"),
        Field("line", _("Line"), 8, "position", _whole),
        *_of_line(""),
        Field("quantity", _("Usage"), 20, "quantity", _whole),
        Field("drawn", _("Drawn"), 20, "drawn", _whole),
        Field("charged", _("Charged"), 20, "charged", _whole),
        Field("unit", _("Unit"), 10, "item__unit", _unit),
        Field("price", _("Unit price (CNY)"), 16, "price", _micro),
        Field("per", _("Price is for so many units"), 16, "per", _whole),
        Field("amount", _("Amount (CNY)"), 18, "amount", _micro),
    ),
    _lines,
)
DRAWDOWNS = Table(
    "drawdowns",
    _("Drawdowns"),
    (
        *_of_bill("line__bill__"),
        *_of_line("line__"),
        Field("pack_id", _("Pack"), 12, "pack_id", _id),
        Field("pack_type", _("Kind of pack"), 26, "pack__pack_type_id", lambda value, names: names.pack_types[value]),
        Field("sku", "SKU", 20, "pack__sku__code", _plain),
        Field("purchased_at", _("Purchased"), 26, "pack__purchased_at", _plain),
        Field("quantity", _("Drawn"), 20, "quantity", _whole),
        Field("remaining_after", _("Remaining after"), 20, "remaining_after", _whole),
        Field("unit", _("Unit"), 10, "line__item__unit", _unit),
    ),
    _drawdowns,
)
TRANSFERS = Table(
    "transfers",
    pgettext_lazy("export", "Transfers"),
    (
        Field("transfer_id", _("Transfer"), 12, "pk", _id),
        Field("time", _("Time"), 26, "time", _plain),
        Field("kind", _("Kind"), 12, "kind", lambda value, names: names.kinds[value]),
        Field("amount", _("Amount (CNY)"), 16, SIGNED, _fen),
        Field("balance_after", _("Balance after (CNY)"), 18, "balance_after", _fen),
        Field("reference", _("Reference"), 30, "reference", _plain),
        Field("reason", _("Reason"), 40, "reason", _plain),
    ),
    _transfers,
)
TABLES = {table.code: table for table in (BILLS, LINES, DRAWDOWNS, TRANSFERS)}
