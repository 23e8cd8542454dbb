"""What a peer's address says of who it is; pure."""

import ipaddress


def is_loopback(address: str) -> bool:
    """Whether a peer's address is this machine's own."""
    parsed = _parsed(address)
    return parsed is not None and parsed.is_loopback


def holder(address: str) -> str:
    """Who has the address: itself in IPv4, in IPv6 the /64 that a host picks its own from."""
    parsed = _parsed(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address if parsed is None else str(parsed)


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return mapped or parsed
