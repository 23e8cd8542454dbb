"""What docs/threats.md says of keys, disks and observers, where no other test shows it."""

import os
from pathlib import Path

import pytest

from p2pcore import names, params
from p2pcore.client.results import value_of
from p2pcore.crypto.certificates import parse_certificate
from p2pcore.crypto.key_files import KeyFiles
from p2pcore.crypto.keys import HpkeKey, SigningKey
from p2pcore.crypto.sealing import open_notification
from p2pcore.crypto.statements import Signer
from p2pcore.dht.datagrams import write_datagram
from p2pcore.errors import CertificateRefused, Tampered
from p2pcore.mail.injection import Injection, prepare
from p2pcore.node.versioned import check_content
from p2pcore.records import (
    Append,
    AskInbox,
    Datagram,
    EntryStatement,
    FindNode,
    Identity,
    InboxStatus,
    Notification,
    Operation,
    Proof,
    Publish,
    PublishedVersion,
    Resolve,
    SealedNotification,
    Store,
    Verdicts,
    VersionStatement,
    decode,
    encode,
)
from tests.p2pcore.mail.bench import part, seal
from tests.p2pcore.node.test_versioned import certificate_version
from tests.support.identities import Member, World
from tests.support.nodes import client_of, running_node

CONTENT = b"From: eve@outside.example\r\nSubject: a merger\r\n\r\nThe price is 17.\r\n"


def injected(world: World, gateway: Member, alice: Member) -> Injection:
    return prepare(seal(CONTENT), [part(alice)], Verdicts(spf="pass"), gateway.signer, world.clock())


def entry_of(injection: Injection) -> EntryStatement:
    statement = injection.entries[0].statement
    assert isinstance(statement, EntryStatement)
    return statement


def opened(entry: EntryStatement, *keys: HpkeKey) -> Notification:
    return open_notification(entry.notification, keys, entry.inbox_key, entry.signer)


def everything_in(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file())


def test_a_node_sees_who_writes_to_which_inbox_and_nothing_of_the_envelope() -> None:
    """In clear: keys, sizes, times and the signer's certificate. Sealed: paths, trace, what opens, what deletes."""
    world = World()
    gateway, alice = world.gateway(), world.user("alice")
    injection = injected(world, gateway, alice)
    entry = entry_of(injection)
    seen = encode(injection.object) + encode(injection.entries[0])
    for shown in (alice.certificate.inbox_key, gateway.signer.fingerprint, injection.body_statement.object_key):
        assert shown in seen
    notification = opened(entry, alice.hpke_key)
    hidden = (notification.session_key, notification.delete_secret, notification.trace)
    texts = (notification.reverse_path, notification.forward_path, notification.body_identifier)
    for secret in (*hidden, *(text.encode() for text in texts)):
        assert secret not in seen


async def test_a_stolen_nodes_disk_has_no_key_that_opens_anything(tmp_path: Path) -> None:
    """Its files, its identity among them, hold no HPKE key, no session key, no content, no path of an envelope."""
    world = World()
    gateway, alice = world.gateway(), world.user("alice")
    member = world.node()
    injection = injected(world, gateway, alice)
    assert isinstance(injection.body, bytes)
    KeyFiles().write_identity(tmp_path / "node.identity", member.identity)
    operations: list[Operation] = [Store(injection.object, injection.body), Append(injection.entries[0])]
    async with (
        running_node(world, tmp_path / "node", member=member) as running,
        client_of(world, gateway) as client,
    ):
        for result in await client.call(running.contact, operations):
            value_of(result)
    disk = everything_in(tmp_path)
    assert injection.body in disk
    notification = opened(entry_of(injection), alice.hpke_key)
    for secret in (notification.session_key, notification.delete_secret, b"merger", b"eve@outside.example"):
        assert secret not in disk
    assert KeyFiles().read_identity(tmp_path / "node.identity").hpke_keys == ()


def test_a_gateway_cannot_open_what_it_has_sealed() -> None:
    """The session key is in the notification, which is sealed to the recipient alone."""
    world = World()
    gateway, alice = world.gateway(), world.user("alice")
    entry = entry_of(injected(world, gateway, alice))
    with pytest.raises(Tampered):
        opened(entry, gateway.hpke_key)
    assert opened(entry, alice.hpke_key).content_size == len(CONTENT)


def test_only_users_and_gateways_have_keys_that_open() -> None:
    """Nodes and directories hold no HPKE key, and none is in their certificates: nothing is ever sealed to them."""
    world = World()
    for member in (world.node(), world.directory()):
        assert member.identity.hpke_keys == ()
        assert not member.certificate.hpke_key
    for member in (world.user("alice"), world.gateway()):
        assert member.certificate.hpke_key


