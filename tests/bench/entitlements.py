"""Entitlements over HTTP beside an empty view of the same stack: same server, URL conf, middleware and key.

`python -m tests.bench.entitlements` measures on a small database of its own; the bench does on a copy of its base.
"""

import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from typing import Any

from tests.bench import database
from tests.bench.database import ROOT, connect, environment, fresh_copy

PORT = 18_766
CLIENTS = 4
ROUNDS = 2


def measure(seconds: float = 4.0) -> dict[str, float]:
    """Requests a second of entitlements and of the empty view, two server processes, turn by turn; and their ratio.

    Each is asked for so many seconds, twice.
    `entitlement_cost_of_many_events` is the time for an account with 100,000 events over that for one with few.
    """
    with fresh_copy() as name:
        key = json.loads(database.call("create_api_key", "--platform", "--json", database=name))["key"]
        few, many = _accounts(name)
        server = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-c", "python:iss_billing.serving", "iss_billing.wsgi"],
            cwd=ROOT,
            env=environment(name) | {"PORT": str(PORT), "DJANGO_SETTINGS_MODULE": "tests.bench.empty_view"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        paths = {
            "few": f"/api/v1/entitlements/{few}/",
            "many": f"/api/v1/entitlements/{many}/",
            "empty": "/api/v1/empty/",
        }
        served = dict.fromkeys(paths, 0.0)
        try:
            _wait(key)
            for path in paths.values():  # every process and thread warm
                _rate(path, key, 1.0)
            for _ in range(ROUNDS):
                for which, path in paths.items():
                    served[which] += _rate(path, key, seconds) / ROUNDS
        finally:
            server.terminate()
            server.wait()
    return {
        "entitlements_per_s": round(served["few"]),
        "empty_view_per_s": round(served["empty"]),
        "entitlement_speed_over_empty_view": round(served["few"] / served["empty"], 2),
        "entitlement_cost_of_many_events": round(served["few"] / served["many"], 2),
    }


def _accounts(name: str) -> tuple[int, int]:
    """An account with the events that all have, and one that sent 100,000 more."""
    with connect(name) as connection:
        row = connection.execute(
            "SELECT min(account_id), max(account_id), max(day) FROM settlement_usageevent"
        ).fetchone()
        assert row is not None
        few, many, day = row
        connection.execute(
            """INSERT INTO settlement_usageevent
                (day, source, event_id, account_id, item_id, region, resource, quantity, occurred_at, received_at)
            SELECT %s, '/many', n, %s, (SELECT min(id) FROM packs_item), 'cn-mainland', '', 1, now(), now()
            FROM generate_series(1, 100000) AS n""",
            [day, many],
        )
    return few, many


def _rate(path: str, key: str, seconds: float) -> float:
    """Requests a second of so many clients, each on one connection."""
    counts: list[int] = []
    ends = time.monotonic() + seconds

    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n".encode()

    def ask() -> None:
        # a bare socket: on few cores a dearer client would hide what the server costs
        count = 0
        with socket.create_connection(("127.0.0.1", PORT)) as connection:
            while time.monotonic() < ends:
                connection.sendall(request)
                head, _, body = connection.recv(65_536).partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200"), head
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                while len(body) < length:
                    body += connection.recv(65_536)
                count += 1
        counts.append(count)

    begun = time.monotonic()
    threads = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(counts) == CLIENTS
    return sum(counts) / (time.monotonic() - begun)


def _wait(key: str) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORT}/api/v1/empty/", headers={"Authorization": f"Bearer {key}"}
    )
    while True:
        try:
            urllib.request.urlopen(request).close()
        except OSError:
            time.sleep(0.1)
        else:
            return


def main() -> dict[str, Any]:
    """Measure on a small world of its own."""
    from iss_billing import embedded

    embedded.hold(database.VAR)
    database.build(1_000, 10_000)
    figures = measure()
    database.drop(database.BASE)
    return figures


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(), indent=1) + "\n")
