"""Those who play the scripts over HTTP and through commands, each step until it is answered; and the brawlers."""

import http.client
import json
import random
import threading
import time
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

from iss_billing.days import start_of
from tests.torture.clock import HEADER
from tests.torture.cluster import Away, Cluster
from tests.torture.script import SKUS, Round, Step

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


class Actor(threading.Thread):
    """Plays one script."""

    def __init__(self, stage: Stage, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.stage, self.cluster = stage, stage.cluster
        self.packs: dict[str, list[str]] = {}
        """The ids of what was bought, by key, in drawing order."""

    def run(self) -> None:
        """Every day, once it has begun."""
        try:
            for number, steps in enumerate(self.stage.plan.scripts[self.name]):
                if not self.stage.wait(lambda: self.stage.day >= number, f"day {number} to begin"):  # noqa: B023
                    return
                for step in steps:
                    if not self._gate(step, number):
                        return
                    outcome = self.stage.until_answered(lambda: getattr(self, f"_{step.act}")(step))  # noqa: B023
                    if outcome is None:
                        return
                    self.stage.outcomes[self.name].append(f"day {number} {step.act}: {outcome}")
                self.stage.say(played=self.stage.played | {(self.name, number)})
        except Exception as error:
            self.stage.fail(f"{self.name}: {type(error).__name__}: {error}")

    def _gate(self, step: Step, number: int) -> bool:
        before = number - 1
        if before < 0 or not step.gate:
            return True
        if step.gate == "billed":
            return self.stage.wait(
                lambda: (self.name, before) in self.stage.billed, f"{self.name}'s day {before} billed"
            )
        return self.stage.wait(lambda: self.stage.night >= before, f"the night of day {before}")

    # ── acts: the outcome in a word, or None when there was no answer ────────────────────────────────

    def _events(self, step: Step) -> list[dict[str, Any]]:
        return [event | {"subject": str(self.stage.ids[event["subject"]])} for event in step.body["events"]]

    def _usage(self, step: Step) -> str | None:
        events = self._events(step)
        answer = self.stage.platform.call("POST", "usage/", events, step.at, Content_Type=BATCH)
        return None if answer is None else self._accepted(events, *answer)

    def _import(self, step: Step) -> str | None:
        events = self._events(step)
        path = self.cluster.place.folder("import") / f"{threading.get_ident()}.jsonl"
        path.write_text("".join(json.dumps(event) + "\n" for event in events))
        answer = self._command("import_usage", str(path), "--now", step.at.isoformat())
        return None if answer is None else self._accepted(events, 200, answer)

    def _accepted(self, events: list[dict[str, Any]], status: int, answer: dict[str, Any]) -> str:
        if status != 200 or answer["rejected"] or answer["accepted"] + answer["duplicates"] != len(events):
            raise Unexpected(f"usage was answered with {status} {answer}")
        self.stage.acknowledge(events)
        return "accepted"

    def _command(self, *arguments: str) -> dict[str, Any] | None:
        try:
            outcome = self.cluster.command(*arguments)
        except Away:
            return None
        if outcome["code"]:
            raise Unexpected(f"{arguments} ended with {outcome}")
        return outcome["answer"] if outcome["code"] == 0 else None

    def _top_up(self, step: Step) -> str | None:
        body = step.body
        answer = self._command(
            "top_up", str(self.stage.ids[self.name]), body["amount"], "--reference", body["reference"],
            "--now", step.at.isoformat(),
        )  # fmt: skip
        return "received" if answer else None

    def _order(self, step: Step) -> str | None:
        client, body = self.stage.clients[self.name], {"lines": step.body["lines"]}
        answer = client.call("POST", "orders/", body, step.at, Idempotency_Key=step.body["key"])
        if answer is None:
            return None
        status, shown = answer
        if status in (200, 201):
            self.packs[step.body["key"]] = [pack["pack_id"] for pack in shown["packs"]]
            return "bought"
        return self._refused(step, status, shown, "insufficient_balance", "account_in_arrears")

    def _refund(self, step: Step) -> str | None:
        packs = self.packs.get(step.body["key"])
        if not packs:
            return "nothing was bought"
        path = f"packs/{packs[step.body['pack']]}/refund/"
        answer = self.stage.clients[self.name].call("POST", path, None, step.at)
        if answer is None:
            return None
        status, shown = answer
        if (
            status == 200 or shown["code"] == "already_refunded"
        ):  # by an attempt whose answer was lost, or a step before
            return "refunded"
        return self._refused(step, status, shown, "pack_used", "refund_window_over")

    def _mode(self, step: Step) -> str | None:
        answer = self.stage.clients[self.name].call("PUT", "account/billing-mode/", step.body, step.at)
        if answer is None:
            return None
        status, shown = answer
        return "switched" if status == 200 else self._refused(step, status, shown, "account_in_arrears")

    def _refused(self, step: Step, status: int, shown: dict[str, Any], *codes: str) -> str:
        if shown.get("code") not in codes:
            raise Unexpected(f"{self.name}: {step.act} was answered with {status} {shown}")
        return str(shown["code"])


class Brawler(threading.Thread):
    """One of several who do what they like to the same account; the books tell whether it came out right."""

    def __init__(self, stage: Stage, account: str, number: int, seed: int) -> None:
        super().__init__(name=f"{account}/{number}", daemon=True)
        self.stage, self.account = stage, account
        self.rng = random.Random(f"{seed} {self.name}")
        self.topped_up: dict[str, str] = {}
        self.bought: list[str] = []
        """Keys of orders, references of top-ups with their amount: what was answered."""
        self.count = 0
        self.packs: list[str] = []
        self.leaving = threading.Event()

    def run(self) -> None:
        """Until told to leave."""
        try:
            while not self.leaving.wait(0.1 + 0.3 * self.rng.random()) and not self.stage.errors:
                if self.stage.day >= 0:
                    self.rng.choice((self._top_up, self._order, self._order, self._refund, self._usage, self._mode))()
        except Exception as error:
            self.stage.fail(f"{self.name}: {type(error).__name__}: {error}")

    def _now(self) -> datetime:
        """Evening of the day that is played; not in step with anybody."""
        evening = start_of(self.stage.plan.day(self.stage.day)) + timedelta(hours=20)
        return evening + timedelta(seconds=self.rng.randrange(10_000))

    def _fresh(self, what: str) -> str:
        self.count += 1
        return f"{self.name} {what} {self.count}"

    def _call(self, method: str, path: str, body: Any, **more: str) -> tuple[int, dict[str, Any]] | None:
        return self.stage.clients[self.account].call(method, path, body, self._now(), **more)

    def _top_up(self) -> None:
        reference, amount = self._fresh("payment"), f"{self.rng.randint(1, 300)}.00"
        account = str(self.stage.ids[self.account])
        try:
            at = self._now().isoformat()
            answer = self.stage.cluster.command("top_up", account, amount, "--reference", reference, "--now", at)
        except Away:
            return
        if answer["code"] == 0:
            self.topped_up[reference] = amount

    def _order(self) -> None:
        key = self._fresh("order")
        body = {"lines": [{"sku": self.rng.choice(SKUS), "quantity": self.rng.choice((1, 2))}]}
        for _ in range(self.rng.choice((1, 2))):  # the same twice is one order
            answer = self._call("POST", "orders/", body, Idempotency_Key=key)
            if answer and answer[0] in (200, 201):
                self.bought.append(key)
                self.packs = [pack["pack_id"] for pack in answer[1]["packs"]]

    def _refund(self) -> None:
        if self.packs:
            self._call("POST", f"packs/{self.rng.choice(self.packs)}/refund/", None)

    def _mode(self) -> None:
        self._call("PUT", "account/billing-mode/", {"mode": self.rng.choice(("traffic", "bandwidth"))})

    def _usage(self) -> None:
        """Of today or of days before, settled or being settled."""
        day = self.stage.plan.day(max(0, self.stage.day - self.rng.choice((0, 0, 1, 2))))
        events = [
            {
                "specversion": "1.0",
                "type": "iss.usage",
                "id": self._fresh("event"),
                "source": f"/edge/{self.account}",
                "subject": str(self.stage.ids[self.account]),
                "time": (start_of(day) + timedelta(seconds=self.rng.randrange(70_000))).isoformat(),
                "data": {"item": self.rng.choice(("ai.pet", "ai.face")), "quantity": self.rng.randint(1, 30_000)},
            }
            for _ in range(self.rng.randint(1, 4))
        ]
        now = self._now()
        answer = self.stage.platform.call("POST", "usage/", events, now, Content_Type=BATCH)
        if answer:
            if answer[0] != 200 or answer[1]["rejected"]:
                raise Unexpected(f"usage was answered with {answer}")
            self.stage.acknowledge(events)
