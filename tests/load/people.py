"""Who uses the site at once (a locustfile): customers in browsers and by key, the platform, staff.

Arrivals are drawn ahead (Poisson), whether the answers before came fast or slowly: the load is the same however fast it
is answered, and nobody waits for another.
"""

import itertools
import json
import os
import random
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from locust import HttpUser, task

from iss_billing.days import SHANGHAI

WORLD: dict[str, Any] = json.loads(os.environ["LOAD_WORLD"])
HTTPS = {"X-Forwarded-Proto": "https"}
"""As the proxy in front of a production says."""
EVENTS = 100


def arrivals(every: float) -> Callable[[Any], float]:
    """Someone's own moments, `every` so many seconds on average; late for one, the next comes at once."""

    def wait(self: Any) -> float:
        now = time.monotonic()
        due: float = getattr(self, "due", now) + random.expovariate(1 / every)
        self.due = due
        return max(0.0, due - now)

    return wait


class Person(HttpUser):
    """Somebody who comes at moments of their own."""

    abstract = True

    def on_start(self) -> None:
        """Do not come all at once."""
        self.wait()  # type: ignore[no-untyped-call]


_numbers = itertools.count(random.SystemRandom().randrange(10**9) * 10**6)


class Customer(Person):
    """Looks at the console, a page every five seconds."""

    fixed_count = 80
    wait_time = arrivals(5)

    def on_start(self) -> None:
        """Sign in, as one of the accounts."""
        self.account = random.choice(WORLD["customers"])
        self.client.headers.update(HTTPS | {"Cookie": self.account["cookie"], "Accept-Language": "zh-hans"})
        super().on_start()

    @task(5)
    def overview(self) -> None:
        """Am I all right?"""
        self.client.get("/")

    @task(2)
    def packs(self) -> None:
        """What do I hold?"""
        self.client.get("/packs/")

    @task(2)
    def bills(self) -> None:
        """What did it cost?"""
        self.client.get("/bills/")

    @task(2)
    def usage(self) -> None:
        """What was used?"""
        self.client.get("/usage/")

    @task(2)
    def buy(self) -> None:
        """What is there to buy?"""
        self.client.get("/buy/")

    @task(1)
    def ledger(self) -> None:
        """Where did the money go?"""
        self.client.get("/ledger/")


class Program(Person):
    """A customer's own program: watches, and buys a pack now and then."""

    fixed_count = 20
    wait_time = arrivals(2.5)

    def on_start(self) -> None:
        """With the key of one of the accounts."""
        account = random.choice(WORLD["customers"])
        self.client.headers.update(HTTPS | {"Authorization": f"Bearer {account['key']}"})
        super().on_start()

    @task(4)
    def account(self) -> None:
        """Balance and standing."""
        self.client.get("/api/v1/account/")

    @task(3)
    def packs(self) -> None:
        """What is left."""
        self.client.get("/api/v1/packs/")

    @task(2)
    def estimate(self) -> None:
        """What today costs."""
        self.client.get("/api/v1/estimate/")

    @task(1)
    def order(self) -> None:
        """Buy a pack: it waits for whoever has the account in hand."""
        body = {"lines": [{"sku": "pet-100k", "quantity": 1}]}
        self.client.post("/api/v1/orders/", json=body, headers={"Idempotency-Key": f"load-{next(_numbers)}"})


class Platform(Person):
    """Reports usage and asks who may be served."""

    fixed_count = 12
    wait_time = arrivals(1)

    def on_start(self) -> None:
        """With the platform's key."""
        self.client.headers.update(HTTPS | {"Authorization": f"Bearer {WORLD['platform']}"})
        super().on_start()

    @task(2)
    def entitlements(self) -> None:
        """May it be served?"""
        account = random.randint(WORLD["first"], WORLD["last"])
        self.client.get(f"/api/v1/entitlements/{account}/", name="/api/v1/entitlements/ID/")

    @task(1)
    def report(self) -> None:
        """A batch of today's usage."""
        now = datetime.now(SHANGHAI).isoformat()
        events = [
            {
                "specversion": "1.0",
                "type": "iss.usage",
                "id": f"load-{next(_numbers)}",
                "source": "/edge/load",
                "subject": str(random.randint(WORLD["first"], WORLD["last"])),
                "time": now,
                "data": {"item": "ai.pet", "quantity": 3},
            }
            for _ in range(EVENTS)
        ]
        self.client.post(
            "/api/v1/usage/",
            data=json.dumps(events),
            headers={"Content-Type": "application/cloudevents-batch+json"},
        )


class Staff(Person):
    """Answers calls and looks after the night."""

    fixed_count = 15
    wait_time = arrivals(10)

    def on_start(self) -> None:
        """Signed in."""
        self.client.headers.update(HTTPS | {"Cookie": WORLD["staff"]})
        super().on_start()

    @task(3)
    def accounts(self) -> None:
        """The accounts."""
        self.client.get("/admin/accounts/account/")

    @task(2)
    def one_account(self) -> None:
        """An account that calls."""
        account = random.randint(WORLD["first"], WORLD["last"])
        self.client.get(f"/admin/accounts/account/{account}/change/", name="/admin/accounts/account/ID/change/")

    @task(2)
    def runs(self) -> None:
        """The night."""
        self.client.get("/admin/settlement/settlementrun/")
