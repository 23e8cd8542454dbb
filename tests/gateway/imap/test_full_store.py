"""A store that takes no more, and a message with all the flags it may have: what is there can be read all the same."""

from gateway.mailbox.errors import StoreFull
from gateway.mailbox.params import MAX_KEYWORDS
from tests.gateway.imap.conftest import Site

MESSAGE = b"Subject: s\r\n\r\nx\r\n"


async def test_new_mail_is_read_on_a_full_disk(site: Site) -> None:
    """BODY[] cannot set \\Seen there; the message comes without it, and is unseen still."""
    await site.alice.append("INBOX", MESSAGE, [], 0, 0)
    client = await site.client(select="INBOX")
    _no_room(site)
    assert await client.ok("FETCH 1 BODY[TEXT]") == [b"* 1 FETCH (BODY[TEXT] {3}\r\nx\r\n)"]
    assert await client.ok("FETCH 1 FLAGS") == [b"* 1 FETCH (FLAGS (\\Recent))"]


async def test_mailboxes_are_changed_on_a_full_disk(site: Site) -> None:
    """What was \\Recent here cannot be noted; it is written when a mailbox is left and there is room again."""
    await site.alice.append("INBOX", MESSAGE, [], 0, 0)
    client = await site.client(select="INBOX")
    room = site.alice._worker.write
    _no_room(site)
    await client.ok("SELECT Sent")
    assert await site.alice.setting("imap.recent") is None
    site.alice._worker.write = room  # type: ignore[method-assign]
    await client.ok("CLOSE")
    assert await site.alice.setting("imap.recent") is not None


async def test_a_message_with_all_the_flags_it_may_have_is_read(site: Site) -> None:
    """There is no place for \\Seen; the message comes without it."""
    await site.alice.append("INBOX", MESSAGE, [f"k{number}" for number in range(MAX_KEYWORDS)], 0, 0)
    client = await site.client(select="INBOX")
    assert await client.ok("FETCH 1 BODY[TEXT]") == [b"* 1 FETCH (BODY[TEXT] {3}\r\nx\r\n)"]


def _no_room(site: Site) -> None:
    async def refuse(*_work: object) -> None:
        raise StoreFull("no room on the mail store's disk")

    site.alice._worker.write = refuse  # type: ignore[method-assign,assignment]
