"""Many rows at once: what PostgreSQL reads is what was meant, and a refusal is Django's error."""

from collections.abc import Iterator

import psycopg
import pytest
from django.db import DataError, connection, transaction
from hypothesis import given, settings
from hypothesis import strategies as st

from iss_billing import bulk
from tests.conftest import database_url, eventually

TABLE = "bulk_sample (number, word)"


@pytest.fixture
def sample(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE bulk_sample (number bigint, word text) ON COMMIT DROP")


def copied(rows: Iterator[str]) -> list[tuple[int, str | None]]:
    with connection.cursor() as cursor:
        bulk.copy(cursor, TABLE, rows)
        cursor.execute("SELECT number, word FROM bulk_sample ORDER BY number")
        return list(cursor.fetchall())


@pytest.mark.parametrize("rows", [0, 1, bulk.AT_ONCE, bulk.AT_ONCE + 1, 10 * bulk.AT_ONCE - 1])
def test_every_row_is_copied_as_it_is_made(sample: None, rows: int) -> None:
    assert copied(f"{number}\tw{number}" for number in range(rows)) == [(n, f"w{n}") for n in range(rows)]


def test_rows_are_made_while_those_before_are_on_their_way(sample: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "AT_ONCE", 1)
    written: list[str] = []
    made: list[int] = []

    def rows() -> Iterator[str]:
        for number in range(3):
            made.append(len(written))
            yield f"{number}\t{bulk.NULL}"

    write = psycopg.Copy.write

    def watched(stream: psycopg.Copy, data: str) -> None:
        written.append(data)
        write(stream, data)

    monkeypatch.setattr(psycopg.Copy, "write", watched)
    assert copied(rows()) == [(0, None), (1, None), (2, None)]
    assert made == [0, 1, 2]


@pytest.mark.django_db
@settings(max_examples=50)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), max_size=20))
def test_a_text_comes_back_as_it_was(words: list[str]) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE bulk_sample (number bigint, word text) ON COMMIT DROP")
        assert copied(f"{n}\t{bulk.escaped(word)}" for n, word in enumerate(words)) == list(enumerate(words))
        cursor.execute("SELECT unnest(%s::text[])", [bulk.texts(words)])
        assert [word for (word,) in cursor.fetchall()] == words
        cursor.execute("DROP TABLE bulk_sample")


def test_what_fails_while_rows_are_made_leaves_none_and_is_what_is_raised(sample: None) -> None:
    def rows() -> Iterator[str]:
        yield "1\tone"
        raise LookupError("no tariff")

    with pytest.raises(LookupError, match="no tariff"), transaction.atomic():
        copied(rows())
    assert copied(iter(())) == []


def test_what_the_database_refuses_is_djangos_error(sample: None) -> None:
    with pytest.raises(DataError), transaction.atomic():
        copied(iter(["one\tword"]))
    assert copied(iter(())) == []


def test_statements_in_a_pipeline_are_worked_off_meanwhile(sample: None) -> None:
    running = "SELECT query FROM pg_stat_activity WHERE pid = %s AND state = 'active'"
    with psycopg.connect(database_url(), autocommit=True) as other, connection.cursor() as cursor:
        other.execute("SELECT pg_advisory_lock(7206, 99)")
        backend = connection.connection.info.backend_pid
        with bulk.pipelined():
            cursor.execute("SELECT pg_advisory_xact_lock(7206, 99)")
            cursor.execute("INSERT INTO bulk_sample VALUES (1, %s)", ["one"])
            assert eventually(lambda: other.execute(running, [backend]).fetchone() is not None), (
                "it waits for us, not we for it"
            )
            other.execute("SELECT pg_advisory_unlock(7206, 99)")
        cursor.execute("SELECT word FROM bulk_sample")
        assert cursor.fetchall() == [("one",)]


def test_what_fails_in_a_pipeline_is_djangos_error_and_undoes_the_transaction(sample: None) -> None:
    fails = pytest.raises(DataError, match="out of range")
    with fails, transaction.atomic(), connection.cursor() as cursor, bulk.pipelined():
        cursor.execute("INSERT INTO bulk_sample VALUES (1, 'one')")
        cursor.execute("INSERT INTO bulk_sample VALUES (%s, 'two')", [2**63])
        cursor.execute("INSERT INTO bulk_sample VALUES (3, 'three')")
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM bulk_sample")
        assert cursor.fetchone() == (0,)
