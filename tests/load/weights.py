"""Processor weights as the units of deploy/systemd give them, by control groups.

Without them every connection of PostgreSQL may weigh as much as all web processes together (sched_autogroup: each
backend is a session of its own), which no deployment has.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench.database import ROOT
from tests.load.watching import tree

PARTS = ("web", "worker", "webhooks", "postgres")
USUAL = 100
CONTROLLERS = [(Path("/sys/fs/cgroup/cpu"), "cpu.shares", 1024), (Path("/sys/fs/cgroup"), "cpu.weight", USUAL)]
"""Where groups are made, the file that takes a weight, and what is usual there: the kernel's first or second way."""


def weights() -> dict[str, int]:
    """What each part's unit says; PostgreSQL comes with a unit of its own, which says nothing."""
    found = dict.fromkeys(PARTS, USUAL)
    for part in PARTS:
        unit = ROOT / "deploy" / "systemd" / f"iss-{part}.service"
        if unit.exists() and (weight := re.search(r"^CPUWeight=(\d+)$", unit.read_text(), re.MULTILINE)):
            found[part] = int(weight[1])
    return found


@contextmanager
def groups() -> Iterator[dict[str, Path]]:
    """A group for each part; none where this system has no such thing, or gives it to root only."""
    with ExitStack() as stack:
        try:
            found = {part: stack.enter_context(_group(part, weight)) for part, weight in weights().items()}
        except OSError:
            found = {}
        yield found


@contextmanager
def _group(part: str, weight: int) -> Iterator[Path]:
    top, file, usual = next((one for one in CONTROLLERS if (one[0] / "cgroup.procs").exists()), CONTROLLERS[-1])
    if (top / "cgroup.subtree_control").exists():
        (top / "cgroup.subtree_control").write_text("+cpu")
    group = top / f"iss-load-{part}"
    group.mkdir(exist_ok=True)
    try:
        (group / file).write_text(str(weight * usual // USUAL))
        yield group
    finally:
        for pid in (group / "cgroup.procs").read_text().split():
            (top / "cgroup.procs").write_text(pid)
        group.rmdir()


def join(group: Path, root: int) -> None:
    """Put a process and all that it has started into a group."""
    for pid in tree(root):
        (group / "cgroup.procs").write_text(str(pid))
