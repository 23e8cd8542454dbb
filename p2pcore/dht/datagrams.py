"""The DHT's datagrams as octets and the rules they must obey; pure: certificates, times and keys are parameters.

A request is answered if it is small enough, parses, is addressed to us, is of now, is signed by a certificate of the
domain that counts now, and has not been seen before. Only a Ping may be addressed to an unknown ID (bootstrap), and
only a WhoAreYou may answer a signer whose certificate, and so whose ID, is unknown.
"""

from collections import OrderedDict

from p2pcore import params
from p2pcore.crypto.certificates import Certificate
from p2pcore.crypto.keys import SigningKey, verify
from p2pcore.dht.contact import Contact
from p2pcore.errors import ClockSkew, Malformed, NotAuthorised, Replayed, TooLarge
from p2pcore.networks import numeric
from p2pcore.records import ContactInfo, Datagram, FindNode, Nodes, Ping, Pong, WhoAreYou, decode, encode

Payload = Ping | Pong | FindNode | Nodes | WhoAreYou
Request = Ping | FindNode

ANYONE = bytes(params.KEY_SIZE)  # recipient where the ID is unknown
SIGNATURE_SIZE = 64
REQUEST_ID_SIZE = 8
MAX_RECEIVED = params.DATAGRAM_LIMIT + params.MAX_CERTIFICATE  # a user's introduction carries her HPKE key
_CONTEXT = b"p2pmail dht 1\x00"


def write_datagram(datagram: Datagram, key: SigningKey) -> bytes:
    """Return `datagram` signed by `key`: signature (64 octets) ‖ record."""
    record = encode(datagram)
    return key.sign(_CONTEXT + record) + record


def read_datagram(octets: bytes) -> tuple[bytes, Datagram]:
    """Return signature and record of a datagram; nothing is verified. Raises TooLarge, Malformed."""
    if len(octets) > MAX_RECEIVED:
        raise TooLarge(f"datagram of {len(octets)} octets")
    if len(octets) <= SIGNATURE_SIZE:
        raise Malformed(f"datagram of {len(octets)} octets")
    return octets[:SIGNATURE_SIZE], decode(Datagram, octets[SIGNATURE_SIZE:])


def verify_datagram(datagram: Datagram, signature: bytes, certificate: Certificate) -> None:
    """Return if `certificate`'s holder signed `datagram`. Raises SignatureRefused."""
    verify(certificate.public_key, signature, _CONTEXT + encode(datagram))


def is_reply(payload: Payload) -> bool:
    """Return whether a payload answers something."""
    return isinstance(payload, Pong | Nodes | WhoAreYou)


def answers(reply: Payload, request: Request) -> bool:
    """Return whether `reply` is of the kind that `request` asks for."""
    return isinstance(reply, WhoAreYou | (Pong if isinstance(request, Ping) else Nodes))


def check_addressed(datagram: Datagram, own_id: bytes) -> None:
    """Return if the datagram is for `own_id`, or of the two kinds that may be for anyone. Raises NotAuthorised."""
    if datagram.recipient == own_id:
        return
    if datagram.recipient != ANYONE or not isinstance(datagram.payload, Ping | WhoAreYou):
        raise NotAuthorised("addressed to somebody else")


def check_time(datagram: Datagram, now: int) -> None:
    """Return if the datagram is of now, within DATAGRAM_SKEW. Raises ClockSkew."""
    if abs(datagram.time - now) > params.DATAGRAM_SKEW:
        raise ClockSkew(f"datagram is {abs(datagram.time - now) // params.SECOND} s from now")


def check_contact(info: ContactInfo) -> Contact:
    """Return the contact that a peer named: an IP address, never a name to resolve. Raises Malformed."""
    host = numeric(info.host)
    if host is None or info.port == 0:
        raise Malformed(f"contact at {info.host!r}:{info.port}")
    return Contact(info.node_id, host, info.port)


def nodes_that_fit(contacts: list[Contact], reply: Datagram) -> Nodes:
    """Return as many `contacts`, from the first on, as fit `reply` (given with no contacts) in DATAGRAM_LIMIT."""
    infos = [ContactInfo(contact.node_id, contact.host, contact.port) for contact in contacts[: params.BUCKET_SIZE]]
    room = params.DATAGRAM_LIMIT - SIGNATURE_SIZE - len(encode(reply)) + len(encode(Nodes(())))
    everybody = Nodes(tuple(infos))
    if len(encode(everybody)) <= room:  # as good as always
        return everybody
    room -= len(encode(Nodes(()))) + 2  # the array's length may take 3 octets for 1
    for number, info in enumerate(infos):
        room -= len(encode(info))
        if room < 0:
            return Nodes(tuple(infos[:number]))
    return everybody


class SeenRequests:
    """Verified requests of the last 2 × DATAGRAM_SKEW, bounded: beyond MAX_SEEN_REQUESTS the oldest are forgotten."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[bytes, bytes], int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def check(self, datagram: Datagram) -> None:
        """Return if this request has not been seen. Raises Replayed."""
        if (datagram.signer, datagram.request_id) in self._seen:
            raise Replayed("request identifier was used before")

    def add(self, datagram: Datagram, now: int) -> None:
        """Remember a verified request."""
        self._seen[datagram.signer, datagram.request_id] = now
        while len(self._seen) > params.MAX_SEEN_REQUESTS:
            self._seen.popitem(last=False)
        while self._seen and next(iter(self._seen.values())) < now - 2 * params.DATAGRAM_SKEW:
            self._seen.popitem(last=False)
