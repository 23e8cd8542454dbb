"""Success means on disk: a node killed at any moment has everything that it answered with success."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from p2pcore.client.primitives import PeerClient
from p2pcore.crypto.key_files import KeyFiles
from p2pcore.dht.contact import Contact
from p2pcore.errors import Failure, NotFound
from p2pcore.records import Append, Delete, Fetch, Operation, SignedStatement
from tests.support.identities import Member, World
from tests.support.nodes import Body, body, client_of, entry, running_node


@asynccontextmanager
async def process(
    world: World, member: Member, directory: Path, *, disk_reserve: int = 64 << 20
) -> AsyncIterator[tuple[Contact, asyncio.subprocess.Process]]:
    """Yield a node's contact and its process, which is dead afterwards."""
    identity_file = directory.with_suffix(".identity")
    if not identity_file.exists():  # a test's disk may be full by now
        KeyFiles().write_identity(identity_file, member.identity)
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.p2pcore.node.node_process",
        str(identity_file),
        str(directory),
        str(world.clock()),
        str(disk_reserve),
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    try:
        port = int(await child.stdout.readline())
        yield Contact(member.certificate.node_id, "127.0.0.1", port), child
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


class Writer:
    """Writes bodies, entries and deletions until the node dies, and remembers what was answered with success."""

    def __init__(self, world: World, member: Member, client: PeerClient, contact: Contact, inbox_key: bytes) -> None:
        self.world, self.member, self.client, self.contact, self.inbox_key = world, member, client, contact, inbox_key
        self.stored: list[Body] = []
        self.deleted: list[Body] = []
        self.appended: list[SignedStatement] = []

    async def run(self, enough: asyncio.Event, after: int) -> None:
        """Write; set `enough` once `after` rounds were answered; return when the node is gone."""
        rounds = 0
        try:
            while True:
                await self._round(rounds)
                rounds += 1
                if rounds >= after:
                    enough.set()
        except Failure:
            assert enough.is_set(), "the node failed before it was killed"

    async def _round(self, number: int) -> None:
        size = 100_000 if number % 5 == 4 else 3_000
        now, signer = self.world.clock(), self.member.signer
        bodies = [body(signer, now, os.urandom(size)) for _ in range(3)]
        entries = [entry(signer, self.inbox_key, now) for _ in range(3)]
        operations: list[Operation] = [*(stored.store for stored in bodies), *(Append(signed) for signed in entries)]
        results = await self.client.call(self.contact, operations)
        assert {result.status for result in results} == {200}
        self.stored += bodies[1:]
        self.appended += entries
        [result] = await self.client.call(self.contact, [Delete(bodies[0].deletion())])
        assert result.status == 200
        self.deleted.append(bodies[0])
        large = body(signer, now, os.urandom(70_000))
        await self.client.put_body(self.contact, large.signed, large.octets)
        self.stored.append(large)


async def test_what_was_answered_survives_sigkill(tmp_path: Path) -> None:
    """Under concurrent writes a node is killed (-9), twice; what it had answered is there, what it deleted is not."""
    world = World()
    gateway, alice, member = world.gateway(), world.user("alice"), world.node()
    inbox = alice.certificate.inbox_key
    writers: list[Writer] = []
    async with client_of(world, gateway) as as_gateway:
        for _ in range(2):
            async with process(world, member, tmp_path / "node") as (contact, child):
                batch = [Writer(world, gateway, as_gateway, contact, inbox) for _ in range(3)]
                enough = [asyncio.Event() for _ in batch]
                tasks = [asyncio.create_task(writer.run(event, 6)) for writer, event in zip(batch, enough, strict=True)]
                await asyncio.gather(*(event.wait() for event in enough))
                child.send_signal(signal.SIGKILL)
                await asyncio.gather(*tasks)
                writers += batch
    async with (
        running_node(world, tmp_path / "node", member=member) as running,
        client_of(world, alice) as as_alice,
    ):
        for writer in writers:
            await check(as_alice, running.contact, writer)
        held = {signed async for signed in everything(as_alice, running.contact, inbox)}
        assert held.issuperset(signed for writer in writers for signed in writer.appended)
        assert not list((running.directory / "incoming").iterdir())


