"""Chunks come out octet for octet, hold bounded memory, and leave nothing behind however they end."""

import asyncio
import itertools
import os
import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.smtp import params, replies
from gateway.smtp.commands import parse_bdat
from gateway.smtp.data import ChunkScanner
from gateway.smtp.replies import Refusal
from tests.gateway.smtp.conftest import WorldMaker
from tests.gateway.smtp.world import DOMAIN, SmtpClient, World

ALICE = f"alice@{DOMAIN}"
PARTS = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"a", b"\0", b"\xff", b"\r\n.\r\n"]))


@given(PARTS, st.lists(st.integers(0, 60)))
def test_chunks_come_out_as_they_were(parts: list[bytes], cuts: list[int]) -> None:
    """Invariant: however octets are cut, CRLF-lined text without NUL comes out as it was, and all else is a fault."""
    octets = b"".join(parts)
    scanner, out = ChunkScanner(1_000), b""
    for start, end in itertools.pairwise([0, *sorted(cut for cut in cuts if cut <= len(octets)), len(octets)]):
        piece = scanner.feed(octets[start:end])
        assert not piece.endswith(b"\r")
        out += piece
    scanner.finish()
    assert scanner.size == len(octets)
    left = octets.replace(b"\r\n", b"")
    if any(octet in left for octet in (b"\r", b"\n", b"\0")):
        assert scanner.fault in (replies.BARE_CR, replies.BARE_LF, replies.NUL_IN_CONTENT)
    else:
        assert scanner.fault is None
        assert out == octets
        assert scanner.ends_line == (octets.endswith(b"\n") or not octets)


@pytest.mark.parametrize("length", [params.MAX_CONTENT_LINE, params.MAX_CONTENT_LINE + 1, params.MAX_CONTENT_LINE + 9])
def test_the_last_line_is_measured_as_well(length: int) -> None:
    """It may be as long as any other, CRLF or not."""
    scanner = ChunkScanner(1 << 20)
    scanner.feed(b"x" * length)
    scanner.finish()
    assert scanner.fault == (replies.CONTENT_LINE_TOO_LONG if length > params.MAX_CONTENT_LINE else None)


@given(st.text(max_size=30) | st.from_regex(r"[0-9]{1,20}( +LAST)?", fullmatch=True))
def test_any_argument_is_a_chunk_or_refused(text: str) -> None:
    """Invariant: a bounded size comes out, or a 501."""
    assert 0 <= size_of(text) < 10**18


def size_of(text: str) -> int:
    try:
        return parse_bdat(text)[0]
    except Refusal as refusal:
        return refusal.reply.code - 501


async def begin(client: SmtpClient, *recipients: str) -> None:
    assert (await client.command("EHLO client.example.net")).startswith("250")
    assert (await client.command("MAIL FROM:<sender@example.net>")).startswith("250")
    for recipient in recipients or (ALICE,):
        assert (await client.command(f"RCPT TO:<{recipient}>")).startswith("250")


async def chunk(client: SmtpClient, octets: bytes, last: str = "") -> str:
    client.send(f"BDAT {len(octets)}{last}\r\n".encode() + octets)
    return await client.reply()


async def test_content_is_stored_octet_for_octet(new_world: WorldMaker) -> None:
    """Dots, a chunk that cuts a CRLF, and no CRLF at the end."""
    content = b".\r\n..\r\nQUIT\r\n\r\n.\r\nend"
    async with new_world() as world:
        client = await world.client()
        await begin(client)
        for start in range(0, len(content), 5):
            last = " LAST" if start + 5 >= len(content) else ""
            reply = await chunk(client, content[start : start + 5], last)
        assert reply.startswith("250 2.6.0 stored on 2 of 3 nodes")
        client.close()
    assert world.network.messages[0].content == content


