"""Every cell of the table (primitive × who asks) but the datagrams' row, on a real node over TLS, in every form."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from p2pcore.errors import Failure
from tests.p2pcore.node.test_requests import Wire
from tests.support.identities import Member
from tests.support.nodes import running_node
from tests.threats.asking import People, Request, Scene, furnish
from tests.threats.table import DATAGRAMS, PRIMITIVES, ROLES, TABLE, WHO, usual

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASKED = [primitive for primitive in PRIMITIVES if primitive != DATAGRAMS]
AFTER_A_RESTART = "replayed after a restart"
Kept = dict[str, list[tuple[Request, dict[str, str]]]]  # what was sent for each primitive


@asynccontextmanager
async def node_of(people: People, directory: Path) -> AsyncIterator[Wire]:
    """The node of `people`, which knows who is revoked."""
    async with (
        running_node(people.world, directory, member=people.member) as running,
        aiohttp.ClientSession() as session,
    ):
        running.trust.set_revocations(people.revocations)
        yield Wire(people.world, running, session)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    people = People()
    async with node_of(people, tmp_path_factory.mktemp("node")) as wire:
        yield await furnish(people, wire)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def restarted(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Scene, Kept]]:
    """A node that did everything for whoever asks it in earnest, and has been started again since."""
    people = People()
    directory = tmp_path_factory.mktemp("node")
    kept: Kept = {}
    async with node_of(people, directory) as wire:
        before = await furnish(people, wire)
        for primitive in ASKED:
            asker = people.admitted[usual(primitive)]
            sent = [
                (request, before.sign(asker, request)) for request in before.forms(primitive, asker, owner_for(before))
            ]
            for request, headers in sent:
                assert await before.send(request, headers) is TABLE[primitive, usual(primitive)]
            kept[primitive] = sent
    async with node_of(people, directory) as wire:
        yield Scene(people, wire, before.held), kept


def owner_for(scene: Scene) -> Member:
    return scene.people.admitted["owner"]


async def outcomes(scene: Scene, primitive: str, who: str) -> list[type[Failure] | None]:
    """What becomes of every form of `primitive` when `who` asks for it."""
    people, role = scene.people, usual(primitive)
    if who in ROLES:
        asker = people.admitted[who]
        requests = scene.forms(primitive, asker, owner_for(scene))
        return [await scene.send(request, scene.sign(asker, request)) for request in requests]
    askers = {"stranger": people.stranger, "revoked": people.revoked[role], "expired": people.expired[role]}
    asker = askers.get(who, people.admitted[role])
    owner = asker if role == "owner" else owner_for(scene)
    found = []
    for request in scene.forms(primitive, asker, owner):
        headers = scene.sign(asker, request, node_id=bytes(32) if who == "to another node" else b"")
        if who == "unsigned":
            headers = scene.unsigned(request)
        elif who == "replayed":
            assert await scene.send(request, headers) is TABLE[primitive, role]
        found.append(await scene.send(request, headers))
    return found


@pytest.mark.parametrize("who", [who for who in WHO if who != AFTER_A_RESTART])
@pytest.mark.parametrize("primitive", ASKED)
async def test_cell(scene: Scene, primitive: str, who: str) -> None:
    """Whoever asks gets what the table says, in every form of the primitive, and a refusal changes nothing."""
    counts = scene.wire.running.node.counts()
    found = await outcomes(scene, primitive, who)
    assert set(found) == {TABLE[primitive, who]}
    if who != "replayed" and TABLE[primitive, who] is not None:
        assert scene.wire.running.node.counts() == counts


@pytest.mark.parametrize("primitive", ASKED)
async def test_replayed_after_a_restart(restarted: tuple[Scene, Kept], primitive: str) -> None:
    """What a node has answered in an earlier life it does not do again in this one."""
    scene, kept = restarted
    counts = scene.wire.running.node.counts()
    found = [await scene.send(request, headers) for request, headers in kept[primitive]]
    assert set(found) == {TABLE[primitive, AFTER_A_RESTART]}
    assert scene.wire.running.node.counts() == counts
