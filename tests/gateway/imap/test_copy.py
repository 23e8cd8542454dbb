"""gateway/imap/commands/copy.py, move.py: all or none, whatever other sessions do meanwhile (RFC 9051 §6.4.7)."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.mailbox.store import MailStore
from tests.gateway.imap.conftest import Site

MESSAGE = b"Subject: s\r\n\r\nbody\r\n"


@asynccontextmanager
async def _busy(store: MailStore) -> AsyncIterator[None]:
    """Whatever is asked of the store inside waits, in order, until the end of the block."""
    go_on = threading.Event()
    holding = asyncio.create_task(store._worker.run(lambda: bool(go_on.wait(20))))
    await asyncio.sleep(0)
    try:
        yield
    finally:
        go_on.set()
        await holding


async def _asked(store: MailStore, writes: int) -> None:
    """Return when so many writes wait."""
    while len(store._worker._waiting) < writes:  # noqa: ASYNC110 (nobody else is told)
        await asyncio.sleep(0)


@pytest.mark.parametrize("command", ["COPY", "MOVE"])
async def test_a_number_expunged_at_the_last_moment(site: Site, command: str) -> None:
    """A message that goes between the command and its transaction takes the others with it: NO, nothing is copied."""
    for _ in range(3):
        await site.alice.append("INBOX", MESSAGE, [], 0, 0)
    await site.alice.store_flags(1, [2], "add", ["\\Deleted"])
    await site.alice.indexed()
    first, second = await site.client(select="INBOX"), await site.client(select="INBOX")
    async with _busy(site.alice):
        second.send(b"e EXPUNGE\r\n")
        await _asked(site.alice, 1)
        first.send(b"c %b 1:3 Archive\r\n" % command.encode("ascii"))
        await _asked(site.alice, 2)
    untagged, tagged = await first.until(b"c")
    assert tagged.startswith(b"NO [EXPUNGEISSUED] ")
    assert untagged == [b"* 2 EXPUNGE"]
    assert await second.until(b"e") == ([b"* 2 EXPUNGE"], b"OK EXPUNGE completed")
    assert await first.ok("STATUS Archive (MESSAGES UIDNEXT)") == [b"* STATUS Archive (MESSAGES 0 UIDNEXT 1)"]
    assert await first.ok("FETCH 1:* UID") == [b"* 1 FETCH (UID 1)", b"* 2 FETCH (UID 3)"]


@pytest.mark.parametrize("command", ["UID COPY 1:3", "UID COPY $", "COPY $"])
async def test_a_uid_expunged_at_the_last_moment(site: Site, command: str) -> None:
    """A UID that does not exist is passed over (RFC 9051 §6.4.9), and so is what went of "$" (RFC 5182 §2.1)."""
    for _ in range(3):
        await site.alice.append("INBOX", MESSAGE, [], 0, 0)
    await site.alice.store_flags(1, [2], "add", ["\\Deleted"])
    await site.alice.indexed()
    first, second = await site.client(select="INBOX"), await site.client(select="INBOX")
    await first.ok("SEARCH RETURN (SAVE) ALL")
    async with _busy(site.alice):
        second.send(b"e EXPUNGE\r\n")
        await _asked(site.alice, 1)
        first.send(b"c %b Archive\r\n" % command.encode("ascii"))
        await _asked(site.alice, 2)
    untagged, tagged = await first.until(b"c")
    assert b" 1,3 1:2] " in tagged
    assert tagged.startswith(b"OK [COPYUID ")
    assert untagged == [b"* 2 EXPUNGE"]


async def test_a_destination_that_is_not_there(site: Site) -> None:
    """TRYCREATE is for the destination only: where the selected mailbox is gone, making another helps nobody."""
    await site.alice.create("Source")
    await site.alice.append("Source", MESSAGE, [], 0, 0)
    client = await site.client(select="Source")
    for command in ("COPY", "MOVE", "UID COPY", "UID MOVE"):
        _, tagged = await client.command(f"{command} 1 Missing")
        assert tagged.startswith(b"NO [TRYCREATE] ")
    await site.alice.delete("Source")
    for command in ("UID COPY", "UID MOVE"):
        _, tagged = await client.command(f"{command} 1 Archive")
        assert b"TRYCREATE" not in tagged
