"""One round: the scripts of a seed undisturbed, the same under torture, and what must be equal afterwards."""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import psycopg
import redis

from iss_billing.days import start_of
from tests.torture import dump, script
from tests.torture.actors import Actor, Brawler, Stage
from tests.torture.chaos import EXPIRES, Chaos
from tests.torture.cluster import Cluster, cluster

MOST_DAYS = 9
STRETCH = 0.015
"""Seconds that a statement waits at most, so that transactions stay open long enough to be killed in."""
BRAWLERS = 2
"""Threads on each brawler's account."""
MOST_SECONDS = 240
"""Of a night: the next one begins five minutes earlier."""
QUIET = re.compile(rb"settle_(night|missed|shard)")

Tell = Callable[[str], None]


class Failed(Exception):
    """The round did not come out right; the message says how."""


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
            _perform(servers, plan, prepared, report, None)
        report.calm_seconds = time.monotonic() - begun
        calm = _dump(servers)
        tell(f"undisturbed in {report.calm_seconds:.1f} s: " + ", ".join(f"{len(rows)} {name}" for name, rows in calm.items()))
        begun = time.monotonic()
        _set_first_clock(servers, plan)
        settings = {"TORTURE_STRETCH": str(STRETCH)} | ({"TORTURE_PLANT": plant} if plant else {})
        with servers.serving("storm", **settings):
            stage = _perform(servers, plan, prepared, report, (seed, kills, tell))
            _prove_nothing_is_held(servers)
        report.storm_seconds = time.monotonic() - begun
        report.rows = sum(map(len, calm.values()))
        _prove_equal(calm, _dump(servers))
        _prove_acknowledged(servers, stage)
        _prove_books(servers)
    return report


def _prepare(servers: Cluster, plan: script.Round) -> dict[str, Any]:
    servers.manage("migrate", "--verbosity", "0")
    servers.manage("load_catalogue")
    opened = start_of(plan.day(0))
    people = {
        name: f"{name}@example.com" if kind in (script.STRICT, script.DEBTOR) else None
        for name, kind in plan.kinds.items() if kind != script.EDGE
    }  # fmt: skip
    asked = {"opened": opened.isoformat(), "accounts": people}
    servers.manage(
        "set_tariff", "ai.face", "cn-mainland", "0.7", "--per", "1000", "--from", plan.day(2).isoformat(),
        "--reason", "dearer", "--now", opened.isoformat(),
    )  # fmt: skip
    prepared: dict[str, Any] = json.loads(servers.manage("-m", "tests.torture.prepare", given=json.dumps(asked)))
    return prepared


def _set_first_clock(servers: Cluster, plan: script.Round) -> None:
    """The first morning, when there is nothing to settle yet."""
    servers.set_clock(start_of(plan.day(0)) + timedelta(hours=3), moving=False)


def _perform(
    servers: Cluster, plan: script.Round, prepared: dict[str, Any], report: Report, storm: tuple[int, int, Tell] | None
) -> Stage:
    """Play all days; each day's scripts race the night of the day before."""
    stage = Stage(servers, plan, prepared)
    chaos = Chaos(stage, *storm) if storm else None
    nights = Nights(stage)
    brawlers = [
        Brawler(stage, name, number, storm[0])
        for name, kind in plan.kinds.items() if kind == script.BRAWLER
        for number in range(BRAWLERS)
    ] if storm else []  # fmt: skip
    actors = [Actor(stage, name) for name in plan.scripts]
    for thread in (nights, *actors, *brawlers):
        thread.start()
    try:
        for number in range(plan.days + 1):
            if number:
                nights.fall(number - 1)
            if number < plan.days:
                stage.say(day=number)
            if chaos:
                chaos.phase(number, lambda: stage.night >= number - 1)  # noqa: B023
            everybody = {(name, number) for name in plan.scripts} if number < plan.days else set()
            if not stage.wait(lambda: stage.played >= everybody, f"the scripts of day {number}"):  # noqa: B023
                break
            if number and not stage.wait(lambda: stage.night >= number - 1, f"the night of day {number - 1}"):  # noqa: B023
                break
    finally:
        for brawler in brawlers:
            brawler.leaving.set()
        nights.leaving.set()
        for thread in (nights, *brawlers):
            thread.join(30)
    if chaos:
        report.kills, report.inside, report.extra = chaos.counts, chaos.inside, chaos.extra
        report.retries, report.acknowledged, report.slowest = stage.retries, len(stage.acknowledged), stage.slowest
        _prove_brawlers(servers, stage, brawlers)
    if stage.errors:
        raise Failed("\n".join(stage.errors))
    if not chaos:
        stage.say(outcomes=stage.outcomes)
    return stage


