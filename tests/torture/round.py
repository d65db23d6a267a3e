"""One round: the scripts of a seed undisturbed, the same under torture, and what must be equal afterwards."""

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from iss_billing.days import start_of
from tests.torture import script
from tests.torture.actors import Actor
from tests.torture.brawlers import Brawler
from tests.torture.chaos import Chaos
from tests.torture.cluster import Cluster, cluster
from tests.torture.nights import Nights
from tests.torture.proofs import (
    Failed,
    dumped,
    prove_acknowledged,
    prove_books,
    prove_brawlers,
    prove_equal,
    prove_nothing_is_held,
    prove_outcomes,
    prove_told_and_certified,
)
from tests.torture.stage import Stage

MOST_DAYS = 9
STRETCH = 0.015
"""Seconds that a statement waits at most, so that transactions stay open long enough to be killed in."""
BRAWLERS = 2
"""Threads on each brawler's account."""
Tell = Callable[[str], None]


@dataclass
class Report:
    """What a round did."""

    kills: Counter[str] = field(default_factory=Counter)
    inside: Counter[str] = field(default_factory=Counter)
    extra: Counter[str] = field(default_factory=Counter)
    retries: int = 0
    acknowledged: int = 0
    slowest: float = 0.0
    rows: int = 0
    calm_seconds: float = 0.0
    storm_seconds: float = 0.0


def play(seed: int, kills: int, *, days: int, plant: str = "", tell: Tell = print) -> Report:
    """A round. Raises Failed."""
    assert 2 <= days <= MOST_DAYS
    plan = script.write(seed, days)
    report = Report()
    with cluster() as servers:
        prepared = _prepare(servers, plan)
        begun = time.monotonic()
        _set_first_clock(servers, plan)
        with servers.serving("calm"):
            undisturbed = _perform(servers, plan, prepared, report, None)
            prove_told_and_certified(servers)
        report.calm_seconds = time.monotonic() - begun
        calm = dumped(servers)
        rows = ", ".join(f"{len(rows)} {name}" for name, rows in calm.items())
        tell(f"undisturbed in {report.calm_seconds:.1f} s: {rows}")
        begun = time.monotonic()
        _set_first_clock(servers, plan)
        settings = {"TORTURE_STRETCH": str(STRETCH)} | ({"TORTURE_PLANT": plant} if plant else {})
        with servers.serving("storm", **settings):
            stage = _perform(servers, plan, prepared, report, (seed, kills, tell))
            prove_told_and_certified(servers)
            prove_nothing_is_held(servers)
        report.storm_seconds = time.monotonic() - begun
        report.rows = sum(map(len, calm.values()))
        prove_acknowledged(servers, stage)
        prove_equal(calm, dumped(servers))
        prove_outcomes(undisturbed, stage)
        prove_books(servers)
    return report


def _prepare(servers: Cluster, plan: script.Round) -> dict[str, Any]:
    opened = start_of(plan.day(0))
    people = {
        name: f"{name}@example.com" if kind in (script.STRICT, script.DEBTOR) else None
        for name, kind in plan.kinds.items() if kind != script.EDGE
    }  # fmt: skip
    commands = (
        ("migrate", "--verbosity", "0"),
        ("load_catalogue",),
        ("set_tariff", "ai.face", "cn-mainland", "0.7", "--per", "1000", "--from", plan.day(2).isoformat(),
         "--reason", "dearer", "--now", opened.isoformat()),
    )  # fmt: skip
    asked = {"commands": commands, "opened": opened.isoformat(), "accounts": people}
    prepared: dict[str, Any] = json.loads(servers.manage("-m", "tests.torture.prepare", given=json.dumps(asked)))
    return prepared


def _set_first_clock(servers: Cluster, plan: script.Round) -> None:
    """The first morning, when there is nothing to settle yet."""
    servers.set_clock(start_of(plan.day(0)) + timedelta(hours=3), moving=False)


def _perform(
    servers: Cluster, plan: script.Round, prepared: dict[str, Any], report: Report, storm: tuple[int, int, Tell] | None
) -> Stage:
    """Play all days, undisturbed or in a storm. Raises Failed."""
    stage = Stage(servers, plan, prepared)
    nights = Nights(stage)
    chaos = Chaos(stage, *storm) if storm else None
    brawlers = _brawlers(stage, storm[0]) if storm else []
    for thread in (nights, *(Actor(stage, name) for name in plan.scripts), *brawlers):
        thread.start()
    try:
        for number in range(plan.days + 1):
            if not _phase(number, stage, nights, chaos):
                break
    finally:
        leavers: list[Nights | Brawler] = [nights, *brawlers]
        for leaver in leavers:
            leaver.leaving.set()
        for leaver in leavers:
            leaver.join(30)
    if chaos:
        report.kills, report.inside, report.extra = chaos.counts, chaos.inside, chaos.extra
        report.retries, report.acknowledged, report.slowest = stage.retries, len(stage.acknowledged), stage.slowest
    if not stage.errors:
        prove_brawlers(servers, stage, brawlers)
    if stage.errors:
        raise Failed("\n".join(stage.errors))
    return stage


def _phase(number: int, stage: Stage, nights: Nights, chaos: Chaos | None) -> bool:
    """The scripts of a day, which race the night of the day before, and the kills meanwhile; False when it failed."""

    def night_over() -> bool:
        return stage.night >= number - 1

    if number:
        nights.fall(number - 1)
    playing = number < stage.plan.days
    if playing:
        stage.say(day=number)
    if chaos:
        chaos.phase(number, night_over)
    everybody = {(name, number) for name in stage.plan.scripts} if playing else set()
    done = stage.wait(night_over, f"the night of day {number - 1}") and stage.wait(
        lambda: stage.played >= everybody, f"the scripts of day {number}"
    )
    if chaos and done:
        chaos.say(f"night {number - 1} is over, day {number} is played" if playing else "the last night is over")
    return done


def _brawlers(stage: Stage, seed: int) -> list[Brawler]:
    names = [name for name, kind in stage.plan.kinds.items() if kind == script.BRAWLER]
    return [Brawler(stage, name, number, seed) for name in names for number in range(BRAWLERS)]
