"""Settlement: what ended while a node was down ends there too, by proof and by nobody's word."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from p2pcore import params
from p2pcore.client.primitives import PeerClient
from p2pcore.client.results import value_of
from p2pcore.dht.contact import Contact
from p2pcore.errors import NotFound
from p2pcore.node import proofs
from p2pcore.node.comparison import Round
from p2pcore.records import (
    Acknowledge,
    Append,
    AskSettled,
    Delete,
    Fetch,
    Offer,
    OfferReply,
    Operation,
    Result,
    Settled,
    SignedStatement,
    decode,
    encode,
    identity,
)
from tests.support.identities import Member, World
from tests.support.nodes import Running, acknowledgement, body, client_of, entry, running_node


@dataclass
class Stage:
    """A node that is up all the time, one that was down and comes back, and who writes and reads."""

    world: World
    directory: Path
    up: Running
    member: Member
    gateway: Member
    alice: Member
    as_gateway: PeerClient
    as_alice: PeerClient

    @property
    def inbox(self) -> bytes:
        return self.alice.certificate.inbox_key

    def other(self) -> AbstractAsyncContextManager[Running]:
        """The other node, started (again)."""
        return running_node(self.world, self.directory, member=self.member)

    async def write(self, contact: Contact, *operations: Operation) -> None:
        """As the gateway; everything must succeed."""
        results = await self.as_gateway.call(contact, operations)
        assert {result.status for result in results} == {200}

    async def finish(self, *operations: Operation) -> None:
        """As Alice, on the node that is up."""
        results = await self.as_alice.call(self.up.contact, operations)
        assert {result.status for result in results} == {200}

    async def repair(self, node: Running) -> Round:
        """One round of a node that knows both."""
        node.substrate.contacts = [self.up.contact, node.contact]
        return await node.node.repair()

    def entry(self) -> SignedStatement:
        return entry(self.gateway.signer, self.inbox, self.world.clock())

    def read(self, *entries: SignedStatement) -> SignedStatement:
        """Alice's acknowledgement."""
        named = [identity(signed.statement) for signed in entries]
        return acknowledgement(self.alice.signer, self.inbox, self.world.clock(), named)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    world = World()
    gateway, alice = world.gateway(), world.user("alice")
    async with (
        running_node(world, tmp_path / "up") as up,
        client_of(world, gateway) as as_gateway,
        client_of(world, alice, gateway) as as_alice,
    ):
        yield Stage(world, tmp_path / "other", up, world.node(), gateway, alice, as_gateway, as_alice)


async def test_a_node_that_comes_back_has_nothing_of_what_was_read_meanwhile(stage: Stage) -> None:
    """A message is read and deleted while a node is down; after the round at its start the node holds none of it."""
    small = body(stage.gateway.signer, stage.world.clock())
    large = body(stage.gateway.signer, stage.world.clock(), bytes(100_000), rights=3)
    read, waiting = stage.entry(), stage.entry()
    operations: list[Operation] = [small.store, large.store, Append(read), Append(waiting)]
    async with stage.other() as other:
        for contact in (stage.up.contact, other.contact):
            await stage.write(contact, *operations)
    deletions: list[Operation] = [Delete(small.deletion()), *(Delete(large.deletion(right)) for right in range(3))]
    await stage.finish(Acknowledge(stage.read(read)), *deletions)
    stage.world.clock.advance(params.DAY)
    async with stage.other() as other:
        done = await stage.repair(other)
        assert (done.ended, done.passed_on, done.refused) == (3, 0, 0)
        counts = other.node.counts()
        assert (counts.objects, counts.entries, counts.tombstones) == (0, 1, 4)
        assert not list((other.directory / "bodies").iterdir())
        page = await stage.as_alice.read_inbox(other.contact, stage.inbox, b"", 0, 0)
        assert list(page.entries) == [waiting]
        assert len(page.acknowledged) == 1
        again = await stage.repair(other)
        assert (again.ended, again.passed_on) == (0, 0)
        assert (await stage.repair(stage.up)).passed_on == 0


