"""Where webhooks may go: public addresses only, judged on the one connected to; TLS; answers that never end."""

import socket
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_network
from typing import Any

import pytest
import trustme
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from accounts import webhook_http
from accounts.webhook_http import KEPT_BYTES, post
from accounts.webhooks import EndpointRefused, check_url
from iss_billing.networks import is_public, parse_networks
from tests.hooks import Receiver, receiving, status

LOOPBACK = [ip_network("127.0.0.0/8")]
PUBLIC = "93.184.215.14"


@pytest.fixture(autouse=True)
def debug(settings: Settings) -> None:
    """As in development, where addresses without TLS are called too; the tests begin with no network allowed."""
    settings.DEBUG = True


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as it:
        yield it


class Resolver:
    """Answers for every host with the next of some lists of addresses; the last list for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self, host: str, port: int, **_: Any) -> list[Any]:
        self.asked += 1
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        families = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(families[":" in one], socket.SOCK_STREAM, 6, "", (one, port)) for one in found]


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the resolver answer as told."""

    def use(*answers: list[str]) -> Resolver:
        it = Resolver(*answers)
        monkeypatch.setattr(socket, "getaddrinfo", it)
        return it

    return use


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The addresses that are connected to; those of the internet refuse."""
    tried: list[Any] = []
    real = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        tried.append(address[0])
        if not address[0].startswith("127."):
            raise ConnectionRefusedError("the test's internet")
        real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    return tried


PRIVATE = """
    0.0.0.0 10.1.2.3 100.64.0.1 100.100.100.200 127.0.0.1 127.9.9.9 169.254.169.254
    172.16.0.1 192.0.0.8 192.0.2.1 192.168.1.1 198.18.0.1 203.0.113.9 224.0.0.1
    239.255.255.250 240.0.0.1 255.255.255.255 :: ::1 ::7f00:1 ::ffff:10.0.0.1
    ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1 64:ff9b::a00:1 64:ff9b::7f00:1 64:ff9b:1::1 100::1
    2001:0:53aa:64c::1 2001:db8::1 2002:7f00:1::1 2002:a00:1::1 fc00::1 fd00::1 fe80::1
    fe80::1%eth0 fec0::1 ff02::1
