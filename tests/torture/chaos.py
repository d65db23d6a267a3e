"""Who kills what, when: SIGKILL in an order that the seed decides, at moments that nobody does."""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import psycopg
from celery import Celery
from kombu.exceptions import OperationalError

from tests.torture.process import Process, children, kill
from tests.torture.stage import Stage

KINDS = ("worker", "child", "postgres", "backend", "redis", "beat", "web", "webhooks", "teller")
INSIDE = ("worker", "child")
"""Killed inside an open transaction, while there is one."""
NEEDED = {"worker": ("postgres",), "child": ("worker", "postgres"), "backend": ("postgres",)}
"""What must have come back before."""
PATIENCE = 8.0
"""Seconds to wait for a transaction to kill somebody in."""

EXPIRES = 2.0
"""Seconds after which a second run is not begun any more: it would be one too many in the night after."""

OPEN = """
SELECT pid, application_name, backend_xid::text, extract(epoch FROM clock_timestamp() - xact_start)::float,
       state, left(regexp_replace(query, '\\s+', ' ', 'g'), 60)
FROM pg_stat_activity WHERE application_name LIKE %s AND backend_xid IS NOT NULL AND query NOT ILIKE 'commit%%'
"""


class Caught(NamedTuple):
    """A stopped process, and the transaction in which it stands."""

    pid: int
    backend: int
    how: str