async def test_it_ends_by_itself_at_the_start(stage: Stage) -> None:
    """Nobody has to ask for the round: the node goes round when it starts and knows its contacts."""
    read = stage.entry()
    async with stage.other() as other:
        for contact in (stage.up.contact, other.contact):
            await stage.write(contact, Append(read))
    await stage.finish(Acknowledge(stage.read(read)))
    contacts = [stage.up.contact]
    async with running_node(stage.world, stage.directory, member=stage.member, contacts=contacts) as other:
        async with asyncio.timeout(60):
            while other.node.counts().entries:  # noqa: ASYNC110 - the node tells nobody
                await asyncio.sleep(0)
        page = await stage.as_alice.read_inbox(other.contact, stage.inbox, b"", 0, 0)
        assert page.acknowledged


async def test_what_one_peer_shows_to_be_over_is_sent_to_no_other(stage: Stage, tmp_path: Path) -> None:
    """A newcomer that never heard of a message is not given it by a node that learns its end in the same round."""
    stored = body(stage.gateway.signer, stage.world.clock())
    read = stage.entry()
    async with stage.other() as other:
        for contact in (stage.up.contact, other.contact):
            await stage.write(contact, stored.store, Append(read))
    await stage.finish(Acknowledge(stage.read(read)), Delete(stored.deletion()))
    async with stage.other() as other, running_node(stage.world, tmp_path / "new") as new:
        other.substrate.contacts = [stage.up.contact, other.contact, new.contact]
        await other.node.repair()
        counts = new.node.counts()
        assert (counts.objects, counts.entries) == (0, 0)


async def test_an_object_with_rights_left_stays(stage: Stage) -> None:
    """One recipient of two has read it: the other still can, on every node."""
    stored = body(stage.gateway.signer, stage.world.clock(), rights=2)
    async with stage.other() as other:
        for contact in (stage.up.contact, other.contact):
            await stage.write(contact, stored.store)
        await stage.finish(Delete(stored.deletion(0)))
        assert (await stage.repair(other)).ended == 0
        assert other.node.counts().objects == 1


async def test_an_acknowledgement_of_another_inbox_settles_nothing(stage: Stage) -> None:
    """Bob names Alice's entry in his own inbox beforehand: it reaches the node that lacks it all the same."""
    bob = stage.world.user("bob")
    wanted = stage.entry()
    named = [identity(wanted.statement)]
    false = acknowledgement(bob.signer, bob.certificate.inbox_key, stage.world.clock(), named)
    async with stage.other() as other, client_of(stage.world, bob) as as_bob:
        [result] = await as_bob.call(stage.up.contact, [Acknowledge(false)])
        assert result.status == 200
        await stage.write(other.contact, Append(wanted))
        done = await stage.repair(other)
        assert (done.ended, done.passed_on) == (0, 1)
        for contact in (other.contact, stage.up.contact):
            page = await stage.as_alice.read_inbox(contact, stage.inbox, b"", 0, 0)
            assert list(page.entries) == [wanted]


