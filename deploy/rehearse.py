#!/usr/bin/env python3
"""Runs the steps of the Containerfile in a chroot, where no container engine runs.

As root, with debootstrap: deploy/rehearse.py FOLDER. The folder then holds what the image would; `chroot` into it as
the image's user runs its commands (deploy/README.md). Stops at the first step that fails.
Unmount FOLDER/proc before you remove it.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BASE = {"docker.io/library/debian:bookworm-slim": "bookworm"}
PASSED_ON = ("PIP_INDEX_URL", "http_proxy", "https_proxy", "no_proxy")
"""Variables of this host that a build is given as well."""
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
"""Of this host: between it and the registries there may be a proxy that has its own."""


def steps(text: str) -> list[tuple[str, str]]:
    """The instructions of a Containerfile, in order."""
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]
    return [(word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


class Image:
    """A folder that becomes what the image would be."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.user, self.workdir = folder, "root", "/"
        self.environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}

    def begin(self, base: str) -> None:
        """FROM: a Debian of the same release."""
        if not (self.folder / "etc/debian_version").exists():
            subprocess.run(["debootstrap", "--variant=minbase", BASE[base], str(self.folder)], check=True)
        if not os.path.ismount(self.folder / "proc"):  # programs find their libraries by it
            subprocess.run(["mount", "-t", "proc", "proc", str(self.folder / "proc")], check=True)
        (self.folder / "dev/shm").chmod(0o1777)  # where workers keep their locks
        for name in ("etc/resolv.conf", CERTIFICATES):
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path("/", name), target)

    def set(self, assignments: str) -> None:
        """ENV."""
        for name, value in re.findall(r"(\w+)=(\S*)", assignments):
            self.environment[name] = value

    def run(self, command: str) -> None:
        """RUN."""
        outside = ["env", "-i", *(f"{name}={value}" for name, value in self.environment.items())]
        inside = f"cd {self.workdir} && {command}"
        program = ["chroot", f"--userspec={self.user}", str(self.folder), "/bin/sh", "-euc", inside]
        subprocess.run([*outside, *program], check=True)
        shutil.copy(Path("/", CERTIFICATES), self.folder / CERTIFICATES)

    def copy(self, arguments: str) -> None:
        """COPY."""
        source, target = arguments.split()
        to = self.folder / self.workdir.strip("/") / target.removeprefix("./")
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, to, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            to.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, to)

    def go_to(self, path: str) -> None:
        """WORKDIR."""
        self.workdir = path
        (self.folder / path.strip("/")).mkdir(parents=True, exist_ok=True)

    def become(self, user: str) -> None:
        """USER."""
        self.user = user


def main() -> None:
    """Every step, said before it is taken."""
    if len(sys.argv) != 2 or os.geteuid() != 0:
        sys.exit("as root: deploy/rehearse.py FOLDER")
    image = Image(Path(sys.argv[1]).resolve())
    does = {"FROM": image.begin, "ENV": image.set, "RUN": image.run, "COPY": image.copy}
    does |= {"WORKDIR": image.go_to, "USER": image.become}
    for word, rest in steps((ROOT / "deploy/Containerfile").read_text()):
        print(f"── {word} {rest}", flush=True)
        if word in does:
            does[word](rest)


if __name__ == "__main__":
    main()