async def test_the_authority_can_redirect_future_mail_and_open_none_of_the_past(tmp_path: Path) -> None:
    """A second certificate for Alice takes the place of hers; what was sealed to the first opens with its key only."""
    world = World()
    alice, gateway, directory = world.user("alice"), world.gateway(), world.directory()
    earlier = entry_of(injected(world, gateway, alice))
    world.clock.advance(params.DAY)  # the second is the newer by its notBefore
    false = world.user("alice")
    identifier = names.certificate_identifier("alice@example.org")
    async with running_node(world, tmp_path / "node") as running, client_of(world, directory) as client:
        for holder in (alice, false):
            [result] = await client.call(running.contact, [Publish(certificate_version(world, directory, holder))])
            value_of(result)
        [result] = await client.call(running.contact, [Resolve("certificate", identifier)])
    found = parse_certificate(decode(PublishedVersion, value_of(result)).content)
    assert found == false.certificate
    later = entry_of(injected(world, gateway, false))
    assert opened(later, false.hpke_key).content_size == len(CONTENT)
    with pytest.raises(Tampered):
        opened(earlier, false.hpke_key)


async def test_a_user_can_ask_how_full_anybodys_inbox_is(tmp_path: Path) -> None:
    """How many entries wait and when they were last read: senders need it; whose and what they are is not told."""
    world = World()
    gateway, alice, bob = world.gateway(), world.user("alice"), world.user("bob")
    injection = injected(world, gateway, alice)
    async with running_node(world, tmp_path / "node") as running:
        async with client_of(world, gateway) as client:
            [result] = await client.call(running.contact, [Append(injection.entries[0])])
            value_of(result)
        async with client_of(world, bob) as client:
            [result] = await client.call(running.contact, [AskInbox(alice.certificate.inbox_key)])
    status = decode(InboxStatus, value_of(result))
    assert (status.entries, status.last_read, status.room) == (1, 0, True)


def test_an_observer_reads_datagrams() -> None:
    """They are signed and not sealed: which key is looked up, by whom, and certificates that introduce somebody."""
    world = World()
    gateway, node = world.gateway(), world.node()
    inbox_key = world.user("alice").certificate.inbox_key
    asked = Datagram(
        FindNode(inbox_key),
        os.urandom(8),
        node.certificate.node_id,
        gateway.signer.fingerprint,
        world.clock(),
        gateway.certificate.der,
    )
    octets = write_datagram(asked, gateway.signer.key)
    assert inbox_key in octets
    assert gateway.certificate.der in octets


def test_a_stolen_agents_identity_reads_and_writes_as_her(tmp_path: Path) -> None:
    """The file alone opens what is in transit and signs in her name, until her certificate is revoked."""
    world = World()
    gateway, alice = world.gateway(), world.user("alice")
    KeyFiles().write_identity(tmp_path / "identity", alice.identity)
    stolen: Identity = KeyFiles().read_identity(tmp_path / "identity")
    entry = entry_of(injected(world, gateway, alice))
    assert opened(entry, *(HpkeKey.from_bytes(key) for key in stolen.hpke_keys)).content_size == len(CONTENT)
    thief = Signer(SigningKey.from_bytes(stolen.signing_key), parse_certificate(stolen.certificate))
    statement = injected(world, alice, alice).object.statement
    assert world.verifier(alice).verify(thief.sign([statement])[0], direct=True) == alice.certificate


def test_a_directory_cannot_make_a_certificate() -> None:
    """It publishes what the authority has issued and nothing else, however well it signs."""
    world = World()
    alice, directory = world.user("alice"), world.directory()
    foreign = World().user("alice")
    published = certificate_version(world, directory, foreign)
    statement = published.version.statement
    assert isinstance(statement, VersionStatement)
    trust = world.trust(alice, directory)
    assert world.verifier(directory).verify(published.version, direct=True) == directory.certificate
    with pytest.raises(CertificateRefused):
        check_content(statement, published.content, trust)


def test_sealing_is_hybrid_and_signatures_are_not_post_quantum() -> None:
    """The suite of a sealed notification names ML-KEM; the proof of a statement is Ed25519 and nothing beside."""
    world = World()
    gateway, alice = world.gateway(), world.user("alice")
    injection = injected(world, gateway, alice)
    assert "mlkem" in decode(SealedNotification, entry_of(injection).notification).key.algorithm
    assert injection.object.proof.__struct_config__.tag == "ed25519-merkle.1"
    assert Proof.__struct_fields__ == ("size", "index", "path", "signature")
