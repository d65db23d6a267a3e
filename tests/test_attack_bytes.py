"""Whatever bytes come to whatever address: an answer, never a fault of ours.

Every address of the URL conf, as who may use it, with bodies of chance: bytes, JSON, forms, uploads and query strings,
some of them close to what is expected. `make attack` sends each 10,000, `make test` 200, an address a test.
"""

import json
import math
import os
import random
import re
import string
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from typing import Any
from urllib.parse import quote_plus, urlencode

import pytest
import time_machine
from django.db import connection
from django.http import StreamingHttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.keys import make_key
from accounts.models import User
from tests.conftest import made_once
from tests.sender import Asker, Site, Undoing, sending
from tests.test_outsiders import ADMIN, ADMIN_OPEN, API, OPEN, OPEN_PAGES, PAGES, PLATFORM, ROUTES, Alices
from tests.test_staff_roles import address as admin_address
from tests.test_staff_roles import furnished
from tests.worlds import at

pytestmark = pytest.mark.django_db

BODIES = int(os.environ.get("ATTACK_BODIES", "200"))
SEED = int(os.environ.get("ATTACK_SEED", "20260308"))
NASTY = (
    "", " ", "0", "-1", "-0", "+1", "1.5", "0.001", "1e3", "1e400", "NaN", "Infinity", "-Infinity", "١٢", "１２",
    "¾", "0x10", "9" * 19, "9" * 400, "1,000", "1_000", "true", "null", "[]", "{}", "\x00", "a\x00b", "\ud800",
    "\u202e", "ß" * 300, "2026-02-30", "2026-13-01", "0000-00-00", "9999-12-31", "0001-01-01",
    "2026-03-01T25:00", "2026-03-08", "2026-W10", "' OR 1=1 --", "'; DROP TABLE accounts_account; --", "%",
    "%00", "%%s", "{0.__class__}", "{{7*7}}", "${7*7}", "../../etc/passwd", "//evil.example",
    "https://evil.example/", "javascript:alert(1)", "<script>alert(1)</script>", "\r\nSet-Cookie: a=b", "=1+1",
    "@SUM(1)", "pet-100k", "ai.pet", "cn-mainland", "traffic", "on", "on\x00",
)  # fmt: skip
FIELDS = """
amount amount_0 amount_1 quantity lines sku expected_price mode next from to item cursor page_size status
pack_type region changed_since url events email password reason reference add key month day q o p action
_selected_action name language theme file format kind id source type e all _popup _to_field
csrfmiddlewaretoken
""".split()  # noqa: SIM905
TYPES = (
    "application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "multipart/form-data",
    "application/cloudevents-batch+json", "application/cloudevents+json", "text/plain", "",
    "application/json; charset=x",
    "application/x-www-form-urlencoded; charset=utf-16", "*/*", "a" * 300, "text/\u00e9",
)  # fmt: skip
DRAWN = 10
"""One HTML answer in so many is drawn."""
METHODS = ("POST",) * 11 + ("PUT", "PATCH", "DELETE") * 2 + ("GET", "HEAD", "OPTIONS")
"""A body goes with most of them; a query string with all."""

Make = Callable[[random.Random, list[str]], dict[str, Any]]


def text(chance: random.Random) -> str:
    """A value that somebody might send."""
    kind = chance.randrange(8)
    if kind == 0:
        return "".join(chance.choices(string.printable, k=chance.randrange(40)))
    if kind == 1:
        return "".join(chr(chance.randrange(0x110000)) for _ in range(chance.randrange(12)))
    if kind == 2:
        return str(chance.randrange(-(10**20), 10**20))
    return chance.choice(NASTY)


def encoded(value: str) -> bytes:
    """Also what is no Unicode."""
    return value.encode("utf-8", "surrogatepass")


def value(chance: random.Random, depth: int = 0) -> Any:
    """A JSON value of chance."""
    kind = chance.randrange(10 if depth < 3 else 7)
    if kind < 3:
        return text(chance).encode("utf-8", "ignore").decode()
    if kind < 5:
        return chance.choice([0, -1, 1, 2**31, 2**63, 10**15, 10**15 + 1, 10**30, 1.5, math.inf, math.nan, -0.0])
    if kind < 7:
        return chance.choice([None, True, False])
    if kind < 9:
        return {chance.choice(FIELDS): value(chance, depth + 1) for _ in range(chance.randrange(5))}
    return [value(chance, depth + 1) for _ in range(chance.randrange(5))]


def raw(chance: random.Random, names: list[str]) -> dict[str, Any]:
    """Bytes."""
    return {"data": chance.randbytes(chance.randrange(300)), "content_type": chance.choice(TYPES)}


def of_json(chance: random.Random, names: list[str]) -> dict[str, Any]:
    """JSON, now and then cut off or nested beyond reason."""
    if chance.randrange(20) == 0:
        body = b"[" * 100_000
    else:
        body = json.dumps(value(chance)).encode()
        body = body[: chance.randrange(len(body) + 1)] if chance.randrange(6) == 0 else body
    return {"data": body, "content_type": chance.choice(TYPES[:6])}