async def test_a_large_message_is_never_whole_in_memory(new_world: WorldMaker) -> None:
    """20 MB in one chunk or many: what counts against the budget stays within a few MiB."""
    content = b"Subject: large\r\n\r\n" + b"".join(os.urandom(30).hex().encode() + b"\r\n" for _ in range(330_000))
    async with new_world(limits={"memory": 8 << 20}, verify="on") as world:
        client = await world.client()
        await begin(client)
        assert (await chunk(client, content[: 10 << 20])).startswith("250 2.0.0 ")
        assert world.server.memory.used < 4 << 20
        assert (await chunk(client, content[10 << 20 :], " LAST")).startswith("250 2.6.0 ")
        client.close()
    assert world.network.messages[0].content == content
    assert world.server.memory.used == 0


async def test_each_of_many_small_chunks_is_taken(new_world: WorldMaker) -> None:
    """In one go; every chunk has its answer, in order."""
    async with new_world() as world:
        client = await world.client()
        await begin(client)
        client.send(b"".join(b"BDAT 2\r\n\r\n" for _ in range(2_000)) + b"BDAT 0 LAST\r\n")
        assert {await client.reply() for _ in range(2_000)} == {"250 2.0.0 2 octets received"}
        assert (await client.reply()).startswith("250 2.6.0 ")
        client.close()
    assert world.network.messages[0].content == b"\r\n" * 2_000


@pytest.mark.parametrize("end", ["gone", "quit", "ehlo", "reset", "starve"])
async def test_nothing_is_left_of_an_unfinished_content(new_world: WorldMaker, end: str) -> None:
    """However the session goes on or ends, memory and file are given back, and nothing is stored."""
    async with new_world() as world:
        client = await world.client()
        await begin(client)
        assert (await chunk(client, b"x\r\n" * 1_000_000)).startswith("250 2.0.0 ")
        if end == "gone":
            client.send(b"BDAT 100 LAST\r\nNOOP\r\n")
            client.close()
        elif end == "starve":
            (connection,) = world.server._listeners.connections
            assert connection.patience() <= params.DATA_TIMEOUT < params.COMMAND_TIMEOUT
            connection.arm(1)  # and the time is over
            assert (await client.reply()).startswith("421 4.4.2 ")
        else:
            command = {"quit": "QUIT", "ehlo": "EHLO again.example.net", "reset": "RSET"}[end]
            assert (await client.command(command))[0] == "2"
        client.close()
        await sessions_end(world)
        assert world.server.memory.used == 0
    assert world.network.messages == []


async def test_a_lost_connection_is_logged(new_world: WorldMaker) -> None:
    """With what had come of the content."""
    async with new_world() as world:
        client = await world.client()
        await begin(client)
        await chunk(client, b"12345678\r\n")
        client.close()
        await sessions_end(world)
    (line,) = world.log.named("unfinished")
    assert (line["size"], line["reason"]) == (10, "client gone")


async def test_no_room_is_said_to_every_chunk(new_world: WorldMaker) -> None:
    """452 for the chunk that is too much and for those behind it: a 503 would read as a refusal for good."""
    async with new_world(limits={"memory": 600_000}) as world:
        client = await world.client()
        await begin(client)
        for octets in (b"x\r\n", b"x\r\n" * 200_000, b"x\r\n", b"x\r\n"):
            client.send(f"BDAT {len(octets)}\r\n".encode() + octets)
        client.send(b"BDAT 0 LAST\r\n")
        assert (await client.reply()).startswith("250 2.0.0 ")
        assert {await client.reply() for _ in range(4)} == {"452 4.3.1 no room for this message now"}
        assert await client.command("DATA") == "503 5.5.1 send MAIL first"
        await begin(client)
        assert (await chunk(client, b"x\r\n", " LAST")).startswith("250 2.6.0 ")
        client.close()


async def test_no_room_for_the_first_chunk(new_world: WorldMaker) -> None:
    """The same before anything was taken."""
    async with new_world(limits={"memory": 100_000}) as world:
        client = await world.client()
        await begin(client)
        assert await chunk(client, b"NOOP\r\n") == "452 4.3.1 no room for this message now"
        assert await chunk(client, b"NOOP\r\n", " LAST") == "452 4.3.1 no room for this message now"
        assert await chunk(client, b"NOOP\r\n", " LAST") == "503 5.5.1 send MAIL first"
        client.close()


