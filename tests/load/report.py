"""What the load met, as docs/load.md and docs/load.json."""

import json
from collections import Counter
from typing import Any

from tests.bench.database import ROOT


class Window:
    """Answers counted under one condition, over all rounds; times in ms."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seconds = 0.0
        self.errors = 0
        self.times: dict[str, Counter[int]] = {}

    def add(self, entries: list[dict[str, Any]]) -> None:
        """Add what locust counted in a stretch."""
        self.seconds += max(one["last_request_timestamp"] for one in entries) - min(
            one["start_time"] for one in entries
        )
        for one in entries:
            self.errors += one["num_failures"]
            times = self.times.setdefault(f"{one['method']} {one['name']}", Counter())
            times.update({round(float(ms)): number for ms, number in one["response_times"].items()})

    @property
    def all(self) -> Counter[int]:
        """Every answer's time."""
        return sum(self.times.values(), Counter())

    def said(self) -> str:
        """A line of it."""
        p50, p99 = percentile(self.all, 50), percentile(self.all, 99)
        rate = self.all.total() / self.seconds
        return f"{self.name} {rate:.1f} requests/s, p50 {p50} ms, p99 {p99} ms, {self.errors} errors"


def percentile(times: Counter[int], share: int) -> int:
    """The time within which that share of the answers came."""
    reached = 0
    for ms in sorted(times):
        reached += times[ms]
        if reached * 100 >= share * times.total():
            return ms
    return 0


def write(idle: Window, night: Window, speeds: list[float], accounts: int, machine: str) -> None:
    """Write both files."""
    figures: dict[str, Any] = {"machine": machine, "accounts": accounts, "rounds": len(speeds)}
    for key, window in (("idle", idle), ("night", night)):
        figures |= {
            f"{key}_requests": window.all.total(),
            f"{key}_requests_per_s": round(window.all.total() / window.seconds, 1),
            f"{key}_p50_ms": percentile(window.all, 50),
            f"{key}_p99_ms": percentile(window.all, 99),
            f"{key}_errors": window.errors,
        }
    figures["p99_night_over_idle"] = round(figures["night_p99_ms"] / figures["idle_p99_ms"], 2)
    figures["night_account_days_per_s"] = [round(speed) for speed in speeds]
    (ROOT / "docs" / "load.json").write_text(json.dumps(figures, indent=1) + "\n")
    rows = "\n".join(
        f"| `{name}` | {idle.times[name].total()} | {percentile(idle.times[name], 50)} | "
        f"{percentile(idle.times[name], 99)} | {night.times.get(name, Counter()).total()} | "
        f"{percentile(night.times.get(name, Counter()), 50)} | {percentile(night.times.get(name, Counter()), 99)} |"
        for name in sorted(idle.times)
    )
    (ROOT / "docs" / "load.md").write_text(
        f"""# Load

`make load`, {machine}; everything on this one machine: PostgreSQL, Redis, two web processes, the worker of the
Procfile, and the people. Twelve customers in the console (a page a second each), three customers' programs, the
platform (100 usage events a batch, entitlements) and two of staff keep their pace; {len(speeds)} rounds, in each the
load alone and then the same load while all {accounts:,} accounts are settled.

| | alone | while a night is settled |
|---|---:|---:|
| requests | {figures["idle_requests"]:,} | {figures["night_requests"]:,} |
| requests/s | {figures["idle_requests_per_s"]} | {figures["night_requests_per_s"]} |
| p50, ms | {figures["idle_p50_ms"]} | {figures["night_p50_ms"]} |
| p99, ms | {figures["idle_p99_ms"]} | {figures["night_p99_ms"]} |
| errors | {figures["idle_errors"]} | {figures["night_errors"]} |

p99 with the night over p99 without: {figures["p99_night_over_idle"]}. The nights settled
{", ".join(f"{round(speed):,}" for speed in speeds)} account-days/s beside it.

## By call

| | alone | p50 ms | p99 ms | with the night | p50 ms | p99 ms |
|---|---:|---:|---:|---:|---:|---:|
{rows}
"""
    )
