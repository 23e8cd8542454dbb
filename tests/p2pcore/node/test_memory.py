"""Bodies of 64 MiB stream: neither side holds more than a few segments of them."""

import hashlib
import os
import tracemalloc
from pathlib import Path

from p2pcore import params
from tests.support.identities import World
from tests.support.nodes import body, client_of, running_node

SIZE = 64 << 20
BOUND = 24 * params.SEGMENT_SIZE  # both ends are in this process: read buffers, TLS records, pieces on their way


async def test_a_body_of_64_mib_streams_with_bounded_memory(tmp_path: Path) -> None:
    """Put from a file and fetched in pieces, at no time half of it is in memory, client and node together."""
    world = World()
    gateway = world.gateway()
    source = tmp_path / "body"
    with source.open("wb") as file:
        for _ in range(SIZE >> 20):
            file.write(os.urandom(1 << 20))
    stored = body(gateway.signer, world.clock(), source.read_bytes())
    stored.octets = b""
    async with running_node(world, tmp_path / "node") as running, client_of(world, gateway) as client:
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            await client.put_body(running.contact, stored.signed, source)
            hasher = hashlib.sha256()
            longest = 0

            async def sink(piece: bytes) -> None:
                nonlocal longest
                longest = max(longest, len(piece))
                hasher.update(piece)

            key, digest = stored.statement.object_key, stored.statement.digest
            await client.get_body(running.contact, key, digest, sink)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert hasher.digest() == digest
        assert longest <= 8 * params.SEGMENT_SIZE
        assert peak - before < BOUND
