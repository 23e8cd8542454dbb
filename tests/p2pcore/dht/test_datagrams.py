"""Datagrams as octets, and their rules."""

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcore import params
from p2pcore.dht import datagrams
from p2pcore.dht.contact import Contact
from p2pcore.errors import ClockSkew, Malformed, NotAuthorised, Replayed, SignatureRefused, TooLarge
from p2pcore.records import ContactInfo, Datagram, FindNode, Nodes, Ping, Pong, WhoAreYou
from tests.support.identities import START, World

WORLD = World()
NODE = WORLD.node()
ID = NODE.certificate.node_id


def datagram(payload: datagrams.Payload, recipient: bytes = ID, certificate: bytes = b"") -> Datagram:
    return Datagram(payload, bytes(8), recipient, NODE.certificate.fingerprint, START, certificate)


@given(st.binary(max_size=2_000))
def test_any_octets_parse_or_are_malformed(octets: bytes) -> None:
    """Arbitrary octets are a datagram or Malformed, nothing else is raised."""
    with contextlib.suppress(Malformed):
        datagrams.read_datagram(octets)


@given(st.integers(0, 400), st.integers(1, 255))
def test_a_changed_octet_is_refused(position: int, change: int) -> None:
    """No octet of a signed datagram can be changed without Malformed or SignatureRefused."""
    octets = bytearray(datagrams.write_datagram(datagram(FindNode(bytes(32))), NODE.signer.key))
    octets[position % len(octets)] ^= change
    with pytest.raises((Malformed, SignatureRefused)):
        read_and_verify(bytes(octets))


def read_and_verify(octets: bytes) -> None:
    signature, read = datagrams.read_datagram(octets)
    datagrams.verify_datagram(read, signature, NODE.certificate)


def test_signed_datagrams_verify_under_their_own_certificate_only() -> None:
    """What is written is read and verified; another node's certificate refuses it."""
    written = datagram(Ping(), certificate=NODE.certificate.der)
    signature, read = datagrams.read_datagram(datagrams.write_datagram(written, NODE.signer.key))
    assert read == written
    datagrams.verify_datagram(read, signature, NODE.certificate)
    with pytest.raises(SignatureRefused):
        datagrams.verify_datagram(read, signature, WORLD.node().certificate)


def test_size_limits() -> None:
    """Above the limit is TooLarge before anything is parsed; a user's introduction with her HPKE key fits."""
    with pytest.raises(TooLarge):
        datagrams.read_datagram(bytes(datagrams.MAX_RECEIVED + 1))
    user = WORLD.user("alice")
    octets = datagrams.write_datagram(datagram(Ping(), certificate=user.certificate.der), user.signer.key)
    assert datagrams.read_datagram(octets)[1].certificate == user.certificate.der


def test_only_pings_and_questions_go_to_unknown_ids() -> None:
    """Thirty-two zeros as recipient are for Ping and WhoAreYou; another's ID is refused for every kind."""
    kinds: tuple[datagrams.Payload, ...] = (Ping(), Pong(), FindNode(bytes(32)), Nodes(()), WhoAreYou())
    for payload in kinds:
        datagrams.check_addressed(datagram(payload), ID)
        with pytest.raises(NotAuthorised):
            datagrams.check_addressed(datagram(payload, recipient=b"x" * 32), ID)
        if isinstance(payload, Ping | WhoAreYou):
            datagrams.check_addressed(datagram(payload, recipient=datagrams.ANYONE), ID)
        else:
            with pytest.raises(NotAuthorised):
                datagrams.check_addressed(datagram(payload, recipient=datagrams.ANYONE), ID)


@pytest.mark.parametrize("skew", [-1, 1])
def test_time_is_within_the_skew(skew: int) -> None:
    """Five minutes early or late are taken, one millisecond more is not."""
    datagrams.check_time(datagram(Ping()), START + skew * params.DATAGRAM_SKEW)
    with pytest.raises(ClockSkew):
        datagrams.check_time(datagram(Ping()), START + skew * (params.DATAGRAM_SKEW + 1))


def test_replies_answer_their_own_kind_of_request() -> None:
    """Pong answers Ping, Nodes answers FindNode, WhoAreYou answers both."""
    requests: tuple[datagrams.Request, ...] = (Ping(), FindNode(bytes(32)))
    replies: tuple[datagrams.Payload, ...] = (Pong(), Nodes(()), WhoAreYou())
    table = [datagrams.answers(reply, request) for request, reply in itertools.product(requests, replies)]
    assert table == [True, False, True, False, True, True]
    assert [datagrams.is_reply(payload) for payload in (*requests, *replies)] == [False, False, True, True, True]


def test_the_question_is_smaller_than_every_request() -> None:
    """WhoAreYou cannot be used to make a node send more than it received."""
    question = len(datagrams.write_datagram(datagram(WhoAreYou()), NODE.signer.key))
    assert question < len(datagrams.write_datagram(datagram(Ping()), NODE.signer.key))


@given(
    st.lists(st.sampled_from(["10.0.0.1", "255.255.255.255", "2001:db8:1111:2222:3333:4444:5555:6666"]), max_size=30),
    st.booleans(),
)
def test_nodes_fit_a_datagram(hosts: list[str], introduced: bool) -> None:
    """As many contacts as fit are named, nearest first, and the datagram stays within its limit."""
    contacts = [Contact(bytes(32), host, 65_535) for host in hosts]
    empty = datagram(Nodes(()), certificate=NODE.certificate.der if introduced else b"")
    nodes = datagrams.nodes_that_fit(contacts, empty)
    written = datagram(nodes, certificate=empty.certificate)
    octets = datagrams.write_datagram(written, NODE.signer.key)
    assert len(octets) <= params.DATAGRAM_LIMIT
    assert [info.host for info in nodes.contacts] == hosts[: len(nodes.contacts)]
    if len(nodes.contacts) < min(len(hosts), params.BUCKET_SIZE):
        assert len(octets) > params.DATAGRAM_LIMIT - 100


def test_contacts_named_by_others_are_ip_addresses() -> None:
    """A name that we would have to resolve for a stranger, and port 0, are refused."""
    assert datagrams.check_contact(ContactInfo(ID, "::ffff:10.0.0.1", 7)) == Contact(ID, "10.0.0.1", 7)
    for host, port in (("name.example", 7), ("10.0.0.1", 0), ("10.0.0.1\0", 7)):
        with pytest.raises(Malformed):
            datagrams.check_contact(ContactInfo(ID, host, port))


def test_seen_requests_are_remembered_for_a_while_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request identifier counts once per signer until its time is over; memory has a limit."""
    seen = datagrams.SeenRequests()
    seen.add(datagram(Ping()), START)
    with pytest.raises(Replayed):
        seen.check(datagram(Ping()))
    monkeypatch.setattr(params, "MAX_SEEN_REQUESTS", 10)
    for number in range(100):
        seen.add(Datagram(Ping(), number.to_bytes(8, "big"), ID, bytes(32), START, b""), START + 1)
    assert len(seen) == 10
    seen.add(datagram(Ping()), START + 2 + 2 * params.DATAGRAM_SKEW)
    assert len(seen) == 1
