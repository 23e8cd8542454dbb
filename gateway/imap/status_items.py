"""STATUS's items (RFC 3501 §6.3.10, RFC 8438, RFC 7889, RFC 7162), for STATUS and for LIST … RETURN (STATUS …)."""

from gateway.imap import responses
from gateway.imap.errors import Bad
from gateway.imap.lexer import Lexer
from gateway.imap.session import Session
from gateway.mailbox.model import Mailbox

_ITEMS = frozenset(
    {
        "MESSAGES",
        "RECENT",
        "UIDNEXT",
        "UIDVALIDITY",
        "UNSEEN",
        "SIZE",
        "DELETED",
        "APPENDLIMIT",
        "HIGHESTMODSEQ",
    }
)


def parse_status_items(lexer: Lexer) -> tuple[str, ...]:
    """`(MESSAGES UNSEEN …)`. Raises Bad."""
    items = tuple(dict.fromkeys(lexer.parenthesised(lambda: lexer.word("a status item"))))
    for item in items:
        if item not in _ITEMS:
            raise Bad(f"STATUS has no item {item}")
    return items


async def status_line(session: Session, mailbox: Mailbox, items: tuple[str, ...]) -> bytes:
    """`* STATUS name (…)` of one mailbox."""
    if "HIGHESTMODSEQ" in items:
        session.enabled.add("CONDSTORE")  # RFC 7162 §3.1: a CONDSTORE enabling command
    values = [f"{item} {await _value(session, mailbox, item)}" for item in items]
    return b"* STATUS %s (%s)\r\n" % (
        responses.mailbox(mailbox.name, utf8=session.utf8),
        " ".join(values).encode("ascii"),
    )


async def _value(session: Session, mailbox: Mailbox, item: str) -> int:
    if item == "RECENT":
        return await _recent(session, mailbox)
    if item == "APPENDLIMIT":
        return session.limits.message_size
    return {
        "MESSAGES": mailbox.messages,
        "UIDNEXT": mailbox.uidnext,
        "UIDVALIDITY": mailbox.uidvalidity,
        "UNSEEN": mailbox.unseen,
        "SIZE": mailbox.size,
        "DELETED": mailbox.deleted,
        "HIGHESTMODSEQ": max(mailbox.highest_modseq, 1),
    }[item]


async def _recent(session: Session, mailbox: Mailbox) -> int:
    assert session.account is not None
    mark = session.account.recent_mark(mailbox.id)
    if mark >= mailbox.uidnext or not mailbox.messages:
        return 0
    return await session.store.count_from(mailbox.id, mark)
