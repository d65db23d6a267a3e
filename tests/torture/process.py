"""A process of a round: started, killed, started again."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

UP_SECONDS = 60


class NotUp(Exception):
    """A process did not come up, or not again."""


def children(pid: int) -> list[int]:
    """The child processes of a process."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            after = stat.read_text().rpartition(")")[2].split()
            if int(after[1]) == pid and after[0] != "Z":
                found.append(int(stat.parent.name))
    return sorted(found)


def kill(*pids: int) -> None:
    """SIGKILL; what is gone already is gone."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Process:
    """One of the processes: how it is started, and how one sees that it works."""

    def __init__(
        self, name: str, start: Callable[[], "subprocess.Popen[Any]"], up: Callable[[], bool], *, again: bool = False
    ) -> None:
        self.name, self._start, self._up, self._again = name, start, up, again
        self.running: subprocess.Popen[Any] | None = None
        self.wanted = False
        """Whether it is to be at work: it is up and we have not killed it."""

    @property
    def has_left(self) -> bool:
        """Whether it ended although nobody killed it."""
        return self.wanted and self.running is not None and self.running.poll() is not None

    @property
    def pid(self) -> int:
        """Of the one that runs, or ran last."""
        assert self.running is not None
        return self.running.pid

    def start(self) -> None:
        """Start it and wait until it works; `again` where it may have to wait for what the killed one held: the port,
        the shared memory. Raises NotUp."""
        deadline = time.monotonic() + UP_SECONDS
        self.running = self._start()
        while not self._up():
            if time.monotonic() > deadline:
                raise NotUp(f"{self.name} did not come up in {UP_SECONDS} s")
            time.sleep(0.05)
            if self.running.poll() is not None:
                if not self._again:
                    raise NotUp(f"{self.name} ended while it started, because something else was away: see its log")
                time.sleep(0.2)
                self.running = self._start()
        self.wanted = True

    def kill(self, *, whole: bool = True) -> None:
        """SIGKILL to it and all its children at once, or to it alone."""
        self.wanted = False
        pids = [self.pid, *(children(self.pid) if whole else ())]
        kill(*pids)
        if self.running is not None:
            self.running.wait()

    def stop(self) -> None:
        """End it for good."""
        if self.running is not None:
            self.kill()
