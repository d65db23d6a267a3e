"""One night by Celery, from sending the task to the last commit, and the worker processes' peak memory."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from tests.bench.database import ROOT, connect, environment


@contextmanager
def worker(database: str, processes: int) -> Iterator[int]:
    """A Celery worker with so many processes, ready to work; its process id."""
    settings = environment(database)
    broker = redis.Redis.from_url(settings["REDIS_URL"])
    broker.flushdb()
    number = str(broker.client_info()["db"])
    if len([one for one in broker.client_list() if one["db"] == number]) > 1:
        raise RuntimeError("somebody else is at work on this broker: a worker that an earlier run left?")
    arguments = ["--loglevel", "info", "--concurrency", str(processes), "--without-mingle", "--without-gossip"]
    process = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "iss_billing", "worker", *arguments],
        cwd=ROOT,
        env=settings,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if " ready." in line:
            break
    drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()
        drain.wait()


def peak_mb(pid: int) -> int:
    """The largest resident set, in MB, that a process or one of its children has had."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    status = [Path(f"/proc/{one}/status").read_text() for one in (str(pid), *children)]
    found = [re.search(r"VmHWM:\s+(\d+) kB", text) for text in status]
    return max(int(match[1]) // 1024 for match in found if match)


def settle(database: str, processes: int) -> tuple[float, int]:
    """Seconds that the night took, and the workers' peak memory in MB."""
    code = (
        "import os, sys, time, django; django.setup(); from iss_billing.celery import app; app.pool; "
        "[app.send_task('settlement.tasks.collect_usage') for _ in range(8)]; "  # each process opens its connection
        "time.sleep(1); "
        "begun = time.time(); app.send_task('settlement.tasks.settle_night'); print(begun, flush=True); "
        "os._exit(0)"  # beat goes on living; to tidy itself up, Python works for 0.2 s of a short night
    )
    with worker(database, processes) as pid, connect(database) as connection:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=environment(database),
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        begun = float(done.stdout)
        finished = "SELECT 1 FROM settlement_settlementrun WHERE finished_at IS NOT NULL"
        while connection.execute(finished).fetchone() is None:
            if time.time() - begun > 3600:
                raise TimeoutError("the night does not end")
            time.sleep(0.02)
        return time.time() - begun, peak_mb(pid)


if __name__ == "__main__":
    print(json.dumps(settle(sys.argv[1], int(sys.argv[2]))))  # noqa: T201
