"""What the load met, as docs/load.md and docs/load.json."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from tests.bench.database import ROOT
from tests.load.watching import Spent


class Window:
    """Answers counted under one condition, over all rounds; times in ms."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seconds = 0.0
        self.errors = 0
        self.times: dict[str, Counter[int]] = {}
        self.spent = Spent()

    def add(self, entries: list[dict[str, Any]], spent: Spent) -> None:
        """Add what locust counted in a stretch, and where its time went."""
        self.spent.add(spent)
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


def write(
    idle: Window, night: Window, speeds: list[float], accounts: int, machine: str, weights: dict[str, int] | None
) -> None:
    """Write both files; `weights` are those of the units, where they were in force."""
    figures: dict[str, Any] = {"machine": machine, "accounts": accounts, "rounds": len(speeds), "weights": weights}
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
    for key, window in (("idle", idle), ("night", night)):
        figures[f"{key}_processors_busy"] = _per_second(window, window.spent.busy)
        figures[f"{key}_processors_waited_for"] = _per_second(window, window.spent.queued)
        figures[f"{key}_pages_connections_seen_at"] = dict(window.spent.seen.most_common())
    (ROOT / "docs" / "load.json").write_text(json.dumps(figures, indent=1) + "\n")
    (ROOT / "docs" / "load.md").write_text(_text(idle, night, figures))


def _per_second(window: Window, seconds: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value / window.spent.seconds, 3) for name, value in sorted(seconds.items())}


def _text(idle: Window, night: Window, figures: dict[str, Any]) -> str:
    calls = "\n".join(_call(name, idle, night) for name in sorted(idle.times))
    names = sorted(idle.spent.busy | night.spent.busy)
    spent = "\n".join(
        f"| {name} | {_share(idle, idle.spent.busy, name)} | {_share(idle, idle.spent.queued, name)} | "
        f"{_share(night, night.spent.busy, name)} | {_share(night, night.spent.queued, name)} |"
        for name in names
    )
    return f"""# Load

`make load`, {figures["machine"]}; everything on this one machine:
PostgreSQL, Redis, two web processes, the workers of the Procfile, and the people. {_weighed(figures["weights"])}

They come at random moments, however fast they are answered: customers in the console 16 times a second, their
programs 8 times, the platform 12 times (batches of 100 usage events, entitlements), staff 1.5 times.
{figures["rounds"]} rounds, in each the load alone and then the same load while all {figures["accounts"]:,} accounts
are settled.

| | alone | while a night is settled |
|---|---:|---:|
| requests | {figures["idle_requests"]:,} | {figures["night_requests"]:,} |
| requests/s | {figures["idle_requests_per_s"]} | {figures["night_requests_per_s"]} |
| p50, ms | {figures["idle_p50_ms"]} | {figures["night_p50_ms"]} |
| p99, ms | {figures["idle_p99_ms"]} | {figures["night_p99_ms"]} |
| errors | {figures["idle_errors"]} | {figures["night_errors"]} |

p99 with the night over p99 without: {figures["p99_night_over_idle"]}. From the call to its certificate a night settled
{", ".join(f"{speed:,}" for speed in figures["night_account_days_per_s"])} account-days/s beside it.

## By call

| | alone | p50 ms | p99 ms | with the night | p50 ms | p99 ms |
|---|---:|---:|---:|---:|---:|---:|
{calls}

## Where the time went

Processors in use, and processors waited for (ready to run, and none free), on average:

| | alone: in use | waited for | with the night: in use | waited for |
|---|---:|---:|---:|---:|
{spent}

What the connections of the pages were at when looked at: alone {_seen(idle)}; with the night {_seen(night)}.

{CHOSEN}"""


CHOSEN = """## What was chosen by it

Single rounds of 26 November 2026, the machine shared with other work; the load alone had a p99 of 80 to 120 ms:

| worker beside the pages | p99, ms | p99 of an order, ms | account-days/s |
|---|---:|---:|---:|
| two processes, shards of 5,000, a connection for every shard | 290 | 280 | 5,101 |
| the same at nice 19 | 230 | 590 | 4,481 |
| one process | 210 | 160 | 4,155 |
| one process at nice 19 | 140, 260 | 190, 570 | 4,306, 3,723 |
| one process at nice 19, shards of 1,000 | 130, 150 | 100 | 2,666, 2,237 |
| one process at nice 10, shards of 2,000, connections kept | 150, 170 | 150, 260 | 3,664, 3,245 |
| two processes, the same | 200, 220 | 340, 360 | 4,235, 4,386 |

In a slower hour of the same day, the load alone at 130 to 220 ms:

| worker beside the pages | p99, ms | account-days/s |
|---|---:|---:|
| one process at nice 10, shards of 2,000, connections kept | 360, 320, 370, 330 | 2,433, 3,144, 2,450, 2,659 |
| the same, all connections to PostgreSQL at nice 5 | 350 | 2,073 |
| the same, resting after each shard of 1,000 for as long as it took | 740, 380 | 1,166, 1,300 |
| with shards of 2,000, and the certificate in parts with rests between them | 190, 380 | 1,864, 1,249 |
| the same, each part with the weight of its unit | 180, 250 | 1,555, 1,076 |

So one process for two processors, a weight below the pages', shards of 2,000, connections that are kept, rests while
the site serves anybody, and pages that weigh more than PostgreSQL. PostgreSQL does not step back with its client: three
quarters of the night's processor time are its, at the pages' own weight, and that is why the number of processes counts
more than their niceness, and why rests count most. Where nobody weighs services against each other (a development
machine), each of PostgreSQL's connections is a session of its own, and the kernel may give the night's one as much as
all web processes together (`sched_autogroup`). The worst moments of a night were its last: the certificate read all
accounts in one statement of some seconds, and pages took 500 to 800 ms while it did. What is left is the log: whoever
commits waits until the part of it that the night wrote before is on the disk (`WALWrite`, `WalSync`), the longer the
larger a shard is. Niceness stops at 10, for a worker that gets no processor keeps accounts locked. Kept connections
make up for the smaller shards: alone, two processes settle as many account-days with shards of 2,000 (11,256) as before
with 5,000 (10,917).
"""


def _weighed(weights: Mapping[str, int] | None) -> str:
    if weights is None:
        return "Processes weigh what the\nProcfile can give them."
    given = ", ".join(f"{part} {weight}" for part, weight in weights.items())
    return f"Processes weigh\nwhat systemd's units give them: {given}."


def _call(name: str, idle: Window, night: Window) -> str:
    cells = [f"`{name}`"]
    for window in (idle, night):
        times = window.times.get(name, Counter[int]())
        cells += [f"{times.total():,}", str(percentile(times, 50)), str(percentile(times, 99))]
    return f"| {' | '.join(cells)} |"


def _share(window: Window, seconds: Mapping[str, float], name: str) -> str:
    return f"{seconds.get(name, 0) / window.spent.seconds:.2f}"


def _seen(window: Window) -> str:
    total = window.spent.seen.total() or 1
    return ", ".join(f"{name} {number / total:.0%}" for name, number in window.spent.seen.most_common(4))
