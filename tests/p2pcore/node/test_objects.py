"""Objects: what a row says is held is there, whatever happens in between."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import apsw
import pytest

from p2pcore import params
from p2pcore.endpoint import Endpoint
from p2pcore.errors import NotFound
from p2pcore.node import objects
from p2pcore.node.admitted import Admitted
from p2pcore.node.settings import NodeSettings
from p2pcore.node.storage import Ledger, Storage
from p2pcore.records import Delete, Fetch, encode, identity
from tests.support.identities import World
from tests.support.nodes import Body, body, client_of, running_node

SETTINGS = NodeSettings(Path(), Endpoint("", 0), 1 << 30)


class Store:
    """A storage and the gateway whose bodies it holds."""

    def __init__(self, storage: Storage, world: World) -> None:
        self.storage, self.world = storage, world
        self.gateway = world.gateway()

    def body(self, octets: bytes = b"sealed") -> Body:
        return body(self.gateway.signer, self.world.clock(), octets)

    async def store(self, stored: Body) -> None:
        own = identity(stored.statement)
        admitted = Admitted(stored.signed, stored.statement, own, encode(stored.signed), self.gateway.certificate)
        octets = stored.octets
        assert await self.storage.write(lambda at: objects.store(at, SETTINGS, admitted, octets=octets))

    async def delete(self, stored: Body) -> None:
        own, deletion = identity(stored.statement), stored.deletion()
        await self.storage.write(lambda at: objects.delete(at, SETTINGS, deletion, own, None))

    async def is_held(self, stored: Body) -> bool:
        return not await self.storage.read(lambda db: objects.is_wanted(db, identity(stored.statement)))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    world = World()
    storage = Storage(tmp_path / "node.db", world.clock)
    await asyncio.to_thread(storage.open)
    yield Store(storage, world)
    await asyncio.to_thread(storage.close)


class Interrupted:
    """A reading connection that waits for something else to be done before each statement but the first."""

    def __init__(self, db: apsw.Connection, meanwhile: Any) -> None:
        self._db, self._meanwhile, self._first = db, meanwhile, True

    def execute(self, *arguments: Any) -> apsw.Cursor:
        if not self._first:
            self._meanwhile()
        self._first = False
        return self._db.execute(*arguments)


async def test_a_body_that_is_deleted_while_it_is_looked_up(store: Store) -> None:
    """It is found with its octets or not at all, since between two statements of a reader anything may be committed."""
    stored = store.body()
    await store.store(stored)
    loop = asyncio.get_running_loop()

    def meanwhile() -> None:
        asyncio.run_coroutine_threadsafe(store.delete(stored), loop).result(10)

    def find(db: apsw.Connection) -> bytes:
        found = objects.find(cast(apsw.Connection, Interrupted(db, meanwhile)), stored.statement.object_key, b"")
        return found.octets

    assert await store.storage.read(find) == stored.octets
    await store.delete(stored)
    with pytest.raises(NotFound):
        await store.storage.read(find)


async def test_collection_removes_what_it_looked_at(store: Store) -> None:
    """A number that was given again, after the last row had gone, does not make another body the one that goes."""
    old = store.body()
    await store.store(old)
    now = store.world.clock()
    looked_at = await store.storage.read(lambda db: objects.least_used(db, now, (-1, 0), 10))
    store.world.clock.advance(params.OBJECT_LIFETIME)
    await store.storage.write(lambda at: objects.drop_expired(at, 10))
    new = store.body()
    await store.store(new)
    collected = [item.identity for item in looked_at]
    assert await store.storage.write(lambda at: objects.collect(at, collected)) == (0, ())
    assert await store.is_held(new)


async def test_a_body_whose_file_is_lost_is_not_said_to_be_held(tmp_path: Path) -> None:
    """After a start a node answers for files that are there: for another one it is given the body again."""
    world = World()
    gateway, member = world.gateway(), world.node()
    directory = tmp_path / "node"
    lost, kept = (body(gateway.signer, world.clock(), os.urandom(100_000)) for _ in range(2))
    async with client_of(world, gateway) as client:
        async with running_node(world, directory, member=member) as running:
            await client.put_body(running.contact, lost.signed, lost.octets)
            [file] = (directory / "bodies").iterdir()
            await client.put_body(running.contact, kept.signed, kept.octets)
        file.unlink()
        async with running_node(world, directory, member=member) as running:
            assert running.node.counts().objects == 1
            await client.put_body(running.contact, lost.signed, lost.octets)
            fetch = [Fetch(stored.statement.object_key, b"") for stored in (lost, kept)]
            assert [result.status for result in await client.call(running.contact, fetch)] == [200, 200]
            octets = running.node.counts().octets
        async with running_node(world, directory, member=member) as running:
            assert (running.node.counts().objects, running.node.counts().octets) == (2, octets)


async def test_files_that_are_found_again_are_held_again(tmp_path: Path) -> None:
    """A node that was started without its files, as before a mount, has lost nothing when it is started with them.

    What was deleted meanwhile stays deleted.
    """
    world = World()
    gateway, member = world.gateway(), world.node()
    directory = tmp_path / "node"
    stored = [body(gateway.signer, world.clock(), os.urandom(100_000)) for _ in range(3)]
    async with client_of(world, gateway) as client:
        async with running_node(world, directory, member=member) as running:
            for each in stored:
                await client.put_body(running.contact, each.signed, each.octets)
            octets = running.node.counts().octets
        (directory / "bodies").rename(directory / "elsewhere")
        async with running_node(world, directory, member=member) as running:
            assert (running.node.counts().objects, running.node.counts().octets) == (0, octets - 300_000)
            await client.call(running.contact, [Delete(stored[0].deletion())])
        (directory / "bodies").rmdir()
        (directory / "elsewhere").rename(directory / "bodies")
        for _ in range(2):
            async with running_node(world, directory, member=member) as running:
                assert (running.node.counts().objects, running.node.counts().octets) == (2, octets - 100_000)
                assert running.node._storage.read_now(Ledger).octets == octets - 100_000
                fetch = [Fetch(each.statement.object_key, b"") for each in stored]
                assert [result.status for result in await client.call(running.contact, fetch)] == [404, 200, 200]