"""


@pytest.mark.parametrize("address", PRIVATE.split())
def test_no_private_loopback_link_local_shared_multicast_or_embedded_address_is_public(address: str) -> None:
    assert not is_public(address)


PUBLIC_ONES = "1.1.1.1 100.63.255.255 223.5.5.5 ::ffff:8.8.8.8 64:ff9b::808:808 2606:4700:4700::1111"


@pytest.mark.parametrize("address", PUBLIC_ONES.split())
def test_public_addresses_are(address: str) -> None:
    assert is_public(address)


def test_networks_are_parsed_or_refused_with_a_sentence() -> None:
    assert parse_networks("X", ["10.0.0.0/8", " fd00::/8", ""]) == [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
    with pytest.raises(ImproperlyConfigured, match=r"WEBHOOK_ALLOW_NETS.*10\.0\.0\.1/8"):
        parse_networks("WEBHOOK_ALLOW_NETS", ["10.0.0.1/8"])


def test_a_private_address_is_not_connected_to_unless_configured(
    receiver: Receiver, connections: list[Any], settings: Settings
) -> None:
    answer = post(receiver.url, "{}", {})
    assert (answer.status, receiver.got, connections) == (None, [], [])
    assert "may not be called" in answer.error
    assert "127.0.0.1" not in answer.error
    settings.WEBHOOK_ALLOW_NETS = LOOPBACK
    assert post(receiver.url, "{}", {}).status == 204
    assert len(receiver.got) == 1


@pytest.mark.parametrize("host", ["localhost", "127.1", "0x7f.1", "2130706433", "017700000001", "[::ffff:127.0.0.1]"])
def test_other_spellings_of_loopback_are_seen_through(host: str, receiver: Receiver, connections: list[Any]) -> None:
    answer = post(f"http://{host}:{receiver.port}/", "{}", {})
    assert (answer.status, receiver.got, connections) == (None, [], [])


def test_a_host_that_rebinds_to_a_private_address_gets_no_request(
    receiver: Receiver, connections: list[Any], resolve: Any, settings: Settings
) -> None:
    # public when it is asked first, private ever after: what was judged is what is connected to
    resolver = resolve([PUBLIC], ["127.0.0.1"])
    first = post(f"http://rebind.example:{receiver.port}/", "{}", {})
    assert (resolver.asked, connections) == (1, [PUBLIC])
    assert first.status is None
    # and the next attempt judges anew
    second = post(f"http://rebind.example:{receiver.port}/", "{}", {})
    assert (resolver.asked, connections) == (2, [PUBLIC])
    assert "may not be called" in second.error
    assert receiver.got == []
    # the same resolver does reach the receiver where that is allowed: the test could fail
    settings.WEBHOOK_ALLOW_NETS = LOOPBACK
    assert post(f"http://rebind.example:{receiver.port}/", "{}", {}).status == 204


def test_of_several_addresses_only_the_public_ones_are_tried(
    receiver: Receiver, connections: list[Any], resolve: Any
) -> None:
    resolve(["127.0.0.1", PUBLIC, "10.0.0.1", "::ffff:127.0.0.1", "1.1.1.1"])
    answer = post(f"http://mixed.example:{receiver.port}/", "{}", {})
    assert (answer.status, connections, receiver.got) == (None, [PUBLIC, "1.1.1.1"], [])
    assert "refused" in answer.error or "the test's internet" in answer.error


def test_without_tls_only_allowed_networks_are_called_in_production(
    receiver: Receiver, connections: list[Any], resolve: Any, settings: Settings
) -> None:
    settings.DEBUG = False
    resolve([PUBLIC])
    assert "may not be called" in post("http://plain.example/", "{}", {}).error
    assert connections == []
    post("https://secure.example/", "{}", {})
    assert connections == [PUBLIC]
    settings.WEBHOOK_ALLOW_NETS = LOOPBACK
    resolve(["127.0.0.1"])
    assert post(f"http://inside.example:{receiver.port}/", "{}", {}).status == 204


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(code: int, receiver: Receiver, settings: Settings) -> None:
    settings.WEBHOOK_ALLOW_NETS = LOOPBACK
    with receiving() as other:
        receiver.answer = status(code, b"over there", Location=other.url)
        answer = post(receiver.url, "{}", {})
        assert (answer.status, answer.body, other.got) == (code, "over there", [])


def test_proxies_of_the_environment_are_not_used(
    receiver: Receiver, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WEBHOOK_ALLOW_NETS = LOOPBACK
    with receiving() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert post(receiver.url, "{}", {}).status == 204
        assert (len(receiver.got), proxy.got) == (1, [])


@pytest.fixture
def authority(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> trustme.CA:
    """A certificate authority that this process believes."""
    it = trustme.CA()
    it.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return it


def server_side(authority: trustme.CA, name: str) -> Any:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def test_tls_is_verified_against_the_host_name(
    authority: trustme.CA, resolve: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WEBHOOK_ALLOW_NETS = LOOPBACK
    resolve(["127.0.0.1"])
    with receiving(server_side(authority, "hooks.example")) as receiver:
        assert post(f"https://hooks.example:{receiver.port}/a?b=c", '{"a":1}', {}).status == 204
        assert (receiver.got[0].path, receiver.got[0].headers["host"]) == ("/a?b=c", f"hooks.example:{receiver.port}")
        wrong = post(f"https://other.example:{receiver.port}/", "{}", {})
        assert (wrong.status, len(receiver.got)) == (None, 1)
        assert "certificate" in wrong.error.lower()
        by_address = post(f"https://127.0.0.1:{receiver.port}/", "{}", {})
        assert (by_address.status, len(receiver.got)) == (None, 1)
    with receiving(server_side(trustme.CA(), "hooks.example")) as stranger:
        unknown = post(f"https://hooks.example:{stranger.port}/", "{}", {})
        assert (unknown.status, stranger.got) == (None, [])
        assert "certificate" in unknown.error.lower()


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"x" * 65536)


def dripping_headers(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        handler.wfile.write(b"X-A: b\r\n")
        time.sleep(0.05)


def dripping_body(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    while True:
        handler.wfile.write(b"y")
        time.sleep(0.05)


def of_another_protocol(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    handler.close_connection = True


def test_of_an_endless_answer_the_first_bytes_are_read(receiver: Receiver, settings: Settings) -> None:
    settings.WEBHOOK_ALLOW_NETS = LOOPBACK
    receiver.answer = endless
    answer = post(receiver.url, "{}", {})
    assert (answer.status, answer.body) == (200, "x" * KEPT_BYTES)
    assert answer.milliseconds < 5000


def test_an_answer_that_drips_is_cut_off(
    receiver: Receiver, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WEBHOOK_ALLOW_NETS = LOOPBACK
    monkeypatch.setattr(webhook_http, "DEADLINE_SECONDS", 0.5)
    receiver.answer = dripping_headers
    answer = post(receiver.url, "{}", {})
    assert answer.status is None
    assert answer.error == "no answer within 0.5 seconds"
    assert 400 < answer.milliseconds < 2500
    receiver.answer = dripping_body
    answer = post(receiver.url, "{}", {})
    assert (answer.status, set(answer.body)) == (200, {"y"})
    assert 400 < answer.milliseconds < 2500


def test_a_tls_handshake_that_drips_is_cut_off(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.WEBHOOK_ALLOW_NETS = LOOPBACK
    monkeypatch.setattr(webhook_http, "DEADLINE_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        answer = post(f"https://127.0.0.1:{silent.getsockname()[1]}/", "{}", {})
    assert answer.status is None
    assert 400 < answer.milliseconds < 2500


def test_nobody_there_and_nonsense_are_errors_in_words(receiver: Receiver, settings: Settings) -> None:
    settings.WEBHOOK_ALLOW_NETS = LOOPBACK
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert "refused" in post(f"http://127.0.0.1:{port}/", "{}", {}).error
    receiver.answer = of_another_protocol
    answer = post(receiver.url, "{}", {})
    assert answer.status is None
    assert answer.error
    assert "object at" not in answer.error
    receiver.answer = status(500, b"\x00\xff broken")
    assert post(receiver.url, "{}", {}).body == "�� broken"
    assert "resolve" in post("https://no-such-host.invalid/", "{}", {}).error


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com/hook",
        "ftp://example.com/",
        "https://",
        "https:///path",
        "https://user:pass@example.com/",
        "https://example.com/#part",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://example.com:port/",
        "https://exa mple.com/",
        "https://example.com/\r\nX-Injected: 1",
        "https://例子.example/",
        "https://exam%70le.com/",
        "https://[::1/",
        "https://[::1]/",
        "https://[fe80::1%25eth0]/",
        "https://127.0.0.1/",
        "https://10.0.0.1:8443/hook",
        "https://999.1.1.1/",
        "https://127.1/",
        "https://localhost/",
        "https://LOCALHOST./",
        "https://example.com/" + "a" * 2000,
    ],
)
def test_addresses_that_can_be_no_endpoint_are_refused_when_they_are_added(url: str) -> None:
    with pytest.raises(EndpointRefused) as refusal:
        check_url(url)
    assert refusal.value.field == "url"


def test_https_only_unless_debugging_or_networks_are_allowed(settings: Settings) -> None:
    check_url("http://example.com/hook")
    settings.DEBUG = False
    with pytest.raises(EndpointRefused, match="https"):
        check_url("http://example.com/hook")
    check_url("https://example.com:8443/hook?key=a%20b")
    settings.WEBHOOK_ALLOW_NETS = [ip_network("10.0.0.0/8")]
    check_url("http://hooks.internal/")
    check_url("http://10.1.1.1/")
    with pytest.raises(EndpointRefused):
        check_url("http://1.1.1.1/")
