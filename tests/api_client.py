"""A client of the API: a key, JSON in and out, and problem details told apart from answers."""

import json
from typing import Any

from django.test import Client
from django.utils import timezone

from accounts.keys import make_key
from accounts.models import Account

BASE = "/api/v1/"


class Api:
    """Calls the API with one key; `None` as the account is the platform."""

    def __init__(self, account: Account | None, key: str | None = None) -> None:
        self.key = key or make_key(account_id=account.pk if account else None, name="test", now=timezone.now())[1]
        self.client = Client(headers={"Authorization": f"Bearer {self.key}"})

    def get(self, path: str, **query: Any) -> Any:
        """The JSON of a 200."""
        response = self.client.get(path if path.startswith("http") else BASE + path, query)
        assert response.status_code == 200, response.content
        assert response["Content-Type"] == "application/json"
        return json.loads(response.getvalue())  # of a streamed answer too

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The response to a call with a JSON body; header names with `_` for `-`."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, (str, bytes)) else json.dumps(body)
        return self.client.generic(method, BASE + path, data, content_type="application/json", headers=sent)

    def refusal(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, str]:
        """Status and code of a call that must be refused."""
        shown = problem(self.call(method, path, body, **headers))
        return shown["status"], shown["code"]

    def order(self, lines: Any, key: str = "key-1") -> Any:
        """The response to an order."""
        return self.call("POST", "orders/", {"lines": lines}, Idempotency_Key=key)


def problem(response: Any) -> Any:
    """The members of a problem answer, after its form was checked (RFC 9457)."""
    assert response["Content-Type"] == "application/problem+json", (response.status_code, response.content)
    shown = response.json()
    assert {"type", "title", "status", "detail", "code"} <= shown.keys()
    assert shown["status"] == response.status_code
    assert shown["type"].endswith(shown["code"])
    assert shown["title"]
    assert shown["detail"]
    if shown["code"] == "invalid":
        assert all(isinstance(message, str) for messages in shown["errors"].values() for message in messages)
    return shown


def yuan_of(text: str) -> dict[str, str]:
    """An amount as answers show it."""
    return {"amount": text, "currency": "CNY"}
