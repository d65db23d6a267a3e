"""`make run` as a newcomer has it: in a path with a space and Chinese characters, with its own `var/`."""

import itertools
import os
import shutil
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError

import pytest

from iss_billing import embedded
from tests.conftest import ROOT, eventually

_numbers = itertools.count(1)
LEFT_OUT = shutil.ignore_patterns("var", ".venv", ".git", ".*_cache", ".env", ".hypothesis")


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "a b 中文"
    shutil.copytree(ROOT, place, ignore=LEFT_OUT)
    (place / ".venv").symlink_to(ROOT / ".venv")
    yield place
    for run in _runs:
        if run.process.poll() is None:
            run.stop()
    assert eventually(lambda: not embedded.server_pids(place / "var"))
    shutil.rmtree(embedded.Place(place / "var").sockets, ignore_errors=True)


_runs: list["Run"] = []


class Run:
    """One `make run`."""

    def __init__(self, place: Path, port: int) -> None:
        self.port = port
        self.log = place / f"run-{next(_numbers)}.log"
        unset = ("MAKEFLAGS", "MAKELEVEL", "DATABASE_URL", "REDIS_URL", "EMAIL_URL", "DEBUG", "SECRET_KEY", "SITE_URL")
        environment = {name: value for name, value in os.environ.items() if name not in unset}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                ["make", "run"],
                cwd=place,
                env=environment | {"PORT": str(port)},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        _runs.append(self)

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def up(self) -> bool:
        assert self.process.poll() is None, self.said
        with (
            suppress(URLError, ConnectionError),
            urllib.request.urlopen(f"http://localhost:{self.port}/sign-in/") as page,
        ):
            return bool(page.status == 200)
        return False

    def stop(self) -> int:
        """Ctrl-C."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(60)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_make_run(copy: Path) -> None:
    port = free_port()
    run = Run(copy, port)
    assert eventually(run.up, 240), run.said
    assert "demo@example.com" in run.said
    assert eventually(lambda: "ready." in run.said, 60), "the worker"
    assert (copy / ".env").stat().st_mode & 0o777 == 0o600

    # the port is taken: another one says so, and how to go on
    second = Run(copy, port)
    assert second.process.wait(60) != 0
    assert f"port {port} cannot be used" in second.said

    # one process dies: everything stops, and the last words name it
    [started] = [line for line in run.said.splitlines() if "worker started (pid=" in line]
    os.kill(int(started.partition("pid=")[2].rstrip(")")), signal.SIGKILL)
    assert run.process.wait(60) != 0
    assert "make run: worker ended" in run.said
    assert eventually(lambda: not embedded.server_pids(copy / "var"))

    # again: up within seconds, with its data
    run = Run(copy, port)
    assert eventually(run.up, 60), run.said
    run.stop()
    assert "Traceback" not in run.said
    assert not embedded.server_pids(copy / "var"), "Ctrl-C takes everything down"