@pytest.mark.parametrize("proof", ["none", "damaged", "another's", "endless"])
async def test_a_peers_word_alone_ends_nothing(stage: Stage, proof: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that says "settled" without a proof that holds changes nothing, and is not asked for ever."""
    stored = body(stage.gateway.signer, stage.world.clock())
    wanted = stage.entry()
    good = stage.read(wanted)
    mallory = stage.world.user("mallory")
    forged = acknowledgement(mallory.signer, stage.inbox, stage.world.clock(), [identity(wanted.statement)])
    given = {
        "none": Settled((), (), ()),
        "damaged": Settled(
            (stage.alice.certificate.der,),
            (SignedStatement(good.statement, stage.entry().proof),),
            (bytes(32),),
        ),
        "another's": Settled((mallory.certificate.der,), (forged,), (body(mallory.signer, 0).secrets[0],)),
        "endless": Settled((), (), tuple(os.urandom(32) for _ in range(1_000))),
    }[proof]
    asked: list[AskSettled] = []

    async with stage.other() as other:
        await stage.write(other.contact, stored.store, Append(wanted))
        genuine = PeerClient.call

        async def lying(self: PeerClient, contact: Contact, operations: Sequence[Operation]) -> list[Result]:
            results: list[Any] = []
            for operation in operations:
                match operation:
                    case Offer():
                        places = tuple(range(len(operation.identities)))
                        results.append(Result(200, value=encode(OfferReply((), places))))
                    case AskSettled():
                        asked.append(operation)
                        results.append(Result(200, value=encode(given)))
                    case _:
                        results += await genuine(self, contact, [operation])
            return results

        monkeypatch.setattr(PeerClient, "call", lying)
        done = await stage.repair(other)
        monkeypatch.undo()
        assert done.ended == 0
        counts = other.node.counts()
        assert (counts.objects, counts.entries, counts.tombstones) == (1, 1, 0)
        assert [question.kind for question in asked] == ["object", "entry"]
        [result] = await stage.as_alice.call(other.contact, [Fetch(stored.statement.object_key, b"")])
        assert result.status == 200


async def test_long_answers_come_in_parts(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """More proofs than fit one answer are asked for until everything that is over has ended."""
    monkeypatch.setattr(proofs, "_ANSWER", 1_000)
    bodies = [body(stage.gateway.signer, stage.world.clock(), rights=3) for _ in range(60)]
    entries = [stage.entry() for _ in range(40)]
    operations: list[Operation] = [*(stored.store for stored in bodies), *map(Append, entries)]
    async with stage.other() as other:
        for contact in (stage.up.contact, other.contact):
            await stage.write(contact, *operations)
        deletions = [Delete(stored.deletion(right)) for stored in bodies for right in range(3)]
        await stage.finish(*(Acknowledge(stage.read(signed)) for signed in entries), *deletions)
        done = await stage.repair(other)
        assert done.ended == 100
        counts = other.node.counts()
        assert (counts.objects, counts.entries) == (0, 0)


async def test_offers_are_answered_by_what_is_known(stage: Stage) -> None:
    """Held: neither missing nor settled. Read: both, as no inbox is named. Deleted: settled. Unknown: missing."""
    held, gone = (body(stage.gateway.signer, stage.world.clock()) for _ in range(2))
    waiting, read = stage.entry(), stage.entry()
    await stage.write(stage.up.contact, held.store, gone.store, Append(waiting), Append(read))
    await stage.finish(Acknowledge(stage.read(read)), Delete(gone.deletion()))
    objects = tuple(identity(stored.signed.statement) for stored in (held, gone))
    entries = tuple(identity(signed.statement) for signed in (waiting, read))
    async with client_of(stage.world, stage.world.node()) as as_node:
        answers = await as_node.call(
            stage.up.contact,
            [
                Offer("object", (*objects, bytes(32))),
                Offer("entry", (*entries, bytes(32))),
                AskSettled("entry", stage.inbox, entries),
                AskSettled("entry", bytes(32), entries),
                AskSettled("object", b"", objects),
            ],
        )
    values = [value_of(result) for result in answers]
    assert decode(OfferReply, values[0]) == OfferReply(missing=(2,), settled=(1,))
    assert decode(OfferReply, values[1]) == OfferReply(missing=(1, 2), settled=(1,))
    assert decode(Settled, values[2]) == Settled((stage.alice.certificate.der,), (stage.read(read),), ())
    assert decode(Settled, values[3]) == Settled((), (), ())
    assert decode(Settled, values[4]) == Settled((), (), (gone.secrets[0],))
    [result] = await stage.as_alice.call(stage.up.contact, [Fetch(gone.statement.object_key, b"")])
    with pytest.raises(NotFound):
        value_of(result)
