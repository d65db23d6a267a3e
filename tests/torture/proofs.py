"""What must hold after a round."""

import time
from collections import Counter
from typing import Any, LiteralString

import psycopg

from tests.torture import dump
from tests.torture.brawlers import Brawler
from tests.torture.cluster import Cluster
from tests.torture.stage import Stage

SOON = 20.0
"""Seconds in which beat's next ticks finish what was begun."""


class Failed(Exception):
    """The round did not come out right; the message says how."""


def dumped(servers: Cluster) -> dict[str, list[str]]:
    """The rows of the world that was served last."""
    with servers.connect() as connection:
        if unknown := dump.unknown_tables(connection):
            raise Failed(f"tests/torture/dump.py does not know these tables, to compare them or not: {unknown}")
        return dump.dump(connection)


def prove_equal(calm: dict[str, list[str]], storm: dict[str, list[str]]) -> None:
    """All rows but surrogate ids and the bookkeeping of runs are those of the undisturbed world."""
    if found := dump.differences(calm, storm):
        raise Failed("the world under torture is another one:\n" + "\n".join(found))


def prove_outcomes(undisturbed: Stage, stage: Stage) -> None:
    """Every step was answered as in the undisturbed world."""
    if undisturbed.outcomes != stage.outcomes:
        other = [name for name, said in undisturbed.outcomes.items() if stage.outcomes[name] != said]
        shown = [(undisturbed.outcomes[name], stage.outcomes[name]) for name in other[:2]]
        raise Failed(f"{other} were answered otherwise: {shown}")


def prove_acknowledged(servers: Cluster, stage: Stage) -> None:
    """What POST usage/ and import_usage called accepted is there."""
    with servers.connect() as connection:
        stored = set(connection.execute("SELECT day, source, event_id FROM settlement_usageevent").fetchall())
    if lost := sorted(stage.acknowledged - stored):
        raise Failed(f"{len(lost)} events were called accepted and are lost, such as {lost[:5]}")


def prove_brawlers(servers: Cluster, stage: Stage, brawlers: list[Brawler]) -> None:
    """What a brawler was told is done is done, once."""
    with servers.connect() as connection:
        orders = Counter(key for (key,) in connection.execute("SELECT key FROM packs_order"))
        top_ups = Counter(
            (reference, amount)
            for reference, amount in connection.execute(
                "SELECT reference, (amount / 100)::bigint || '.00' FROM accounts_transfer WHERE kind = 'top_up'"
            )
        )
    told = [*((key, orders[key]) for one in brawlers for key in one.bought)]
    told += [(reference, top_ups[reference, amount]) for one in brawlers for reference, amount in one.topped_up.items()]
    if wrong := [(name, number) for name, number in told if number != 1]:
        stage.fail(f"answered as done, but not once: {wrong[:5]}")


def prove_told_and_certified(servers: Cluster) -> None:
    """Soon every notice is mailed, once, and every run certified, balancing; no alarm was sounded."""
    with servers.connect() as connection:
        _soon_none(
            connection,
            """SELECT 'notice', id, kind, last_error FROM accounts_notice WHERE sent_at IS NULL OR attempts <> 1
            UNION ALL SELECT 'run', id, finished_at::text, balances::text FROM settlement_settlementrun
            WHERE certified_at IS NULL OR balances IS DISTINCT FROM true""",
            "not mailed once, or not certified",
        )
        if alarms := connection.execute("SELECT subject, body FROM settlement_alarm").fetchall():
            raise Failed(f"alarms were sounded: {alarms}")


def prove_nothing_is_held(servers: Cluster) -> None:
    """No lock, no open and no prepared transaction is left, while every process lives on."""
    with servers.connect() as connection:
        _soon_none(
            connection,
            """SELECT activity.application_name, activity.state, lock.locktype, lock.mode, activity.query
            FROM pg_locks AS lock JOIN pg_stat_activity AS activity USING (pid)
            WHERE activity.datname = current_database() AND pid <> pg_backend_pid()
            UNION ALL SELECT 'prepared', gid, '', '', '' FROM pg_prepared_xacts""",
            "locks are left",
        )


def _soon_none(connection: "psycopg.Connection[Any]", query: LiteralString, what: str) -> None:
    """Wait until a query finds nothing. Raises Failed with what it still finds."""
    deadline = time.monotonic() + SOON
    while found := connection.execute(query).fetchall():
        if time.monotonic() > deadline:
            raise Failed(f"{what}: {len(found)}, such as {found[:5]}")
        time.sleep(0.02)


def prove_books(servers: Cluster) -> None:
    """`audit_books` finds nothing, the brawlers' accounts included. Raises NotUp with what it found."""
    servers.manage("audit_books", "--json")
