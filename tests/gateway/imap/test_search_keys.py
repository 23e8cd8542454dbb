"""gateway/imap/search_keys.py: what one SEARCH may ask at most."""

import pytest

from gateway.imap import search_keys
from tests.gateway.imap.conftest import Site

MESSAGE = b"Subject: s\r\n\r\nbody\r\n"


async def test_many_keys_are_refused(site: Site) -> None:
    """A line of keys that each message would be held against for minutes is a NO with LIMIT (RFC 5530)."""
    client = await site.client(select="INBOX")
    await client.ok("SEARCH" + " SEEN" * 500)
    _, tagged = await client.command("SEARCH" + " SEEN" * 501)
    assert tagged.startswith(b"NO [LIMIT] SEARCH: ")


async def test_many_large_sets_are_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets are worth their messages: many small ones are taken, and two of the whole mailbox whatever its size."""
    monkeypatch.setattr(search_keys, "_MAX_NAMED", 10)
    for _ in range(6):
        await site.alice.append("INBOX", MESSAGE, [], 0, 0)
    client = await site.client(select="INBOX")
    assert await client.ok("SEARCH 1:* UID 1:*") == [b"* SEARCH 1 2 3 4 5 6"]
    assert await client.ok("SEARCH OR UID 2 OR 4 OR UID 5 6") == [b"* SEARCH 2 4 5 6"]
    for keys in ("1:* 1:* 1", "UID 1:* RECENT NOT RECENT"):
        _, tagged = await client.command(f"SEARCH {keys}")
        assert tagged.startswith(b"NO [LIMIT] SEARCH: ")


async def test_a_refused_search_saves_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 5182 §2.1: with SAVE, whatever NO it ends in, "$" is empty afterwards; BAD leaves it."""
    monkeypatch.setattr(search_keys, "_MAX_NAMED", 10)
    for _ in range(6):
        await site.alice.append("INBOX", MESSAGE, [], 0, 0)
    client = await site.client(select="INBOX")
    for keys, answer, saved in (
        ("1:9", b"BAD ", b"* SEARCH 2 3"),
        ("1:* 1:* 1", b"NO [LIMIT] ", b"* SEARCH"),
        ("SEEN" + " SEEN" * 500, b"NO [LIMIT] ", b"* SEARCH"),
        ("CHARSET KOI8-R ALL", b"NO [BADCHARSET ", b"* SEARCH"),
    ):
        await client.ok("SEARCH RETURN (SAVE) 2:3")
        _, tagged = await client.command(f"SEARCH RETURN (SAVE) {keys}")
        assert tagged.startswith(answer)
        assert await client.ok("SEARCH $") == [saved]