class Chaos:
    """The kills of one round."""

    def __init__(self, stage: Stage, seed: int, kills: int, tell: Callable[[str], None]) -> None:
        self.stage, self.cluster, self.tell = stage, stage.cluster, tell
        self.rng = random.Random(f"{seed} kills")
        self.counts: Counter[str] = Counter()
        self.inside: Counter[str] = Counter()
        self.extra: Counter[str] = Counter()
        self.mending: dict[str, threading.Thread] = {}
        self.begun = time.monotonic()
        phases = stage.plan.days + 1
        deck = [KINDS[number % len(KINDS)] for number in range(kills)]
        self.rng.shuffle(deck)
        self.plan: list[list[str]] = [[] for _ in range(phases)]
        for number, kind in enumerate(sorted(deck, key=lambda kind: kind not in INSIDE)):
            # before the first day is over there is no night to kill a worker in
            self.plan[1 + number % (phases - 1) if kind in INSIDE else number % phases].append(kind)
        socket = self.cluster.redis_url.replace("unix://", "redis+socket://").replace("?db=", "?virtual_host=")
        self.broker = Celery("torture", broker=socket, set_as_current=False)
        self.broker.conf.broker_transport_options = {"max_retries": 1, "interval_start": 0}

    def phase(self, number: int, night_over: Callable[[], bool]) -> None:
        """All kills of a phase: a night and the day after it. Workers are killed while there is a night."""
        todo, last = self.plan[number], number == len(self.plan) - 1
        while todo and not self.stage.errors:
            night = number > 0 and not night_over()
            if number and not night and not last:
                self.plan[number + 1] += [kind for kind in todo if kind in INSIDE]
                todo = [kind for kind in todo if kind not in INSIDE]
                if not todo:
                    break
            urgent = [kind for kind in todo if kind in INSIDE] if night else []
            kind = self.rng.choice(urgent if urgent and self.rng.random() < 0.6 else todo)
            time.sleep(self.rng.random() * (0.3 if night else 0.8))
            if night and self.rng.random() < 0.5:
                self._twice()
            if self._kill(kind):
                todo.remove(kind)
        for thread in self.mending.values():
            thread.join()

    def _kill(self, kind: str) -> bool:
        """Kill one, once all that it takes is up; False where there was none."""
        for needed in (kind, *NEEDED.get(kind, ())):
            if needed in self.mending:
                self.mending[needed].join()
        done = getattr(self, f"_kill_{kind}")()
        if done is None:
            return False
        self.counts[kind] += 1
        self.inside[kind] += "inside" in done
        self.say(f"#{self.counts.total():<3} {kind}: {done}")
        return True

    def say(self, what: str) -> None:
        """A line of the log, with the time since the storm began."""
        self.tell(f"{time.monotonic() - self.begun:6.1f} s  {what}")

    # ── one of each kind ─────────────────────────────────────────────────────────────────────────────

    def _kill_worker(self) -> str:
        caught = self._catch("worker-%")
        whole = self.rng.random() < 0.5
        group = children(self.cluster.worker.pid)
        self.cluster.worker.kill(whole=whole)
        if caught:
            kill(caught.pid)
        self._mend(self.cluster.worker)
        who = f"{self.cluster.worker.pid} with its children {group}" if whole else f"{self.cluster.worker.pid} alone"
        return f"{who}, {caught.how if caught else 'between transactions'}"

    def _kill_child(self) -> str | None:
        caught = self._catch("worker-%")
        pids = [caught.pid] if caught else children(self.cluster.worker.pid)
        if not pids:
            return None  # it is starting them anew
        pid = self.rng.choice(pids)
        kill(pid)
        return f"{pid} of the pool, {caught.how if caught else 'between transactions'}"

    def _kill_web(self) -> str:
        caught = self._catch("web-%", 0.5)
        master = self.cluster.web.pid
        workers = children(master)
        if (caught and self.rng.random() < 0.5) or not workers:
            pid = caught.pid if caught else master
        else:
            pid = self.rng.choice((master, self.rng.choice(workers)))
        if pid == master:
            whole = self.rng.random() < 0.5
            self.cluster.web.kill(whole=whole)
            who = f"{master} with its workers" if whole else f"{master} alone"
            self._mend(self.cluster.web)
        else:
            kill(pid)
            who = f"{pid}, a worker of {master}"
        if caught and pid != caught.pid:
            with suppress(ProcessLookupError):
                os.kill(caught.pid, signal.SIGCONT)
        return f"{who}, {caught.how if caught and caught.pid == pid else 'somewhere'}"

    def _kill_postgres(self) -> str:
        whole = self.rng.random() < 0.5
        pid = self.cluster.postgres.pid
        backends = len(children(pid))
        self.cluster.postgres.kill(whole=whole)
        self._mend(self.cluster.postgres)
        return f"postmaster {pid}, " + (f"and its {backends} children" if whole else "alone")

    def _kill_backend(self) -> str | None:
        """One backend in a transaction, which makes PostgreSQL restart them all."""
        caught = self._catch("w%", 2)
        if caught is None:
            with suppress(psycopg.OperationalError), self.cluster.connect() as connection:
                found = connection.execute(
                    "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'w%'"
                ).fetchall()
                if found:
                    kill(self.rng.choice(found)[0])
                    return "of an idle connection"
            return None
        kill(caught.backend)
        with suppress(ProcessLookupError):
            os.kill(caught.pid, signal.SIGCONT)
        return f"{caught.backend}, its client {caught.how}"

    def _kill_redis(self) -> str:
        pid = self.cluster.redis.pid
        self.cluster.redis.kill()
        self._mend(self.cluster.redis)
        return f"{pid}, its data lost"

    def _kill_beat(self) -> str:
        self.cluster.beat.kill()
        self._mend(self.cluster.beat)
        return f"{self.cluster.beat.pid}"

    def _kill_webhooks(self) -> str:
        """What tells customers and operators, in threads of one process; in a transaction of theirs if there is one."""
        caught = self._catch("webhooks-%", 0.5)
        self.cluster.webhooks.kill()
        self._mend(self.cluster.webhooks)
        return f"{self.cluster.webhooks.pid}, {caught.how if caught else 'between transactions'}"

    def _kill_teller(self) -> str:
        self.cluster.teller.kill()
        self._mend(self.cluster.teller)
        return f"{self.cluster.teller.pid}, a command"

    # ── means ────────────────────────────────────────────────────────────────────────────────────────

    def _mend(self, process: Process) -> None:
        """Start what died again, a moment later."""

        def work() -> None:
            time.sleep(self.rng.random() * 0.7)
            try:
                process.start()
            except Exception as error:
                self.stage.fail(f"{process.name} did not come back: {error}")

        thread = threading.Thread(target=work, daemon=True)
        self.mending[process.name] = thread
        thread.start()

    def _catch(self, whose: str, seconds: float = PATIENCE) -> Caught | None:
        """Stop a process that is inside a transaction which has written, and make sure that it still is."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self.stage.errors:
            with suppress(psycopg.OperationalError), self.cluster.connect() as connection:
                while time.monotonic() < deadline:
                    found = connection.execute(OPEN, [whose]).fetchall()
                    if found:
                        caught = self._stop(connection, whose, self.rng.choice(found))
                        if caught:
                            return caught
                    time.sleep(0.004)
            time.sleep(0.05)
        return None

    def _stop(self, connection: "psycopg.Connection[Any]", whose: str, found: tuple[Any, ...]) -> Caught | None:
        backend, name, xid = found[:3]
        pid = int(name.rpartition("-")[2])
        time.sleep(self.rng.random() * 0.1)
        try:
            os.kill(pid, signal.SIGSTOP)
        except ProcessLookupError:
            return None
        again = [row for row in connection.execute(OPEN, [whose]).fetchall() if (row[0], row[2]) == (backend, xid)]
        if not again:
            os.kill(pid, signal.SIGCONT)
            return None
        _, _, _, age, state, query = again[0]
        how = f"{name} inside transaction {xid} of backend {backend}, open for {age:.3f} s ({state}): {query}"
        return Caught(pid, backend, how)

    def _twice(self) -> None:
        """A second run at once, or shards delivered again, those of any run."""
        try:
            if self.rng.random() < 0.4:
                self.stage.second_run = time.monotonic()
                self.broker.send_task("settlement.tasks.settle_night", expires=EXPIRES)
                self.extra["second runs"] += 1
                return
            with self.cluster.connect() as connection:
                shards = connection.execute("SELECT id FROM settlement_settlementshard ORDER BY random() LIMIT 4")
                for (shard,) in shards.fetchall():
                    self.broker.send_task("settlement.tasks.settle_shard", [shard])
                    self.extra["shards again"] += 1
        except (OperationalError, psycopg.OperationalError, OSError):
            return  # somebody is away: another time
