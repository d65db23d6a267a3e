"""Tables for download, as CSV or as an Excel workbook: exact, safe to open, and never whole in memory.

A cell is a text, an `int`, a `Decimal` with the places it is written with, a `date`, an aware `datetime`, or None.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import IO, NamedTuple

import xlsxwriter
from xlsxwriter.worksheet import Worksheet

from iss_billing.days import SHANGHAI
from iss_billing.money import format_decimal

Cell = str | int | Decimal | date | datetime | None
ROWS_PER_PIECE = 500
ROWS_PER_SHEET = 1_048_576
"""What a worksheet holds, its heading included."""
EXACT_DIGITS = 15
"""Excel keeps a number's first 15 digits; longer ones are written as text, so that nothing is lost."""
_FORMULA = "=+-@\t\r\n＝＋－＠"


class Column(NamedTuple):
    """A column's heading, and its width in a workbook in characters."""

    title: str
    width: int


def decimal(value: int, places: int) -> Decimal:
    """An integer of 10^-places as a cell: -7179, 2 is -71.79."""
    return Decimal(format_decimal(value, places))


def neutral(text: str) -> str:
    """A text that no spreadsheet takes for a formula: an apostrophe before one that could begin so."""
    first = text[:1]
    return f"'{text}" if first and (first in _FORMULA or text.lstrip()[:1] in _FORMULA[:4]) else text


def _plain(cell: Cell) -> str | int:
    """A cell of CSV."""
    if isinstance(cell, str):
        return neutral(cell)
    if isinstance(cell, Decimal):
        return f"{cell:f}"
    if isinstance(cell, datetime):
        return cell.astimezone(SHANGHAI).isoformat(timespec="seconds")
    if isinstance(cell, date):
        return cell.isoformat()
    return "" if cell is None else cell


class _Pieces:
    """What a CSV writer has written and nobody has taken yet."""

    def __init__(self) -> None:
        self.written: list[str] = []

    def write(self, text: str) -> None:
        """Keep a line."""
        self.written.append(text)

    def take(self) -> bytes:
        """The lines so far."""
        piece, self.written = "".join(self.written), []
        return piece.encode()


def csv_pieces(columns: Sequence[Column], rows: Iterable[Sequence[Cell]]) -> Iterator[bytes]:
    """UTF-8 with a byte order mark, by which Excel knows it; lines end as RFC 4180 says, every row as it comes."""
    pieces = _Pieces()
    writer = csv.writer(pieces)
    pieces.write("\ufeff")
    writer.writerow([neutral(column.title) for column in columns])
    for number, row in enumerate(rows, start=1):
        writer.writerow([_plain(cell) for cell in row])
        if number % ROWS_PER_PIECE == 0:
            yield pieces.take()
    yield pieces.take()


def write_workbook(into: IO[bytes], sheet: str, columns: Sequence[Column], rows: Iterable[Sequence[Cell]]) -> None:
    """An Excel workbook, written row by row by way of a temporary file; what is too long for a sheet goes on in a next.

    Numbers stay numbers, as exact as Excel can hold them; times are Beijing's, without an offset, as Excel has none.
    """
    with xlsxwriter.Workbook(into, {"constant_memory": True, "strings_to_formulas": False}) as book:
        formats = _Formats(book)
        page, place = None, ROWS_PER_SHEET
        for row in rows:
            if place == ROWS_PER_SHEET or page is None:
                page, place = _sheet(book, sheet, columns, formats), 1
            for number, cell in enumerate(row):
                _write(page, place, number, cell, formats)
            place += 1
        if page is None:
            _sheet(book, sheet, columns, formats)


class _Formats:
    """The formats of a workbook's cells."""

    def __init__(self, book: xlsxwriter.Workbook) -> None:
        self.heading = book.add_format({"bold": True, "bottom": 1})
        self.integer = book.add_format({"num_format": "#,##0"})
        self.decimals = {places: book.add_format({"num_format": "#,##0." + "0" * places}) for places in (2, 6)}
        self.day = book.add_format({"num_format": "yyyy-mm-dd"})
        self.moment = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})


def _sheet(book: xlsxwriter.Workbook, name: str, columns: Sequence[Column], formats: _Formats) -> Worksheet:
    number = len(book.worksheets()) + 1
    page = book.add_worksheet(name if number == 1 else f"{name} {number}")
    for place, column in enumerate(columns):
        page.set_column(place, place, column.width)
        page.write_string(0, place, neutral(column.title), formats.heading)
    page.freeze_panes(1, 0)
    return page


def _write(page: Worksheet, row: int, column: int, cell: Cell, formats: _Formats) -> None:
    if isinstance(cell, str):
        page.write_string(row, column, neutral(cell))
    elif isinstance(cell, (int, Decimal)):
        digits = len(str(cell).strip("-").replace(".", "").lstrip("0"))
        if digits > EXACT_DIGITS:
            page.write_string(row, column, f"{cell:f}" if isinstance(cell, Decimal) else str(cell))
        elif isinstance(cell, int):
            page.write_number(row, column, cell, formats.integer)
        else:
            page.write_number(row, column, cell, formats.decimals[-int(cell.as_tuple().exponent)])
    elif isinstance(cell, datetime):
        page.write_datetime(row, column, cell.astimezone(SHANGHAI).replace(tzinfo=None, microsecond=0), formats.moment)
    elif isinstance(cell, date):
        page.write_datetime(row, column, cell, formats.day)
