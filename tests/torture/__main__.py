"""`make torture N=500`: rounds of kills until there were so many; SEED and PLANT as the last words of a failure say."""

import argparse
import random
import signal
import sys
import time
from collections import Counter

from tests.torture.plants import PLANTS
from tests.torture.process import NotUp
from tests.torture.proofs import Failed
from tests.torture.round import Report, play

KILLS, DAYS = 60, 8
"""Of one round."""


def main() -> int:
    """Play; 0 when every round came out right."""
    parser = argparse.ArgumentParser(prog="make torture")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--plant", choices=sorted(PLANTS), default="")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was started is stopped
    seed = random.SystemRandom().randrange(10**6) if asked.seed is None else asked.seed
    total, begun = Report(), time.monotonic()
    left = asked.kills
    while left > 0:
        kills = min(left, KILLS)
        # enough days that every night has some
        days = max(3, min(DAYS, kills // 7))
        _say(f"― seed {seed}: {kills} kills in {days} days")
        try:
            report = play(seed, kills, days=days, plant=asked.plant, tell=_say)
        except (Failed, NotUp) as failure:
            plant = f" PLANT={asked.plant}" if asked.plant else ""
            _say(f"FAILED: {failure}\nagain: make torture N={kills} SEED={seed}{plant}")
            return 1
        total.kills += report.kills
        total.inside += report.inside
        total.extra += report.extra
        _say(said(report))
        left, seed = left - kills, seed + 1
    _say(f"all {total.kills.total()} kills in {time.monotonic() - begun:.0f} s came out right: {_counted(total)}")
    return 0


def said(report: Report) -> str:
    """A round in a line or two."""
    return (
        f"{report.kills.total()} kills ({_counted(report)}) in {report.storm_seconds:.0f} s; "
        f"{report.rows} rows are those of the undisturbed world, {report.acknowledged} acknowledged events are there; "
        f"{report.retries} attempts had no answer, the slowest step took {report.slowest:.1f} s; "
        + ", ".join(f"{number} {what}" for what, number in Counter(report.extra).items())
    )


def _counted(report: Report) -> str:
    return ", ".join(
        f"{kind} {number}" + (f" of which {report.inside[kind]} inside a transaction" if report.inside[kind] else "")
        for kind, number in sorted(report.kills.items())
    )


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
