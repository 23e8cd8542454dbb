"""COPY (RFC 3501 §6.4.7) and UID COPY, answering with COPYUID (RFC 4315 §3)."""

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.imap.errors import No
from gateway.imap.lexer import Lexer
from gateway.imap.sequence_sets import SequenceSet, format_sequence_set
from gateway.imap.session import Done, Session
from gateway.mailbox.errors import NoSuchMailbox


@dataclass(frozen=True, slots=True)
class Copy:
    messages: SequenceSet
    destination: str
    by_uid: bool = False

    @classmethod
    def parse(cls, lexer: Lexer) -> "Copy":
        return cls(*parse_copy(lexer))

    async def run(self, session: Session) -> Done:
        uids = await messages_to_copy(session, self.messages, by_uid=self.by_uid)
        try:
            uidvalidity, pairs = await session.store.copy(session.selection.mailbox.id, uids, self.destination)
        except NoSuchMailbox as error:
            raise No(str(error), "TRYCREATE") from None  # RFC 3501 §6.4.7
        return Done(code=copy_code(uidvalidity, pairs))


@dataclass(frozen=True, slots=True)
class UidCopy:
    @classmethod
    def parse(cls, lexer: Lexer) -> Copy:
        return Copy(*parse_copy(lexer), by_uid=True)


def parse_copy(lexer: Lexer) -> tuple[SequenceSet, str]:
    """The arguments of COPY and MOVE."""
    lexer.space()
    messages = lexer.sequence_set()
    lexer.space()
    return messages, lexer.mailbox()


async def messages_to_copy(session: Session, messages: SequenceSet, *, by_uid: bool) -> list[int]:
    """UIDs that COPY or MOVE means. Raises No if a sequence number's message is gone: it is all of them or none."""
    await session.absorb()
    view = session.selection.view
    uids = view.chosen(messages, by_uid=by_uid)
    # RFC 3501 §6.4.8: a UID that does not exist is passed over
    if not by_uid and any(view.is_gone(uid) for uid in uids):
        raise No("some of these messages have been expunged", "EXPUNGEISSUED")  # RFC 5530
    return uids


def copy_code(uidvalidity: int, pairs: Iterable[tuple[int, int]]) -> str | None:
    """COPYUID, with both sets in the same order; None if nothing was copied."""
    pairs = tuple(pairs)
    if not pairs:
        return None
    old, new = (format_sequence_set(side) for side in zip(*pairs, strict=True))
    return f"COPYUID {uidvalidity} {old} {new}"
