"""The largest message that a host takes, as it says with SIZE (RFC 1870)."""

import re
from typing import Final

_OCTETS: Final = re.compile(r"[0-9]{1,20}\Z")  # RFC 1870 §6: size-value


def size_limit(value: str) -> int:
    """Return the octets that SIZE's parameter names; 0 where it names no limit, or none that can be read (§3)."""
    return int(value) if _OCTETS.match(value) else 0
