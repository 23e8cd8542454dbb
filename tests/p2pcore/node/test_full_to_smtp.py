"""Nodes without room, all the way: what full nodes and inboxes answer reaches the outside MTA as 452."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.smtp import replies
from p2pcore import params
from p2pcore.client.batching import Batcher
from p2pcore.client.replicas import Replicas
from p2pcore.client.versions import VersionChecker
from p2pcore.errors import Failure, InboxFull, NodeFull
from p2pcore.mail.inbox_state import InboxStates
from p2pcore.mail.injection import prepare
from p2pcore.mail.send import Sender
from p2pcore.node.settings import Limits
from p2pcore.records import Replication, Verdicts
from tests.p2pcore.mail.bench import part, seal
from tests.support.fixed_substrate import FixedSubstrate
from tests.support.identities import Member, World
from tests.support.nodes import Running, client_of, running_node


@dataclass
class Stage:
    """Three real nodes, k = 3 and w = 2, and a gateway that injects."""

    world: World
    nodes: list[Running]
    gateway: Member
    alice: Member
    replicas: Replicas
    sender: Sender

    async def inject(self, size: int) -> None:
        """Inject a mail for Alice and let all three nodes have it. Raises what the gateway's session is told."""
        sealed = seal(os.urandom(size))
        injection = prepare(sealed, [part(self.alice)], Verdicts(), self.gateway.signer, self.world.clock())
        await self.sender.inject(injection)
        await self.replicas.stop()  # waits for what follows the quorum

    def held(self) -> list[tuple[int, int]]:
        return [(node.node.counts().objects, node.node.counts().entries) for node in self.nodes]


@asynccontextmanager
async def three_nodes(directory: Path, quota: int, limits: Limits) -> AsyncIterator[Stage]:
    world = World()
    gateway, alice = world.gateway(), world.user("alice")
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(
                running_node(world, directory / f"node{number}", quota=quota, limits=limits)
            )
            for number in range(3)
        ]
        peers = await stack.enter_async_context(client_of(world, gateway))
        replicas = Replicas(
            FixedSubstrate([node.contact for node in nodes]),
            peers,
            Batcher(peers),
            lambda: (Replication(0, 3, 2),),
            world.clock,
            checker=VersionChecker(world.trust(), world.verifier()),
            directory=directory,
        )
        sender = Sender(replicas, gateway.signer, world.clock)
        yield Stage(world, nodes, gateway, alice, replicas, sender)
        await sender.stop()
        await replicas.stop()
        await replicas.batcher.stop()


def said(reply: replies.Reply) -> tuple[int, str]:
    return reply.code, reply.status


async def failure_of_injection(stage: Stage, size: int) -> Failure:
    """Inject until it fails; all that was said to be stored before has a body and an entry on w nodes at least."""
    stored = 0
    try:
        while True:
            await stage.inject(size)
            stored += 1
    except Failure as failure:
        await stage.replicas.stop()
        assert stored
        assert sum(objects >= stored and entries >= stored for objects, entries in stage.held()) >= 2
        return failure


@pytest.mark.parametrize("size", [50_000, 1_500_000])
async def test_full_nodes_are_452_4_3_1(tmp_path: Path, size: int) -> None:
    """The nodes' 507 for a body in a batch, or one in a PUT, is NodeFull and 452 4.3.1; no entry is left alone."""
    async with three_nodes(tmp_path, quota=4 * size, limits=Limits()) as stage:
        failure = await failure_of_injection(stage, size)
        assert isinstance(failure, NodeFull)
        assert said(replies.at_content(failure)) == (452, "4.3.1")
        assert all(objects == entries for objects, entries in stage.held()), stage.held()


async def test_a_full_inbox_is_452_4_2_2(tmp_path: Path) -> None:
    """The nodes' refusal of an entry is InboxFull and 452 4.2.2; RCPT learns it before the content comes."""
    async with three_nodes(tmp_path, quota=1 << 30, limits=Limits(inbox_entries=2)) as stage:
        failure = await failure_of_injection(stage, 1_000)
        assert isinstance(failure, InboxFull)
        assert said(replies.at_content(failure)) == (452, "4.2.2")
        states = InboxStates(stage.replicas, stage.world.clock)
        assert not (await states.of(stage.alice.certificate.inbox_key)).room
        assert (await states.of(stage.world.user("bob").certificate.inbox_key)).room
        await states.stop()
        assert said(replies.at_recipient(failure)) == (452, "4.2.2")


async def test_at_rcpt_full_nodes_are_452_4_3_1(tmp_path: Path) -> None:
    """RCPT tells a system that is full (RFC 3463 §3.4, X.3.1) from a mailbox that is full (§3.3, X.2.2)."""
    async with three_nodes(tmp_path, quota=params.MAX_NOTIFICATION // 2, limits=Limits()) as stage:
        states = InboxStates(stage.replicas, stage.world.clock)
        state = await states.of(stage.alice.certificate.inbox_key)
        await states.stop()
        assert (state.room, state.full) == (False, False)
        assert said(replies.at_recipient(NodeFull("no room"))) == (452, "4.3.1")


async def test_a_body_without_an_entry_goes_at_its_expiry(tmp_path: Path) -> None:
    """Where entries are refused after a large body was taken, it counts for the gateway until it expires, no longer.

    The same is left of a gateway that dies between the two: nobody but it knew the secrets that delete the body.
    """
    async with three_nodes(tmp_path, quota=1 << 30, limits=Limits(inbox_entries=1)) as stage:
        await stage.inject(1_000)
        with pytest.raises(InboxFull):
            await stage.inject(1_500_000)
        await stage.replicas.stop()
        assert stage.held() == [(2, 1)] * 3
        fingerprint = stage.gateway.signer.fingerprint
        assert all(node.node._storage.octets_of(fingerprint) > 1_500_000 for node in stage.nodes)
        stage.world.clock.advance(params.OBJECT_LIFETIME + params.MINUTE)
        for node in stage.nodes:
            await node.node.sweep()
            assert node.node._storage.octets_of(fingerprint) == 0
            assert not list((node.directory / "bodies").iterdir())
        assert stage.held() == [(0, 0)] * 3
