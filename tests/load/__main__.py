"""`make load`: the site under customers, programs, the platform and staff at once, idle and while a night is settled.

In turns, on copies of one database: the same load alone, then with a settlement of every account going on; the
servers run as the Procfile says, in production's settings. Writes docs/load.md and docs/load.json.
"""

import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import redis
from honcho.environ import parse_procfile

from iss_billing import embedded
from iss_billing.days import SHANGHAI
from tests.bench import database
from tests.bench.database import BASE, ROOT, connect, fresh_copy
from tests.load.report import Window, write
from tests.load.watching import Spent, Watch
from tests.load.weights import groups, join, weights

ACCOUNTS = int(os.environ.get("LOAD_ACCOUNTS", "100000"))
ROUNDS = int(os.environ.get("LOAD_ROUNDS", "3"))
IDLE_SECONDS = 30
WARM_SECONDS = 8
PORT = 18_767
Process = subprocess.Popen[bytes]


def main() -> None:
    """Build, measure in turns, write."""
    embedded.hold(database.VAR)
    say(f"building {ACCOUNTS:,} accounts with {ACCOUNTS * 10:,} events")
    database.build(ACCOUNTS, ACCOUNTS * 10)
    environment = _environment(BASE)
    _manage(environment, "collectstatic", "--no-input", "--verbosity", "0")
    people = database.python("from tests.load.world import people; people()", settings=environment)
    idle, night, speeds = Window("idle"), Window("while a night is settled"), list[float]()
    with groups() as group:
        if group:
            join(group["postgres"], embedded.server_pids(database.VAR)["PostgreSQL"])
        for number in range(1, ROUNDS + 1):
            with fresh_copy() as name:
                speeds.append(_round(_environment(name) | {"LOAD_WORLD": people}, name, group, idle, night))
            say(f"round {number}: {idle.said()}; {night.said()}; {speeds[-1]:,.0f} account-days/s")
    database.drop(BASE)
    machine = f"{os.cpu_count()} cores, {database.processor()}, Python {platform.python_version()}"
    write(idle, night, speeds, ACCOUNTS, f"{datetime.now(SHANGHAI):%Y-%m-%d}, {machine}", weights() if group else None)


def _round(environment: dict[str, str], name: str, group: dict[str, Path], idle: Window, night: Window) -> float:
    """The load alone, then while a night is settled; the night's account-days a second."""
    web, worker, webhooks = (_procfile(part, environment, group.get(part)) for part in ("web", "worker", "webhooks"))
    with web as pages, worker as nights, webhooks:
        _ready()
        _people(environment, WARM_SECONDS)
        processes = {"web processes": pages.pid, "worker": nights.pid}
        idle.add(*_idle(environment, name, processes))
        found, spent = _night(environment, name, processes)
        night.add(found, spent)
        return ACCOUNTS / spent.seconds


def _environment(name: str) -> dict[str, str]:
    return database.environment(name) | {
        "DEBUG": "0",
        "ALLOWED_HOSTS": "localhost",
        "TRUSTED_PROXIES": "127.0.0.1",
        "PORT": str(PORT),
    }


def _manage(environment: dict[str, str], *command: str) -> None:
    subprocess.run([sys.executable, "manage.py", *command], cwd=ROOT, env=environment, check=True)


@contextmanager
def _procfile(name: str, environment: dict[str, str], group: Path | None) -> Iterator[Process]:
    """A process of the Procfile, with the weight that production gives it where there is a group for it."""
    if name == "worker":
        redis.Redis.from_url(environment["REDIS_URL"]).flushdb()
    command = parse_procfile((ROOT / "Procfile").read_text()).processes[name]
    if group:
        command = f"echo $$ > {group / 'cgroup.procs'} && {command}"
    path = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        ["sh", "-c", command],
        cwd=ROOT,
        env=environment | {"PATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # as `make run`, systemd and containers do
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def _ready() -> None:
    import urllib.request

    for _ in range(200):
        try:
            with urllib.request.urlopen(f"http://localhost:{PORT}/healthz") as answer:
                if answer.status == 200:
                    return
        except OSError:
            pass
        time.sleep(0.1)
    raise TimeoutError("the site does not come up")


def _locust(environment: dict[str, str], seconds: int) -> Process:
    command = [sys.executable, "-m", "locust", "-f", "tests/load/people.py", "--headless", "--json", "--only-summary"]
    command += ["--users", "127", "--spawn-rate", "127", "--run-time", f"{seconds}s", "--stop-timeout", "5"]
    command += ["--exit-code-on-error", "0", "--host", f"http://localhost:{PORT}", "--loglevel", "ERROR"]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def _people(environment: dict[str, str], seconds: int) -> None:
    """Let them come for so many seconds."""
    _counted(_locust(environment, seconds))


def _idle(environment: dict[str, str], name: str, processes: dict[str, int]) -> tuple[Any, Spent]:
    """What locust counted while there was nothing else to do, and where the time went."""
    people = _locust(environment, IDLE_SECONDS)
    with Watch(name, processes | {"people": people.pid}) as watch:
        found = _counted(people)
    return found, watch.spent


def _counted(people: Process) -> Any:
    """What locust counted by its end."""
    output, said = people.communicate()
    if people.returncode:
        raise RuntimeError(said.decode())
    return json.loads(output)


def _night(environment: dict[str, str], name: str, processes: dict[str, int]) -> tuple[Any, Spent]:
    """What locust counted from the beginning of a night until its certificate was written, and where the time went."""
    people = _locust(environment, 1800)
    time.sleep(4)  # they are all there
    code = (
        "import django; django.setup(); from iss_billing.celery import app; "
        "app.send_task('settlement.tasks.settle_night')"
    )
    with Watch(name, processes | {"people": people.pid}) as watch, connect(name) as connection:
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)
        certified = "SELECT 1 FROM settlement_settlementrun WHERE certified_at IS NOT NULL"
        begun = time.monotonic()
        while connection.execute(certified).fetchone() is None:
            if time.monotonic() - begun > 1500:
                raise TimeoutError("the night does not end")
            time.sleep(0.2)
    people.send_signal(signal.SIGTERM)
    return _counted(people), watch.spent


def say(text: str) -> None:
    """A line of progress."""
    print(f"· {text}", file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
