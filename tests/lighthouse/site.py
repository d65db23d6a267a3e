"""The demo customer's console served as production serves it: DEBUG off, hashed and compressed static files."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

from iss_billing import embedded

ROOT = Path(__file__).resolve().parent.parent.parent
VAR = ROOT / "var" / "lighthouse"
PROXY = {"X-Forwarded-Proto": "https"}
"""What the proxy says that ends TLS in production; the site believes it of TRUSTED_PROXIES only."""

LOG_IN = """
from importlib import import_module
from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, BACKEND_SESSION_KEY, SESSION_KEY
from accounts.models import User
from settlement.demo import CUSTOMER
user = User.objects.get(email=CUSTOMER)
session = import_module(settings.SESSION_ENGINE).SessionStore()
session[SESSION_KEY] = str(user.pk)
session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[-1]
session[HASH_SESSION_KEY] = user.get_session_auth_hash()
session.save()
bill = user.account.bills.order_by("-day", "-sequence").first()
print(f"{settings.SESSION_COOKIE_NAME}={session.session_key} {bill.pk}")
"""


def environment(*, port: int, debug: bool) -> dict[str, str]:
    """The environment of a process of the site; the database is the lighthouse's own, never `make run`'s."""
    return dict(os.environ) | {
        "DEBUG": str(int(debug)),
        "SECRET_KEY": "served to one browser on this machine, for minutes",
        "ALLOWED_HOSTS": "localhost",
        "DATABASE_URL": f"postgres://{embedded.USER}@/{embedded.DATABASE}?host={embedded.Place(VAR).sockets}",
        "REDIS_URL": embedded.redis_url(VAR),
        "EMAIL_URL": "dummymail://",
        "TRUSTED_PROXIES": "127.0.0.1",
        "SITE_URL": f"https://localhost:{port}",
        "PORT": str(port),
        "LOG_FORMAT": "line",
        "API_RATE_LIMITS": "off",
    }


def manage(*arguments: str, port: int, debug: bool = False) -> str:
    """What a command of manage.py prints."""
    command = [sys.executable, "manage.py", *arguments]
    env = environment(port=port, debug=debug)
    return subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served() -> Iterator[tuple[str, str, int]]:
    """The site's address, the session cookie of the demo customer, and the number of the latest bill."""
    embedded.hold(VAR)
    port = free_port()
    manage("migrate", "--verbosity", "0", port=port)
    manage("load_catalogue", port=port)
    manage("demo", port=port, debug=True)  # its passwords are known: it is refused where DEBUG is 0
    manage("collectstatic", "--no-input", "--verbosity", "0", port=port)
    cookie, _, bill = manage("shell", "--verbosity", "0", "--command", LOG_IN, port=port).strip().rpartition(" ")
    command = [sys.executable, "-m", "gunicorn", "-c", "python:iss_billing.serving", "iss_billing.wsgi"]
    with (VAR / "site.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=ROOT, env=environment(port=port, debug=False), stderr=log)
        try:
            _wait(port)
            yield f"http://localhost:{port}", cookie, int(bill)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)


def _wait(port: int) -> None:
    for _ in range(300):
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/healthz", headers=PROXY | {"Host": "localhost"})
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)
        finally:
            connection.close()
    raise AssertionError(f"the site did not start: {VAR / 'site.log'}")
