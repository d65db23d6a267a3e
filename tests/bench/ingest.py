"""Usage arriving: CloudEvents batches over HTTP, a file by `import_usage`, and the bare insert beside them."""

import json
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from iss_billing import bulk
from iss_billing.days import SHANGHAI
from tests.bench import database
from tests.bench.database import BASE, ROOT, connect, environment, fresh_copy
from tests.bench.night import peak_mb

BATCH = 1_000
PORT = 18_765
CLIENTS = 4
LONG_STORED = 2 * CLIENTS * BATCH + 1
"""An event so many back is in the database, and not in the same batch or one on its way."""
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
    _, figures["import_peak_mb_of_a_tenth"] = _import(lines // 10, first, accounts)
    figures["import_events_per_s"], figures["import_peak_mb"] = _import(lines, first, accounts)


def _events(number: int, first: int, accounts: int) -> list[dict[str, Any]]:
    """Events of today, spread over all accounts; of 20 one is sent again, by turns one just sent and an old one."""
    now = datetime.now(SHANGHAI)
    start = now.replace(hour=0, minute=0, second=0, microsecond=0)
    span = int((now - start).total_seconds())
    found: list[dict[str, Any]] = []
    for n in range(number):
        if n % 20 == 19:
            found.append(found[n - LONG_STORED if n % 40 == 39 and n >= LONG_STORED else n - 1])
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
    # as the server reads them: a driver that looks at each value would be what is measured
    columns = [
        [
            bulk.array([day] * len(batch)),
            bulk.texts([event["source"] for event in batch]),
            bulk.texts([event["id"] for event in batch]),
            bulk.array([int(event["subject"]) for event in batch]),
            bulk.array([items[event["data"]["item"]] for event in batch]),
            bulk.texts(["cn-mainland"] * len(batch)),
            bulk.texts([event["data"]["resource"] for event in batch]),
            bulk.array([event["data"]["quantity"] for event in batch]),
            bulk.texts([event["time"] for event in batch]),
        ]
        for batch in batches
    ]

    with fresh_copy() as name:
        database.python(
            "from settlement.partitions import make_partitions_ahead; from django.utils import timezone; "
            "make_partitions_ahead(timezone.now())",
            database=name,
        )

        def insert(mine: list[list[str]]) -> None:
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


def _import(lines: int, first: int, accounts: int) -> tuple[int, int]:
    """Events a second of `import_usage`, the command's start included, and its peak memory in MB."""
    with TemporaryDirectory() as folder, fresh_copy() as name:
        path = Path(folder) / "usage.jsonl"
        with path.open("w") as file:
            file.writelines(json.dumps(event) + "\n" for event in _events(lines, first, accounts))
        begun = time.monotonic()
        command = subprocess.Popen(
            [sys.executable, "manage.py", "import_usage", str(path), "--json"],
            cwd=ROOT,
            env=environment(name),
            stdout=subprocess.PIPE,
        )
        peak = 0
        while command.poll() is None:
            with suppress(OSError, ValueError):  # it may end before it is looked at
                peak = max(peak, peak_mb(command.pid))
            time.sleep(0.02)
        taken = time.monotonic() - begun
        answer = json.loads(command.communicate()[0])
        assert (command.returncode, answer["accepted"]) == (0, lines * 19 // 20)
        return round(lines / taken), peak
