"""`make bench [SIZE=small|full]`: builds its data, measures in one go, writes docs/benchmarks.{md,json,svg}."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from iss_billing import embedded
from iss_billing.days import SHANGHAI
from tests.bench import database, entitlements, growth, ingest, night
from tests.bench.database import BASE, BEGAN_WITH, ROOT, connect, fresh_copy
from tests.bench.report import write

SIZES = {"small": (10_000, 100_000, 100), "full": (100_000, 1_000_000, 400)}
"""Accounts, events, and the accounts that the loop is given in each round."""
GROWTH = {"small": (2_000, 8_000), "full": (10_000, 100_000, 1_000_000)}
FLOOR_SHARD = 10_000
ROUNDS = 5

Figures = dict[str, float | int | str]


def main(size: str) -> None:
    """Measure and write."""
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
        lambda: ingest.measure(figures, 20_000 if few else 200_000, 50_000 if few else 1_000_000),
        lambda: growth.measure_giant(figures, *((6_000, 100) if few else (50_000, 1_000))),
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
    for processes in (1, 2):
        loops, floors, began, nights = [], [], [], []
        for number in range(rounds):
            loops.append(_loop(processes, first, sample, str(day), now))
            floors.append(_floor(processes, first, last, str(day), now))
            began.append(_floor(processes, first, last, str(day), now, BEGAN_WITH))
            audited = processes == 2 and number == 0
            nights.append(_night(figures, processes, accounts, audited=audited))
        floor, first_floor, night_took = median(floors), median(began), median(nights)
        figures[f"loop_account_days_per_s_{processes}"] = round(median(loops), 1)
        figures[f"floor_account_days_per_s_{processes}"] = round(accounts / floor)
        figures[f"first_floor_account_days_per_s_{processes}"] = round(accounts / first_floor)
        figures[f"settle_account_days_per_s_{processes}"] = round(accounts / night_took)
        # of each round, whose parts the machine did at one speed, and not of medians out of different rounds
        over_floor, over_first = [[a / b for a, b in zip(nights, of, strict=True)] for of in (floors, began)]
        over_loop = [accounts / seconds / rate for seconds, rate in zip(nights, loops, strict=True)]
        figures[f"settle_time_over_floor_{processes}"] = round(median(over_floor), 2)
        figures[f"settle_time_over_first_floor_{processes}"] = round(median(over_first), 2)
        figures[f"settle_speed_over_orm_loop_{processes}"] = round(median(over_loop), 1)
        for number, ratio in enumerate(over_first, start=1):
            figures[f"settle_time_over_first_floor_{processes}_round_{number}"] = round(ratio, 2)
    for name in ("settle_account_days_per_s", "settle_time_over_floor", "settle_speed_over_orm_loop"):
        figures[name] = figures[f"{name}_2"]


def _night(figures: Figures, processes: int, accounts: int, *, audited: bool) -> float:
    """Seconds of a night; what it wrote is settled again and audited once."""
    with fresh_copy() as name:
        taken, peak = night.settle(name, processes)
        say(f"night, {processes} processes: {accounts / taken:,.0f} account-days/s")
        if audited:
            _again(figures, name, taken)
            say(database.call("audit_books", database=name).strip().splitlines()[-1])
    figures["settle_worker_peak_mb"] = max(peak, int(figures.get("settle_worker_peak_mb", 0)))
    return taken


def _floor(processes: int, first: int, last: int, day: str, now: str, schema: Iterable[str] = ()) -> float:
    """Seconds of the set-based settlement in so many processes, with what `schema` adds to the tables."""
    with fresh_copy() as name:
        with connect(name) as connection:
            for statement in schema:
                connection.execute(statement.encode())
        share = (last - first + 1) // processes
        ranges = [(first + k * share, first + (k + 1) * share - 1) for k in range(processes)]
        ranges[-1] = (ranges[-1][0], last)
        begun = time.monotonic()
        _run_all([["tests.bench.floor", name, str(a), str(b), str(FLOOR_SHARD), day, now] for a, b in ranges], name)
        taken = time.monotonic() - begun
    say(f"floor, {processes} processes: {(last - first + 1) / taken:,.0f} account-days/s")
    return taken


def _loop(processes: int, first: int, sample: int, day: str, now: str) -> float:
    """Account-days a second of the ORM loop, in so many processes, without their start."""
    with fresh_copy() as name:
        ranges = [(first + k * sample, first + (k + 1) * sample - 1) for k in range(processes)]
        rates = _run_all([["tests.bench.loop", str(a), str(b), day, now] for a, b in ranges], name)
    say(f"loop, {processes} processes: {sum(map(float, rates)):,.0f} account-days/s")
    return sum(map(float, rates))


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
