"""The three nights, run on the base host: one worker host, two, and two of which one loses its link."""

import os
import signal
import subprocess
import sys
import time
from typing import Any

from iss_billing.celery import app
from tests.scaleout import books, servers
from tests.scaleout.hosts import BASE, HOSTS, ONE, TWO, Host, accounts, ip
from tests.scaleout.processes import beat, log, stop, until, worker, workers

ACCOUNTS = accounts()
EVENTS_OF_ACCOUNT = 5
POSTGRES, REDIS = (BASE.address, 5432), (BASE.address, 6379)
NIGHT_SECONDS = 600
LATE = 5_000
"""Accounts that report late what the host that came back is to settle."""

IN_HAND = """
SELECT pid FROM pg_stat_activity JOIN pg_locks USING (pid)
WHERE client_addr = %s AND clock_timestamp() - xact_start < '0.5 s'
      AND relation = 'settlement_pendingday'::regclass AND mode = 'RowExclusiveLock'
      AND (SELECT count(*) FROM settlement_settlementshard WHERE done_at IS NOT NULL) >= 2
"""
"""A worker's connection early in a shard's transaction, which holds its locks; not in the first shards of all."""
UNDONE = "SELECT id FROM settlement_settlementshard WHERE done_at IS NULL"
CONNECT = f"import socket; socket.create_connection({POSTGRES}, 2)"


def main() -> None:
    """Run them; the first thing that does not hold ends it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    try:
        with servers.running():
            say(f"building {ACCOUNTS:,} accounts with 3 items each, {ACCOUNTS * EVENTS_OF_ACCOUNT:,} events in the day")
            servers.build(ACCOUNTS, ACCOUNTS * EVENTS_OF_ACCOUNT)
            left = _fast_nights()
            cut = _cut_night()
            assert cut == left, _difference(cut, left)
    except (AssertionError, subprocess.CalledProcessError) as error:
        for host in HOSTS:
            say(f"the end of what {host.name} said:\n" + "\n".join(log(host).splitlines()[-30:]))
        sys.exit(f"make scaleout: {error}")
    say("all held: the three left the same behind, row by row")


# ── nights ───────────────────────────────────────────────────────────────────────────────────────────


def _fast_nights() -> dict[str, tuple[object, ...]]:
    """With one host and with two, twice in turns; what each of them left behind, which is the same."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    nights = []
    for hosts in ((ONE,), (ONE, TWO)) * 2:
        rate, left = _night(*hosts)
        rates[len(hosts)].append(rate)
        nights.append(left)
    assert all(night == nights[0] for night in nights), [_difference(nights[0], night) for night in nights]
    ratio = max(rates[2]) / max(rates[1])
    say(f"two hosts are {ratio:.2f} times as fast as one, on the {os.cpu_count()} cores that all hosts share")
    return nights[0]


def _night(*hosts: Host) -> tuple[float, dict[str, tuple[object, ...]]]:
    """A night with a worker on each host: account-days a second, and what it left behind."""
    servers.fresh()
    with workers(*hosts), servers.connect() as database:
        used = {host: host.cpu_seconds() for host in (BASE, *hosts)}
        seen: dict[Host, set[tuple[str, int]]] = {host: set() for host in hosts}

        def ended() -> bool:
            # while it works: between its tasks a worker keeps no connection with PostgreSQL
            for host in hosts:
                seen[host] |= host.peers()
            return _finished(database)

        begun = _begin()
        until(ended, NIGHT_SECONDS, "the night ends")
        rate = ACCOUNTS / (time.time() - begun)
        used = {host: host.cpu_seconds() - before for host, before in used.items()}
        _prove_alone(seen)
        say(f"{' and '.join(host.name for host in hosts)}: {rate:,.0f} account-days/s; {books.totals(database)}")
        say(f"  the servers' share of the CPU was {used[BASE] / sum(used.values()):.0%}")
        _audit()
        return rate, books.rows(database)


