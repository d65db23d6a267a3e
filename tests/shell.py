"""`manage.py` as a shell sees it, run inside a test's transaction: exit code, standard output and standard error."""

import json
import os
import pty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
from django.core.management import get_commands, load_command_class
from django.db import connections


class Ran(NamedTuple):
    """What became of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON value on standard output of a command that went well."""
        assert (self.code, self.err) == (0, "")
        return json.loads(self.out)

    @property
    def refusal(self) -> tuple[int, str]:
        """Exit code and the one line on standard error of a command that did not."""
        assert len(self.err.strip().splitlines()) == 1, self.err
        return self.code, self.err.strip()


class Shell:
    """Runs commands; the connection of the test stays open."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setattr(connections, "close_all", lambda: None)
        self.capsys = capsys

    def __call__(self, name: str, *arguments: object) -> Ran:
        """Run one."""
        command = load_command_class(get_commands()[name], name)
        code: Any = 0
        try:
            command.run_from_argv(["manage.py", name, *map(str, arguments)])
        except SystemExit as ended:
            code = ended.code
        return Ran(code, *self.capsys.readouterr())


@contextmanager
def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Standard error is a terminal of 80 columns; after the block, what a command drew there, line over line."""
    drawn: list[str] = []
    mine, its = pty.openpty()
    with monkeypatch.context() as terminal, os.fdopen(its, "w") as stderr:
        terminal.setattr("sys.stderr", stderr)
        terminal.setenv("COLUMNS", "80")
        yield drawn
    drawn += os.read(mine, 10_000).decode().split("\r")
    os.close(mine)
