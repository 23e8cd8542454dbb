"""APPEND (RFC 3501 §6.3.11) of one or several messages (RFC 3502), answering with APPENDUID (RFC 4315 §3)."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.imap.dates import parse_date_time
from gateway.imap.errors import Bad, No
from gateway.imap.flags import parse_flags
from gateway.imap.lexer import Lexer
from gateway.imap.sequence_sets import format_sequence_set
from gateway.imap.session import Done, Session
from gateway.imap.wire import Literal
from gateway.mailbox.errors import NoSuchMailbox
from gateway.mailbox.model import NewMessage


@dataclass(frozen=True, slots=True)
class Message:
    """One message to append."""

    flags: frozenset[str]
    date: tuple[int, int] | None  # Unix seconds, minutes east
    literal: Literal  # without data: its octets are in one of the session's spools
    utf8: bool  # said to have header fields in UTF-8 (RFC 6855 §4)


@dataclass(frozen=True, slots=True)
class Append:
    name: str
    messages: tuple[Message, ...]

    @classmethod
    def parse(cls, lexer: Lexer) -> "Append":
        lexer.space()
        name = lexer.mailbox()
        lexer.space()
        messages = [_message(lexer)]
        while not lexer.at_end and lexer.skip(b" ") and not lexer.at_end:
            messages.append(_message(lexer))
        return cls(name, tuple(messages))

    async def run(self, session: Session) -> Done:
        for message in self.messages:
            _require_storable(message, session)
        spools = iter([spool.path for spool in session.spools])
        now = int(time.time())
        items = [_item(message, spools, now) for message in self.messages]
        try:
            uidvalidity, uids = await session.store.append_many(self.name, items)  # RFC 3502 §6.3.11: all or none
        except NoSuchMailbox as error:
            raise No(str(error), "TRYCREATE") from None  # RFC 3501 §6.3.11
        return Done(code=f"APPENDUID {uidvalidity} {format_sequence_set(uids)}")


def _message(lexer: Lexer) -> Message:
    flags: frozenset[str] = frozenset()
    if lexer.peek(b"("):
        flags = parse_flags(lexer.parenthesised(lexer.flag, empty=True))
        lexer.space()
    date = None
    if lexer.peek(b'"'):
        date = parse_date_time(lexer.string().decode("ascii", "replace"))
        lexer.space()
    utf8 = lexer.skip(b"UTF8 (")
    literal = lexer.literal()
    if literal is None or (utf8 and not literal.binary):
        raise lexer.fail("the message as a literal8" if utf8 else "the message as a literal")
    if utf8:
        lexer.expect(b")")
    return Message(flags, date, literal, utf8)


def _require_storable(message: Message, session: Session) -> None:
    """Raise No or Bad for a message that is not taken."""
    literal = message.literal
    if message.utf8 and "UTF8=ACCEPT" not in session.enabled:
        raise Bad("UTF8 needs ENABLE UTF8=ACCEPT first")  # RFC 6855 §4
    if literal.size == 0:
        raise No("an empty message is not stored", "CANNOT")
    if literal.size > session.limits.message_size:
        raise No(f"the message is larger than {session.limits.message_size} octets", "TOOBIG")
    if literal.nul:  # RFC 3516 §4.3: what cannot be stored as it is
        raise No("a message with NUL octets is not stored", "UNKNOWN-CTE")


def _item(message: Message, spools: Iterator[Path], now: int) -> NewMessage:
    content = message.literal.data if message.literal.data is not None else next(spools)
    when, zone = message.date if message.date is not None else (now, 0)
    return NewMessage(content, message.flags, when, zone)
