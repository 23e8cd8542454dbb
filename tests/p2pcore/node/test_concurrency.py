"""Many at once on one inbox: nothing is lost, nothing comes twice, numbers only grow."""

import asyncio
import random
from pathlib import Path

from p2pcore.client.primitives import PeerClient
from p2pcore.dht.contact import Contact
from p2pcore.records import Acknowledge, Append, Operation, SignedStatement, identity
from tests.support.identities import Member, World
from tests.support.nodes import Running, acknowledgement, client_of, entry, running_node

WRITERS = 8
ENTRIES = 40  # of each


class Reader:
    """An owner's agent: follows the cursor, acknowledges what she has, some of it together."""

    def __init__(self, world: World, owner: Member, client: PeerClient, contact: Contact, seed: int) -> None:
        self.world, self.owner, self.client, self.contact = world, owner, client, contact
        self.inbox = owner.certificate.inbox_key
        self.random = random.Random(seed)
        self.given: list[bytes] = []
        self.acknowledged: set[bytes] = set()

    async def run(self, finished: asyncio.Event, *, acknowledging: bool) -> None:
        """Read until `finished` and nothing is left."""
        incarnation, cursor = b"", 0
        while True:
            last = finished.is_set()
            page = await self.client.read_inbox(self.contact, self.inbox, incarnation, cursor, 0)
            assert page.cursor >= cursor
            incarnation, cursor = page.incarnation, page.cursor
            new = [identity(signed.statement) for signed in page.entries]
            self.given += new
            some = [each for each in new if self.random.random() < 0.7]
            if acknowledging and some:
                done = acknowledgement(self.owner.signer, self.inbox, self.world.clock(), some)
                [result] = await self.client.call(self.contact, [Acknowledge(done)])
                assert result.status == 200
                self.acknowledged.update(some)
            if last and not page.entries and not page.more:
                return


async def append(client: PeerClient, contact: Contact, entries: list[SignedStatement], seed: int) -> None:
    """Append in pieces of every size, by batch and by single request, some twice."""
    chance = random.Random(seed)
    left = list(entries)
    while left:
        some = left[: chance.randint(1, 6)]
        left = left[chance.randint(1, len(some)) :]
        if chance.random() < 0.3:
            await client.append_inbox(contact, some[0])
        operations: list[Operation] = [Append(signed) for signed in some]
        assert {result.status for result in await client.call(contact, operations)} == {200}


async def test_concurrent_appends_reads_and_acknowledgements_lose_nothing(tmp_path: Path) -> None:
    """Eight writers, three readers, one of whom acknowledges: each entry is waiting or acknowledged at the end.

    Whoever follows the cursor was given every entry that waits, and no entry twice.
    """
    world = World()
    gateways = [world.gateway(f"mx{number}.example.org") for number in range(WRITERS)]
    alice = world.user("alice")
    inbox = alice.certificate.inbox_key
    by_writer = [[entry(each.signer, inbox, world.clock()) for _ in range(ENTRIES)] for each in gateways]
    everything = {identity(signed.statement) for entries in by_writer for signed in entries}
    async with (
        running_node(world, tmp_path / "node") as running,
        client_of(world, alice, *gateways) as as_alice,
    ):
        readers = [Reader(world, alice, as_alice, running.contact, seed) for seed in range(3)]
        finished = asyncio.Event()
        reading = [
            asyncio.create_task(reader.run(finished, acknowledging=number == 0))
            for number, reader in enumerate(readers)
        ]
        await write_all(world, running, gateways, by_writer)
        finished.set()
        await asyncio.gather(*reading)
        waiting = await all_waiting(as_alice, running.contact, inbox)
        assert sorted(waiting) == sorted(everything - readers[0].acknowledged)
        for reader in readers:
            assert len(reader.given) == len(set(reader.given))
            assert set(waiting) <= set(reader.given)
        assert set(readers[0].given) == everything
        assert running.node.counts().entries == len(waiting)


async def write_all(
    world: World, running: Running, gateways: list[Member], by_writer: list[list[SignedStatement]]
) -> None:
    async def write(number: int) -> None:
        async with client_of(world, gateways[number]) as client:
            await append(client, running.contact, by_writer[number], number)

    await asyncio.gather(*map(write, range(WRITERS)))


async def all_waiting(client: PeerClient, contact: Contact, inbox: bytes) -> list[bytes]:
    """The identities of all entries, page by page from the beginning."""
    page = await client.read_inbox(contact, inbox, b"", 0, 0)
    found = list(page.entries)
    while page.more:
        page = await client.read_inbox(contact, inbox, page.incarnation, page.cursor, 0)
        found += page.entries
    return [identity(signed.statement) for signed in found]
