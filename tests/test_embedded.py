"""The embedded servers: brought up by whoever needs them, gone with the last holder, however it ended."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from iss_billing import embedded
from tests.conftest import ROOT, eventually

HOLDER = """
import sys
from pathlib import Path
from iss_billing import embedded
embedded.hold(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def var(tmp_path: Path) -> Iterator[Path]:
    """A place with a space and Chinese characters in its path."""
    place = tmp_path / "x y 中文" / "var"
    yield place
    embedded.release(place)
    assert eventually(lambda: not embedded.server_pids(place))
    shutil.rmtree(embedded.Place(place).sockets, ignore_errors=True)


def holder(var: Path) -> subprocess.Popen[str]:
    """Another process that holds the servers until its standard input is closed."""
    command = [sys.executable, "-c", HOLDER, str(var)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def leave(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(60) == 0
    if process.stdout:
        process.stdout.close()


def query(var: Path, statement: str) -> list[tuple[object, ...]]:
    """Ask the embedded PostgreSQL, as Django would."""
    settings = embedded.database_settings(var)
    with psycopg.connect(
        host=settings["HOST"], user=settings["USER"], dbname=settings["NAME"], autocommit=True
    ) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_servers_live_as_long_as_somebody_holds_them_and_keep_their_data(var: Path) -> None:
    first = holder(var)
    second = holder(var)
    pids = embedded.server_pids(var)
    assert set(pids) == {"PostgreSQL", "Redis"}
    assert query(var, "SELECT current_setting('fsync'), current_setting('TimeZone')") == [("on", "UTC")]
    query(var, "CREATE TABLE kept AS SELECT 7 AS n")
    leave(first)
    assert all(map(alive, pids.values()))
    redis.Redis.from_url(embedded.redis_url(var)).set("kept", "1")
    leave(second)
    assert not any(map(alive, pids.values())), "the last one out waits until they are down"
    embedded.hold(var)
    assert query(var, "SELECT n FROM kept") == [(7,)]
    assert redis.Redis.from_url(embedded.redis_url(var)).get("kept") == b"1"


def test_a_killed_holder_takes_the_servers_down_too(var: Path) -> None:
    process = holder(var)
    pids = embedded.server_pids(var)
    process.kill()
    process.wait()
    assert eventually(lambda: not any(map(alive, pids.values())))


@pytest.mark.parametrize("victim", ["PostgreSQL", "Redis"])
def test_a_server_that_dies_is_noticed_and_comes_back_with_the_next_holder(var: Path, victim: str) -> None:
    process = holder(var)
    query(var, "CREATE TABLE kept AS SELECT 7 AS n")
    pids = embedded.server_pids(var)
    watch = subprocess.Popen([sys.executable, "-m", "iss_billing.keeper", "watch", str(var), victim], cwd=ROOT)
    _kill(pids[victim])
    assert watch.wait(30) != 0
    assert eventually(lambda: not any(map(alive, pids.values())))
    leave(process)
    embedded.hold(var)
    assert query(var, "SELECT n FROM kept") == [(7,)], "recovered"


def test_a_killed_keeper_leaves_nothing_that_hinders_the_next(var: Path) -> None:
    process = holder(var)
    query(var, "CREATE TABLE kept AS SELECT 7 AS n")
    pids = embedded.server_pids(var)
    keeper = int(Path(f"/proc/{pids['PostgreSQL']}/stat").read_text().rpartition(")")[2].split()[1])
    _kill(keeper)
    leave(process)
    embedded.hold(var)
    assert query(var, "SELECT n FROM kept") == [(7,)]
    assert not any(map(alive, pids.values())), "the orphans were stopped"


def test_a_place_that_was_removed_under_its_servers_is_made_anew(var: Path) -> None:
    process = holder(var)
    query(var, "CREATE TABLE gone AS SELECT 7 AS n")
    pids = embedded.server_pids(var)
    keeper = int(Path(f"/proc/{pids['PostgreSQL']}/stat").read_text().rpartition(")")[2].split()[1])
    shutil.rmtree(var)
    leave(process)
    assert eventually(lambda: not any(map(alive, [*pids.values(), keeper])))
    embedded.hold(var)
    assert query(var, "SELECT to_regclass('gone')") == [(None,)]


def test_somebody_elses_socket_folder_is_refused(var: Path) -> None:
    folder = embedded.Place(var).sockets
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    with pytest.raises(embedded.ServerError, match="open to others"):
        embedded.hold(var)
    embedded.release(var)
    folder.chmod(0o700)
    embedded.hold(var)


def test_it_says_why_a_server_does_not_start(var: Path) -> None:
    embedded.hold(var)
    embedded.release(var)
    (var / "postgres" / "PG_VERSION").write_text("9\n")
    with pytest.raises(embedded.ServerError, match=r"(?s)PostgreSQL did not start.*postgres\.log"):
        embedded.hold(var)


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
