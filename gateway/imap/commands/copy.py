"""COPY (RFC 3501 §6.4.7) and UID COPY, answering with COPYUID (RFC 4315 §3)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.imap.errors import No
from gateway.imap.lexer import Lexer
from gateway.imap.sequence_sets import SequenceSet, format_sequence_set
from gateway.imap.session import Done, Selected, Session
from gateway.mailbox.errors import NoSuchMailbox, NoSuchMessage


@dataclass(frozen=True, slots=True)
class Copy:
    messages: SequenceSet
    destination: str
    by_uid: bool = False

    @classmethod
    def parse(cls, lexer: Lexer) -> "Copy":
        return cls(*parse_copy(lexer))

    async def run(self, session: Session) -> Done:
        uidvalidity, pairs = await place(session, session.selection, session.store.copy, self)
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


class Placed(Protocol):
    """What COPY and MOVE have in common."""

    @property
    def messages(self) -> SequenceSet: ...
    @property
    def destination(self) -> str: ...
    @property
    def by_uid(self) -> bool: ...


class Place(Protocol):
    """MailStore.copy or MailStore.move."""

    async def __call__(
        self, mailbox_id: int, uids: Sequence[int], destination: str, *, all_or_none: bool
    ) -> tuple[int, tuple[tuple[int, int], ...]]: ...


async def place(
    session: Session, selection: Selected, work: Place, command: Placed
) -> tuple[int, tuple[tuple[int, int], ...]]:
    """Do COPY's or MOVE's work in one transaction; gives the destination's UIDVALIDITY and pairs of UIDs.

    Messages meant by sequence number go all or none, whenever one of them was expunged: raises No then, and (TRYCREATE)
    where there is no such mailbox.
    """
    await session.absorb()
    view, messages = selection.view, command.messages
    uids = view.chosen(messages, by_uid=command.by_uid)
    # RFC 9051 §6.4.9: a UID that does not exist is passed over; RFC 5182 §2.1: "$" loses what is expunged
    all_or_none = not command.by_uid and not messages.saved
    if all_or_none and any(view.is_gone(uid) for uid in uids):
        raise _expunged()
    try:
        return await work(selection.mailbox.id, uids, command.destination, all_or_none=all_or_none)
    except NoSuchMessage:  # between our look and the transaction
        raise _expunged() from None
    except NoSuchMailbox as error:
        if selection.watch.gone:
            raise  # it is the selected one that is no more
        raise No(str(error), "TRYCREATE") from None  # RFC 3501 §6.4.7


def _expunged() -> No:
    return No("some of these messages have been expunged", "EXPUNGEISSUED")  # RFC 5530


def copy_code(uidvalidity: int, pairs: Iterable[tuple[int, int]]) -> str | None:
    """COPYUID, with both sets in the same order; None if nothing was copied."""
    pairs = tuple(pairs)
    if not pairs:
        return None
    old, new = (format_sequence_set(side) for side in zip(*pairs, strict=True))
    return f"COPYUID {uidvalidity} {old} {new}"
