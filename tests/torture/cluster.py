"""The product's processes and servers in a place of their own: started as in production, killed, started again."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from honcho.environ import parse_procfile

from iss_billing import keeper
from iss_billing.embedded import DATABASE, USER, Place, redis_url
from tests.torture import clock
from tests.torture.process import NotUp, Process

ROOT = Path(__file__).resolve().parent.parent.parent


class Away(Exception):
    """A process died while it was asked."""


class Cluster:
    """PostgreSQL, Redis, the processes of the Procfile and the teller of one round."""

    def __init__(self, place: Path) -> None:
        self.place = Place(place)
        self.database = DATABASE
        self.settings: dict[str, str] = {}
        self.owner = keeper._system_user() if os.geteuid() == 0 else None
        self.programs = keeper.postgres_programs()
        self.clock = place / "clock.json"
        self.port = _free_port()
        self.postgres = Process("postgres", self._start_postgres, lambda: keeper._postgres_up(self.place), again=True)
        self.redis = Process("redis", self._start_redis, lambda: keeper._redis_up(self.place))
        self.web = Process("web", lambda: self._start_from_procfile("web"), self._web_up, again=True)
        self.worker = Process(
            "worker", lambda: self._start_from_procfile("worker"), lambda: self._said("worker", " ready.")
        )
        self.beat = Process(
            "beat", lambda: self._start_from_procfile("beat"), lambda: self._said("beat", "beat: Starting")
        )
        self.webhooks = Process(
            "webhooks", lambda: self._start_from_procfile("webhooks"), lambda: self._said("webhooks", " ready.")
        )
        self.teller = Process("teller", self._start_teller, self._teller_up)
        self.product = (self.web, self.worker, self.webhooks, self.beat, self.teller)
        self._teller_line = threading.Lock()

    # ── the servers ──────────────────────────────────────────────────────────────────────────────────

    def _start_postgres(self) -> "subprocess.Popen[bytes]":
        data = self.place.var / "postgres"
        return keeper._spawn([str(self.programs / "postgres"), "-D", str(data)], self.owner, self.place, "postgres")

    def _start_redis(self) -> "subprocess.Popen[bytes]":
        """Without a file: killed, it has lost everything."""
        command = keeper._redis_command(self.place)
        command[command.index("--save") :] = ["--save", "", "--appendonly", "no", "--daemonize", "no"]
        folder = keeper._owned(self.place.folder("redis"), self.owner)
        return keeper._spawn(command, self.owner, self.place, "redis", cwd=folder)

    def connect(self, database: str | None = None) -> "psycopg.Connection[Any]":
        """A connection of ours, each statement its own transaction. Raises psycopg.OperationalError."""
        host, name = str(self.place.sockets), database or self.database
        return psycopg.connect(host=host, user=USER, dbname=name, autocommit=True, application_name="torture")

    @property
    def redis_url(self) -> str:
        """As REDIS_URL says it."""
        return f"{redis_url(self.place.var)}?db=0"

    # ── the product ──────────────────────────────────────────────────────────────────────────────────

    def environment(self, role: str) -> dict[str, str]:
        """A production environment, and the switches of the torture."""
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
        scripts = Path(sys.executable).parent
        own = {} if role in ("teller", "prepare") else {"TORTURE_CLOCK": str(self.clock)}
        return kept | own | self.settings | {
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            "PYTHONUNBUFFERED": "1",
            "DJANGO_SETTINGS_MODULE": "tests.torture.settings",
            "DEBUG": "0",
            "SECRET_KEY": "a secret of the torture, which guards nothing: its servers end with it",
            "ALLOWED_HOSTS": "localhost",
            "TRUSTED_PROXIES": "127.0.0.1",
            "API_RATE_LIMITS": "off",
            "EMAIL_URL": f"filemail:///{self.place.folder('mail')}",
            "DATABASE_URL": f"postgres://{USER}@/{self.database}?host={self.place.sockets}",
            "REDIS_URL": self.redis_url,
            "PORT": str(self.port),
            "WORKER_CONCURRENCY": "2",
            "TORTURE_ROLE": role,
        }  # fmt: skip

    def _start_from_procfile(self, name: str) -> "subprocess.Popen[bytes]":
        command = parse_procfile((ROOT / "Procfile").read_text()).processes[name]
        command = command.replace("var/", f"{self.place.var}/")
        log = self.log(name)
        log.open("a").write("― start ―\n")
        with log.open("ab") as out:
            return subprocess.Popen(
                ["sh", "-c", command],
                cwd=ROOT,
                env=self.environment(name),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def log(self, name: str) -> Path:
        """What a process said, of all its lives."""
        return self.place.folder("log") / f"{name}.log"

    def _said(self, name: str, text: str) -> bool:
        return text in self.log(name).read_text(errors="replace").rpartition("― start ―")[2]

    def _web_up(self) -> bool:
        if not self._said("web", "Listening at"):
            return False  # workers that outlived their master hold the port until they notice
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _start_teller(self) -> "subprocess.Popen[str]":
        with self.log("teller").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.torture.teller"],
                cwd=ROOT,
                env=self.environment("teller"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def _teller_up(self) -> bool:
        return _line_of(self.teller.running) == "ready\n"

    def command(self, *arguments: str) -> dict[str, Any]:
        """Run a management command in the teller; its outcome. Raises Away when it died of it."""
        with self._teller_line:
            running = self.teller.running
            if not self.teller.wanted or running is None:
                raise Away  # the first line that a new one says is not an answer
            try:
                assert running.stdin is not None
                running.stdin.write(json.dumps(arguments) + "\n")
                running.stdin.flush()
                line = _line_of(running)
            except OSError as error:
                raise Away from error
            if not line.endswith("\n"):
                raise Away
            answer: dict[str, Any] = json.loads(line)
            return answer

    def manage(self, *arguments: str, given: str | None = None) -> str:
        """A process of its own: a management command, or a module where the first argument says `-m`."""
        what = list(arguments) if arguments[0] == "-m" else ["manage.py", *arguments]
        done = subprocess.run(
            [sys.executable, *what],
            cwd=ROOT,
            env=self.environment("prepare"),
            input=given,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            raise NotUp(f"{' '.join(what)} ended with {done.returncode}: {done.stdout[-2000:]}")
        return done.stdout

    @property
    def left(self) -> list[str]:
        """The processes that ended although nobody killed them: a server that was away is no reason to leave."""
        return [process.name for process in (self.postgres, self.redis, *self.product) if process.has_left]

    def set_clock(self, moment: Any, *, moving: bool) -> None:
        """Set the clock that tasks read."""
        clock.write(self.clock, moment, moving=moving)

    # ── all of them ──────────────────────────────────────────────────────────────────────────────────

    def start_servers(self) -> None:
        """PostgreSQL and Redis, empty."""
        keeper._make_socket_folder(self.place, self.owner)
        keeper._init_postgres(self.place, self.programs, self.owner)
        for server in (self.postgres, self.redis):
            server.start()

    @contextmanager
    def serving(self, database: str, **settings: str) -> Iterator[None]:
        """All the product's processes on a copy of the base, until the end of the block."""
        with self.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {database} TEMPLATE {DATABASE}")
        self.database, self.settings = database, settings
        try:
            starting = [threading.Thread(target=process.start) for process in self.product]
            for thread in starting:
                thread.start()
            for thread in starting:
                thread.join()
            yield
        finally:
            for process in self.product:
                process.stop()

    def stop(self) -> None:
        """Everything down."""
        for process in (*self.product, self.postgres, self.redis):
            process.stop()


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A place with running servers; gone afterwards, unless it failed: then the logs are kept."""
    place = Path(tempfile.mkdtemp(prefix="iss-torture-"))
    it = Cluster(place)
    failed = True
    try:
        it.start_servers()
        yield it
        failed = False
    finally:
        it.stop()
        shutil.rmtree(it.place.sockets, ignore_errors=True)
        for folder in place.iterdir():
            if folder.is_dir() and (folder.name != "log" or not failed):
                shutil.rmtree(folder, ignore_errors=True)
        if failed:
            print(f"the logs are in {place}/log")  # noqa: T201
        else:
            shutil.rmtree(place, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _line_of(process: "subprocess.Popen[Any] | None") -> str:
    assert process is not None
    assert process.stdout is not None
    return str(process.stdout.readline())
