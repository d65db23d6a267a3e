"""How both ends of a connection notice that the other has gone without a word: a pulled cable sends no reset.

Without this a cut worker's transaction would keep its accounts locked for as long as the kernel retries (a quarter of
an hour) or, idle, for ever, and the worker would wait as long for an answer.
"""

import socket
import sys
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, Final

GONE_SECONDS: Final = 20
"""A peer that has answered nothing for so long is gone."""
PROBE_SECONDS: Final = 5

POSTGRES_CLIENT: Final = {
    "connect_timeout": PROBE_SECONDS,
    "keepalives_idle": PROBE_SECONDS,
    "keepalives_interval": PROBE_SECONDS,
    "keepalives_count": GONE_SECONDS // PROBE_SECONDS,
    "tcp_user_timeout": GONE_SECONDS * 1000,
}
POSTGRES_SERVER: Final = {
    "tcp_keepalives_idle": PROBE_SECONDS,
    "tcp_keepalives_interval": PROBE_SECONDS,
    "tcp_keepalives_count": GONE_SECONDS // PROBE_SECONDS,
    "tcp_user_timeout": GONE_SECONDS * 1000,
    # a backend that is computing, or waiting for a lock, looks only when told to
    "client_connection_check_interval": PROBE_SECONDS * 1000,
    # the peer's kernel answers, its process hangs: no transaction of ours computes that long between two statements
    "idle_in_transaction_session_timeout": 300 * 1000,
}
"""Asked of the server for our own sessions, so that it need not be configured for us."""

_TCP: Final = {
    "TCP_KEEPIDLE": PROBE_SECONDS,
    "TCP_KEEPINTVL": PROBE_SECONDS,
    "TCP_KEEPCNT": GONE_SECONDS // PROBE_SECONDS,
    "TCP_USER_TIMEOUT": GONE_SECONDS * 1000,
}
PROCESSES: Final = {"gunicorn": "web", "webhooks": "webhooks", "worker": "worker", "beat": "beat"}
"""A word of a process's command, and what the process is called."""
PAGES: Final = f"iss {PROCESSES['gunicorn']}"
"""What those who serve the site call themselves at PostgreSQL."""
REDIS: Final = {
    "socket_connect_timeout": 2,
    # a Redis that hangs holds up who calls a task, a customer's request too
    "socket_timeout": PROBE_SECONDS,
    "socket_keepalive": True,
    # Linux has them all
    "socket_keepalive_options": {getattr(socket, name): value for name, value in _TCP.items() if hasattr(socket, name)},
    # kombu asks for messages every second, and drops a connection whose answer is overdue by this
    "health_check_interval": PROBE_SECONDS,
}


def postgres_options(given: dict[str, Any]) -> dict[str, Any]:
    """The OPTIONS of a database: ours, and above them what the operator gave in DATABASE_URL."""
    server = " ".join(f"-c {name}={value}" for name, value in POSTGRES_SERVER.items())
    name = {"fallback_application_name": process_name(sys.argv)}
    return POSTGRES_CLIENT | name | given | {"options": f"{server} {given.get('options', '')}".strip()}


def process_name(command: Sequence[str]) -> str:
    """What a process calls itself at PostgreSQL (pg_stat_activity): `iss web`, `iss worker`, `iss settle`."""
    words = [PurePath(word).name for word in command]
    known = next((name for word, name in PROCESSES.items() if word in words), "")
    return f"iss {known or (words[1] if words[0] == 'manage.py' and len(words) > 1 else words[0])}"[:63]
