"""Who sent a request, when proxies stand in between."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network

from django.conf import settings
from django.http import HttpRequest

from iss_billing.networks import Address, Network, is_among, parse_networks

ONE_CALLER = 64
"""Bits of an IPv6 address that tell callers apart: everybody has the 2^64 addresses behind them."""


def client_address(request: HttpRequest) -> str:
    """Whom a request is counted against: an IPv4 address, or the beginning of an IPv6 one; empty where nobody says.

    Behind trusted proxies it is the last address that none of them is. What a client writes into X-Forwarded-For itself
    stands before what the first trusted proxy adds; where a proxy added what is no address it counts for all of them.
    """
    found = _read(request.META.get("REMOTE_ADDR", ""))
    if found is None or _trusted(found):
        for named in reversed(request.headers.get("X-Forwarded-For", "").split(",")):
            said = _read(named)
            if said is None:
                break
            found = said
            if not _trusted(found):
                break
    if isinstance(found, IPv6Address):
        return str(ip_network((found, ONE_CALLER), strict=False).network_address)
    return str(found or "")


def _read(text: str) -> Address | None:
    """The address that a peer or a proxy names, with or without a port; None where it is none."""
    bare = text.strip()
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        address = ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def came_through_a_proxy(request: HttpRequest) -> bool:
    """Whether a request shows any sign of a proxy, trusted or not."""
    return any(name in request.headers for name in ("X-Forwarded-For", "X-Forwarded-Proto", "X-Real-IP", "Forwarded"))


def _trusted(address: Address) -> bool:
    return is_among(str(address), _networks(tuple(settings.TRUSTED_PROXIES)))


@lru_cache(maxsize=4)
def _networks(texts: Sequence[str]) -> list[Network]:
    return parse_networks("TRUSTED_PROXIES", texts)