async def test_refused_chunks_do_not_end_the_session(new_world: WorldMaker) -> None:
    """A client may have pipelined hundreds behind the one that failed: that is one error, not hundreds."""
    async with new_world(limits={"errors": 3}) as world:
        client = await world.client()
        await begin(client)
        client.send(b"BDAT 1\r\n\0" * 200 + b"BDAT 1 LAST\r\n\0")
        assert {await client.reply() for _ in range(201)} == {"554 5.6.0 content holds a NUL octet"}
        assert await client.command("NOOP") == "250 2.0.0 ok"
        client.close()


async def test_a_broken_disk_refuses_the_chunk(new_world: WorldMaker, tmp_path: Path) -> None:
    """Where the temporary directory fails, the chunk is read to its end first."""
    async with new_world() as world:
        object.__setattr__(world.server._transactions, "temporary_directory", tmp_path / "missing")
        client = await world.client()
        await begin(client)
        assert await chunk(client, b"RSET\r\n" * 600_000) == "452 4.3.1 no room for this message now"
        assert await client.command("NOOP") == "250 2.0.0 ok"
        client.close()
    assert world.network.messages == []


async def test_a_defect_before_a_chunk_closes_the_session(
    new_world: WorldMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk that nobody reads is not read as commands."""

    def broken(*_: object, **__: object) -> None:
        raise ValueError("defect")

    monkeypatch.setattr("gateway.smtp.session.Examined", broken)
    async with new_world() as world:
        client = await world.client()
        await begin(client)
        assert await chunk(client, b"NOOP\r\n") == "451 4.3.0 local error, try again later"
        assert await client.reply() == ""
        client.close()
        await sessions_end(world)
        assert world.server.memory.used == 0


@pytest.mark.parametrize("where", ["gateway.smtp.data.ChunkScanner.feed", "gateway.smtp.data.ChunkScanner.finish"])
async def test_a_defect_in_a_chunk_leaves_nothing(
    new_world: WorldMaker, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """451, and the session goes on where the chunk was read to its end."""

    def broken(*_: object) -> None:
        raise ValueError("defect")

    async with new_world() as world:
        client = await world.client()
        await begin(client)
        await chunk(client, b"x\r\n")
        monkeypatch.setattr(where, broken)
        assert await chunk(client, b"NOOP\r\n", " LAST") == "451 4.3.0 local error, try again later"
        assert await client.command("NOOP") == "250 2.0.0 ok"
        assert world.server.memory.used == 0
        client.close()
    assert world.network.messages == []


async def test_replies_do_not_wait_for_the_chunk(new_world: WorldMaker) -> None:
    """A client that reads its replies before it sends the rest of a chunk gets them (RFC 2920 §3.2)."""
    async with new_world() as world:
        client = await world.client()
        await begin(client)
        client.send(b"NOOP\r\nBDAT 7 LAST\r\n")
        assert await client.reply() == "250 2.0.0 ok"
        client.send(b"hello\r\n")
        assert (await client.reply()).startswith("250 2.6.0 ")
        client.close()


async def test_chunks_over_tls_begin_anew(
    new_world: WorldMaker, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """STARTTLS between chunks forgets them (RFC 3207 §4.2)."""
    async with new_world(tls=server_tls) as world:
        client = await world.client()
        await begin(client)
        await chunk(client, b"x\r\n")
        assert (await client.command("STARTTLS")).startswith("220 ")
        await client.writer.start_tls(client_tls)
        client.reader._transport = client.writer.transport  # type: ignore[attr-defined]  # 3.11 forgets the reader
        assert await chunk(client, b"x\r\n", " LAST") == "503 5.5.1 send EHLO first"
        assert world.server.memory.used == 0
        client.close()


async def sessions_end(world: World) -> None:
    """Wait until no session is left."""
    while world.server._listeners.connections:
        await asyncio.wait([connection.over() for connection in world.server._listeners.connections], timeout=20)
