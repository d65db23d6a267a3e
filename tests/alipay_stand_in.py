"""A local stand-in for Alipay: it checks our signatures and signs its own with real RSA keys, by another library.

It keeps trades as Alipay does: one exists once the payer has opened its page, can be paid until it is closed, and is
told of by a notification; it answers `alipay.trade.query` and `alipay.trade.close` over HTTP.
"""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from iss_billing.gateways import Alipay

APP_ID, SELLER_ID = "2026000000000001", "2088000000000001"


@lru_cache
def key(name: str) -> rsa.RSAPrivateKey:
    """A key pair of this test process, by name."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def private_pem(name: str) -> bytes:
    return key(name).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_pem(name: str) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key(name).public_key().public_bytes(serialization.Encoding.PEM, form)


def signature(text: str, name: str = "alipay") -> str:
    signed = key(name).sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    return base64.b64encode(signed).decode()


def joined(fields: dict[str, str]) -> str:
    return "&".join(f"{name}={fields[name]}" for name in sorted(fields) if name not in ("sign", "sign_type"))


def signed(fields: dict[str, str], by: str = "alipay") -> dict[str, str]:
    """A notification as Alipay sends it."""
    return fields | {"sign_type": "RSA2", "sign": signature(joined(fields), by)}


class StandIn:
    """Alipay, as far as one application sees it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.trades: dict[str, dict[str, str]] = {}
        self.calls: list[tuple[str, str]] = []
        self.signs_with = "alipay"
        self.broken: bytes | None = None
        self.before_close: Any = None

    def open(self, address: str) -> dict[str, Any]:
        """The payer follows the address of the cashier's page: our signature must be right. What was asked for."""
        fields = dict(parse_qsl(urlsplit(address).query, keep_blank_values=True, strict_parsing=True))
        self._verify(fields)
        assert address.startswith(self.address), address
        assert fields["method"] == "alipay.trade.page.pay"
        content: dict[str, Any] = json.loads(fields["biz_content"])
        number = content["out_trade_no"]
        new = {"total_amount": content["total_amount"], "trade_status": "WAIT_BUYER_PAY", "trade_no": f"ali{number}"}
        self.trades.setdefault(number, new)
        return fields | content

    def pay(self, number: str) -> dict[str, str]:
        """The payer pays; the notification that would be sent."""
        assert self.trades[number]["trade_status"] == "WAIT_BUYER_PAY", "it is closed or paid"
        self.trades[number]["trade_status"] = "TRADE_SUCCESS"
        return self.notification(number)

    def notification(self, number: str, by: str = "alipay", **changed: str | None) -> dict[str, str]:
        """A signed notification about a trade, with fields changed or, where None, left out before it is signed."""
        trade = self.trades.get(number, {"total_amount": "1.00", "trade_status": "TRADE_SUCCESS", "trade_no": "ali0"})
        fields: dict[str, str | None] = {
            "notify_time": "2026-03-05 10:00:00",
            "notify_type": "trade_status_sync",
            "notify_id": "2026030500222100000000000000000001",
            "charset": "utf-8",
            "version": "1.0",
            "auth_app_id": APP_ID,
            "app_id": APP_ID,
            "seller_id": SELLER_ID,
            "out_trade_no": number,
            "subject": "明瞳智控充值",
            "fund_bill_list": '[{"amount":"1.00","fundChannel":"ALIPAYACCOUNT"}]',
            **trade,
        }
        return signed({name: text for name, text in (fields | changed).items() if text is not None}, by)

    def answer(self, fields: dict[str, str]) -> bytes:
        """The signed answer to a call."""
        self._verify(fields)
        method, number = fields["method"], json.loads(fields["biz_content"])["out_trade_no"]
        self.calls.append((method, number))
        if self.broken is not None:
            return self.broken
        if method == "alipay.trade.close" and self.before_close:
            self.before_close(number)
        content = json.dumps(self._result(method, number), ensure_ascii=False, separators=(",", ":"))
        name = method.replace(".", "_") + "_response"
        return f'{{"{name}":{content},"sign":"{signature(content, self.signs_with)}"}}'.encode()

    def _result(self, method: str, number: str) -> dict[str, str]:
        trade = self.trades.get(number)
        failed = {"code": "40004", "msg": "Business Failed"}
        if trade is None:
            return failed | {"sub_code": "ACQ.TRADE_NOT_EXIST", "sub_msg": "交易不存在"}
        if method == "alipay.trade.close":
            if trade["trade_status"] != "WAIT_BUYER_PAY":
                return failed | {"sub_code": "ACQ.REASON_TRADE_STATUS_INVALID", "sub_msg": "交易状态异常"}
            trade["trade_status"] = "TRADE_CLOSED"
        return {"code": "10000", "msg": "Success", "out_trade_no": number} | trade

    @staticmethod
    def _verify(fields: dict[str, str]) -> None:
        assert (fields["app_id"], fields["sign_type"], fields["charset"]) == (APP_ID, "RSA2", "utf-8")
        text = "&".join(f"{name}={fields[name]}" for name in sorted(fields) if name != "sign")
        sign = base64.b64decode(fields["sign"], validate=True)
        key("app").public_key().verify(sign, text.encode(), padding.PKCS1v15(), hashes.SHA256())


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """It, serving on a local port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fields = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
            body = it.answer(fields)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    it = StandIn(f"http://127.0.0.1:{server.server_port}/gateway.do")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield it
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def configured(folder: Path, address: str) -> Alipay:
    """Our side: its key and Alipay's public one, in files."""
    (folder / "app.pem").write_bytes(private_pem("app"))
    (folder / "alipay.pem").write_bytes(public_pem("alipay"))
    return Alipay(APP_ID, folder / "app.pem", folder / "alipay.pem", address, SELLER_ID)
