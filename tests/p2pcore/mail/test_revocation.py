"""A revocation is everywhere within ten minutes while the directory runs, with real nodes and a clock that is set."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from p2pcore import params
from p2pcore.endpoint import Endpoint
from p2pcore.errors import CannotKnow, CertificateRefused, Failure
from p2pcore.mail.judging import InboxJudge
from p2pcore.records import Append, AskInbox, SignedStatement
from tests.p2pcore.mail.realm import Party, Realm, realm_of, statuses
from tests.support.nodes import entry

ALICE, BOB, MX, OTHER = "alice@example.org", "bob@example.org", "mx.example.org", "mx2.example.org"


@dataclass
class Stage:
    """Three nodes, two gateways and two agents, all of whom know the domain's first record."""

    realm: Realm
    alice: Party
    bob: Party
    gateway: Party
    other: Party

    async def ask(self, party: Party) -> list[object]:
        """What every node says to a request of `party`; the replies carry the newest head."""
        return statuses(await party.replicas.ask_all(self.realm.substrate.known(), AskInbox(bytes(32))))

    async def append(self, party: Party, signed: SignedStatement) -> list[object]:
        return statuses(await party.replicas.ask_all(self.realm.substrate.known(), Append(signed)))

    async def minutes(self, count: int, parties: Sequence[Party]) -> None:
        """Let time pass: the directory publishes what changed, and its next head is due; each party asks something.

        On return whoever heard of a newer record has adopted it.
        """
        realm = self.realm
        realm.world.clock.advance(count * params.MINUTE)
        await realm.publish()
        await realm.announce()
        newest = realm.directory.current_record()
        for party in parties:
            news = asyncio.Event()
            party.names.on_record(lambda _, news=news: news.set())  # type: ignore[misc]
            await self.ask(party)
            if party.names.published is None or party.names.published.content != newest.content:
                async with asyncio.timeout(10):
                    await news.wait()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with realm_of(tmp_path) as realm:
        users = [await realm.party(realm.join("user", name)) for name in (ALICE, BOB)]
        gateways = [await realm.party(realm.join("gateway", name)) for name in (MX, OTHER)]
        await realm.publish()
        stage = Stage(realm, users[0], users[1], gateways[0], gateways[1])
        for party in realm.parties.values():
            await party.names.start()
            await party.names.refresh()
        yield stage


def others(stage: Stage, *without: Party) -> list[Party]:
    return [party for party in stage.realm.parties.values() if party not in without]


async def test_a_revoked_sender_is_refused_everywhere(stage: Stage) -> None:
    """Nodes take nothing more of a revoked gateway; the head on any reply is what tells everybody."""
    assert await stage.ask(stage.other) == [200, 200, 200]
    stage.realm.directory.revoke(OTHER, "compromised")
    assert await stage.ask(stage.other) == [200, 200, 200]  # nobody can know yet
    await stage.minutes(5, others(stage, stage.other))
    assert await stage.ask(stage.other) == [CertificateRefused] * 3
    assert stage.realm.directory.clock() - stage.realm.directory.revocations()[0].time < 10 * params.MINUTE
    for party in others(stage, stage.other):
        assert party.trust.is_compromised(stage.other.member.certificate)
    assert await stage.ask(stage.gateway) == [200, 200, 200]


async def test_a_revoked_machine_hears_why_nobody_talks_to_it(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """Nodes drop its datagrams, so none is known to it: those that its last record lists refuse it, and so it is said.

    The record that would tell it they give to nobody who is off the list.
    """
    realm = stage.realm
    for number, node in enumerate(realm.nodes):
        realm.directory.move_machine(f"node{number}", Endpoint(node.contact.host, node.contact.port))
    await stage.minutes(5, others(stage))
    assert not stage.other.names.refused
    realm.directory.revoke(OTHER, "retired")
    await stage.minutes(5, others(stage, stage.other))
    realm.substrate.replace(())
    async with asyncio.timeout(10):
        while not stage.other.names.refused:  # noqa: ASYNC110 -- nothing tells of it but the log
            await asyncio.sleep(0.01)
    assert not stage.gateway.names.refused
    assert [each.levelname for each in caplog.records if "revoked" in each.message] == ["WARNING"]


async def test_nobody_seals_to_a_revoked_user(stage: Stage) -> None:
    """Gateways and other agents hold mail back until she has new keys; her own requests are refused."""
    await stage.gateway.names.certificate_of(ALICE)
    await stage.bob.names.certificate_of(ALICE)
    stage.realm.directory.revoke(ALICE, "compromised")
    await stage.minutes(5, others(stage, stage.alice))
    for party in (stage.gateway, stage.bob):
        with pytest.raises(CannotKnow, match="not to be sealed to"):
            await party.names.certificate_of(ALICE)
    assert await stage.ask(stage.alice) == [CertificateRefused] * 3


async def judged(stage: Stage, reader: Party, *entries: SignedStatement) -> list[bool]:
    """Whether the agent of `reader` accepts each as an entry of her inbox."""
    judge = InboxJudge(reader.replicas, reader.member.certificate.inbox_key)
    outcomes = [await judge.entry(stage.realm.nodes[0].contact, each) for each in entries]
    return [not isinstance(outcome, Failure) for outcome in outcomes]


@pytest.mark.parametrize("reason", ["retired", "compromised"])
async def test_what_was_signed_before_and_after(stage: Stage, reason: str) -> None:
    """Retired: what was signed before stays good for readers. Compromised: it is read, and shown as unverified.

    What is signed afterwards no node takes, and no agent that gets it all the same, whatever its date.
    """
    inbox, signer, clock = stage.bob.member.certificate.inbox_key, stage.other.member.signer, stage.realm.world.clock
    before = entry(signer, inbox, clock())
    assert await stage.append(stage.other, before) == [200, 200, 200]
    clock.advance(2 * params.HOUR)
    stage.realm.directory.revoke(OTHER, "retired" if reason == "retired" else "compromised")
    await stage.minutes(5, others(stage, stage.other))
    clock.advance(2 * params.HOUR)
    after, backdated = entry(signer, inbox, clock()), entry(signer, inbox, clock() - 5 * params.HOUR)
    assert await judged(stage, stage.bob, before, after) == [True, False]
    assert stage.bob.trust.is_compromised(stage.other.member.certificate) == (reason == "compromised")
    for signed in (after, backdated):
        assert set(await stage.append(stage.other, signed)) == {CertificateRefused}


async def test_silence_is_noticed(stage: Stage) -> None:
    """A head tells when the directory last spoke; without one `last_head` stays where it was."""
    await stage.minutes(5, others(stage))
    spoken = stage.gateway.names.last_head
    assert spoken == stage.realm.world.clock()
    stage.realm.world.clock.advance(params.HOUR)
    await stage.ask(stage.gateway)
    assert stage.gateway.names.last_head == spoken
