"""The LIST response for one name: SELECT has it in IMAP4rev2 (RFC 9051 §6.3.2), and a name that changed (§6.3.9.7)."""

from gateway.imap import responses
from gateway.imap.listing import Selection, list_entries
from gateway.imap.session import Session


async def tell_name(session: Session, name: str, given: str) -> None:
    """Write the LIST response of the mailbox `name`, with OLDNAME where the client called it otherwise."""
    extended = b""
    if given != name:
        extended = b' ("OLDNAME" (%s))' % responses.mailbox(given, utf8=session.utf8)
    mailboxes, subscriptions = await session.store.mailboxes(), await session.store.subscriptions()
    for entry in list_entries(mailboxes, subscriptions, [name], Selection(), show_subscribed=True):
        session.list_line(b"LIST", entry.attributes, entry.name, extended)
