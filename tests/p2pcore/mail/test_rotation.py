"""After a user got new keys, what she signed under the old ones is hers still, at real nodes."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from p2pcore.crypto.keys import HpkeKey, SigningKey
from p2pcore.crypto.statements import Signer
from p2pcore.errors import CertificateRefused, NotAuthorised
from p2pcore.records import Append
from tests.p2pcore.mail.realm import Party, Realm, realm_of, statuses
from tests.support.identities import Member
from tests.support.nodes import entry

ALICE, BOB = "alice@example.org", "bob@example.org"


@pytest.fixture
async def realm(tmp_path: Path) -> AsyncIterator[Realm]:
    async with realm_of(tmp_path) as realm:
        yield realm


async def rotated(realm: Realm, *, compromised: bool) -> Party:
    """Alice's agent under new keys."""
    key, hpke = SigningKey.generate(), HpkeKey.generate()
    der = realm.directory.rotate_user(ALICE, key.public_bytes, hpke.public_bytes, compromised=compromised)
    held = realm.parties[ALICE].member.identity
    return await realm.party(Member(held, Signer(key, realm.world.trust().add(der)), hpke), name="alice's new keys")


@pytest.mark.parametrize("compromised", [False, True])
async def test_an_outbox_repeats_what_was_signed_under_the_old_key(realm: Realm, compromised: bool) -> None:
    """Nodes take it from her under the new one, unless the old one is in other hands; from others they never do."""
    alice, bob = [await realm.party(realm.join("user", name)) for name in (ALICE, BOB)]
    signed = entry(alice.member.signer, bob.member.certificate.inbox_key, realm.world.clock())
    known = entry(alice.member.signer, bob.member.certificate.inbox_key, realm.world.clock())
    contacts = realm.substrate.known()
    assert statuses(await alice.replicas.ask_all(contacts, Append(known))) == [200] * 3
    new = await rotated(realm, compromised=compromised)
    for party in realm.parties.values():
        party.trust.set_revocations(realm.directory.revocations())
    answers = statuses(await new.replicas.ask_all(contacts, Append(signed)))
    assert answers == ([CertificateRefused] * 3 if compromised else [200] * 3)
    answers = statuses(await bob.replicas.ask_all(contacts, Append(signed)))
    assert answers == [NotAuthorised] * 3
