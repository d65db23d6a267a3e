"""PostgreSQL and Redis out of wheels, kept in `var/`, for everyone who sets no DATABASE_URL or REDIS_URL.

Every process that needs the servers holds a shared lock on `var/holders`. The first starts a keeper, a process of its
own that runs both servers as its children and waits for the exclusive lock: it gets it when the last holder is gone,
even one that was killed, and then stops the servers. No port is taken: both listen on sockets in a private folder.
"""

import atexit
import fcntl
import hashlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

DATABASE: Final = "iss"
USER: Final = "iss"
TICK_SECONDS = 0.2
LOG_BYTES = 8 * 2**20


class ServerError(Exception):
    """An embedded server cannot be brought up; the message says why and what to do."""


@dataclass(frozen=True)
class Place:
    """Where the servers of one `var/` keep their things."""

    var: Path

    @property
    def sockets(self) -> Path:
        """A folder with a short path (a socket's may have 107 bytes), named after `var`."""
        return Path("/tmp") / f"iss-{hashlib.sha256(os.fsencode(self.var.resolve())).hexdigest()[:16]}"  # noqa: S108

    @property
    def redis_socket(self) -> Path:
        """Where Redis listens."""
        return self.sockets / "redis.sock"

    def folder(self, name: str) -> Path:
        """A folder in `var`, made if it is missing."""
        folder = self.var / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def database_settings(var: Path) -> dict[str, Any]:
    """Django's settings of the embedded PostgreSQL; starts nothing."""
    host = str(Place(var).sockets)
    return {"ENGINE": "django.db.backends.postgresql", "NAME": DATABASE, "USER": USER, "HOST": host}


def redis_url(var: Path) -> str:
    """The URL of the embedded Redis; starts nothing."""
    return f"unix://{Place(var).redis_socket}"


# ── holders ──────────────────────────────────────────────────────────────────────────────────────────


_held: dict[Path, IO[bytes]] = {}


def hold(var: Path) -> None:
    """Have both servers up until this process ends; again in the same process it does nothing.

    Raises ServerError. Waits as long as a start takes, recovery after a crash included.
    """
    if var in _held:
        return
    place = Place(var)
    var.mkdir(parents=True, exist_ok=True)
    holders = (var / "holders").open("ab")
    fcntl.flock(holders, fcntl.LOCK_SH)  # waits while a keeper stops its servers
    _held[var] = holders
    with (var / "starting").open("ab") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        if not _kept(place):
            _start_keeper(place)
    atexit.register(_release_at_exit, var, os.getpid())


def release(var: Path) -> None:
    """Give the servers up and, if nobody else holds them, wait until they are down."""
    holders = _held.pop(var, None)
    if holders is None:
        return
    holders.close()
    while _kept(Place(var)) and not _held_by_others(var):
        time.sleep(TICK_SECONDS)


def _held_by_others(var: Path) -> bool:
    """Whether there are holders; not so while nobody holds, nor while the keeper stops the servers."""
    return locked(var / "holders", fcntl.LOCK_EX) and not locked(var / "holders", fcntl.LOCK_SH)


def _release_at_exit(var: Path, owner: int) -> None:
    if os.getpid() == owner:  # not in a child forked later
        release(var)


def locked(path: Path, kind: int) -> bool:
    """Whether someone's lock on a file keeps us from taking one of this kind."""
    try:
        with path.open("ab") as file:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False  # the place was removed: there is nothing to keep us from
    return False


def _kept(place: Place) -> bool:
    """Whether a keeper is at work."""
    return locked(place.var / "keeper", fcntl.LOCK_SH)


def _start_keeper(place: Place) -> None:
    log = open_log(place, "keeper")
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "iss_billing.keeper", "keep", str(place.var), str(writer)]
    root = Path(__file__).resolve().parent.parent
    keeper = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        command,
        cwd=root,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=[writer],
        start_new_session=True,  # Ctrl-C is for us, not for the servers that others may hold
    )
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as answer:
        said = answer.read()  # until it is ready or gone
    if said != "ready":
        keeper.wait()
        raise ServerError(said or f"the embedded servers did not start: see {place.folder('log')}")


def server_pids(var: Path) -> dict[str, int]:
    """The process ids of the running servers by name; empty when none runs."""
    if not _kept(Place(var)):
        return {}
    found: dict[str, int] = json.loads((var / "servers.json").read_text())
    return found


def open_log(place: Place, name: str) -> IO[bytes]:
    """The log of a server, begun anew when it has grown large."""
    log = place.folder("log") / f"{name}.log"
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    return log.open("ab")
