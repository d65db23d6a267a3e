"""Workers and beat on the hosts, by the commands of the Procfile."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TypeVar

from tests.scaleout.hosts import BASE, Host

T = TypeVar("T")
CELERY = [sys.executable, "-m", "celery", "-A", "iss_billing"]


@contextmanager
def worker(host: Host) -> Iterator[subprocess.Popen[bytes]]:
    """A worker with one process, ready to work; the hosts share this machine's name, so its own is given."""
    arguments = ["worker", "--concurrency", "1", "--loglevel", "info", "--hostname", f"worker@{host.name}"]
    with _running(host, *arguments) as process:
        until(lambda: " ready." in log(host), 60, f"the worker on {host.name} is ready")
        yield process


@contextmanager
def workers(*hosts: Host) -> Iterator[None]:
    """One on each."""
    with ExitStack() as stack:
        for host in hosts:
            stack.enter_context(worker(host))
        yield


@contextmanager
def beat() -> Iterator[None]:
    """The one beat, on the base host."""
    with _running(BASE, "beat", "--schedule", "var/beat-schedule", "--pidfile=", "--loglevel", "info"):
        yield


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process in order, or by force when it does not."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def log(host: Host) -> str:
    """What Celery said on a host since it was started last."""
    with suppress(FileNotFoundError):
        return (host.folder / "var" / "celery.log").read_text()
    return ""


def until(asked: Callable[[], T], seconds: float, what: str) -> T:
    """Ask until the answer is true; that answer."""
    deadline = time.monotonic() + seconds
    while not (answer := asked()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.02)
    return answer


@contextmanager
def _running(host: Host, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with (host.folder / "var" / "celery.log").open("wb") as out:
        process = subprocess.Popen(
            host.command(*CELERY, *arguments), cwd=host.folder, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        stop(process)
