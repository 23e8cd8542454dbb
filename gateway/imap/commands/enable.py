"""ENABLE (RFC 5161)."""

from dataclasses import dataclass

from gateway.imap.capabilities import ENABLEABLE
from gateway.imap.lexer import Lexer
from gateway.imap.session import Done, Session


@dataclass(frozen=True, slots=True)
class Enable:
    names: tuple[str, ...]

    @classmethod
    def parse(cls, lexer: Lexer) -> "Enable":
        names: list[str] = []
        lexer.space()
        names.append(lexer.atom("a capability").upper())
        while not lexer.at_end and lexer.skip(b" ") and not lexer.at_end:
            names.append(lexer.atom("a capability").upper())
        return cls(tuple(names))

    async def run(self, session: Session) -> Done:
        # RFC 5161 §3.1: what is unknown or needs no enabling is passed over; what is new is named
        fresh = [name for name in dict.fromkeys(self.names) if name in ENABLEABLE - session.enabled]
        session.enabled.update(fresh)
        session.untagged(" ".join(["ENABLED", *fresh]).encode("ascii"))
        return Done()
