"""Loaded before everything else in a test run: its environment, and the servers it runs on.

Tests need no `.env`. They use the databases `test_…` of the embedded servers, or of DATABASE_URL and REDIS_URL.
"""

import os
from pathlib import Path

VAR = Path(__file__).resolve().parent.parent / "var"

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
REDIS_DATABASE = 1 if WORKER == "main" else 2 + int(WORKER.removeprefix("gw"))
"""Redis database 0 is `make run`'s."""

os.environ |= {
    "DEBUG": "1",
    "SECRET_KEY": "for tests only",
    "API_RATE_LIMITS": "off",
    "DJANGO_ALLOW_ASYNC_UNSAFE": "1",  # playwright's loop runs in the thread that also asks the database
    "SITE_URL": "http://localhost:8000",
    "DATABASE_URL": os.environ.get("TEST_DATABASE_URL", ""),
    "EMAIL_URL": "",
}

if os.environ.get("TEST_REDIS_URL"):
    os.environ["REDIS_URL"] = f"{os.environ['TEST_REDIS_URL'].rstrip('/')}/{REDIS_DATABASE}"
else:
    from iss_billing import embedded

    embedded.hold(VAR)
    os.environ["REDIS_URL"] = f"{embedded.redis_url(VAR)}?db={REDIS_DATABASE}"
