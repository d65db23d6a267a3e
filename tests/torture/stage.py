"""What those who act in a round share: the scripts, the gates, a client of the API, and what went wrong."""

import http.client
import json
import random
import threading
import time
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

from tests.torture.clock import HEADER
from tests.torture.cluster import Cluster
from tests.torture.script import Round

TIMEOUT = 20
"""Seconds for an answer; a request that takes longer hangs, which fails the round."""
PAUSE = 0.2
BATCH = "application/cloudevents-batch+json"


class Unexpected(Exception):
    """An answer that no kill excuses."""


class Client:
    """Calls the API with one key."""

    def __init__(self, cluster: Cluster, key: str) -> None:
        self.cluster, self.key = cluster, key

    def call(self, method: str, path: str, body: Any, at: datetime, **more: str) -> tuple[int, dict[str, Any]] | None:
        """Status and JSON; None when there was no answer, or one of 500 and above."""
        headers = {
            "Host": "localhost",
            "X-Forwarded-Proto": "https",
            "Authorization": f"Bearer {self.key}",
            "Content-Type": "application/json",
            HEADER: at.isoformat(),
        } | {name.replace("_", "-"): value for name, value in more.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.cluster.port, timeout=TIMEOUT)
        try:
            connection.request(method, f"/api/v1/{path}", json.dumps(body), headers)
            response = connection.getresponse()
            answer = response.read()
        except TimeoutError as error:
            raise Unexpected(f"{method} {path} hung for {TIMEOUT} s") from error
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        return None if response.status >= 500 else (response.status, json.loads(answer))


class Stage:
    """What the actors of a round share: the scripts, who is who, the gates, and what went wrong."""

    def __init__(self, cluster: Cluster, plan: Round, prepared: dict[str, Any]) -> None:
        self.cluster, self.plan = cluster, plan
        self.ids: dict[str, int] = {name: made["id"] for name, made in prepared["accounts"].items()}
        self.clients = {name: Client(cluster, made["key"]) for name, made in prepared["accounts"].items()}
        self.platform = Client(cluster, prepared["platform"])
        self.changed = threading.Condition()
        self.day = -1
        """The day that is played."""
        self.night = -1
        """The day whose night is over, sweep included."""
        self.billed: set[tuple[str, int]] = set()
        self.played: set[tuple[str, int]] = set()
        self.errors: list[str] = []
        self.acknowledged: set[tuple[date, str, str]] = set()
        """(day, source, id) of every event that was called accepted or a duplicate."""
        self.outcomes: dict[str, list[str]] = {name: [] for name in plan.scripts}
        self.second_run = -1000.0
        """When a second run was last asked for, on the monotonic clock."""
        self.retries = 0
        self.slowest = 0.0

    def say(self, **news: Any) -> None:
        """Set what has become true, and wake who waits for it."""
        with self.changed:
            for name, value in news.items():
                setattr(self, name, value)
            self.changed.notify_all()

    def fail(self, error: str) -> None:
        """Note an error, which ends the round."""
        with self.changed:
            self.errors.append(error)
            self.changed.notify_all()

    def wait(self, true: Callable[[], bool], what: str, seconds: float = 180) -> bool:
        """Wait for something; False when the round has failed. A round that stands still fails."""
        with self.changed:
            if not self.changed.wait_for(lambda: bool(self.errors) or true(), seconds):
                self.errors.append(f"waited {seconds:.0f} s for {what}")
                self.changed.notify_all()
            return not self.errors

    def acknowledge(self, events: list[dict[str, Any]]) -> None:
        """Keep what must be there from now on, whatever is killed."""
        keys = {(date.fromisoformat(event["time"][:10]), event["source"], event["id"]) for event in events}
        with self.changed:
            self.acknowledged |= keys

    def until_answered(self, ask: Callable[[], Any]) -> Any:
        """Ask again until there is an answer; None when the round has failed."""
        begun = time.monotonic()
        while not self.errors:
            answer = ask()
            if answer is not None:
                self.slowest = max(self.slowest, time.monotonic() - begun)
                return answer
            self.retries += 1
            if time.monotonic() - begun > 120:
                raise Unexpected("no answer for 120 s")
            time.sleep(PAUSE * (0.5 + random.random()))
        return None
