"""Host and port of a listener or peer."""

import re
from dataclasses import dataclass
from typing import Final

from p2pcore.errors import Malformed

_PORT: Final = re.compile(r"[0-9]{1,5}\Z")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`host` is a name or an IP literal without brackets; `port` 0 lets the system choose when listening."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Endpoint":
        """Return the endpoint that "host:port" or "[v6]:port" names. Raises Malformed."""
        host, colon, port = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        bare = host[1:-1] if bracketed else host
        if not colon or not bare or "[" in bare or "]" in bare or (":" in bare and not bracketed):
            raise Malformed(f"endpoint {text!r}: not of the form host:port or [IPv6]:port")
        if not _PORT.match(port) or int(port) > 65_535:
            raise Malformed(f"endpoint {text!r}: port is not a number from 0 to 65535")
        return cls(bare, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
