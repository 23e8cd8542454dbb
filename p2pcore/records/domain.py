"""The domain as its directory signs it."""

from typing import Annotated, Literal

from msgspec import Meta

from p2pcore import params
from p2pcore.records.base import Address, Count, Digest, Host, Key, Port, Record, Time
from p2pcore.records.sealed import SealedKey


class ContactInfo(Record, frozen=True, tag="contact.1"):
    """A node's ID (SHA-256 of its public key) and endpoint: one port number for UDP and TCP."""

    node_id: Key
    host: Host
    port: Port


class Replication(Record, frozen=True, tag="replication.1"):
    """k and w (k/2 < w <= k) from `since` on."""

    since: Time
    k: Annotated[int, Meta(ge=1, le=params.MAX_K)]
    w: Annotated[int, Meta(ge=1, le=params.MAX_K)]


class GatewayInfo(Record, frozen=True, tag="gateway.1"):
    """A gateway: where agents submit (`port` 0 = it takes no submissions), its certificate's digest, its HPKE key's."""

    host: Host
    port: Port
    certificate: Digest
    hpke_key: Digest


class Revocation(Record, frozen=True, tag="revocation.1"):
    """A certificate serial number that counts no more: `retired` from `time` on, `compromised` for whatever comes."""

    serial: Annotated[bytes, Meta(min_length=1, max_length=20)]
    reason: Literal["retired", "compromised"]
    time: Time


class DomainRecord(Record, frozen=True, tag="domain.1"):
    """The domain as its directory last signed it; everything but the addresses is public to the network.

    `addresses` = 12-octet nonce ‖ AES-256-GCM(AddressList) under a fresh key with associated data = the domain.
    """

    domain: Host
    epoch: Count
    time: Time
    next_update: Time
    replication: Annotated[tuple[Replication, ...], Meta(min_length=1, max_length=1_000)]
    gateways: Annotated[tuple[GatewayInfo, ...], Meta(max_length=1_000)]
    bootstrap: Annotated[tuple[ContactInfo, ...], Meta(max_length=1_000)]
    revocations: Annotated[tuple[Revocation, ...], Meta(max_length=100_000)]
    address_keys: Annotated[tuple[SealedKey, ...], Meta(max_length=1_000)]
    addresses: Annotated[bytes, Meta(max_length=params.MAX_DOMAIN_RECORD)]


class AddressList(Record, frozen=True, tag="addresses.1"):
    """`users`: canonical primary addresses. `aliases`: canonical address → users' primary addresses.

    `catch_all` takes what nothing else takes (empty: nobody); `postmaster` is the user for postmaster@ and abuse@.
    """

    users: tuple[Address, ...]
    aliases: dict[Address, tuple[Address, ...]]
    catch_all: tuple[Address, ...]
    postmaster: str
