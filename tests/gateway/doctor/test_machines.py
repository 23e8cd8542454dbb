"""Gateways and nodes as `p2pmail doctor` meets them: TLS listeners on loopback, each with an identity of its own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from gateway.doctor.findings import Finding
from gateway.doctor.machines import Machine, check
from gateway.doctor.reach import Reach
from gateway.resolver import Resolver
from p2pcore import params
from p2pcore.crypto.tls import node_server_context, relay_server_context
from p2pcore.crypto.trust import Trust
from p2pcore.endpoint import Endpoint
from p2pcore.records import Revocation
from tests.support.fake_dns import FakeDns
from tests.support.identities import Member, World

Listen = Callable[[Member], Awaitable[Endpoint]]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def listen() -> AsyncIterator[Listen]:
    """Serve TLS as a member does: a node on its port, a gateway on its relay port."""
    async with AsyncExitStack() as stack:

        async def listening(member: Member) -> Endpoint:
            make = relay_server_context if member.certificate.role == "gateway" else node_server_context
            server = await asyncio.start_server(
                lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=make(member.identity)
            )
            await stack.enter_async_context(server)
            return Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])

        yield listening


@pytest.fixture
async def reach() -> AsyncIterator[Reach]:
    dns = FakeDns()
    await dns.start()
    yield Reach(Resolver([dns.endpoint], timeout=2_000), timeout=2_000)
    await dns.stop()


async def judged(
    world: World, reach: Reach, machine: Machine, *, later: int = 0, trust: Trust | None = None
) -> Finding:
    (found,) = await check([machine], trust or world.trust(), reach, world.clock() + later)
    return found


async def test_a_machine_that_shows_its_own_key_is_well(world: World, reach: Reach, listen: Listen) -> None:
    """A node by its ID, a gateway by its certificate too; how long that holds is said."""
    node, gateway = world.node(), world.gateway()
    found = await judged(world, reach, Machine("node", await listen(node), node.certificate.node_id))
    assert (found.check, found.level) == ("node reachable", "ok")
    assert "holds until" in found.detail
    at = await listen(gateway)
    told = Machine("gateway", at, gateway.certificate.node_id, gateway.certificate.fingerprint)
    assert (await judged(world, reach, told)).level == "ok"


async def test_a_certificate_that_ends_soon_is_told(world: World, reach: Reach, listen: Listen) -> None:
    """Days are left: it should have renewed itself long before. Once it has ended, the machine is as good as away."""
    node = world.node()
    machine = Machine("node", await listen(node), node.certificate.node_id)
    left = node.certificate.not_after - world.clock()
    found = await judged(world, reach, machine, later=left - 3 * params.DAY)
    assert (found.level, "(3 days)" in found.detail) == ("warn", True)
    assert (await judged(world, reach, machine, later=left + params.DAY)).level == "fail"


async def test_another_key_is_not_that_machine(world: World, reach: Reach, listen: Listen) -> None:
    """An open port is not enough: another machine of the domain, another role, another domain's, a revoked one."""
    node, other, gateway = world.node(), world.node(), world.gateway()
    at = await listen(node)
    for wrong in (
        Machine("node", at, other.certificate.node_id),
        Machine("gateway", at, b"", gateway.certificate.fingerprint),
        Machine("node", await listen(World("elsewhere.example").node())),
    ):
        assert (await judged(world, reach, wrong)).level == "fail"
    machine = Machine("node", at, node.certificate.node_id)
    assert (await judged(world, reach, machine)).level == "ok"
    trust = world.trust()
    trust.set_revocations((Revocation(node.certificate.serial, "retired", 0),))
    found = await judged(world, reach, machine, trust=trust)
    assert (found.level, "revoked" in found.detail) == ("fail", True)


async def test_agents_want_the_certificate_in_the_record(world: World, reach: Reach, listen: Listen) -> None:
    """A gateway whose certificate the record does not list yet answers, and no agent hands it mail."""
    gateway = world.gateway()
    found = await judged(world, reach, Machine("gateway", await listen(gateway), b"", b"x" * 32))
    assert (found.level, "agents refuse it" in found.detail) == ("fail", True)


async def test_what_is_no_tls_or_not_there_fails(world: World, reach: Reach) -> None:
    """A port that is closed, one that says something else, one that says nothing, a name without an address."""
    silent = asyncio.Event()

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        await silent.wait()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for at in (Endpoint("127.0.0.1", 1), Endpoint("127.0.0.1", port), Endpoint("nowhere.example", 4466)):
        found = await judged(world, reach, Machine("node", at, b"x" * 32))
        assert found.level == "fail"
        assert "p2pmail machine set" in found.remedy
    silent.set()
    server.close()
    await server.wait_closed()
