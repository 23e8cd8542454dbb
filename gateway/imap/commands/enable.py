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
        known = dict.fromkeys(ENABLEABLE[name] for name in self.names if name in ENABLEABLE)
        fresh = [name for name in known if name not in session.enabled]
        session.enabled.update(fresh)
        if "QRESYNC" in session.enabled:
            session.enabled.add("CONDSTORE")  # RFC 7162 §3.2.3
        if session.rev2 and session.selected is not None:
            session.selected.view.recent.clear()  # RFC 9051 has no \\Recent
        session.untagged(" ".join(["ENABLED", *fresh]).encode("ascii"))
        return Done()
