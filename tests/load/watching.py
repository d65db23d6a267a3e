"""Where the time of a stretch went: processor seconds by who used them, waits for a processor, waits in PostgreSQL."""

import threading
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from psycopg import DatabaseError

from iss_billing.links import PAGES, process_name
from tests.bench.database import connect

SAMPLE_SECONDS = 0.2
NAMES = {PAGES: "pages", process_name(["celery", "worker"]): "the night"}
"""Who is connected under which name."""
BACKENDS = """
SELECT pid, application_name, state = 'active', coalesce(wait_event_type || ': ' || wait_event, 'works')
FROM pg_stat_activity WHERE datname = %s AND application_name = ANY(%s)
"""


@dataclass
class Spent:
    """Seconds on a processor and seconds ready but without one, by name; what the pages' connections were seen at."""

    seconds: float = 0
    busy: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    queued: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    seen: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Spent") -> None:
        """Add another stretch."""
        self.seconds += other.seconds
        self.seen.update(other.seen)
        for mine, its in ((self.busy, other.busy), (self.queued, other.queued)):
            for name, value in its.items():
                mine[name] += value


class Watch(threading.Thread):
    """Watches some processes, by name, and the connections of a database, while it is entered."""

    def __init__(self, database: str, processes: dict[str, int]) -> None:
        super().__init__()
        self.database, self.processes = database, processes
        self.spent = Spent()
        self._ends = threading.Event()
        self._first: dict[int, tuple[float, float]] = {}
        self._last: dict[int, tuple[str, float, float]] = {}

    def __enter__(self) -> "Watch":
        self._begun = time.monotonic()
        self._look()
        self._first = {pid: (busy, queued) for pid, (_, busy, queued) in self._last.items()}
        self.spent.seen.clear()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self.join()
        self.spent.seconds = time.monotonic() - self._begun
        for pid, (name, busy, queued) in self._last.items():
            busy_before, queued_before = self._first.get(pid, (0.0, 0.0))
            self.spent.busy[name] += busy - busy_before
            self.spent.queued[name] += queued - queued_before

    def run(self) -> None:
        """Look again and again: a process that ends takes its figures along."""
        while not self._ends.wait(SAMPLE_SECONDS):
            self._look()

    def _look(self) -> None:
        owners = {pid: name for name, root in self.processes.items() for pid in tree(root)}
        try:
            with connect(self.database) as connection:
                for pid, who, active, at in connection.execute(BACKENDS, [self.database, list(NAMES)]).fetchall():
                    owners[pid] = f"PostgreSQL for {NAMES[who]}"
                    if active and who == PAGES:
                        self.spent.seen[at] += 1
        except DatabaseError:
            return
        for pid, name in owners.items():
            if used := _used(pid):
                self._last[pid] = (name, *used)


def tree(root: int) -> list[int]:
    """A process and all that it has started; what is gone has started nothing."""
    pids = [root]
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").glob("*/children"):
            with suppress(OSError):
                pids += map(int, thread.read_text().split())
    return pids


def _used(pid: int) -> tuple[float, float] | None:
    """Seconds on a processor and seconds ready but without one, of all its threads; nothing once it is gone."""
    busy = queued = 0
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            on, waiting, _ = (thread / "schedstat").read_text().split()
            busy, queued = busy + int(on), queued + int(waiting)
    except OSError:
        return None
    return busy / 1e9, queued / 1e9
