"""One POST to an address that a customer has named: to public addresses only, and never for long.

The host is resolved here, each address is judged, and the connection is made to the very address that was judged:
nothing resolves a second time in between. Redirects are not followed, proxies not used.
"""

import socket
import threading
import time
from typing import Any, NamedTuple

from django.conf import settings
from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, NameResolutionError, NewConnectionError
from urllib3.util import Url, parse_url

from iss_billing.networks import is_among, is_public

CONNECT_SECONDS = 5
TIMEOUT = Timeout(connect=CONNECT_SECONDS, read=10)
DEADLINE_SECONDS = 15
"""From the first byte sent to the last one read, however slowly they come."""
KEPT_BYTES = 1024
AGENT = "ISS-Billing-Webhooks/1"


class AddressRefused(HTTPError):
    """No address of the host may be called; which they are is not told, for the host's owner asks."""


class Answer(NamedTuple):
    """What came of it: a status and the first bytes of the body, or no status and why."""

    status: int | None
    body: str
    error: str
    milliseconds: int


def may_call(address: str, *, plain: bool) -> bool:
    """Whether a request may go to a numeric address, `plain` without TLS."""
    if is_among(address, settings.WEBHOOK_ALLOW_NETS):
        return True
    return is_public(address) and (not plain or settings.DEBUG)


class _Judged:
    """Connects to addresses that may be called, and hangs up at the deadline."""

    host: str
    port: int
    plain: bool
    _hang_up: threading.Timer | None = None
    _line: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            # without a place to connect to, `self` stands for the connection in urllib3's errors
            raise NameResolutionError(self.host, self, socket.gaierror(str(error))) from error  # type: ignore[arg-type]
        allowed = [entry for entry in found if may_call(str(entry[4][0]), plain=self.plain)]
        if not allowed:
            raise AddressRefused("the host's address may not be called: it is not public, or not called without TLS")
        failure: OSError | None = None
        for family, kind, protocol, _name, address in allowed:
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(CONNECT_SECONDS)
                sock.connect(address)
            except OSError as error:
                sock.close()
                failure = error
            else:
                return self._watched(sock)
        raise NewConnectionError(self, f"no connection: {failure}") from failure  # type: ignore[arg-type]

    def _watched(self, sock: socket.socket) -> socket.socket:
        """Timeouts bound the wait for each byte, this the wait for all of them, in the TLS handshake too."""
        self._line = sock.dup()  # TLS takes the first one over
        self._hang_up = threading.Timer(DEADLINE_SECONDS, _shut, [self._line])
        self._hang_up.daemon = True
        self._hang_up.start()
        return sock

    def close(self) -> None:
        if self._hang_up is not None:
            self._hang_up.cancel()
        if self._line is not None:
            self._line.close()
        super().close()  # type: ignore[misc]


def _shut(line: socket.socket) -> None:
    try:
        line.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it is over already


class _Plain(_Judged, HTTPConnection):
    plain = True


class _Tls(_Judged, HTTPSConnection):
    plain = False


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _Tls


def post(url: str, body: str, headers: dict[str, str]) -> Answer:
    """Send `body` as JSON; never raises for what the other side does."""
    begun = time.monotonic()
    status, said, error = None, b"", ""
    try:
        status, said = _exchange(parse_url(url), body, headers)
    except (HTTPError, OSError) as failure:
        error = _plainly(failure)
    seconds = time.monotonic() - begun
    if status is None and seconds >= DEADLINE_SECONDS:
        error = f"no answer within {DEADLINE_SECONDS} seconds"
    milliseconds = round(seconds * 1000)
    return Answer(status, said.decode("utf-8", "replace").replace("\x00", "�"), error, milliseconds)


def _exchange(url: Url, body: str, headers: dict[str, str]) -> tuple[int, bytes]:
    deadline = time.monotonic() + DEADLINE_SECONDS
    pool_class: Any = _TlsPool if url.scheme == "https" else _PlainPool
    with pool_class(url.host, url.port, timeout=TIMEOUT, retries=False) as pool:
        response = pool.urlopen(
            "POST",
            url.request_uri,
            body=body.encode(),
            headers={"Content-Type": "application/json", "User-Agent": AGENT, "Connection": "close", **headers},
            redirect=False,
            preload_content=False,
            decode_content=False,
        )
        try:
            if time.monotonic() >= deadline:
                raise HTTPError("cut off in the headers, which then look complete")
            return response.status, _first_bytes(response)
        finally:
            response.close()


def _first_bytes(response: HTTPResponse) -> bytes:
    """As much of the body as is kept; where it stops coming, what had come: the status has said what counts."""
    said = b""
    try:
        while len(said) < KEPT_BYTES and (more := response.read1(KEPT_BYTES - len(said))):
            said += more
    except (HTTPError, OSError):
        return said
    return said


def _plainly(failure: Exception) -> str:
    """An error in a line, without the objects that urllib3 names."""
    text = str(failure).rpartition("object at 0x")[2].partition(">: ")[2] or str(failure)
    return (text or type(failure).__name__)[:300]
