"""Alipay's page payment (alipay.trade.page.pay), signed and verified with RSA2 by python-alipay-sdk.

Nothing a customer wrote goes into a payment: Alipay signs `name=value&…` without escaping, so a value with an `&`
in it could be read as other fields.
"""

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any

from alipay import AliPay
from alipay.exceptions import AliPayException, AliPayValidationError
from alipay.utils import AliPayConfig
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext as _

from accounts.payments.gateway import GatewayTrouble, NotificationRefused, Report, Trade
from accounts.payments.models import Payment
from iss_billing.days import SHANGHAI
from iss_billing.gateways import Alipay as AlipayConfig
from iss_billing.money import format_decimal, parse_decimal

TIMEOUT_SECONDS = 8
SIGN_TYPE = "RSA2"
TRADES = {
    "WAIT_BUYER_PAY": Trade.WAITING,
    "TRADE_SUCCESS": Trade.PAID,
    "TRADE_FINISHED": Trade.PAID,
    "TRADE_CLOSED": Trade.CLOSED,
}
ABSENT = "ACQ.TRADE_NOT_EXIST"
NOT_CLOSABLE = ("ACQ.REASON_TRADE_STATUS_INVALID", "ACQ.REASON_ILLEGAL_STATUS", "ACQ.TRADE_STATUS_ERROR")


class Alipay:
    """The gateway of one application at Alipay."""

    name = "alipay"

    def __init__(self, config: AlipayConfig) -> None:
        self._config = config
        self._client = AliPay(
            appid=config.app_id,
            app_private_key_string=_key("ALIPAY_PRIVATE_KEY_FILE", config.private_key_file),
            alipay_public_key_string=_key("ALIPAY_PUBLIC_KEY_FILE", config.public_key_file),
            sign_type=SIGN_TYPE,
            config=AliPayConfig(timeout=TIMEOUT_SECONDS),
        )
        self._client._gateway = config.gateway  # the library only knows its two own addresses
        if not self._client.app_private_key.has_private():
            raise ImproperlyConfigured(f"ALIPAY_PRIVATE_KEY_FILE: {config.private_key_file} holds no private key.")
        if self._client.app_private_key.public_key() == self._client.alipay_public_key.public_key():
            raise ImproperlyConfigured(
                f"ALIPAY_PUBLIC_KEY_FILE: {config.public_key_file} is the application's own key; "
                "what is needed is Alipay's, from the same page of its console."
            )

    def page(self, payment: Payment, *, return_url: str, notify_url: str, now: datetime) -> str:
        """The cashier's address, good until the payment lapses."""
        content = {
            "out_trade_no": payment.number,
            "total_amount": format_decimal(payment.amount, 2),
            "subject": _("ISS Billing top-up"),
            "product_code": "FAST_INSTANT_TRADE_PAY",
            "time_expire": _local(payment.lapses_at),
        }
        signed = self._client.client_api(
            "alipay.trade.page.pay", content, return_url=return_url, notify_url=notify_url, timestamp=_local(now)
        )
        return f"{self._config.gateway}?{signed}"

    def read(self, fields: Mapping[str, str]) -> Report:
        """What a notification says: signed by Alipay, for this application and its seller."""
        data = dict(fields)
        signature = data.pop("sign", "")
        if data.get("sign_type") != SIGN_TYPE:
            raise NotificationRefused("it is not signed with RSA2")
        try:
            genuine = self._client.verify(dict(data), signature)  # takes the sign type out of what it is given
        except (AliPayException, ValueError) as error:
            raise NotificationRefused(f"its signature cannot be read ({error})") from None
        if not genuine:
            raise NotificationRefused("its signature is not Alipay's")
        if data.get("app_id") != self._config.app_id:
            raise NotificationRefused("it is for another application")
        if self._config.seller_id and data.get("seller_id") != self._config.seller_id:
            raise NotificationRefused("it is for another seller")
        try:
            return _report(data)
        except GatewayTrouble as error:
            raise NotificationRefused(str(error)) from None

    def query(self, number: str, now: datetime) -> Report:
        """How a payment stands at Alipay."""
        answer = self._ask("alipay.trade.query", number, now)
        if answer.get("sub_code") == ABSENT:
            return Report(number, Trade.ABSENT)
        _refuse_failure(answer)
        report = _report(answer)
        if report.number != number:
            raise GatewayTrouble("the answer is about another payment")
        return report

    def close(self, number: str, now: datetime) -> bool:
        """Close it; one that the payer never opened is closed as it is, by its `time_expire`."""
        answer = self._ask("alipay.trade.close", number, now)
        if answer.get("sub_code") in NOT_CLOSABLE:
            return False
        if answer.get("sub_code") != ABSENT:
            _refuse_failure(answer)
        return True

    def _ask(self, method: str, number: str, now: datetime) -> dict[str, Any]:
        """A verified answer of Alipay's; it may tell of a failure."""
        try:
            answer = self._client.server_api(method, {"out_trade_no": number}, timestamp=_local(now))
        except AliPayValidationError:
            raise GatewayTrouble("the answer's signature is not Alipay's") from None
        except AliPayException as error:
            raise GatewayTrouble(f"Alipay refused: {error}"[:400]) from None
        except (OSError, HTTPException) as error:
            raise GatewayTrouble(f"Alipay was not reached: {error}"[:400]) from None
        except (ValueError, TypeError, AttributeError) as error:  # the library's, on an answer of another shape
            raise GatewayTrouble(f"the answer cannot be read: {error}"[:400]) from None
        if not isinstance(answer, dict):
            raise GatewayTrouble("the answer cannot be read")
        return answer


def _refuse_failure(answer: Mapping[str, Any]) -> None:
    if answer.get("code") != "10000":
        raise GatewayTrouble(
            f"Alipay refused: {answer.get('sub_code') or answer.get('code')} {answer.get('sub_msg', '')}"
        )


def _report(data: Mapping[str, Any]) -> Report:
    """What the verified fields of a notification or an answer say. Raises GatewayTrouble."""
    trade = TRADES.get(data.get("trade_status", ""))
    if trade is None:
        raise GatewayTrouble(f"no known trade_status: {str(data.get('trade_status'))[:40]}")
    try:
        amount = parse_decimal(str(data["total_amount"]), 2)
    except (KeyError, ValueError):
        raise GatewayTrouble("no total_amount") from None
    return Report(str(data.get("out_trade_no", "")), trade, amount, str(data.get("trade_no", ""))[:64])


def _local(moment: datetime) -> str:
    return moment.astimezone(SHANGHAI).strftime("%Y-%m-%d %H:%M:%S")


def _key(name: str, path: Path) -> str | bytes:
    """A key as its file has it: PEM, or the bare base64 that Alipay's console gives. Raises ImproperlyConfigured."""
    try:
        text = path.read_text(encoding="ascii").strip()
        key: str | bytes = (
            text if text.startswith("-----BEGIN") else base64.b64decode("".join(text.split()), validate=True)
        )
        from Cryptodome.PublicKey import RSA  # comes with the library

        RSA.import_key(key)
    except (OSError, UnicodeDecodeError, binascii.Error, ValueError, IndexError) as error:
        raise ImproperlyConfigured(f"{name}: {path} holds no RSA key ({error}).") from None
    return key
