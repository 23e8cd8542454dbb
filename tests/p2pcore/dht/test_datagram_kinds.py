"""Every kind of datagram under fire: any of its fields, any octets in its place, from members and from anybody."""

import asyncio
import contextlib
import secrets

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2pcore import params
from p2pcore.crypto.certificates import Certificate
from p2pcore.crypto.statements import Signer
from p2pcore.dht import datagrams
from p2pcore.dht.contact import Contact
from p2pcore.dht.protocol import DhtProtocol
from p2pcore.endpoint import Endpoint
from p2pcore.errors import Failure
from p2pcore.records import ContactInfo, Datagram, FindNode, Nodes, Ping, Pong, WhoAreYou, decode, encode
from tests.p2pcore.dht.support import node_signer
from tests.support.identities import START, World

WORLD = World()
OWN, MEMBER, USER = node_signer(WORLD, 0), node_signer(WORLD, 1), WORLD.user("alice").signer
STRANGER = World().node().signer
ID = OWN.certificate.node_id
SOURCE = ("10.7.0.1", 777)

ids = st.binary(min_size=32, max_size=32)
infos = st.builds(
    ContactInfo, ids, st.one_of(st.just("10.0.0.9"), st.text(min_size=1, max_size=60)), st.integers(0, 65_535)
)
KINDS: dict[str, st.SearchStrategy[datagrams.Payload]] = {
    "ping": st.just(Ping()),
    "pong": st.just(Pong()),
    "find-node": st.builds(FindNode, ids),
    "nodes": st.builds(Nodes, st.lists(infos, max_size=params.BUCKET_SIZE).map(tuple)),
    "who": st.just(WhoAreYou()),
}
every_kind = pytest.mark.parametrize("kind", KINDS)
fire = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Ears:
    """A Listener that counts, and a transport that keeps what is sent."""

    def __init__(self) -> None:
        self.requests = 0
        self.answers = 0
        self.sent: list[bytes] = []

    def closest(self, target: bytes, asker: bytes) -> list[Contact]:
        return [Contact(bytes([number]) * 32, "10.0.0.1", 4_000) for number in range(params.BUCKET_SIZE)]

    def requested(self, certificate: Certificate, source: Endpoint) -> None:
        self.requests += 1

    def answered(self, contact: Contact, sent: int) -> None:
        self.answers += 1

    def missed(self, contact: Contact, sent: int) -> None:
        pass


class Wire(asyncio.DatagramTransport):
    def __init__(self, ears: Ears) -> None:
        super().__init__({"sockname": ("10.0.0.1", 4_000)})
        self.ears = ears

    def sendto(self, data: object, addr: object = None) -> None:
        assert isinstance(data, bytes)
        self.ears.sent.append(data)

    def close(self) -> None:
        pass


def protocol(loop: asyncio.AbstractEventLoop, signer: Signer = OWN) -> tuple[DhtProtocol, Ears]:
    async def make() -> tuple[DhtProtocol, Ears]:
        ears = Ears()
        made = DhtProtocol(signer, WORLD.trust(), lambda: START, ears, answering=True)
        made.connection_made(Wire(ears))
        return made, ears

    return loop.run_until_complete(make())


def written(payload: datagrams.Payload, signer: Signer, recipient: bytes = ID, **fields: object) -> bytes:
    values: dict[str, object] = {
        "payload": payload,
        "request_id": secrets.token_bytes(8),
        "recipient": recipient,
        "signer": signer.fingerprint,
        "time": START,
        "certificate": signer.certificate.der,
    }
    return datagrams.write_datagram(Datagram(**{**values, **fields}), signer.key)  # type: ignore[arg-type]


@every_kind
@fire
@given(data=st.data())
def test_what_is_written_is_read(kind: str, data: st.DataObject) -> None:
    """Encoding and decoding a datagram of this kind are inverse, and its octets have one form only."""
    payload = data.draw(KINDS[kind])
    fields = st.builds(
        Datagram,
        st.just(payload),
        st.binary(min_size=8, max_size=8),
        ids,
        ids,
        st.integers(0, 2**53),
        st.binary(max_size=99),
    )
    datagram = data.draw(fields)
    octets = encode(datagram)
    assert decode(Datagram, octets) == datagram
    with contextlib.suppress(Failure):
        assert encode(decode(Datagram, octets + data.draw(st.binary(min_size=1, max_size=3)))) == octets[:-1]


