"""Who sent a request, when proxies stand in between."""

from collections.abc import Sequence
from functools import lru_cache

from django.conf import settings
from django.http import HttpRequest

from iss_billing.networks import Network, is_among, parse_networks

LONGEST = 64
"""Characters of an address that are believed."""


def client_address(request: HttpRequest) -> str:
    """The client's address: behind trusted proxies the last that none of them is; empty where nobody says.

    What a client writes into X-Forwarded-For itself stands before what the first trusted proxy adds.
    """
    address: str = request.META.get("REMOTE_ADDR", "")
    if address and not _trusted(address):
        return address
    for named in reversed(request.headers.get("X-Forwarded-For", "").split(",")):
        name = named.strip()[:LONGEST]
        if not name:
            break
        address = name
        if not _trusted(name):
            break
    return address


def came_through_a_proxy(request: HttpRequest) -> bool:
    """Whether a request shows any sign of a proxy, trusted or not."""
    return any(name in request.headers for name in ("X-Forwarded-For", "X-Forwarded-Proto", "X-Real-IP", "Forwarded"))


def _trusted(address: str) -> bool:
    try:
        return is_among(address, _networks(tuple(settings.TRUSTED_PROXIES)))
    except ValueError:
        return False  # no address at all


@lru_cache(maxsize=4)
def _networks(texts: Sequence[str]) -> list[Network]:
    return parse_networks("TRUSTED_PROXIES", texts)
