"""`make bench [SIZE=small|full]`: builds its data, measures in one go, writes docs/benchmarks.{md,json,svg}."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from iss_billing import embedded
from iss_billing.days import SHANGHAI
from tests.bench import database, entitlements, growth, ingest, night
from tests.bench.database import BASE, BEGAN_WITH, ROOT, connect, fresh_copy
from tests.bench.report import write

SIZES = {"small": (10_000, 100_000, 200), "full": (100_000, 1_000_000, 1_000)}
"""Accounts, events, and the accounts that the loop is given."""
GROWTH = {"small": (2_000, 10_000), "full": (10_000, 100_000, 1_000_000)}
FLOOR_SHARD = 10_000

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
        lambda: _settlement(figures, accounts, sample),
        lambda: figures.update(entitlements.measure()),
        lambda: ingest.measure(figures, 20_000 if few else 200_000, 50_000 if few else 1_000_000),
        lambda: growth.measure_giant(figures, 10_000 if few else 50_000),
        lambda: growth.measure(figures, GROWTH[size]),
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


def _settlement(figures: Figures, accounts: int, sample: int) -> None:
    """The references and the night, each on a fresh copy of the same database."""
    with connect(BASE) as connection:
        pending = "SELECT min(account_id), max(account_id), min(day) FROM settlement_pendingday"
        row = connection.execute(pending).fetchone()
        assert row is not None
        first, last, day = row
    now = f"{day + timedelta(days=1)}T02:00:00+08:00"
    _floor(1, first, last, str(day), now)  # thrown away: whoever is first after the building pays for it
    for processes in (1, 2):
        seconds = _floor(processes, first, last, str(day), now)
        figures[f"floor_account_days_per_s_{processes}"] = round(accounts / seconds)
        began = _floor(processes, first, last, str(day), now, BEGAN_WITH)
        figures[f"first_floor_account_days_per_s_{processes}"] = round(accounts / began)
        figures[f"loop_account_days_per_s_{processes}"] = round(_loop(processes, first, sample, str(day), now), 1)
        with fresh_copy() as name:
            taken, peak = night.settle(name, processes)
            if processes == 2:
                _again(figures, name, taken)
                say(database.call("audit_books", database=name).strip().splitlines()[-1])
        figures[f"settle_account_days_per_s_{processes}"] = round(accounts / taken)
        figures[f"settle_time_over_floor_{processes}"] = round(taken / seconds, 2)
        figures[f"settle_time_over_first_floor_{processes}"] = round(taken / began, 2)
        figures["settle_worker_peak_mb"] = max(peak, int(figures.get("settle_worker_peak_mb", 0)))
    figures["settle_account_days_per_s"] = figures["settle_account_days_per_s_2"]
    figures["settle_time_over_floor"] = figures["settle_time_over_floor_2"]
    for processes in (1, 2):
        settled, loop = (
            figures[f"settle_account_days_per_s_{processes}"],
            figures[f"loop_account_days_per_s_{processes}"],
        )
        figures[f"settle_speed_over_orm_loop_{processes}"] = round(float(settled) / float(loop), 1)
    figures["settle_speed_over_orm_loop"] = figures["settle_speed_over_orm_loop_2"]


def _floor(processes: int, first: int, last: int, day: str, now: str, schema: str = "") -> float:
    """Seconds of the set-based settlement in so many processes, with what `schema` adds to the tables."""
    with fresh_copy() as name:
        if schema:
            with connect(name) as connection:
                connection.execute(schema)
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
