"""Datagrams of the DHT."""

from typing import Annotated

from msgspec import Meta

from p2pcore import params
from p2pcore.records.base import Der, Digest, Key, Record, Time
from p2pcore.records.domain import ContactInfo


class Ping(Record, frozen=True, tag="ping.1"):
    pass


class Pong(Record, frozen=True, tag="pong.1"):
    pass


class FindNode(Record, frozen=True, tag="find-node.1"):
    target: Key


class Nodes(Record, frozen=True, tag="nodes.1"):
    """The closest verified contacts the sender knows, nearest first; as many as fit the datagram."""

    contacts: Annotated[tuple[ContactInfo, ...], Meta(max_length=params.BUCKET_SIZE)]


class WhoAreYou(Record, frozen=True, tag="who.1"):
    """Reply to a request whose signer is unknown here: ask again with the certificate. Smaller than any request."""


class Datagram(Record, frozen=True, tag="dht.1"):
    """One UDP datagram = Ed25519 signature (64 octets) ‖ this record; signed: "p2pmail dht 1" ‖ 0x00 ‖ record.

    `recipient` is the addressed node's ID, or 32 zero octets for a bootstrap endpoint whose ID is unknown.
    """

    payload: Ping | Pong | FindNode | Nodes | WhoAreYou
    request_id: Annotated[bytes, Meta(min_length=8, max_length=8)]
    recipient: Key
    signer: Digest
    time: Time
    certificate: Der
