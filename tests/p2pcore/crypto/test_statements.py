"""statements: batches under one signature, what verification refuses, and who may sign what."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from p2pcore import names, params, records
from p2pcore.crypto import keys
from p2pcore.crypto.statements import Signer, StatementVerifier, authorise, check_lifetime, signed_octets
from p2pcore.errors import (
    CertificateRefused,
    ClockSkew,
    Expired,
    Failure,
    Malformed,
    NotAuthorised,
    SignatureRefused,
    UnknownCertificate,
)
from p2pcore.records import Proof, Revocation, SignedStatement, Statement, decode, encode
from tests.support.identities import START, Member, World, entry_statement, object_statement

INBOX = bytes(range(32))


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def gateway(world: World) -> Member:
    return world.gateway()


@pytest.fixture(scope="module")
def bob(world: World) -> Member:
    return world.user("bob")


@pytest.fixture(scope="module")
def directory(world: World) -> Member:
    return world.directory(epoch=3)


def batch(member: Member, size: int, now: int = START) -> list[SignedStatement]:
    return member.signer.sign([entry_statement(member.signer, INBOX, now, bytes([n])) for n in range(size)])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20])
def test_every_statement_of_a_batch_verifies_alone(world: World, gateway: Member, size: int) -> None:
    """Each statement carries its path, so it is forwardable without the others."""
    for signed in batch(gateway, size):
        received = decode(SignedStatement, encode(signed))
        assert world.verifier(gateway).verify(received, direct=True) == gateway.certificate


def test_a_signer_goes_over_to_its_successor(world: World) -> None:
    """What was drafted under the certificate before is signed still, and both are good; another key's never."""
    member = world.user("carol")
    old, key = member.certificate, member.signer.key
    later = world.clock() + params.DAY
    der = world.authority.issue("user", old.addresses, key.public_bytes, old.hpke_key, later)
    drafted, fixed = entry_statement(member.signer, INBOX, START), member.signer.fixed()
    new = world.trust().add(der)
    member.signer.adopt(new)
    assert (member.signer.certificate, member.signer.fingerprint) == (new, new.fingerprint)
    assert fixed.fingerprint == old.fingerprint
    verifier = StatementVerifier(world.trust(member), world.clock)
    verifier._trust.add(old.der)
    signed = member.signer.sign([drafted, entry_statement(member.signer, INBOX, START)])
    assert [verifier.verify(each, direct=True) for each in signed] == [old, new]
    with pytest.raises(ValueError, match="another signer"):
        fixed.sign([entry_statement(member.signer, INBOX, START)])
    with pytest.raises(ValueError, match="the key is not"):
        member.signer.adopt(world.user("dave").certificate)


def test_one_signature_for_a_batch(gateway: Member) -> None:
    """All statements of a batch carry the same signature, which covers context, size and root."""
    signed = batch(gateway, 5)
    assert len({statement.proof.signature for statement in signed}) == 1
    assert signed_octets(5, bytes(32)) == b"p2pmail merkle 1\x00" + (5).to_bytes(8, "big") + bytes(32)