class Nights(threading.Thread):
    """Watches what settlement does, and moves the clock: a night, and when all is settled the sweep after it."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(name="nights", daemon=True)
        self.stage, self.cluster = stage, stage.cluster
        self.number = -1
        self.begun = 0.0
        self.leaving = threading.Event()
        self.names = {id: name for name, id in stage.ids.items()}
        self.scripted = [stage.ids[name] for name in stage.plan.accounts]

    def fall(self, number: int) -> None:
        """The night after a day: each a little earlier than the one before, or it would be 24 h after a bill."""
        night = start_of(self.stage.plan.day(number + 1)) + timedelta(hours=2, minutes=50 - 5 * number)
        self.cluster.set_clock(night, moving=True)
        self.begun = time.monotonic()
        self.number = number

    def run(self) -> None:
        """Until told to leave."""
        while not self.leaving.wait(0.1):
            self._prove_all_stay()
            try:
                with self.cluster.connect() as connection:
                    while not self.leaving.wait(0.1):
                        self._prove_all_stay()
                        self._look(connection)
            except psycopg.OperationalError:
                continue  # PostgreSQL was killed
            except Exception as error:
                self.stage.fail(f"nights: {type(error).__name__}: {error}")
                return

    def _prove_all_stay(self) -> None:
        if left := self.cluster.left:
            self.stage.fail(f"{', '.join(left)} ended although nobody killed it: see its log")

    def _look(self, connection: "psycopg.Connection[Any]") -> None:
        number = self.number
        bills = connection.execute("SELECT account_id, day FROM settlement_bill WHERE sequence = 1").fetchall()
        billed = {(self.names[account], (day - script.FIRST).days) for account, day in bills}
        if billed != self.stage.billed:
            self.stage.say(billed=billed)
        if self.stage.night >= number:
            return
        if time.monotonic() - self.begun > MOST_SECONDS:
            self.stage.fail(f"the night of day {number} was not over after {MOST_SECONDS} s")
        day = self.stage.plan.day(number)
        done = "SELECT FROM settlement_settlementrun WHERE through_day >= %s AND finished_at IS NOT NULL"
        if connection.execute(done, [day]).fetchone() is None:
            return
        self._prove_nothing_is_forgotten(connection, day)
        # at the clock of the sweep every run of the night stands still, so what comes late is the next night's
        sweep = start_of(self.stage.plan.day(number + 1)) + timedelta(hours=3)
        self.cluster.set_clock(sweep, moving=False)
        moved = time.time()
        due = "SELECT FROM accounts_account WHERE arrears_since <= %s AND announced NOT IN ('suspended', 'reclaimed') AND id = ANY(%s)"
        while (
            connection.execute(due, [sweep - timedelta(days=1), self.scripted]).fetchone() is not None
            or not self._quiet_since(moved)
        ):
            if self.leaving.wait(0.1):
                return
        self.stage.say(night=number)

    def _quiet_since(self, moved: float) -> bool:
        """Whether no worker may still be at what it began at the clock of the night."""
        if time.time() < moved + 0.3:
            return False
        if time.time() > moved + EXPIRES + 1:
            return True  # what is said to be in hand was a killed worker's
        try:
            client = redis.Redis.from_url(self.cluster.redis_url)
            waiting, taken, since = (
                client.pipeline().lrange("celery", 0, -1).hgetall("unacked").zrange("unacked_index", 0, -1, withscores=True)
            ).execute()
        except redis.RedisError:
            return False
        before = {tag for tag, begun in since if begun <= moved}
        return not any(b"settle_night" in message for message in waiting) and not any(
            tag in before and QUIET.search(message) for tag, message in taken.items()
        )

    def _prove_nothing_is_forgotten(self, connection: "psycopg.Connection[Any]", day: date) -> None:
        """The run is over: nobody's day up to this one is still pending."""
        left = connection.execute(
            """SELECT account_id, day FROM settlement_pendingday WHERE day <= %(day)s AND account_id = ANY(%(ids)s)
            UNION SELECT mark.account_id, mark.day FROM settlement_usagebatch AS batch,
                unnest(batch.account_ids, batch.days) AS mark (account_id, day)
            WHERE mark.day <= %(day)s AND mark.account_id = ANY(%(ids)s)""",
            {"day": day, "ids": self.scripted},
        ).fetchall()
        failed = connection.execute("SELECT account_id, day, error FROM settlement_settlementfailure").fetchall()
        if left or failed:
            self.stage.fail(f"the run of {day} is over; still pending: {left}; failed: {failed}")


# ── proofs ───────────────────────────────────────────────────────────────────────────────────────────


def _dump(servers: Cluster) -> dict[str, list[str]]:
    with servers.connect() as connection:
        return dump.dump(connection)


def _prove_equal(calm: dict[str, list[str]], storm: dict[str, list[str]]) -> None:
    """All rows but surrogate ids and the bookkeeping of runs are those of the undisturbed world."""
    if found := dump.differences(calm, storm):
        raise Failed("the world under torture is another one:\n" + "\n".join(found))


def _prove_acknowledged(servers: Cluster, stage: Stage) -> None:
    """What POST usage/ and import_usage called accepted is there."""
    with servers.connect() as connection:
        stored = set(connection.execute("SELECT day, source, event_id FROM settlement_usageevent").fetchall())
    if lost := sorted(stage.acknowledged - stored):
        raise Failed(f"{len(lost)} events were called accepted and are lost, such as {lost[:5]}")


def _prove_brawlers(servers: Cluster, stage: Stage, brawlers: list[Brawler]) -> None:
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


def _prove_nothing_is_held(servers: Cluster) -> None:
    """No lock, no open and no prepared transaction is left, while every process lives on."""
    deadline = time.monotonic() + 10
    with servers.connect() as connection:
        while True:
            held = connection.execute(
                """SELECT activity.application_name, activity.state, lock.locktype, lock.mode, activity.query
                FROM pg_locks AS lock JOIN pg_stat_activity AS activity USING (pid)
                WHERE activity.datname = current_database() AND pid <> pg_backend_pid()
                UNION ALL SELECT 'prepared', gid, '', '', '' FROM pg_prepared_xacts"""
            ).fetchall()
            if not held:
                return
            if time.monotonic() > deadline:
                raise Failed(f"locks are left: {held[:5]}")
            time.sleep(0.02)


def _prove_books(servers: Cluster) -> None:
    audit = json.loads(servers.manage("audit_books", "--json"))
    if not audit["ok"]:
        raise Failed(f"the books do not hold: {[check for check in audit['checks'] if check['broken']]}")
