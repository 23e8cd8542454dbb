"""APPEND (RFC 3501 §6.3.11), answering with APPENDUID (RFC 4315 §3)."""

import time
from dataclasses import dataclass
from pathlib import Path

from gateway.imap.dates import parse_date_time
from gateway.imap.errors import No
from gateway.imap.flags import parse_flags
from gateway.imap.lexer import Lexer
from gateway.imap.session import Done, Session
from gateway.imap.wire import Literal
from gateway.mailbox.errors import NoSuchMailbox


@dataclass(frozen=True, slots=True)
class Append:
    name: str
    flags: frozenset[str]
    date: tuple[int, int] | None  # Unix seconds, minutes east
    message: Literal  # without data: its octets are in the session's spool

    @classmethod
    def parse(cls, lexer: Lexer) -> "Append":
        lexer.space()
        name = lexer.mailbox()
        lexer.space()
        flags: frozenset[str] = frozenset()
        if lexer.peek(b"("):
            flags = parse_flags(lexer.parenthesised(lexer.flag, empty=True))
            lexer.space()
        date = None
        if lexer.peek(b'"'):
            date = parse_date_time(lexer.string().decode("ascii", "replace"))
            lexer.space()
        message = lexer.literal()
        if message is None:
            raise lexer.fail("the message as a literal")
        return cls(name, flags, date, message)

    async def run(self, session: Session) -> Done:
        if self.message.size == 0:
            raise No("an empty message is not stored", "CANNOT")
        if self.message.size > session.limits.message_size:
            raise No(f"the message is larger than {session.limits.message_size} octets", "TOOBIG")
        content: bytes | Path
        if self.message.data is not None:
            content = self.message.data
        else:
            assert session.spool is not None, "a literal without data was spooled"
            content = session.spool.path
        when, zone = self.date if self.date is not None else (int(time.time()), 0)
        try:
            uidvalidity, uid = await session.store.append(self.name, content, self.flags, when, zone)
        except NoSuchMailbox as error:
            raise No(str(error), "TRYCREATE") from None  # RFC 3501 §6.3.11
        return Done(code=f"APPENDUID {uidvalidity} {uid}")
