"""Bugs to plant (`make torture PLANT=…`), each of a kind that only a kill or a race brings to light."""

import threading
import time
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any

import psycopg
from django.db import connection


def _aside(statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    """A statement committed on its own, whatever becomes of the transaction that asks for it."""
    settings = connection.settings_dict
    with psycopg.connect(host=settings["HOST"], user=settings["USER"], dbname=settings["NAME"]) as other:
        return other.execute(statement, parameters).fetchall()


def done_before_settled() -> None:
    """A day's pending rows are committed away before its bills are."""
    from settlement import engine

    def claim(account_ids: list[int], day: date) -> set[int]:
        gone = _aside(
            """DELETE FROM settlement_pendingday AS pending WHERE day = %s AND account_id = ANY(%s) AND NOT EXISTS (
                SELECT FROM settlement_pendingday AS older
                WHERE older.account_id = pending.account_id AND older.day < pending.day) RETURNING account_id""",
            [day, account_ids],
        )
        return {account_id for (account_id,) in gone}

    engine._claim = claim


def answer_before_commit() -> None:
    """Usage is called accepted a moment before it is stored."""
    from settlement import metering
    from settlement.metering import Ingested, store

    def later(events: Any, rejected: Any, now: datetime) -> Ingested:
        def work() -> None:
            time.sleep(0.2)
            store(events, rejected, now)
            connection.close()

        threading.Thread(target=work).start()
        return Ingested(len(events), 0, rejected)

    setattr(metering, "store", later)  # noqa: B010 - not exported


def no_lock() -> None:
    """Accounts are read, not locked."""
    from django.db.models.query import QuerySet

    from settlement import loading

    loading.LOCK_ACCOUNTS = loading.LOCK_ACCOUNTS.replace("FOR NO KEY UPDATE", "")
    setattr(QuerySet, "select_for_update", lambda rows, **_: rows)  # noqa: B010


PLANTS: dict[str, Callable[[], None]] = {
    "done-before-settled": done_before_settled,
    "answer-before-commit": answer_before_commit,
    "no-lock": no_lock,
}
