"""Many rows at once for PostgreSQL, as text.

Written here because the driver asks each value for its type, which takes longer than the statement itself.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from django.db import connection
from django.db.backends.utils import CursorWrapper

NULL = r"\N"
"""What a row of `copy` has in place of a value that is absent."""
AT_ONCE = 400
"""Rows that `copy` hands to the server together: some 20 kB. Fewer are handed over too often, more are waited for."""
_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


def array(values: Iterable[object]) -> str:
    """PostgreSQL's array literal of integers, dates, times or plain words; None is NULL."""
    return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"


def texts(values: Sequence[str]) -> str:
    """PostgreSQL's array literal of texts that may hold anything but a NUL."""
    if not values:
        return "{}"
    joined = '","'.join(values)
    if "\\" in joined or joined.count('"') != 2 * (len(values) - 1):
        joined = '","'.join([text.replace("\\", r"\\").replace('"', r"\"") for text in values])
    return '{"' + joined + '"}'


def columns(rows: Iterable[Sequence[Any]]) -> list[str]:
    """Rows as array literals, one for each column, for `FROM unnest(…)`; values as `array` takes them."""
    return [array(column) for column in zip(*rows, strict=True)]


def escaped(text: str) -> str:
    """A text that may hold anything, as a row of `copy` has it."""
    return text.translate(_ESCAPES)


def copy(cursor: CursorWrapper, table: str, rows: Iterable[str]) -> None:
    r"""COPY rows into a table, given with its columns; a row is its values with tabs between them, without a newline.

    The server writes the first ones while the next are made, and may be asked nothing else meanwhile. Raises Django's
    database errors, as every other statement does.
    """
    parts = _joined(iter(rows))
    first = next(parts, None)
    if first is not None:
        with connection.wrap_database_errors, cursor.copy(f"COPY {table} FROM STDIN") as stream:
            stream.write(first)
            for part in parts:
                stream.write(part)


@contextmanager
def pipelined() -> Iterator[None]:
    """Statements that the block executes are sent and not waited for: the server works them off while it goes on.

    What is fetched in it is waited for. At its end all are done; raises Django's database errors for the first that is
    not.
    """
    with connection.wrap_database_errors, connection.connection.pipeline():
        yield


def _joined(rows: Iterator[str]) -> Iterator[str]:
    while part := list(islice(rows, AT_ONCE)):
        yield "\n".join(part) + "\n"
