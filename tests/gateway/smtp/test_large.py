"""A large message passes through memory and never is in it: what the process holds, and what the budget says of it."""

import gc
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pcore.mail.injection import Injection
from p2pcore.mail.send import Stored
from tests.gateway.smtp.conftest import WorldMaker
from tests.gateway.smtp.test_verify import HEADER

MIB = 1 << 20
SIZE = 50 * MIB
LINE = b"white \t space in a line that both canonicalisations see otherwise   \r\n"
HELD = 8 * MIB  # a segment and the buffers; canonicalising a block takes as much again for a moment


def pieces(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), 1 << 16):
        yield content[start : start + (1 << 16)]


@pytest.mark.parametrize("way", ["DATA", "BDAT", "BDAT in many chunks"])
async def test_fifty_mebioctets(way: str, new_world: WorldMaker) -> None:
    """50 MiB with four signatures to be hashed for: memory holds a few MiB, and a budget of a few is enough."""
    block = LINE * (MIB // len(LINE))
    header = HEADER + b"".join(
        b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/%b;%b d=example.net; s=s1; h=from; bh=eA==; b=eA==\r\n"
        % (form, length)
        for form in (b"simple", b"relaxed")
        for length in (b"", b" l=1000;")
    )
    async with new_world(verify="on", limits={"memory": HELD}) as world:
        peak_counted, sizes = 0, []

        async def inject(injection: Injection) -> Stored:
            assert isinstance(injection.body, Path)
            sizes.append(os.stat(injection.body).st_size)
            return Stored(2, 3)

        world.network.inject = inject  # type: ignore[method-assign]  # which would read all of it
        client = await world.client()
        assert (await client.command("EHLO client.example.net")).startswith("250")
        for command in ("MAIL FROM:<sender@example.net>", "RCPT TO:<alice@example.org>"):
            assert (await client.command(command)).startswith("250")
        if way == "DATA":
            assert (await client.command("DATA")).startswith("354")
        gc.collect()
        tracemalloc.start()
        total = len(header) + 2 + SIZE // len(block) * len(block)
        if way == "BDAT":
            client.send(b"BDAT %d LAST\r\n" % total)
        for number in range(SIZE // len(block) + 1):
            octets = header + b"\r\n" if number == 0 else block
            if way == "BDAT in many chunks":
                client.send(b"BDAT %d\r\n" % len(octets))
            for piece in pieces(octets):
                client.send(piece)
                await client.writer.drain()
                peak_counted = max(peak_counted, world.server.memory.used)
            if way == "BDAT in many chunks":
                assert (await client.reply()).startswith("250 2.0.0 ")
        if way == "DATA":
            client.send(b".\r\n")
        elif way == "BDAT in many chunks":
            client.send(b"BDAT 0 LAST\r\n")
        assert (await client.reply()).startswith("250 2.6.0 ")
        _held, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        client.close()
        assert sizes[0] > SIZE - MIB
        assert peak < 2 * HELD
        assert peak_counted <= HELD
        assert world.server.memory.used == 0
        assert world.files() == []