def test_one_check_for_a_batch(world: World, gateway: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    """The statements of one batch cost one Ed25519 check together."""
    checks: list[bytes] = []

    original = keys.verify

    def counting(public: bytes, signature: bytes, data: bytes) -> None:
        checks.append(data)
        original(public, signature, data)

    monkeypatch.setattr(keys, "verify", counting)
    verifier = world.verifier(gateway)
    for statement in batch(gateway, 50):
        verifier.verify(statement, direct=True)
    assert len(checks) == 1


def test_remembered_roots_are_bounded(world: World, gateway: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so many roots are remembered, and a forgotten one is checked again."""
    monkeypatch.setattr(params, "ROOT_CACHE", 2)
    verifier = world.verifier(gateway)
    batches = [batch(gateway, 1, START + n) for n in range(4)]
    for _round in range(2):
        for signed in batches:
            verifier.verify(signed[0], direct=True)
    assert len(verifier._roots) == 2


def test_empty_batch(gateway: Member) -> None:
    """Nothing to sign makes no signature."""
    assert gateway.signer.sign([]) == []


def test_signer_signs_only_its_own(gateway: Member, bob: Member) -> None:
    """A statement that names another signer, or a key without its certificate, is the caller's mistake."""
    with pytest.raises(ValueError, match="another signer"):
        gateway.signer.sign([entry_statement(bob.signer, INBOX, START)])
    with pytest.raises(ValueError, match="not the one in the certificate"):
        Signer(gateway.signer.key, bob.certificate)


def altered_proofs(signed: SignedStatement) -> dict[str, Proof]:
    proof = signed.proof
    return {
        "other index": replace(proof, index=proof.index ^ 1),
        "index outside": replace(proof, index=proof.size),
        "larger size": replace(proof, size=proof.size + 1),
        "smaller size": replace(proof, size=proof.size - 1),
        "much larger size": replace(proof, size=params.MAX_MERKLE_LEAVES),
        "longer path": replace(proof, path=(*proof.path, bytes(32))),
        "shorter path": replace(proof, path=proof.path[:-1]),
        "no path": replace(proof, path=()),
        "other node": replace(proof, path=(bytes(32), *proof.path[1:])),
        "exchanged nodes": replace(proof, path=(proof.path[1], proof.path[0], *proof.path[2:])),
        "other signature": replace(proof, signature=bytes(64)),
    }


@pytest.mark.parametrize("name", list(altered_proofs(SignedStatement(None, Proof(6, 2, (b"",) * 3, b"")))))  # type: ignore[arg-type]
@pytest.mark.parametrize("remembered", [False, True])
def test_altered_proof(world: World, gateway: Member, name: str, remembered: bool) -> None:
    """A proof with anything altered is refused, also where the batch's root has been verified before."""
    verifier = world.verifier(gateway)
    signed = batch(gateway, 6)[2]
    if remembered:
        verifier.verify(signed, direct=True)
    with pytest.raises(SignatureRefused):
        verifier.verify(replace(signed, proof=altered_proofs(signed)[name]), direct=True)


def test_size_is_signed_where_the_tree_is_not_telling(world: World, gateway: Member) -> None:
    """Trees of 6 and 7 leaves give leaf 2 paths of one length, so only the signature tells them apart."""
    signed = batch(gateway, 6)[2]
    with pytest.raises(SignatureRefused, match="Ed25519"):
        world.verifier(gateway).verify(replace(signed, proof=replace(signed.proof, size=7)), direct=True)


def test_altered_statement(world: World, gateway: Member) -> None:
    """A statement altered after signing is refused."""
    signed = batch(gateway, 3)[1]
    assert isinstance(signed.statement, records.EntryStatement)
    altered = replace(signed, statement=replace(signed.statement, inbox_key=bytes(32)))
    with pytest.raises(SignatureRefused):
        world.verifier(gateway).verify(altered, direct=True)


def test_a_single_leaf_is_not_a_bare_signature(world: World, gateway: Member) -> None:
    """A signature over the statement itself, or over its leaf, is not a signature over a tree of one."""
    statement = entry_statement(gateway.signer, INBOX, START)
    for octets in (encode(statement), records.identity(statement)):
        signature = gateway.signer.key.sign(octets)
        with pytest.raises(SignatureRefused):
            world.verifier(gateway).verify(SignedStatement(statement, Proof(1, 0, (), signature)), direct=True)


def test_inner_node_is_not_a_leaf(world: World, gateway: Member) -> None:
    """Leaves and inner nodes are hashed apart, so an inner node never passes as a statement's leaf."""
    signed = batch(gateway, 4)
    proof = signed[0].proof
    short = replace(signed[0], proof=replace(proof, size=2, path=proof.path[1:]))
    with pytest.raises(SignatureRefused):
        world.verifier(gateway).verify(short, direct=True)


def test_signed_by_another(world: World, gateway: Member, bob: Member) -> None:
    """A statement that names one signer and is signed by another is refused."""
    statement = entry_statement(bob.signer, INBOX, START)
    signature = gateway.signer.key.sign(signed_octets(1, records.identity(statement)))
    with pytest.raises(SignatureRefused):
        world.verifier(gateway, bob).verify(SignedStatement(statement, Proof(1, 0, (), signature)), direct=True)


def test_unknown_certificate(world: World, gateway: Member) -> None:
    """A signer never seen is asked for by its fingerprint; once its certificate is added the statement verifies."""
    trust = world.trust()
    verifier = StatementVerifier(trust, world.clock)
    signed = batch(gateway, 1)[0]
    with pytest.raises(UnknownCertificate, match=gateway.certificate.fingerprint.hex()):
        verifier.verify(signed, direct=True)
    trust.add(gateway.certificate.der)
    verifier.verify(signed, direct=True)


def test_validity_is_judged_each_time(gateway: Member) -> None:
    """A root verified before does not outlast the revocation or the statement's expiry."""
    world = World()
    gateway = world.gateway()
    trust = world.trust(gateway)
    verifier = StatementVerifier(trust, world.clock)
    signed = batch(gateway, 1)[0]
    verifier.verify(signed, direct=True)
    trust.set_revocations((Revocation(gateway.certificate.serial, "retired", START - params.HOUR),))
    with pytest.raises(CertificateRefused):
        verifier.verify(signed, direct=False)
    world.clock.now = signed.statement.expires
    with pytest.raises(Expired):
        verifier.verify(signed, direct=False)


# --- Lifetimes ---


def test_nothing_past_its_expiry(gateway: Member) -> None:
    """Nothing is accepted from its expiry on."""
    statement = entry_statement(gateway.signer, INBOX, START)
    check_lifetime(statement, statement.expires - 1)
    with pytest.raises(Expired):
        check_lifetime(statement, statement.expires)


@pytest.mark.parametrize("lifetime", [0, -1, params.MAX_LIFETIME + 1])
def test_lifetimes_out_of_bounds(gateway: Member, lifetime: int) -> None:
    """A statement lives for something, and for 400 days at most."""
    statement = replace(entry_statement(gateway.signer, INBOX, START), expires=START + lifetime)
    with pytest.raises(Malformed):
        check_lifetime(statement, START - 10)


def test_longest_lifetimes(bob: Member) -> None:
    """400 days are accepted; an acknowledgement may live two days longer than the entry it speaks of."""
    check_lifetime(replace(entry_statement(bob.signer, INBOX, START), expires=START + params.MAX_LIFETIME), START)
    longest = params.MAX_LIFETIME + params.TOMBSTONE_GRACE
    check_lifetime(acknowledgement(bob, lifetime=longest), START)
    with pytest.raises(Malformed):
        check_lifetime(acknowledgement(bob, lifetime=longest + 1), START)


def test_versions_of_the_future(directory: Member) -> None:
    """A version's time is at most 15 minutes ahead, or nobody could ever supersede it."""
    check_lifetime(domain_version(directory, time=START + params.VERSION_AHEAD), START)
    with pytest.raises(ClockSkew):
        check_lifetime(domain_version(directory, time=START + params.VERSION_AHEAD + 1), START)


# --- Who may sign what ---


def acknowledgement(member: Member, inbox_key: bytes | None = None, lifetime: int = params.DAY) -> Any:
    key = inbox_key or (member.certificate.inbox_key if member.certificate.role == "user" else INBOX)
    return records.AcknowledgeStatement(
        key, (bytes(32),), bytes(16), START, START + lifetime, member.signer.fingerprint
    )


def domain_version(
    member: Member, *, identifier: str = "p2pmail-domain:example.org", epoch: int = 3, time: int = START
) -> Any:
    return records.VersionStatement(
        kind="domain",
        identifier=identifier,
        epoch=epoch,
        time=time,
        digest=bytes(32),
        size=1,
        issued=START,
        expires=START + params.DAY,
        signer=member.signer.fingerprint,
    )


def certificate_version(member: Member, of: Member | None = None) -> Any:
    certificate = (of or member).certificate
    address = certificate.addresses[0] if certificate.addresses else "bob@example.org"
    return records.VersionStatement(
        kind="certificate",
        identifier=names.certificate_identifier(address),
        epoch=0,
        time=certificate.not_before,
        digest=certificate.fingerprint,
        size=len(certificate.der),
        issued=START,
        expires=START + params.DAY,
        signer=member.signer.fingerprint,
    )


def head(member: Member, domain: str = "example.org") -> Any:
    return records.HeadStatement(domain, bytes(32), START, START + params.HOUR, member.signer.fingerprint)


MAKERS: dict[str, tuple[Callable[[Member], Statement], set[str]]] = {
    "object": (lambda member: object_statement(member.signer, START), {"user", "gateway"}),
    "entry": (lambda member: entry_statement(member.signer, INBOX, START), {"user", "gateway"}),
    "acknowledge": (acknowledgement, {"user"}),
    "certificate": (certificate_version, {"user", "directory"}),
    "domain": (domain_version, {"directory"}),
    "head": (head, {"directory"}),
}


@pytest.mark.parametrize("role", ["user", "gateway", "node", "directory"])
@pytest.mark.parametrize("kind", MAKERS)
def test_roles(world: World, bob: Member, gateway: Member, directory: Member, kind: str, role: str) -> None:
    """Mail: users, gateways. Acknowledgements: users. Certificates: their holders, the directory. Else: it alone."""
    member = {"user": bob, "gateway": gateway, "node": world.node(), "directory": directory}[role]
    make, allowed = MAKERS[kind]
    statement = make(member)
    signed = member.signer.sign([statement])[0]
    if role in allowed:
        authorise(statement, member.certificate)
        world.verifier(member).verify(signed, direct=True)
    else:
        with pytest.raises(NotAuthorised):
            authorise(statement, member.certificate)
        with pytest.raises(NotAuthorised):
            world.verifier(member).verify(signed, direct=True)


def test_acknowledging_for_another(bob: Member) -> None:
    """Only the inbox's owner acknowledges its entries."""
    with pytest.raises(NotAuthorised):
        authorise(acknowledgement(bob, names.inbox_key("eve@example.org")), bob.certificate)


def test_publishing_for_another(world: World, bob: Member, directory: Member) -> None:
    """A user publishes her own certificate only, under her primary address and its own time; the directory any."""
    eve = world.user("eve", "bob")  # an address shared with bob does not make her his publisher
    authorise(certificate_version(directory, of=bob), directory.certificate)
    own = certificate_version(eve)
    for statement in (
        certificate_version(eve, of=bob),
        replace(own, identifier="bob@example.org-certificate"),
        replace(own, digest=bytes(32)),
        replace(own, time=START + 1),
        replace(own, epoch=1),
    ):
        with pytest.raises(NotAuthorised):
            authorise(statement, eve.certificate)


def test_directorys_bounds(directory: Member) -> None:
    """A directory speaks for its own domain, under the epoch that its certificate gives it."""
    for statement in (
        domain_version(directory, epoch=4),
        domain_version(directory, epoch=2),
        domain_version(directory, identifier="p2pmail-domain:example.net"),
        domain_version(directory, identifier="bob@example.org-certificate"),
        replace(certificate_version(directory), epoch=3),
        head(directory, domain="example.net"),
    ):
        with pytest.raises(NotAuthorised):
            authorise(statement, directory.certificate)


@settings(max_examples=60)
@given(st.data())
def test_damaged_statements(data: st.DataObject) -> None:
    """Invariant: a signed statement with octets changed is refused with a Failure, or it is the same statement."""
    signed = SIGNED[data.draw(st.integers(0, len(SIGNED) - 1))]
    octets = bytearray(encode(signed))
    position = data.draw(st.integers(0, len(octets) - 1))
    octets[position] ^= data.draw(st.integers(1, 255))
    try:
        damaged = decode(SignedStatement, bytes(octets))
        WORLD.verifier(*MEMBERS).verify(damaged, direct=False)
    except Failure:
        return
    assert damaged == signed


WORLD = World()
MEMBERS = (WORLD.gateway(), WORLD.user("bob"), WORLD.directory(epoch=3))
SIGNED = [
    signed
    for member in MEMBERS
    for signed in member.signer.sign(
        [make(member) for make, allowed in MAKERS.values() if member.certificate.role in allowed]
    )
]
