"""What was measured, as docs/benchmarks.md with a chart, and as docs/benchmarks.json."""

import json
import re
from typing import Any

from tests.bench.database import ROOT
from tests.bench.growth import RUNS

ROUNDS = 5
"""Of the references and the night."""

TEXTS = {
    "settle_account_days_per_s_1": "the night, one Celery worker process, account-days/s",
    "settle_account_days_per_s_2": "the night, two Celery worker processes, account-days/s",
    "floor_account_days_per_s_1": "floor: bare set-based SQL, one process, account-days/s",
    "floor_account_days_per_s_2": "floor: bare set-based SQL, two processes, account-days/s",
    "first_floor_account_days_per_s_1": "floor over the schema that it was first measured on, one process",
    "first_floor_account_days_per_s_2": "floor over the schema that it was first measured on, two processes",
    "loop_account_days_per_s_1": "ORM loop, one process, account-days/s",
    "loop_account_days_per_s_2": "ORM loop, two processes, account-days/s",
    "pulse_seconds_1": "a fixed piece of pure Python, one process, seconds",
    "pulse_seconds_2": "the same in two processes at once, the slower of them",
    "settle_time_over_floor_1": "the night's time over the floor's, one process",
    "settle_time_over_floor": "the night's time over the floor's, two processes",
    "settle_time_over_first_floor_1": "the night's time over that first floor's, one process",
    "settle_time_over_first_floor_2": "the night's time over that first floor's, two processes",
    "settle_speed_over_orm_loop_1": "the night's speed over the loop's, one process",
    "settle_speed_over_orm_loop": "the night's speed over the loop's, two processes",
    "resettle_time_over_first": "settling again what is settled, over the first time",
    "settle_worker_peak_mb": "peak memory of a worker process, MB",
    "ingest_events_per_s": "usage over HTTP, batches of 1,000 with 5% repeated, two server processes, events/s",
    "ingest_floor_events_per_s": "bare INSERT … unnest … ON CONFLICT of the same rows, two connections, events/s",
    "ingest_speed_over_floor": "usage over HTTP over the bare insert",
    "import_events_per_s": "`import_usage`, events/s",
    "import_peak_mb": "its peak memory, MB",
    "import_peak_mb_of_a_tenth": "the same with a tenth of the lines, MB",
    "entitlements_per_s": "entitlements over HTTP, two server processes, requests/s",
    "empty_view_per_s": "an empty view of the same stack, requests/s",
    "entitlement_speed_over_empty_view": "entitlements over the empty view",
    "entitlement_cost_of_many_events": "an entitlement's time with 100,000 events more, over without",
    "giant_shard_seconds": "the shard with a giant account of 1,000 packs and 1,000,000 events, seconds",
    "giant_other_shards_median_seconds": "the other shards of that night, median, seconds",
    "giant_shards_done_meanwhile": "shards of others that were done while it ran",
    "growth_slowest_over_fastest": "time per account, the slowest size over the fastest, medians of three runs",
}
BARS = (
    ("the night, 2 processes", "settle_account_days_per_s_2", "bar"),
    ("floor, 2 processes", "floor_account_days_per_s_2", "ref"),
    ("the night, 1 process", "settle_account_days_per_s_1", "bar"),
    ("floor, 1 process", "floor_account_days_per_s_1", "ref"),
    ("ORM loop, 2 processes", "loop_account_days_per_s_2", "ref"),
)


def write(figures: dict[str, Any]) -> None:
    """Write the three files."""
    docs = ROOT / "docs"
    (docs / "benchmarks.json").write_text(json.dumps(figures, indent=1) + "\n")
    (docs / "benchmarks.svg").write_text(_chart(figures))
    rows = "\n".join(f"| {words} | {_shown(figures[key])} |" for key, words in TEXTS.items() if key in figures)
    (docs / "benchmarks.md").write_text(
        f"""# Benchmarks

`make bench`, {figures["date"]}, {figures["machine"]}; embedded PostgreSQL, fsync on, every key and constraint on.
{figures["accounts"]:,} accounts with 3 items and 1.3 packs each, {figures["events"]:,} events in the day; every bill,
line, drawdown, transfer and recognition written. The references ran in the same minutes on copies of the same database.
Believe the ratios: one machine varies by more than a third between runs.

| | |
|---|---:|
{rows}

![Account-days a second](benchmarks.svg)

The night is measured from the sending of its task to its last commit, by workers that are up and connected and have
the machine to themselves; the certificate comes after it. In production a worker has one process unless told otherwise,
and rests while the site serves somebody ([load.md](load.md)). What floor and night wrote is compared, row by row.

## Rounds

Account-days a second, and the seconds of the fixed piece of Python just before. Ratios are medians of the rounds' own,
whose parts ran within a minute or so, in an order that changes.

{_rounds(figures)}
{_growth(figures)}"""
    )


PARTS = {"loop": "loop", "floor": "floor", "first_floor": "first floor", "settle": "night"}


def _rounds(figures: dict[str, Any]) -> str:
    """What every round gave."""
    head = [f"{words}, {number}" for number in (1, 2) for words in (*PARTS.values(), "pulse")]
    lines = [f"| round | {' | '.join(head)} |", f"|---|{'---:|' * len(head)}"]
    for number in range(1, ROUNDS + 1):
        keys = [*(f"{name}_account_days_per_s" for name in PARTS), "pulse_seconds"]
        names = [f"{key}_{processes}_round_{number}" for processes in (1, 2) for key in keys]
        lines.append(f"| {number} | {' | '.join(_shown(figures[name]) for name in names)} |")
    return "\n".join(lines)


def _growth(figures: dict[str, Any]) -> str:
    """The night over the sizes, every run."""
    found = [re.fullmatch(r"growth_(\d+)_us_per_account", key) for key in figures]
    sizes = [int(match[1]) for match in found if match]
    if not sizes:
        return ""
    rows = []
    for accounts in sizes:
        key = f"growth_{accounts}_us_per_account"
        runs = [figures[f"{key}_run_{run}"] for run in range(1, RUNS + 1)]
        nights = figures[f"{key}_nights"]
        rows.append(f"| {accounts:,} | {' · '.join(map(str, runs))} | {figures[key]} | {nights} |")
    return (
        "\n## Growth\n\nMicroseconds per account with two worker processes; the runs of the sizes took turns, each "
        "of the smallest is five nights.\n\n"
        "| accounts | runs | median | nights |\n|---:|---:|---:|---:|\n" + "\n".join(rows) + "\n"
    )


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) or value >= 100 else f"{value}"


def _chart(figures: dict[str, Any]) -> str:
    """Bars of account-days a second."""
    most = max(float(figures[key]) for _, key, _ in BARS)
    rows = []
    for place, (label, key, kind) in enumerate(BARS):
        y, width = 12 + place * 34, round(480 * float(figures[key]) / most)
        fill = "#0b6b63" if kind == "bar" else "#b0925c"
        rows.append(
            f'<text x="170" y="{y + 15}" text-anchor="end">{label}</text>'
            f'<rect x="180" y="{y}" width="{max(width, 1)}" height="22" fill="{fill}"/>'
            f'<text x="{188 + width}" y="{y + 15}">{float(figures[key]):,.0f}</text>'
        )
    height = 20 + 34 * len(BARS)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 740 {height}" font-family="sans-serif" font-size="13">'
        f'<rect width="740" height="{height}" fill="#fff"/>{"".join(rows)}</svg>\n'
    )
