"""Hosts of one machine: network namespaces whose only way out is a link to a switch, each with its own copy of us.

The switch is a namespace, too: the machine's own network has no part in it.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PLACE = Path(os.environ.get("SCALEOUT_PLACE", ROOT / "var" / "scaleout"))
PREFIX = f"iss-{hashlib.sha256(os.fsencode(PLACE)).hexdigest()[:8]}-"
SWITCH = f"{PREFIX}switch"
NETWORK = "10.77.0.0/24"
PASSWORD = "scaleout"
"""Redis takes none from another host without; the network is ours alone."""
NOT_COPIED = (".git", ".venv", ".env", "var", "staticfiles", ".*_cache", ".hypothesis", "__pycache__")
TCP_STATES = {"01": "established", "02": "connecting"}


FEWEST = 10_000
"""Accounts of a night that is long enough to lose a link in, and shards enough for two."""


class Refused(Exception):
    """What is asked for cannot be done here; the message says why."""


def accounts() -> int:
    """How many accounts the nights settle. Raises Refused where SCALEOUT_ACCOUNTS is no such number."""
    asked = os.environ.get("SCALEOUT_ACCOUNTS", "40000")
    if not (asked.isascii() and asked.isdigit() and int(asked) >= FEWEST):
        raise Refused(f"SCALEOUT_ACCOUNTS is a number from {FEWEST} on, not {asked!r}")
    return int(asked)


@dataclass(frozen=True)
class Host:
    """A host by its name and address."""

    name: str
    address: str

    @property
    def netns(self) -> str:
        """The name of its network namespace."""
        return PREFIX + self.name

    @property
    def folder(self) -> Path:
        """Where its copy of the project lies."""
        return PLACE / self.name

    def command(self, *command: str) -> list[str]:
        """A command as it is run on this host."""
        return ["ip", "netns", "exec", self.netns, *command]

    def link(self, state: str) -> None:
        """Set its link up or down at the switch: a cable put in or pulled, of which neither end is told by the peer."""
        ip("-n", SWITCH, "link", "set", self.name, state)

    def peers(self, state: str = "established") -> set[tuple[str, int]]:
        """Addresses and ports that its TCP connections in a state lead to."""
        found = set()
        for line in self._net("tcp"):
            _, _, remote, code, *_ = line.split()
            if TCP_STATES.get(code) == state:
                found.add((_address(remote), int(remote[9:], 16)))
        return found

    def cpu_seconds(self) -> float:
        """What its processes have used, ended children too; ours, which only looks on, is left out."""
        ticks = 0
        for pid in pids(self.netns):
            with suppress(FileNotFoundError, ProcessLookupError):
                if pid != os.getpid():
                    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                    ticks += sum(map(int, fields[11:15]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def socket_files(self) -> list[str]:
        """Unix sockets with a name: ways from host to host beside the network."""
        return [line.split()[7] for line in self._net("unix") if len(line.split()) > 7]

    def _net(self, table: str) -> list[str]:
        for pid in pids(self.netns):
            with suppress(FileNotFoundError, ProcessLookupError):
                return Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
        return []


BASE = Host("base", "10.77.0.1")
"""Where PostgreSQL, Redis and beat are."""
ONE, TWO = Host("one", "10.77.0.2"), Host("two", "10.77.0.3")
HOSTS = (BASE, ONE, TWO)


def environment() -> dict[str, str]:
    """The environment of every process on every host: a production's."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "SCALEOUT_ACCOUNTS") if name in os.environ}
    return kept | {
        "SECRET_KEY": "a secret of the scale-out, which guards nothing: its hosts end with it",
        "ALLOWED_HOSTS": "billing.invalid",
        "DATABASE_URL": f"postgres://iss@{BASE.address}:5432/iss",
        "REDIS_URL": f"redis://:{PASSWORD}@{BASE.address}:6379/0",
        "EMAIL_URL": "dummymail://",
        "DJANGO_SETTINGS_MODULE": "iss_billing.settings",
        "PYTHONUNBUFFERED": "1",
        "SCALEOUT_PLACE": str(PLACE),
    }


def ip(*arguments: str) -> str:
    """Run ip(8); its output. Raises Refused."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(f"`ip {' '.join(arguments)}`: {done.stderr.strip()}")
    return done.stdout


def able() -> bool:
    """Whether such hosts can be made here at all."""
    return os.geteuid() == 0 and shutil.which("ip") is not None


def make() -> None:
    """Make the switch and the hosts, each with a copy of the working tree. Raises Refused."""
    if not able():
        raise Refused("it makes network namespaces, which needs root and ip(8) (Debian package iproute2)")
    remove()
    ip("netns", "add", SWITCH)
    ip("-n", SWITCH, "link", "add", "bridge", "type", "bridge")
    ip("-n", SWITCH, "link", "set", "bridge", "up")
    for host in HOSTS:
        ip("netns", "add", host.netns)
        ip("-n", SWITCH, "link", "add", host.name, "type", "veth", "peer", "name", "eth0", "netns", host.netns)
        ip("-n", SWITCH, "link", "set", host.name, "master", "bridge", "up")
        ip("-n", host.netns, "address", "add", f"{host.address}/24", "dev", "eth0")
        ip("-n", host.netns, "link", "set", "eth0", "up")
        ip("-n", host.netns, "link", "set", "lo", "up")
        shutil.copytree(ROOT, host.folder, ignore=shutil.ignore_patterns(*NOT_COPIED))
        (host.folder / "var").mkdir()


def remove() -> None:
    """End what runs on the hosts and remove them, those of an earlier run that was killed, too."""
    names = [line.split()[0] for line in ip("netns", "list").splitlines() if line.startswith(PREFIX)]
    for name in names:
        deadline = time.monotonic() + 10
        while (left := pids(name)) and time.monotonic() < deadline:
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        ip("netns", "delete", name)
    shutil.rmtree(PLACE, ignore_errors=True)


def pids(netns: str) -> list[int]:
    """The processes of a namespace."""
    return [int(pid) for pid in ip("netns", "pids", netns).split()]


def _address(word: str) -> str:
    return ".".join(str(byte) for byte in reversed(bytes.fromhex(word[:8])))
