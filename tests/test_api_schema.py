"""The schema: it says what the code does (schemathesis), and everything in it is true of itself."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.live_server_helper import LiveServer

from accounts.keys import make_key
from accounts.models import Account
from iss_billing.problems import STATUSES, TITLES
from packs.models import Order, Pack
from tests.api_client import Api
from tests.conftest import ROOT
from tests.hooks import listen
from tests.worlds import buy, night, opened, use

PLATFORM = ("report_usage", "entitlement", "entitlements")


def schemathesis(live_server: LiveServer, key: str, *arguments: str) -> None:
    """Run every phase and every check on the schema that a server serves; it must find nothing."""
    command = [str(Path(sys.executable).parent / "st"), "--config-file", str(ROOT / "tests" / "schemathesis.toml")]
    command += ["--no-color", "run", f"{live_server.url}/api/v1/schema/", "--url", live_server.url]
    command += ["--checks", "all", "--seed", "20260305", "--max-examples", "10", "--max-failures", "8"]
    command += ["--header", f"Authorization: Bearer {key}", "--generation-database", "none", *arguments]
    ran = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"SCHEMATHESIS_HOOKS": "tests.schemathesis_hooks"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-20_000:] + ran.stderr[-2_000:]
    cases = re.search(r"(\d+) generated, (\d+) passed", ran.stdout)
    assert cases, ran.stdout
    assert int(cases[1]) == int(cases[2]) >= 300, ran.stdout


@pytest.fixture
def alice(db: None) -> Account:
    """An account with orders, packs, bills, a transfer of every day, and usage that is pending."""
    day = timezone.localdate()
    first, before, today = (str(day - timedelta(days=n)) for n in (2, 1, 0))
    alice = opened("alice", on=first)
    listen(alice, "https://example.com/hooks")
    for sku in ("pet-100k", "traffic-down-1tb", "pet-100k"):
        buy(alice, sku, f"{first}T10:00")
    for item in ("ai.pet", "ai.face", "traffic.down"):
        use(alice, item, 4_000, f"{first}T11:00")
    night(f"{before}T02:00")
    use(alice, "ai.pet", 1_000, f"{before}T11:00")
    buy(alice, "face-100k", f"{today}T00:00")
    return alice


@pytest.mark.django_db(transaction=True)
def test_every_call_of_a_customer_keeps_to_the_schema(live_server: LiveServer, alice: Account) -> None:
    key = make_key(account_id=alice.pk, name="", now=timezone.now())[1]
    left_out = [word for name in PLATFORM for word in ("--exclude-operation-id", name)]
    schemathesis(live_server, key, *left_out)


@pytest.mark.django_db(transaction=True)
def test_every_call_of_the_platform_keeps_to_the_schema(live_server: LiveServer, alice: Account) -> None:
    key = make_key(account_id=None, name="", now=timezone.now())[1]
    chosen = [word for name in PLATFORM for word in ("--include-operation-id", name)]
    schemathesis(live_server, key, *chosen)


@pytest.mark.django_db
def test_the_schema_is_openapi_3_1_and_every_example_is_of_its_shape() -> None:
    document = Client().get("/api/v1/schema/").json()
    assert document["openapi"] == "3.1.0"
    checked = 0
    for methods in document["paths"].values():
        for described in methods.values():
            contents = [described["requestBody"]["content"]] if "requestBody" in described else []
            contents += [response["content"] for response in described["responses"].values() if "content" in response]
            for content in (one for group in contents for one in group.values()):
                schema = content["schema"] | {"components": document["components"]}
                assert content["examples"], described["operationId"]
                for example in content["examples"].values():
                    jsonschema.validate(example["value"], schema)
                    checked += 1
    assert checked > 120


@pytest.mark.django_db
def test_every_code_has_a_status_and_a_title_and_is_in_the_schema() -> None:
    assert STATUSES.keys() == TITLES.keys()
    document = Client().get("/api/v1/schema/").content.decode()
    never = {"method_not_allowed", "server_error", "unavailable"}  # of no operation
    assert {code for code in STATUSES if f'"{code}"' not in document} == never


@pytest.mark.django_db
def test_every_call_is_in_the_schema_and_every_answer_is_of_its_shape_to_the_letter(alice: Account) -> None:
    document = Client().get("/api/v1/schema/").json()
    customer, platform = Api(alice), Api(None)
    ids = {
        "/api/v1/orders/{id}/": Order.objects.earliest("pk").pk,
        "/api/v1/bills/{id}/": alice.bills.earliest("pk").pk,
        "/api/v1/bills/{id}/recheck/": alice.bills.earliest("pk").pk,
        "/api/v1/entitlements/{account_id}/": alice.pk,
        "/api/v1/webhooks/{id}/": alice.endpoints.earliest("pk").pk,
        "/api/v1/webhooks/{id}/deliveries/": alice.endpoints.earliest("pk").pk,
    }
    for path, methods in document["paths"].items():
        if "get" not in methods:
            continue
        number = ids.get(path, Pack.objects.earliest("pk").pk)
        api = platform if "entitlements" in path else customer
        answer = api.get(re.sub(r"{\w+}", str(number), path.removeprefix("/api/v1/")))
        schema = methods["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        assert not list(undeclared(answer, schema, document["components"]["schemas"])), path


def undeclared(answer: Any, schema: Any, shapes: Any, where: str = "") -> Iterator[str]:
    """The members of an answer that its schema does not name."""
    if "$ref" in schema:
        schema = shapes[schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        schema = next((one for one in schema["anyOf"] if "$ref" in one), {})
        yield from undeclared(answer, schema, shapes, where)
    elif isinstance(answer, list):
        for row in answer:
            yield from undeclared(row, schema["items"], shapes, f"{where}[]")
    elif isinstance(answer, dict) and "properties" in schema:
        for name, value in answer.items():
            if name in schema["properties"]:
                yield from undeclared(value, schema["properties"][name], shapes, f"{where}.{name}")
            else:
                yield f"{where}.{name}"


@pytest.mark.django_db
def test_the_page_tells_of_every_call_shape_and_code() -> None:
    document = Client().get("/api/v1/schema/").json()
    for language in ("zh-hans", "en"):
        text = Client(headers={"Accept-Language": language}).get("/api/reference/").content.decode()
        for methods in document["paths"].values():
            assert all(f'id="{described["operationId"]}"' in text for described in methods.values())
        assert all(f'id="shape-{name}"' in text for name in document["components"]["schemas"])
        assert all(f'id="code-{code}"' in text for code in STATUSES)
        assert not re.findall(r"<script|style=", text)
