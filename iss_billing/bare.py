"""The driver's own cursor on Django's connection, for statements with parameters of megabytes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection
from psycopg import Cursor


@contextmanager
def bare_cursor() -> Iterator["Cursor[Any]"]:
    """A cursor that sends parameters beside the statement, in the transaction that is open on Django's connection.

    Django's own writes them into its text, for the server to parse, and in development keeps the text for a log.
    Raises Django's database errors.
    """
    connection.ensure_connection()
    with connection.wrap_database_errors, Cursor(connection.connection) as cursor:
        yield cursor