def _cut_night() -> dict[str, tuple[object, ...]]:
    """A night with two hosts, one of them cut off in the middle of a shard; what it left behind."""
    servers.fresh()
    with worker(ONE), worker(TWO) as two, beat(), servers.connect() as database:
        begun = _begin()
        pid = until(lambda: _one(database, IN_HAND, ONE.address), 60, "the worker on one has a shard in hand")
        ONE.link("down")
        cut = time.time()
        say(f"one lost its link {cut - begun:.1f} s into the night, in a shard's transaction")
        _prove_cut()
        _watch(database, pid, cut)
        found = books.rows(database)
        say(f"two finished the night: {books.totals(database)}")
        _audit()

        ONE.link("up")
        again = time.time()
        until(_one_answers, 120, "the worker on one comes back")
        say(f"one is back at work {time.time() - again:.1f} s after its link")
        stop(two)
        accounts = servers.report_late_usage(database, LATE)
        _begin()
        until(lambda: _finished(database, runs=2), NIGHT_SECONDS, "one settles late usage alone")
        assert _one(database, "SELECT accounts FROM settlement_settlementrun ORDER BY id DESC LIMIT 1") == accounts
        _audit()
        say(f"and has settled late usage of {accounts:,} accounts alone")
        return found


def _watch(database: Any, pid: int, cut: float) -> None:
    """Say when each side has noticed, and when the shard that was cut off was taken up again, until the run is done."""
    noticed: dict[str, float] = {}
    held: set[int] = set()
    lost: set[int] = set()
    while len(noticed) < 5:
        after = time.time() - cut
        peers, undone, free = ONE.peers(), _all(database, UNDONE), _all(database, f"{UNDONE} FOR UPDATE SKIP LOCKED")
        if _one(database, "SELECT 1 FROM pg_stat_activity WHERE pid = %s", pid):
            held = undone - free
        elif not lost:
            noticed["PostgreSQL dropped the worker"] = after
            lost = held & free
            assert lost, f"the shard in hand stayed locked until its worker was given up: {held}, {free}"
        elif not lost & free:
            noticed.setdefault("the other took the shard up again", after)
        for what, server in (("the worker dropped PostgreSQL", POSTGRES), ("the worker dropped Redis", REDIS)):
            if server not in peers:
                noticed.setdefault(what, after)
        if _finished(database):
            noticed.setdefault("the night ended", after)
        assert after < 180, f"180 s after the cut only: {noticed}"
        time.sleep(0.1)
    for what, seconds in noticed.items():
        say(f"  {seconds:5.1f} s after the cut: {what}")


# ── proofs ───────────────────────────────────────────────────────────────────────────────────────────


def _prove_alone(seen: dict[Host, set[tuple[str, int]]]) -> None:
    """A host was connected with PostgreSQL and Redis over its link, and has no other way to anything."""
    for host, peers in seen.items():
        routes = ip("-n", host.netns, "route", "show", "table", "all", "type", "unicast").splitlines()
        outward = [route for route in routes if not route.startswith("fe80::") and " dev lo " not in route]
        assert [route.split()[:3] for route in outward] == [["10.77.0.0/24", "dev", "eth0"]], routes
        assert peers == {POSTGRES, REDIS}, f"{host.name} was connected with {peers}"
        assert host.socket_files() == [], host.socket_files()
        assert not list((host.folder / "var").glob("*/")), "it started servers of its own"
    assert BASE.socket_files() == [], BASE.socket_files()


def _prove_cut() -> None:
    """Nothing gets through any more."""
    tried = subprocess.run(ONE.command(sys.executable, "-c", CONNECT), capture_output=True, check=False)
    assert tried.returncode, "a connection came about over a link that is down"


def _audit() -> None:
    servers.manage("audit_books")  # or it exits with 1


def _difference(one: dict[str, tuple[object, ...]], other: dict[str, tuple[object, ...]]) -> str:
    return f"the nights differ in {', '.join(name for name in one if one[name] != other[name])}: {one}, {other}"


# ── asking ───────────────────────────────────────────────────────────────────────────────────────────


def _begin() -> float:
    begun = time.time()
    app.send_task("settlement.tasks.settle_night")
    return begun


def _finished(database: Any, runs: int = 1) -> bool:
    return bool(_one(database, "SELECT count(finished_at) FROM settlement_settlementrun") >= runs)


def _one_answers() -> bool:
    return bool(app.control.ping(destination=[f"worker@{ONE.name}"], timeout=0.5))


def _one(database: Any, query: str, *values: object) -> Any:
    row = database.execute(query, values).fetchone()
    return row and row[0]


def _all(database: Any, query: str) -> set[int]:
    return {value for (value,) in database.execute(query).fetchall()}


def say(text: str) -> None:
    """A line of the report."""
    print(f"· {text}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
