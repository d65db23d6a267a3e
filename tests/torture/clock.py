"""The clock under torture: every request brings its own, everything else reads the one in a file."""

import json
import os
import time
from collections.abc import Callable
from contextvars import ContextVar
from datetime import datetime, timedelta
from pathlib import Path

from django.http import HttpRequest, HttpResponseBase

HEADER = "Torture-Clock"
_own: ContextVar[datetime | None] = ContextVar("own clock", default=None)


def now() -> datetime:
    """The clock of this request, or that of the world."""
    own = _own.get()
    if own is not None:
        return own
    set_to, since = json.loads(Path(os.environ["TORTURE_CLOCK"]).read_text())
    return datetime.fromisoformat(set_to) + timedelta(seconds=time.time() - since if since else 0)


def write(path: Path, moment: datetime, *, moving: bool) -> None:
    """Set the clock of the world, to stand still or to go on from there; nobody reads half of it."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps([moment.isoformat(), time.time() if moving else None]))
    new.replace(path)


class OwnClock:
    """Middleware: a request is served at the time its header says."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Serve."""
        said = request.headers.get(HEADER)
        token = _own.set(datetime.fromisoformat(said) if said else None)
        try:
            return self.get_response(request)
        finally:
            _own.reset(token)