@every_kind
@fire
@given(data=st.data())
def test_a_kind_with_anything_in_its_fields_is_read_or_malformed(kind: str, data: st.DataObject) -> None:
    """A datagram with this kind's tag and arbitrary values after it raises nothing but Failure."""
    values = st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(), st.binary()),
        lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(st.text(), inner, max_size=3)),
        max_leaves=20,
    )
    payload = [f"{kind}.1", *data.draw(st.lists(values, max_size=3))]
    octets = msgspec.msgpack.encode(["dht.1", payload, *data.draw(st.lists(values, max_size=6))])
    with contextlib.suppress(Failure):
        datagrams.read_datagram(bytes(64) + octets)


@every_kind
@fire
@given(data=st.data())
def test_only_what_a_member_asks_is_answered(kind: str, data: st.DataObject) -> None:
    """Signed by whomever, of this kind: a member's request is answered within the limit, all else counted."""
    with asyncio.Runner() as runner:
        made, ears = protocol(runner.get_loop())
        payload = data.draw(KINDS[kind])
        signer = data.draw(st.sampled_from([MEMBER, USER, STRANGER]))
        recipient = data.draw(st.sampled_from([ID, datagrams.ANYONE, b"x" * 32]))
        introduced = data.draw(st.booleans())
        octets = written(payload, signer, recipient, certificate=signer.certificate.der if introduced else b"")
        made.datagram_received(octets, SOURCE)
        counters = made.counters
        addressed = recipient == ID or (recipient == datagrams.ANYONE and isinstance(payload, Ping))
        welcome = not datagrams.is_reply(payload) and addressed and signer is not STRANGER and introduced
        assert (counters.requests, ears.requests, ears.answers) == (welcome, welcome, 0)
        assert len(ears.sent) == (welcome or counters.who_are_you)
        assert all(len(sent) <= (params.DATAGRAM_LIMIT if welcome else len(octets)) for sent in ears.sent)
        dropped = counters.unmatched + counters.misaddressed + counters.unadmitted + counters.unknown_signer
        assert dropped == (not welcome)
        made.datagram_received(octets, SOURCE)
        assert counters.requests == welcome, "a replay is not answered"
        assert counters.replayed == welcome
        assert not made._outstanding


@every_kind
@fire
@given(data=st.data())
def test_a_damaged_datagram_changes_nothing(kind: str, data: st.DataObject) -> None:
    """With octets changed, cut off or appended, a member's datagram of this kind is dropped and not answered."""
    with asyncio.Runner() as runner:
        made, ears = protocol(runner.get_loop())
        intact = written(data.draw(KINDS[kind]), MEMBER)
        damaged = bytearray(intact)
        for position in data.draw(st.lists(st.integers(0, len(intact) - 1), max_size=3)):
            damaged[position] ^= data.draw(st.integers(1, 255))
        octets = bytes(damaged)[: data.draw(st.integers(0, len(intact)))] + data.draw(st.binary(max_size=2_000))
        if octets == intact:
            return
        made.datagram_received(octets, SOURCE)
        assert made.counters.received == 1
        assert made.counters.requests == ears.requests == ears.answers == 0
        assert all(len(sent) <= len(octets) for sent in ears.sent)
        assert not made._outstanding
        assert len(made._seen) == 0


@every_kind
@fire
@given(data=st.data())
def test_a_question_is_settled_only_by_its_own_answer(kind: str, data: st.DataObject) -> None:
    """Whatever of this kind a member sends back to a Ping, only a Pong from where it was asked counts."""

    async def main() -> None:
        ears = Ears()
        made = DhtProtocol(OWN, WORLD.trust(), lambda: START, ears, answering=True)
        made.connection_made(Wire(ears))
        asked = Endpoint(*SOURCE)
        question = asyncio.ensure_future(
            made.ask(asked, MEMBER.certificate.node_id, Ping(), timeout=60_000, introduce=True)
        )
        await asyncio.sleep(0)
        request_id = datagrams.read_datagram(ears.sent[0])[1].request_id
        payload = data.draw(KINDS[kind])
        source = data.draw(st.sampled_from([SOURCE, ("10.7.0.2", 777), ("10.7.0.1", 778)]))
        signer = data.draw(st.sampled_from([MEMBER, USER, STRANGER, node_signer(WORLD, 2)]))
        given_id = data.draw(st.sampled_from([request_id, bytes(8)]))
        made.datagram_received(written(payload, signer, request_id=given_id), source)
        await asyncio.sleep(0)
        right = isinstance(payload, Pong) and source == SOURCE and signer is MEMBER and given_id == request_id
        assert question.done() == right
        assert ears.answers == right
        question.cancel()
        made.close()

    asyncio.run(main())