async def check(client: PeerClient, contact: Contact, writer: Writer) -> None:
    """Assert that the writer's successes are what the node holds."""

    async def compare(stored: Body) -> None:
        received = bytearray()

        async def sink(piece: bytes) -> None:
            received.extend(piece)

        await client.get_body(contact, stored.statement.object_key, stored.statement.digest, sink)
        assert received == stored.octets

    for stored in writer.stored:
        await compare(stored)
    for stored in writer.deleted:
        with pytest.raises(NotFound):
            await compare(stored)
    fetched = await client.call(contact, [Fetch(stored.statement.object_key, b"") for stored in writer.deleted])
    assert {result.status for result in fetched} == {404}


async def everything(client: PeerClient, contact: Contact, inbox_key: bytes) -> AsyncIterator[SignedStatement]:
    """All entries of an inbox, page by page."""
    page = await client.read_inbox(contact, inbox_key, b"", 0, 0)
    while True:
        for signed in page.entries:
            yield signed
        if not page.more:
            return
        page = await client.read_inbox(contact, inbox_key, page.incarnation, page.cursor, 0)


async def test_orphans_are_removed_at_start(tmp_path: Path) -> None:
    """A file that no row names, or that never arrived whole, is gone after a start; those that rows name stay."""
    world = World()
    gateway, member = world.gateway(), world.node()
    directory = tmp_path / "node"
    stored = body(gateway.signer, world.clock(), bytes(100_000))
    async with running_node(world, directory, member=member) as running, client_of(world, gateway) as client:
        await client.put_body(running.contact, stored.signed, stored.octets)
    (directory / "bodies" / "orphan").write_bytes(b"x")
    (directory / "incoming" / "half").write_bytes(b"x")
    async with running_node(world, directory, member=member):
        assert [path.stat().st_size for path in (directory / "bodies").iterdir()] == [100_000]
        assert not list((directory / "incoming").iterdir())


async def test_cursors_and_incarnation_survive_a_restart(tmp_path: Path) -> None:
    """A restarted node keeps its incarnation, and numbers go on even where the last entries are gone."""
    world = World()
    gateway, alice, member = world.gateway(), world.user("alice"), world.node()
    inbox = alice.certificate.inbox_key
    pages = []
    async with client_of(world, gateway) as as_gateway, client_of(world, alice) as as_alice:
        for _ in range(2):
            async with running_node(world, tmp_path / "node", member=member) as running:
                await as_gateway.call(running.contact, [Append(entry(gateway.signer, inbox, world.clock()))])
                pages.append(await as_alice.read_inbox(running.contact, inbox, b"", 0, 0))
                world.clock.advance(181 * 86_400_000)
                await running.node.sweep()
    assert pages[0].incarnation == pages[1].incarnation
    assert len(pages[1].entries) == 1
    assert pages[1].cursor > pages[0].cursor


async def test_one_directory_one_node(tmp_path: Path) -> None:
    """A second node on the same directory does not start, and does the first no harm; nor is a taken port shared."""
    world = World()
    gateway, member = world.gateway(), world.node()
    stored = body(gateway.signer, world.clock())
    async with running_node(world, tmp_path / "node", member=member) as running, client_of(world, gateway) as client:
        with pytest.raises(OSError, match="in use"):
            async with running_node(world, tmp_path / "node", member=member):
                pass
        with pytest.raises(OSError, match="in use"):
            async with running_node(world, tmp_path / "other", port=running.node.port):
                pass
        assert [result.status for result in await client.call(running.contact, [stored.store])] == [200]
    async with running_node(world, tmp_path / "node", member=member):
        pass
