"""Usage arriving: CloudEvents batches over HTTP, a file by `import_usage`, and the bare insert beside them."""

import json
import subprocess
import sys
import threading
import time
import urllib.request
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from iss_billing.days import SHANGHAI
from tests.bench import database
from tests.bench.database import BASE, ROOT, connect, environment, fresh_copy

BATCH = 1_000
PORT = 18_765
CLIENTS = 4
ITEMS = ("ai.face", "ai.pet", "ai.vehicle", "ai.image-label")
INSERT = """
INSERT INTO settlement_usageevent
    (day, source, event_id, account_id, item_id, region, resource, quantity, occurred_at, received_at)
SELECT *, now() FROM unnest(%s::date[], %s::text[], %s::text[], %s::bigint[], %s::smallint[], %s::text[], %s::text[],
                            %s::bigint[], %s::timestamptz[])
ON CONFLICT DO NOTHING
"""


def measure(figures: dict[str, Any], events: int, lines: int) -> None:
    """Events a second over HTTP with two server processes, by file, and of the bare insert of the same rows."""
    with connect(BASE) as connection:
        row = connection.execute("SELECT min(id), count(*) FROM accounts_account").fetchone()
        items: dict[str, int] = dict(connection.execute("SELECT code, id FROM packs_item").fetchall())
    assert row is not None
    first, accounts = row
    batches = _batches(events, first, accounts)
    figures["ingest_floor_events_per_s"] = round(_bare(batches, items))
    figures["ingest_events_per_s"] = round(_http(batches))
    ratio = figures["ingest_events_per_s"] / figures["ingest_floor_events_per_s"]
    figures["ingest_speed_over_floor"] = round(ratio, 2)
    figures["import_events_per_s"] = round(_import(lines, first, accounts))


def _events(number: int, first: int, accounts: int) -> list[dict[str, Any]]:
    """Events of today, one in twenty a repetition of the one before it, spread over all accounts."""
    now = datetime.now(SHANGHAI)
    start = now.replace(hour=0, minute=0, second=0, microsecond=0)
    span = int((now - start).total_seconds())
    found: list[dict[str, Any]] = []
    for n in range(number):
        if n % 20 == 19:
            found.append(found[-1])
            continue
        found.append(
            {
                "specversion": "1.0",
                "type": "iss.usage",
                "id": f"bench-{n}",
                "source": f"/edge/{n % 100}",
                "subject": str(first + n * 7919 % accounts),
                "time": (start + timedelta(seconds=n % span)).isoformat(),
                "data": {"item": ITEMS[n % 4], "quantity": 1 + n % 9, "resource": f"camera-{n % 3}"},
            }
        )
    return found


def _batches(number: int, first: int, accounts: int) -> list[list[dict[str, Any]]]:
    events = _events(number, first, accounts)
    return [events[place : place + BATCH] for place in range(0, number, BATCH)]


def _bare(batches: list[list[dict[str, Any]]], items: dict[str, int]) -> float:
    """Events a second of the insert alone, in two connections, a batch a commit."""
    day = datetime.now(SHANGHAI).date()
    columns = [
        [
            [day] * len(batch),
            [event["source"] for event in batch],
            [event["id"] for event in batch],
            [int(event["subject"]) for event in batch],
            [items[event["data"]["item"]] for event in batch],
            ["cn-mainland"] * len(batch),
            [event["data"]["resource"] for event in batch],
            [event["data"]["quantity"] for event in batch],
            [event["time"] for event in batch],
        ]
        for batch in batches
    ]

    with fresh_copy() as name:
        database.python(
            "from settlement.partitions import make_partitions_ahead; from django.utils import timezone; "
            "make_partitions_ahead(timezone.now())",
            database=name,
        )

        def insert(mine: list[list[Any]]) -> None:
            with connect(name) as connection:
                for batch in mine:
                    connection.execute(INSERT, batch)

        threads = [threading.Thread(target=insert, args=(columns[k::2],)) for k in range(2)]
        begun = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(map(len, batches)) / (time.monotonic() - begun)


def _http(batches: list[list[dict[str, Any]]]) -> float:
    """Events a second over HTTP, two server processes, each batch durable when answered."""
    with fresh_copy() as name:
        key = json.loads(database.call("create_api_key", "--platform", "--json", database=name))["key"]
        server = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-c", "python:iss_billing.serving", "iss_billing.wsgi"],
            cwd=ROOT,
            env=environment(name) | {"PORT": str(PORT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/cloudevents-batch+json"}
        bodies = [json.dumps(batch).encode() for batch in batches]
        try:
            _wait()
            _post(b"[" + json.dumps(batches[0][0]).encode() + b"]", headers)
            threads = [threading.Thread(target=_send, args=(bodies[k::CLIENTS], headers)) for k in range(CLIENTS)]
            begun = time.monotonic()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            taken = time.monotonic() - begun
        finally:
            server.terminate()
            server.wait()
        with connect(name) as connection:
            day = datetime.now(SHANGHAI).date()
            row = connection.execute("SELECT count(*) FROM settlement_usageevent WHERE day = %s", [day]).fetchone()
        assert row is not None
        assert row[0] == sum(map(len, batches)) * 19 // 20, "stored once each"
        return sum(map(len, batches)) / taken


def _send(bodies: list[bytes], headers: dict[str, str]) -> None:
    for body in bodies:
        _post(body, headers)


def _post(body: bytes, headers: dict[str, str]) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}/api/v1/usage/", data=body, headers=headers)
    with urllib.request.urlopen(request) as response:
        assert json.load(response)["rejected"] == []


def _wait() -> None:
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/sign-in/").close()
        except OSError:
            time.sleep(0.1)
        else:
            return


def _import(lines: int, first: int, accounts: int) -> float:
    """Events a second of `import_usage`, the command's start included."""
    with TemporaryDirectory() as folder, fresh_copy() as name:
        path = Path(folder) / "usage.jsonl"
        with path.open("w") as file:
            file.writelines(json.dumps(event) + "\n" for event in _events(lines, first, accounts))
        begun = time.monotonic()
        answer = json.loads(database.call("import_usage", str(path), "--json", database=name))
        taken = time.monotonic() - begun
        assert answer["accepted"] == lines * 19 // 20
        return lines / taken
