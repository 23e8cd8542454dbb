"""The envelope of one mail transaction (RFC 5321 §2.3.1); pure."""

from typing import Literal

from msgspec import Struct

Body = Literal["7BIT", "8BITMIME"]


class Envelope(Struct, frozen=True):
    """`reverse_path` is "" for the null reverse-path; forward-paths are as the client wrote them, without "<>".

    `declared_size`: octets by SIZE= (RFC 1870), 0 where none was declared.
    """

    reverse_path: str
    forward_paths: tuple[str, ...]
    smtputf8: bool = False
    body: Body = "7BIT"
    declared_size: int = 0

    @property
    def single_forward_path(self) -> str | None:
        """The forward-path if there is exactly one: only then may a trace field show it (RFC 5321 §7.2)."""
        return self.forward_paths[0] if len(self.forward_paths) == 1 else None
