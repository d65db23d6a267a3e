"""`make bench [SIZE=small|full]`: builds its data, measures in one go, writes docs/benchmarks.{md,json,svg}."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import partial
from statistics import median
from typing import Any

from iss_billing import embedded
from iss_billing.days import SHANGHAI
from tests.bench import database, entitlements, growth, ingest, night
from tests.bench.database import BASE, BEGAN_WITH, ROOT, connect, fresh_copy
from tests.bench.report import ROUNDS, write
from tests.scaleout.books import rows

SIZES = {"small": (10_000, 100_000, 60), "full": (100_000, 1_000_000, 400)}
"""Accounts, events, and the accounts that the loop is given in each round."""
GROWTH = {"small": (2_000, 6_000), "full": (10_000, 100_000, 1_000_000)}
FLOOR_SHARD = 10_000
COMPARED = 2

Figures = dict[str, float | int | str]
Books = dict[str, tuple[object, ...]]


def main(size: str) -> None:
    """Measure and write."""
    if size not in SIZES:
        sys.exit(f"make bench: SIZE is small or full, not {size!r}")
    accounts, events, sample = SIZES[size]
    embedded.hold(database.VAR)
    figures: Figures = {
        "size": size,
        "date": f"{datetime.now(SHANGHAI):%Y-%m-%d}",
        "machine": f"{os.cpu_count()} cores, {database.processor()}, Python {platform.python_version()}",
        "accounts": accounts,
        "events": events,
    }
    say(f"building {accounts:,} accounts with {events:,} events")
    database.build(accounts, events)
    few = size == "small"
    parts: list[Callable[[], None]] = [
        lambda: _settlement(figures, accounts, sample, 1 if few else ROUNDS),
        lambda: figures.update(entitlements.measure(seconds=1.0 if few else 4.0)),
        lambda: ingest.measure(figures, 20_000 if few else 200_000, 20_000 if few else 1_000_000),
        lambda: growth.measure_giant(figures, *((4_000, 100) if few else (50_000, 1_000))),
        lambda: growth.measure(figures, GROWTH[size], 1 if few else growth.RUNS),
    ]
    for part in parts:
        before = set(figures)
        part()
        for name in figures.keys() - before:
            say(f"{name}: {figures[name]}")
        if not few:
            write(figures)  # what is measured is kept, should a later part be cut off
    database.drop(BASE)
    if few:
        print(json.dumps(figures, indent=1))  # noqa: T201


def _settlement(figures: Figures, accounts: int, sample: int, rounds: int) -> None:
    """The references and the night, each on a fresh copy of the same database, taking turns; medians of the rounds."""
    with connect(BASE) as connection:
        pending = "SELECT min(account_id), max(account_id), min(day) FROM settlement_pendingday"
        row = connection.execute(pending).fetchone()
        assert row is not None
        first, last, day = row
    now = f"{day + timedelta(days=1)}T02:00:00+08:00"
    _floor(1, first, last, str(day), now)  # thrown away: whoever is first after the building pays for it
    books: list[Books] = []
    for processes in (1, 2):
        parts: dict[str, Callable[[], float]] = {
            "loop": partial(_loop, processes, first, sample, str(day), now),
            "floor": partial(_floor, processes, first, last, str(day), now, books=books),
            "first_floor": partial(_floor, processes, first, last, str(day), now, BEGAN_WITH),
            "settle": partial(_night, figures, processes, accounts, books),
        }
        rates: dict[str, list[float]] = {name: [] for name in parts}
        pulses: list[float] = []
        for number in range(rounds):
            pulses.append(_pulse(processes))
            names = list(parts)
            for name in names[number % len(names) :] + names[: number % len(names)]:  # nobody is always behind another
                rates[name].append(parts[name]())
        for name, found in rates.items():
            key, digits = f"{name}_account_days_per_s_{processes}", 1 if name == "loop" else None
            figures[key] = round(median(found), digits)
            figures |= {f"{key}_round_{number}": round(rate, digits) for number, rate in enumerate(found, start=1)}
        figures[f"pulse_seconds_{processes}"] = round(median(pulses), 2)
        figures |= {f"pulse_seconds_{processes}_round_{n}": round(pulse, 2) for n, pulse in enumerate(pulses, start=1)}

        def speed_over(name: str, of: dict[str, list[float]] = rates) -> float:
            """Of each round, whose parts the machine did at one speed, and not of medians out of different rounds."""
            return median(mine / theirs for mine, theirs in zip(of["settle"], of[name], strict=True))

        figures[f"settle_time_over_floor_{processes}"] = round(1 / speed_over("floor"), 2)
        figures[f"settle_time_over_first_floor_{processes}"] = round(1 / speed_over("first_floor"), 2)
        figures[f"settle_speed_over_orm_loop_{processes}"] = round(speed_over("loop"), 1)
    assert all(one == books[0] for one in books), "the floor and the night write the same"
    for name in ("settle_account_days_per_s", "settle_time_over_floor", "settle_speed_over_orm_loop"):
        figures[name] = figures[f"{name}_2"]


def _night(figures: Figures, processes: int, accounts: int, books: list[Books]) -> float:
    """Account-days a second of a night; what the first one wrote is settled again and audited."""
    with fresh_copy() as name:
        taken, peak = night.settle(name, processes)
        say(f"night, {processes} processes: {accounts / taken:,.0f} account-days/s")
        if "resettle_time_over_first" not in figures:
            _again(figures, name, taken)
            say(database.call("audit_books", database=name).strip().splitlines()[-1])
        _keep_books(name, books)
    figures["settle_worker_peak_mb"] = max(peak, int(figures.get("settle_worker_peak_mb", 0)))
    return accounts / taken


def _floor(
    processes: int,
    first: int,
    last: int,
    day: str,
    now: str,
    schema: Iterable[str] = (),
    books: list[Books] | None = None,
) -> float:
    """Account-days a second of the set-based settlement in so many processes, without their start.

    With what `schema` makes of the tables.
    """
    accounts = last - first + 1
    with fresh_copy(schema=schema) as name:
        share = accounts // processes
        ranges = [(first + k * share, first + (k + 1) * share - 1) for k in range(processes)]
        ranges[-1] = (ranges[-1][0], last)
        said = _run_all(
            [["tests.bench.floor", name, str(a), str(b), str(FLOOR_SHARD), day, now] for a, b in ranges], name
        )
        moments = [[float(moment) for moment in line.split()] for line in said]
        if books is not None:
            _keep_books(name, books)
    rate = accounts / (max(ended for _, ended in moments) - min(begun for begun, _ in moments))
    say(f"floor, {processes} processes: {rate:,.0f} account-days/s")
    return rate


def _keep_books(name: str, books: list[Books]) -> None:
    """What was written, of the first two who did: the floor is one only if it writes what the night writes."""
    if len(books) < COMPARED:
        with connect(name) as connection:
            books.append(rows(connection))


def _loop(processes: int, first: int, sample: int, day: str, now: str) -> float:
    """Account-days a second of the ORM loop, in so many processes, without their start."""
    with fresh_copy() as name:
        ranges = [(first + k * sample, first + (k + 1) * sample - 1) for k in range(processes)]
        rates = _run_all([["tests.bench.loop", str(a), str(b), day, now] for a, b in ranges], name)
    say(f"loop, {processes} processes: {sum(map(float, rates)):,.0f} account-days/s")
    return sum(map(float, rates))


def _pulse(processes: int) -> float:
    """Seconds of the fixed piece of Python, in so many processes at once; the slowest of them."""
    return max(map(float, _run_all([["tests.bench.pulse"]] * processes, BASE)))


def _again(figures: Figures, name: str, first: float) -> None:
    """Settling again what is settled."""
    answer = json.loads(database.call("settle", "--json", database=name))
    assert answer["bills"] == 0
    figures["resettle_time_over_first"] = round(answer["seconds"] / first, 4)


def _run_all(commands: list[list[str]], name: str) -> list[str]:
    """Run modules at once; their outputs."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env=database.environment(name),
            stdout=subprocess.PIPE,
            text=True,
        )
        for command in commands
    ]
    outputs = [process.communicate()[0] for process in processes]
    assert not any(process.returncode for process in processes)
    return outputs


def say(text: Any) -> None:
    """A line of progress."""
    print(f"· {text}", file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    main(os.environ.get("SIZE", "full"))
