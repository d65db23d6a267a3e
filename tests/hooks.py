"""A receiver of webhooks as a customer would write one: it verifies with the `standardwebhooks` library."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext
from typing import Any, NamedTuple

from django.utils import timezone
from standardwebhooks import Webhook, WebhookVerificationError

from accounts.models import Account
from accounts.webhook_delivery import Slice, due_endpoints, only_sender, send_slice
from accounts.webhook_models import Endpoint, EventType
from accounts.webhooks import add_endpoint

ALL = EventType.values


class Received(NamedTuple):
    """A request as it came."""

    path: str
    headers: dict[str, str]
    raw: str
    """The body, to the byte: that is what is signed."""

    @property
    def id(self) -> str:
        """The message's id."""
        return self.headers["webhook-id"]

    @property
    def body(self) -> Any:
        """The event."""
        return json.loads(self.raw)

    def verified_by(self, secret: str) -> bool:
        """Whether the holder of a secret believes it."""
        try:
            Webhook(secret).verify(self.raw, self.headers)
        except WebhookVerificationError:
            return False
        return True


Answering = Callable[[BaseHTTPRequestHandler], None]


def status(code: int, said: bytes = b"", **headers: str) -> Answering:
    """An answer."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in {"Content-Length": str(len(said)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(said)

    return answer


class Receiver:
    """A local HTTP server that keeps what it got; `answer` says how it answers the next requests."""

    def __init__(self, tls: SSLContext | None = None) -> None:
        self.got: list[Received] = []
        self.answer: Answering = status(204)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"])).decode()
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.got.append(Received(self.path, headers, raw))
                try:
                    outer.answer(self)
                except OSError:
                    self.close_connection = True  # the sender hung up, as some tests want it to

            do_GET = do_POST

            def log_message(self, *arguments: Any) -> None:
                """Silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if tls is not None:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def types(self) -> list[str]:
        """The types that came, in the order of their coming."""
        return [one.body["type"] for one in self.got]


@contextmanager
def receiving(tls: SSLContext | None = None) -> Iterator[Receiver]:
    """A receiver."""
    it = Receiver(tls)
    yield it
    it.server.shutdown()
    it.server.server_close()


def listen(
    account: Account | None, url: str, events: Sequence[str] = ALL, now: datetime | None = None
) -> tuple[Endpoint, str]:
    """An endpoint and its secret."""
    return add_endpoint(account=account, url=url, events=events, now=now or timezone.now())


def deliver(now: datetime) -> None:
    """What the workers do at a moment, in this process."""
    for endpoint_id in due_endpoints(now):
        with only_sender(endpoint_id) as alone:
            assert alone
            while send_slice(endpoint_id, now) is Slice.SENT:
                pass
