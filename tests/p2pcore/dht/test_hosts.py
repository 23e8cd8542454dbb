"""Names resolved, and real sockets of both families."""

import asyncio
import socket
from pathlib import Path

import pytest

from p2pcore.dht.contact import Contact
from p2pcore.dht.hosts import resolve
from p2pcore.dht.kademlia import KademliaSubstrate
from p2pcore.endpoint import Endpoint
from p2pcore.errors import Unreachable
from tests.p2pcore.dht.support import node_signer, object_key
from tests.support.identities import World


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")


async def test_addresses_are_not_resolved_and_impossible_names_are_unreachable() -> None:
    """An address stands for itself; a name that no resolver can hold raises Unreachable."""
    assert await resolve(Endpoint("::ffff:192.0.2.1", 7)) == (Endpoint("192.0.2.1", 7),)
    with pytest.raises(Unreachable):
        await resolve(Endpoint("x" * 64 + ".invalid", 7))


def substrate(world: World, number: int | None, listen: Endpoint | None, directory: Path) -> KademliaSubstrate:
    signer = node_signer(world, number) if number is not None else world.user("alice").signer
    file = directory / f"contacts{number}.json"
    node = number is not None
    return KademliaSubstrate(signer, world.trust(), world.clock, listen=listen, node=node, contacts_file=file)


@needs_ipv6
async def test_nodes_and_clients_over_ipv6(tmp_path: Path) -> None:
    """Two nodes on [::1] and a client with a socket of its own find each other."""
    world = World()
    first = substrate(world, 0, Endpoint("::1", 0), tmp_path)
    second = substrate(world, 1, Endpoint("::1", 0), tmp_path)
    client = substrate(world, None, None, tmp_path)
    await first.start([])
    for later in (second, client):
        await later.start([("::1", first.port, None)])
        assert await later.joined()
    assert {contact.host for contact in await client.lookup(object_key(1), 3)} == {"::1"}
    assert len(await client.lookup(object_key(1), 3)) == 2
    for each in (client, second, first):
        await each.stop()


@needs_ipv6
async def test_one_socket_of_a_wildcard_serves_both_families(tmp_path: Path) -> None:
    """A node at [::] is met over IPv4 and IPv6, and sees an IPv4 peer at its IPv4 address."""
    world = World()
    both = substrate(world, 0, Endpoint("::", 0), tmp_path)
    old = substrate(world, 1, Endpoint("127.0.0.1", 0), tmp_path)
    new = substrate(world, 2, Endpoint("::1", 0), tmp_path)
    await both.start([])
    met = asyncio.Event()
    both.on_change(lambda: met.set() if len(both.known()) == 3 else None)
    await old.start([("127.0.0.1", both.port, None)])
    await new.start([("::1", both.port, None)])
    assert await old.joined()
    assert await new.joined()
    await asyncio.wait_for(met.wait(), 10)
    assert Contact(node_signer(world, 1).certificate.node_id, "127.0.0.1", old.port) in both.known()
    assert Contact(node_signer(world, 2).certificate.node_id, "::1", new.port) in both.known()
    for each in (new, old, both):
        await each.stop()


async def test_an_address_of_the_other_family_is_unreachable_at_once(tmp_path: Path) -> None:
    """A socket of IPv4 alone does not wait for a contact that it cannot send to, and it stays usable."""
    world = World()
    node = substrate(world, 0, Endpoint("127.0.0.1", 0), tmp_path)
    await node.start([])
    with pytest.raises(Unreachable):
        await node._peers.introduce(Endpoint("2001:db8::1", 9), None)
    assert node.counters.errors == 1
    assert node.counters.timeouts == 0
    other = substrate(world, 1, Endpoint("127.0.0.1", 0), tmp_path)
    await other.start([("127.0.0.1", node.port, None)])
    assert await other.joined()
    await other.stop()
    await node.stop()
