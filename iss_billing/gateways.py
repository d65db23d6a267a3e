"""Which payment gateway the environment asks for; what is half said, or said twice, is refused at the start."""

from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

LIVE_GATEWAY = "https://openapi.alipay.com/gateway.do"
LOCAL = ("localhost", "127.0.0.1", "::1")


class Alipay(NamedTuple):
    """An application at Alipay. `seller_id` is checked where it is known; the application has one seller anyway."""

    app_id: str
    private_key_file: Path
    public_key_file: Path
    gateway: str = LIVE_GATEWAY
    seller_id: str = ""


class Payments(NamedTuple):
    """How customers pay: the sandbox, Alipay, or, with neither, by bank transfer only."""

    sandbox: bool = False
    alipay: Alipay | None = None


def read(env: environ.Env, debug: bool) -> Payments:
    """The gateway of the environment: Alipay's where it is set, else the sandbox in development or when asked for."""
    alipay = _alipay(env)
    if alipay is None:
        return Payments(sandbox=env.bool("PAYMENT_SANDBOX", default=debug))
    if env.bool("PAYMENT_SANDBOX", default=False):
        raise ImproperlyConfigured(
            "PAYMENT_SANDBOX is 1 and ALIPAY_APP_ID is set: the sandbox pays out of nothing, so it is one or the other."
        )
    return Payments(alipay=alipay)


def _alipay(env: environ.Env) -> Alipay | None:
    names = ("ALIPAY_APP_ID", "ALIPAY_PRIVATE_KEY_FILE", "ALIPAY_PUBLIC_KEY_FILE")
    values = {name: env.str(name, default="") for name in names}
    missing = [name for name in names if not values[name]]
    if len(missing) == len(names):
        return None
    if missing:
        raise ImproperlyConfigured(
            f"not set: {', '.join(missing)} (payments by Alipay need all of {', '.join(names)})."
        )
    for name in names[1:]:
        try:
            Path(values[name]).read_bytes()
        except OSError as error:
            raise ImproperlyConfigured(f"{name}: {values[name]} cannot be read ({error.strerror}).") from None
    gateway = env.str("ALIPAY_GATEWAY", default="") or LIVE_GATEWAY
    parts = urlsplit(gateway)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOCAL):
        raise ImproperlyConfigured(f"ALIPAY_GATEWAY: {gateway} is not an https:// address.")
    app_id, private, public = values.values()
    return Alipay(app_id, Path(private), Path(public), gateway, env.str("ALIPAY_SELLER_ID", default=""))
