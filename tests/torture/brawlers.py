"""Those who do what they like to the same account, several at once; the books tell whether it came out right."""

import random
import threading
from datetime import datetime, timedelta
from typing import Any

from iss_billing.days import start_of
from tests.torture.cluster import Away
from tests.torture.script import SKUS
from tests.torture.stage import BATCH, Stage, Unexpected


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