def form(chance: random.Random, names: list[str]) -> dict[str, Any]:
    """A form with the fields that the page has, filled with what nobody asked for."""
    pairs = [
        (chance.choice(names) if chance.randrange(4) else chance.choice(FIELDS), encoded(text(chance)))
        for _ in range(chance.randrange(1, 8))
    ]
    return {"data": urlencode(pairs), "content_type": "application/x-www-form-urlencoded"}


def upload(chance: random.Random, names: list[str]) -> dict[str, Any]:
    """A form with a file, not always whole."""
    name, content = chance.choice([*names, "file"]), chance.randbytes(chance.randrange(200))
    if chance.randrange(2):
        content = encoded(text(chance)) + b",1,2\n" + encoded(text(chance))
    disposition = f'form-data; name="{quote_plus(name)}"; filename="{chance.choice(["a.csv", "a.xlsx", "", "../a"])}"'
    body = b"--x\r\nContent-Disposition: " + disposition.encode() + b"\r\n\r\n" + content + b"\r\n--x--\r\n"
    if chance.randrange(4) == 0:
        body = body[: chance.randrange(len(body))]
    return {"data": body, "content_type": "multipart/form-data; boundary=x"}


MAKERS: tuple[Make, ...] = (raw, of_json, form, form, upload)


class Target:
    """An address with who may use it, and the names of its fields."""

    def __init__(self, name: str, url: str, asker: Asker) -> None:
        self.name, self.url, self.asker = name, url, asker
        self.fields: list[str] = []
        self.answers: Counter[int] = Counter()

    def look(self) -> None:
        """Read the names of its fields; a key's first use is noted."""
        answer = self.asker.get(self.url)
        page = "" if isinstance(answer, StreamingHttpResponse) else answer.content.decode("utf-8", "replace")
        self.fields = sorted(set(re.findall(r'<(?:input|select|textarea|button)[^>]* name="([^"]+)"', page)))[:60]

    def send(self, chance: random.Random) -> None:
        """One request of chance."""
        method = chance.choice(METHODS)
        names = self.fields or list(FIELDS)
        query = urlencode([(chance.choice(FIELDS), encoded(text(chance))) for _ in range(chance.randrange(4))])
        sent: dict[str, Any] = {} if method in ("GET", "HEAD") else chance.choice(MAKERS)(chance, names)
        if chance.randrange(2):
            sent["HTTP_IDEMPOTENCY_KEY"] = "k"  # an order without one goes no further
        self.asker.site.draws = chance.randrange(DRAWN) == 0
        try:
            answer: Any = self.asker.generic(method, self.url, QUERY_STRING=query, **sent)
        except Exception as error:
            error.add_note(repr((method, self.url, query, sent)))
            raise
        self.answers[answer.status_code] += 1
        fine = answer.status_code < 500 or (answer.status_code == 503 and self.name in PROBES)
        assert fine, (answer.status_code, method, self.url, query, sent)


class World:
    """Alice with one of everything, a superuser, and who asks in whose name."""

    def __init__(self) -> None:
        self.alice = Alices()
        furnished(self.alice.account)
        self.key = Client(headers={"Authorization": f"Bearer {self.alice.key}"})
        platform = make_key(account_id=None, name="", now=timezone.now())[1]
        self.platform = Client(headers={"Authorization": f"Bearer {platform}"})
        self.staff = User.objects.create_superuser("root@example.com", "x")

    def target(self, name: str, site: Site) -> Target:
        """The address of a route, and who asks there: alice, the platform, a superuser or nobody."""
        url, client = self.place(name)
        return Target(name, url, site.asker(client))

    def place(self, name: str) -> tuple[str, Client]:
        """The address and who is signed in."""
        alice = self.alice
        if name in ADMIN:
            if name.partition(":")[2] in ADMIN_OPEN:
                return reverse(name), Client()
            return admin_address(name, alice.account), signed_in(self.staff)
        if name in {*API, *OPEN}:
            return alice.address(name), self.platform if name in PLATFORM or name == "api-usage" else self.key
        if name in PAGES:
            return alice.address(name), signed_in(alice.account.user)
        if name == "preferences":
            return reverse(name), signed_in(alice.account.user)
        known = dict.fromkeys(ROUTES[name].pattern.converters, "nonsense")
        if "gateway" in known:
            known["gateway"] = "sandbox"
        return reverse(name, kwargs=known), Client()


def signed_in(user: User | None) -> Client:
    """A browser."""
    assert user is not None
    client = Client()
    client.force_login(user)
    return client


PROBES = {"healthz", "readyz", "metrics"}
NAMES = sorted({*API, *OPEN, *PAGES, *OPEN_PAGES, *ADMIN} & ROUTES.keys() - PROBES - {"favicon.ico"})
NOON = at("2026-03-08T12:00")


def _world() -> World:
    with time_machine.travel(NOON, tick=False):
        return World()


of_all = made_once(_world)


@pytest.fixture
def world(of_all: World) -> World:
    return deepcopy(of_all)


@pytest.mark.parametrize("name", NAMES)
def test_bytes_of_chance_are_answered(name: str, world: World) -> None:
    chance = random.Random(f"{SEED} {name}")
    with time_machine.travel(NOON, tick=False), sending() as site:
        target = world.target(name, site)
        target.look()
        undoing = Undoing()
        with connection.execute_wrapper(undoing):
            for _ in range(BODIES):
                target.send(chance)
                undoing.undo()
    assert not target.answers[429], "who is refused for asking often attacks nothing"
