"""Certificates are renewed over the years, and each holder takes up its successor by itself."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from p2pcore import params
from p2pcore.client.replicas import Replicas
from p2pcore.crypto.certificates import parse_certificate
from p2pcore.crypto.keys import HpkeKey, SigningKey
from p2pcore.crypto.statements import Signer
from p2pcore.errors import CertificateRefused
from p2pcore.mail import successor
from p2pcore.mail.successor import Successor
from p2pcore.records import AskInbox
from p2pcore.sim.virtual_time import run_virtually
from tests.p2pcore.client.memory_network import MemoryNetwork
from tests.p2pcore.mail.bench import Domain, put, replicas_over
from tests.p2pcore.mail.realm import Realm, realm_of, statuses
from tests.support.identities import Member

ALICE, MX = "alice@example.org", "mx.example.org"
STEP = 30 * params.DAY  # below half of a directory certificate's life


@pytest.fixture
async def realm(tmp_path: Path) -> AsyncIterator[Realm]:
    async with realm_of(tmp_path) as realm:
        yield realm


async def test_every_role_works_through_two_lives_of_its_certificate(realm: Realm) -> None:
    """Nodes, a gateway, an agent and the directory run for 840 days; each node takes every request of theirs."""
    for role, name in (("gateway", MX), ("user", ALICE)):
        await realm.party(realm.join(role, name))  # type: ignore[arg-type]
    first = {name: party.member.certificate for name, party in realm.parties.items()}
    for _ in range(28):
        realm.world.clock.advance(STEP)
        await realm.publish()
        for party in realm.parties.values():
            await party.successor.ask()
            answers = await party.replicas.ask_all(realm.substrate.known(), AskInbox(bytes(32)))
            assert statuses(answers) == [200, 200, 200]
    for name, party in realm.parties.items():
        assert len(party.adopted) == 4
        now = party.member.certificate
        assert (now.identifier, now.public_key, now.hpke_key) == (
            first[name].identifier,
            first[name].public_key,
            first[name].hpke_key,
        )
        assert realm.world.clock() < now.not_after
        assert realm.world.clock() > first[name].not_after


async def test_a_machine_that_does_not_follow_is_refused_in_the_end(realm: Realm) -> None:
    """Half of the life is left to take the successor up; whoever does not is nobody after 400 days."""
    party = await realm.party(realm.join("gateway", MX))
    realm.world.clock.advance(params.CERTIFICATE_LIFETIME - params.DAY)
    answers = await party.replicas.ask_all(realm.substrate.known(), AskInbox(bytes(32)))
    assert statuses(answers) == [200, 200, 200]
    realm.world.clock.advance(2 * params.DAY)
    answers = await party.replicas.ask_all(realm.substrate.known(), AskInbox(bytes(32)))
    assert statuses(answers) == [CertificateRefused] * 3


def successor_of(domain: Domain, member: Member, keys: tuple[SigningKey, HpkeKey] | None = None) -> Member:
    """Alice's certificate issued again 30 days later: for the same keys, or for others."""
    key, hpke = keys or (member.signer.key, member.hpke_key)
    later = domain.world.clock() + 30 * params.DAY
    der = domain.world.authority.issue("user", [ALICE], key.public_bytes, hpke.public_bytes, later)
    return Member(member.identity, Signer(key, parse_certificate(der)), hpke)


async def test_the_signer_speaks_under_the_successor_once_it_is_durable(
    domain: Domain, network: MemoryNetwork, replicas: Replicas
) -> None:
    """What cannot be put on disk is not taken up, and is found again."""
    held = domain.alice.certificate
    renewed = successor_of(domain, domain.alice)
    full = True

    async def adopt(_: object) -> None:
        if full:
            raise OSError("no space left")

    follower = Successor(replicas, domain.alice.signer, domain.world.clock, adopt)
    assert not await follower.ask()
    domain.world.clock.advance(30 * params.DAY)
    put(network, domain.certificate(renewed))
    with pytest.raises(OSError, match="no space"):
        await follower.ask()
    assert domain.alice.signer.certificate == held
    full = False
    assert await follower.ask()
    assert domain.alice.signer.certificate == renewed.certificate
    assert not await follower.ask()


async def test_a_certificate_for_other_keys_is_not_ours(
    domain: Domain, network: MemoryNetwork, replicas: Replicas
) -> None:
    """An agent whose user has got other keys elsewhere keeps what it has, and says so."""
    others = successor_of(domain, domain.alice, (SigningKey.generate(), HpkeKey.generate()))
    domain.world.clock.advance(30 * params.DAY)
    put(network, domain.certificate(others))

    async def adopt(_: object) -> None:
        raise AssertionError("never called")

    follower = Successor(replicas, domain.alice.signer, domain.world.clock, adopt)
    held = domain.alice.certificate
    assert not await follower.ask()
    assert follower.replaced
    assert domain.alice.signer.certificate == held


def test_it_is_asked_for_hourly_from_half_time_on(tmp_path: Path) -> None:
    """Before that once, at the start; and at once when there is reason to think that there is one."""
    asked: list[float] = []

    async def main() -> None:
        domain, network = Domain.new(), MemoryNetwork(3)
        replicas = replicas_over(domain, network, tmp_path, domain.world.trust(*domain.members))
        loop = asyncio.get_running_loop()
        start = domain.world.clock()

        def clock() -> int:
            return start + int(loop.time() * 1_000)

        class Noting(Successor):
            async def ask(self) -> bool:
                asked.append(loop.time())
                return False

        async def adopt(_: object) -> None:
            raise AssertionError("never called")

        follower = Noting(replicas, domain.alice.signer, clock, adopt)
        await follower.start()
        await asyncio.sleep(60)
        follower.wake()
        await asyncio.sleep(200 * 86_400)
        await follower.stop()

    run_virtually(main())
    half = (params.CERTIFICATE_LIFETIME - params.NOT_BEFORE_SETBACK) / 2 / params.SECOND
    assert asked[:2] == [0, 60]
    assert half <= asked[2] <= half + successor.ASK_INTERVAL / params.SECOND
    assert {later - earlier for earlier, later in itertools.pairwise(asked[2:])} == {3_600}
    assert len(asked) >= 12
