"""Who uses the site at once (a locustfile): customers in browsers and by key, the platform, staff.

Everybody keeps a pace of their own, so that the load is the same however fast it is answered.
"""

import itertools
import json
import os
import random
from datetime import datetime
from typing import Any

from locust import HttpUser, constant_pacing, task

from iss_billing.days import SHANGHAI

WORLD: dict[str, Any] = json.loads(os.environ["LOAD_WORLD"])
HTTPS = {"X-Forwarded-Proto": "https"}
"""As the proxy in front of a production says."""
EVENTS = 100
_numbers = itertools.count(random.SystemRandom().randrange(10**9) * 10**6)


class Customer(HttpUser):
    """Looks at the console, a page a second."""

    fixed_count = 12
    wait_time = constant_pacing(1)

    def on_start(self) -> None:
        """Sign in, as one of the accounts."""
        self.account = random.choice(WORLD["customers"])
        self.client.headers.update(HTTPS | {"Cookie": self.account["cookie"], "Accept-Language": "zh-hans"})

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


class Program(HttpUser):
    """A customer's own program: watches, and buys a pack now and then."""

    fixed_count = 3
    wait_time = constant_pacing(0.5)

    def on_start(self) -> None:
        """With the key of one of the accounts."""
        account = random.choice(WORLD["customers"])
        self.client.headers.update(HTTPS | {"Authorization": f"Bearer {account['key']}"})

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


class Platform(HttpUser):
    """Reports usage and asks who may be served."""

    fixed_count = 2
    wait_time = constant_pacing(0.2)

    def on_start(self) -> None:
        """With the platform's key."""
        self.client.headers.update(HTTPS | {"Authorization": f"Bearer {WORLD['platform']}"})

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


class Staff(HttpUser):
    """Answers calls and looks after the night."""

    fixed_count = 2
    wait_time = constant_pacing(2)

    def on_start(self) -> None:
        """Signed in."""
        self.client.headers.update(HTTPS | {"Cookie": WORLD["staff"]})

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
