"""Step 6: the agent is told at once, and judges who signed."""

import msgspec
import pytest

from p2pcore.clock import system_clock
from p2pcore.crypto.certificates import Certificate, parse_certificate
from p2pcore.crypto.key_files import KeyFiles
from p2pcore.crypto.keys import HpkeKey
from p2pcore.crypto.notifications import NotificationSealer, open_notification
from p2pcore.mail.injection import Injection, RecipientPart, prepare
from p2pcore.records import EntryStatement, Identity, SignedStatement, Verdicts, identity
from tests.flow.conftest import Network, Several
from tests.flow.disk import wait_until
from tests.flow.insider import seal
from tests.flow.mta import SENDER, message, send
from tests.flow.reader import Reader

_RECEIVED = "Received: from x\r\n\tby y;\r\n\tSun, 22 Nov 2026 10:00:00 +0000\r\n"


def test_waits_for_the_agent(several_agent: Several) -> None:
    """What is accepted while the agent is off waits on the nodes, and is shown when it starts."""
    contents = [message() for _ in range(3)]
    for content in contents:
        send(several_agent.smtp, content, several_agent.address)
    several_agent.machines.start(several_agent.agent)
    with several_agent.reader() as reader:
        reader.wait_until(len(contents))
        shown = list(reader.messages().values())
    assert all(any(octets.endswith(content) for octets in shown) for content in contents)


def test_own_name(network: Network, bob: Reader) -> None:
    """An entry that a user signed in her own name is shown, with the keyword $P2PMailSigned."""
    before, content = bob.count(), message(author=network.waiting.address)
    network.waiting.inject(_mail(network, network.waiting.address, content))
    bob.wait_until(before + 1)
    uid, octets = max(bob.messages("*").items())
    assert octets.endswith(content)
    assert b"$P2PMailSigned" in bob.fetch(str(uid), "(FLAGS)")[uid]


def test_foreign_reverse_path(network: Network, bob: Reader) -> None:
    """An entry that a user signed with a foreign reverse-path is not shown but reported, and is acknowledged."""
    injection = _mail(network, "ceo@bank.example", message(author=network.waiting.address))
    assert _reported(network, bob, injection)


@pytest.mark.parametrize("author", ["ceo@bank.example", "alice@flow.test", "waiting@flow.test>, <ceo@bank.example"])
def test_foreign_author(network: Network, bob: Reader, author: str) -> None:
    """An entry that a user signed for mail with anybody else in From is not shown but reported, and is acknowledged."""
    injection = _mail(network, network.waiting.address, message(author=author))
    assert _reported(network, bob, injection)


@pytest.mark.parametrize(
    "trace", ["Authentication-Results: y; none\r\n", "From: ceo@bank.example\r\n", "\r\nbody", "Received: x"]
)
def test_foreign_trace(network: Network, bob: Reader, trace: str) -> None:
    """A user's entry whose trace block holds more than Return-Path and Received is not shown but reported, too."""
    content = message(author=network.waiting.address)
    injection = _mail(network, network.waiting.address, content, trace=_RECEIVED + trace)
    assert _reported(network, bob, injection)


def test_false_signer(network: Network, bob: Reader) -> None:
    """A notification that names the gateway as its signer does not open in an entry that a user signed."""
    network.send(message(), "waiting")
    (received,) = network.waiting.received()
    injection = _mail(network, "ceo@bank.example", message())
    before = bob.count()
    network.waiting.inject(injection, [_claiming(network, injection, received.certificate)])
    for content in (message(), message()):
        network.send(content, "bob")
        bob.wait_for(content)
    bob.wait_until(before + 3)
    assert sum(_is_report(bob, uid) for uid in sorted(bob.messages("1:*"))[-3:]) == 1


def test_unverified(network: Network, bob: Reader) -> None:
    """Mail from outside with a From of our own domain is shown with the keyword $P2PMailUnverified."""
    for author, expected in ((network.address("alice"), True), (SENDER, False)):
        content = message(author=author)
        network.send(content, "bob")
        uid = bob.wait_for(content)
        assert (b"$P2PMailUnverified" in bob.fetch(str(uid), "(FLAGS)")[uid]) is expected


def _identity_of_bob(network: Network) -> Identity:
    return KeyFiles().read_identity(network.site.account_directory(network.address("bob")) / "identity")


def _mail(network: Network, reverse_path: str, content: bytes, *, trace: str = "") -> Injection:
    """A mail to bob that the insider `waiting` has signed; nothing is sent yet."""
    trace = trace or f"Return-Path: <{reverse_path}>\r\n{_RECEIVED}"
    certificate = parse_certificate(_identity_of_bob(network).certificate)
    part = RecipientPart(certificate, reverse_path, network.address("bob"), trace.encode())
    return prepare(seal(content), [part], Verdicts(), network.waiting.signer, system_clock())


def _claiming(network: Network, injection: Injection, signer: Certificate) -> SignedStatement:
    """The injection's entry with a notification that names `signer`, signed by the insider all the same."""
    bob = _identity_of_bob(network)
    statement = injection.entries[0].statement
    assert isinstance(statement, EntryStatement)
    keys = [HpkeKey.from_bytes(key) for key in bob.hpke_keys]
    honest = open_notification(statement.notification, keys, statement.inbox_key, statement.signer)
    forged = NotificationSealer().seal(msgspec.structs.replace(honest, signer=signer.fingerprint), keys[0].public_bytes)
    return network.waiting.signer.sign([msgspec.structs.replace(statement, notification=forged)])[0]


def _reported(network: Network, bob: Reader, injection: Injection) -> bool:
    """Inject, wait until bob's agent has acknowledged the entry; say whether a report is all that came of it."""
    before = bob.count()
    (entry,) = injection.entries
    network.waiting.inject(injection)
    wait_until(lambda: network.disk.acknowledged(identity(entry.statement)))
    return bob.count() == before + 1 and _is_report(bob, max(bob.messages("*")))


def _is_report(bob: Reader, uid: int) -> bool:
    return b"$P2PMailReport" in bob.fetch(str(uid), "(FLAGS)")[uid]
