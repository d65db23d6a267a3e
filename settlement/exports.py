"""Exports of any range of days, read as they are written: bills, lines, drawdowns, transfers (`export_tables.py`)."""

from collections.abc import Iterator
from datetime import date

from accounts.models import MODES, Account, Kind
from iss_billing.tables import Cell, Column
from packs.models import Item, PackType, Unit
from settlement.export_tables import Names, Table

ROWS_AT_A_TIME = 2_000
"""Of a cursor that the server holds: an export of years asks no more memory of us than one of a day."""


def export(
    table: Table, account: Account, first: date | None, last: date | None, *, codes: bool
) -> tuple[list[Column], Iterator[list[Cell]]]:
    """The columns of an export and its rows, both days inclusive, in the language that is active now.

    One statement reads them, so they are of one moment, whatever is settled while they are taken. With `codes`
    headings and names are the stable ones for programs.
    """
    names = _codes() if codes else _words()
    columns = [Column(field.code if codes else str(field.title), field.width) for field in table.fields]
    found = table.rows(account, first, last).values_list(*(field.value for field in table.fields))
    cells = [field.cell for field in table.fields]

    def rows() -> Iterator[list[Cell]]:
        for row in found.iterator(chunk_size=ROWS_AT_A_TIME):
            yield [cell(value, names) for cell, value in zip(cells, row, strict=True)]

    return columns, rows()


def _words() -> Names:
    return Names(
        items={item.pk: item.name for item in Item.objects.all()},
        kinds={kind.value: str(kind.label) for kind in Kind},
        modes={code: str(name) for code, name in MODES},
        units={unit.value: str(unit.label) for unit in Unit},
        pack_types={kind.pk: kind.name for kind in PackType.objects.all()},
    )


def _codes() -> Names:
    return Names(
        items={item.pk: item.name for item in Item.objects.all()},  # beside its code, in a column of its own
        kinds={kind.value: kind.value for kind in Kind},
        modes={code: code for code, _ in MODES},
        units={unit.value: unit.value for unit in Unit},
        pack_types={kind.pk: kind.code for kind in PackType.objects.all()},
    )


def file_name(table: Table, first: date | None, last: date | None, suffix: str) -> str:
    """A name that sorts: iss-lines-2026-03-01-2026-03-31.csv."""
    days = [day.isoformat() for day in (first, last) if day]
    return "-".join(["iss", table.code, *days]) + f".{suffix}"
