"""Flags as clients may set them (RFC 3501 §2.3.2)."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from gateway.imap import responses
from gateway.imap.errors import Bad

_SYSTEM_FLAGS: Mapping[str, str] = MappingProxyType({flag.upper(): flag for flag in responses.SYSTEM_FLAGS})


def parse_flags(names: Iterable[str]) -> frozenset[str]:
    """Flags of STORE and APPEND, system flags in one spelling. Raises Bad for flags that a client cannot set."""
    result: set[str] = set()
    for name in names:
        if not name.startswith("\\"):
            result.add(name)
            continue
        known = _SYSTEM_FLAGS.get(name.upper())
        if known is None:  # RFC 3501 §9: `flag` has no \Recent
            raise Bad(f"{name} is not a flag that can be set")
        result.add(known)
    return frozenset(result)


def system_flag(name: str) -> str:
    """The one spelling of a system flag, keywords as they are."""
    return _SYSTEM_FLAGS.get(name.upper(), name)
