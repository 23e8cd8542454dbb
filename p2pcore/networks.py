"""What a host, an IP address above all, says of who has it; pure."""

import ipaddress
from functools import lru_cache

from p2pcore import params

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_KEPT = 10_000  # hosts about which the answer is remembered: the same ones come again and again


def parsed(host: str) -> IpAddress | None:
    """Return the address that `host` is, an IPv4-mapped one as IPv4; None for a name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


@lru_cache(_KEPT)
def numeric(host: str) -> str | None:
    """Return an IP address in its canonical form, IPv4-mapped ones as IPv4; None for a name."""
    address = parsed(host)
    return None if address is None else str(address)


@lru_cache(_KEPT)
def holder(host: str) -> str:
    """Return what one peer is counted by: an IPv4 address, or the /64 that an IPv6 host picks its own from.

    What is no address stands for itself.
    """
    address = parsed(host)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return host if address is None else str(address)


@lru_cache(_KEPT)
def subnet(host: str) -> str:
    """Return the part of an address that its holder had assigned: /24 of IPv4, /48 of IPv6 (RFC 6177 §2).

    What is no address stands for itself.
    """
    address = parsed(host)
    if address is None:
        return host
    return str(ipaddress.ip_network((address, 24 if address.version == 4 else 48), strict=False))


def is_loopback(host: str) -> bool:
    """Return whether a peer's address is this machine's own."""
    address = parsed(host)
    return address is not None and address.is_loopback


def is_dialable(host: str) -> bool:
    """Return whether others can be told to dial `host`: a name, or an address that one host has.

    0.0.0.0 would be dialled as this machine (RFC 1122 §3.2.1.3).
    """
    address = parsed(host)
    if address is not None and (
        address.is_unspecified or address.is_multicast or str(address) == "255.255.255.255"  # RFC 919 §7
    ):
        return False
    return 0 < len(host) <= params.MAX_DOMAIN and host.isprintable() and " " not in host
