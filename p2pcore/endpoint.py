"""Host and port of a listener or peer."""

from dataclasses import dataclass

from p2pcore.errors import Malformed


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
        if not colon or not host or (":" in host and not bracketed):
            raise Malformed(f"endpoint {text!r}: not of the form host:port or [IPv6]:port")
        if not (port.isascii() and port.isdigit()) or int(port) > 65_535:
            raise Malformed(f"endpoint {text!r}: port is not a number from 0 to 65535")
        return cls(host[1:-1] if bracketed else host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
