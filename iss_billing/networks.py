"""Which addresses a request may go to when somebody else names the host."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from ipaddress import IPv4Network as IPv4Net

from django.core.exceptions import ImproperlyConfigured

Address = IPv4Address | IPv6Address
Network = IPv4Net | IPv6Network

UNICAST = IPv6Network("2000::/3")
"""What IPv6 has given out; everything else is private, local, multicast or nothing yet."""
SPECIAL = [ip_network(text) for text in ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "3fff::/20")]
"""For protocols and documents; not every Python knows all of them."""
NAT64 = IPv6Network("64:ff9b::/96")


def parse_networks(variable: str, texts: Iterable[str]) -> list[Network]:
    """The networks of an environment variable. Raises ImproperlyConfigured with a sentence for the reader."""
    try:
        return [ip_network(text.strip()) for text in texts if text.strip()]
    except ValueError as error:
        raise ImproperlyConfigured(f"{variable}: {error}; networks are written like 10.0.0.0/8,fd00::/8") from error


def _meant(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for (mapped, 6to4, NAT64); others as they are."""
    if isinstance(address, IPv6Address):
        if address in NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def is_among(text: str, networks: Sequence[Network]) -> bool:
    """Whether an address lies in one of the networks."""
    meant = _meant(ip_address(text.partition("%")[0]))
    return any(meant in network for network in networks)


def is_public(text: str) -> bool:
    """Whether an address is reached over the internet: not private, loopback, link-local, shared, multicast or none."""
    meant = _meant(ip_address(text.partition("%")[0]))
    if not meant.is_global or meant.is_multicast or meant.is_reserved or any(meant in network for network in SPECIAL):
        return False
    return isinstance(meant, IPv4Address) or meant in UNICAST
