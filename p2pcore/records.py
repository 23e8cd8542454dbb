"""Every byte layout that is stored, signed or sent, one declarative class each (docs/formats.md explains them).

A record is encoded as a MessagePack array: its tag (name and version), then its fields in the order written here.
Encoding is canonical (msgspec's shortest forms, fixed order), unknown tags, missing or extra fields and fields out
of bounds are Malformed. What is hashed or signed is always the canonical encoding, never the octets received.
Times are milliseconds since 1970-01-01 UTC; digests are SHA-256; keys are 32 octets.
"""

import hashlib
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from p2pcore import params
from p2pcore.errors import Malformed

Key = Annotated[bytes, Meta(min_length=32, max_length=32)]
Digest = Annotated[bytes, Meta(min_length=32, max_length=32)]
Secret = Annotated[bytes, Meta(min_length=32, max_length=32)]
Instance = Annotated[bytes, Meta(min_length=16, max_length=16)]
Time = Annotated[int, Meta(ge=0, le=2**53)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Port = Annotated[int, Meta(ge=0, le=65_535)]
Host = Annotated[str, Meta(min_length=1, max_length=params.MAX_DOMAIN)]
Identifier = Annotated[str, Meta(min_length=1, max_length=1_000)]
Address = Annotated[str, Meta(min_length=1, max_length=params.MAX_ADDRESS)]
Path = Annotated[str, Meta(max_length=params.MAX_ADDRESS + 2)]  # a reverse- or forward-path without "<>"
Der = Annotated[bytes, Meta(max_length=params.MAX_CERTIFICATE)]
Line = Annotated[str, Meta(max_length=1_000)]
Role = Literal["user", "gateway", "node", "directory"]

R = TypeVar("R", bound=msgspec.Struct)


class Record(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Base of all records."""


# --- Statements: signed, meaning the same to every node, forwardable ---


class ObjectStatement(Record, frozen=True, tag="object.1"):
    """The claim "the sealed body with this digest is stored under this key until `expires`." Signed by who injects it.

    `delete_rights` are SHA-256 digests of fresh secrets, one per recipient: revealing one removes that right, the
    last one frees the object. `signer` is the SHA-256 of the signer's certificate (DER), here and below.
    """

    object_key: Key
    digest: Digest
    size: Count
    issued: Time
    expires: Time
    delete_rights: Annotated[tuple[Digest, ...], Meta(min_length=1, max_length=params.MAX_DELETE_RIGHTS)]
    signer: Digest


class EntryStatement(Record, frozen=True, tag="entry.1"):
    """One notification in one inbox; `notification` is an encoded SealedNotification."""

    inbox_key: Key
    notification: Annotated[bytes, Meta(max_length=params.MAX_NOTIFICATION)]
    issued: Time
    expires: Time
    signer: Digest


class AcknowledgeStatement(Record, frozen=True, tag="acknowledge.1"):
    """The inbox's owner has these entries (statement identities) durably; `instance` is the agent that has them."""

    inbox_key: Key
    entries: Annotated[tuple[Digest, ...], Meta(min_length=1, max_length=params.MAX_ACKNOWLEDGED)]
    instance: Instance
    issued: Time
    expires: Time
    signer: Digest


class VersionStatement(Record, frozen=True, tag="version.1"):
    """A version of a certificate or domain record; (`epoch`, `time`) orders versions, the highest wins.

    The key is SHA-256(identifier). For a certificate: epoch 0, time = its notBefore, signed by its own key or the
    directory. For a domain record: epoch of the directory certificate that signs it.
    """

    kind: Literal["certificate", "domain"]
    identifier: Identifier
    epoch: Count
    time: Time
    digest: Digest
    size: Count
    issued: Time
    expires: Time
    signer: Digest


class HeadStatement(Record, frozen=True, tag="head.1"):
    """The directory's word that `record_digest` is the newest domain record at `issued`; small, every 5 minutes."""

    domain: Host
    record_digest: Digest
    issued: Time
    expires: Time
    signer: Digest


Statement = ObjectStatement | EntryStatement | AcknowledgeStatement | VersionStatement | HeadStatement


class Proof(Record, frozen=True, tag="ed25519-merkle.1"):
    """An Ed25519 signature over a Merkle tree's root, and one leaf's path to it (RFC 9162 §2.1).

    Leaf = SHA-256(0x00 ‖ statement), inner node = SHA-256(0x01 ‖ left ‖ right). Signed octets:
    "p2pmail merkle 1" ‖ 0x00 ‖ size (8 octets, big-endian) ‖ root. A batch of one is a tree of one leaf.
    """

    size: Annotated[int, Meta(ge=1, le=params.MAX_MERKLE_LEAVES)]
    index: Annotated[int, Meta(ge=0, lt=params.MAX_MERKLE_LEAVES)]
    path: Annotated[tuple[Digest, ...], Meta(max_length=20)]
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]


class SignedStatement(Record, frozen=True, tag="signed.1"):
    statement: Statement
    proof: Proof


class Deletion(Record, frozen=True, tag="deletion.1"):
    """A revealed secret: it is the tombstone of the delete right SHA-256(secret) of `object`."""

    object: SignedStatement
    secret: Secret


# --- Sealed things ---


class BodyHeader(Record, frozen=True, tag="body.1"):
    """First octets of a sealed body (one length octet, then this), also the associated data of every segment.

    Then segments of `segment_size` plaintext octets (the last may be shorter) + 16-octet tag, AES-256-GCM under the
    session key, nonce = 0x00 × 3 ‖ segment number (8 octets, big-endian) ‖ (0x01 if last else 0x00). The plaintext is
    the content followed by zero octets up to its Padmé size.
    """

    algorithm: Literal["aes-256-gcm"]
    segment_size: Annotated[int, Meta(ge=1 << 12, le=1 << 24)]


class SealedNotification(Record, frozen=True, tag="sealed.1"):
    """A Notification sealed with HPKE base mode to the HPKE key whose SHA-256 is `recipient`.

    Plaintext = length (4 octets, big-endian) ‖ Notification ‖ zero octets up to a size class.
    HPKE info = "p2pmail notification 1" ‖ 0x00 ‖ inbox key ‖ signer (certificate digest).
    """

    algorithm: Literal["hpke-mlkem768x25519-hkdf-sha256-aes-256-gcm"]
    recipient: Digest
    ciphertext: Annotated[bytes, Meta(max_length=params.MAX_NOTIFICATION)]


class Verdicts(Record, frozen=True, tag="verdicts.1"):
    """What the injecting side saw. `authenticated`: the user a gateway vouches for, else "". Empty = not checked."""

    client_address: Line = ""
    client_name: Line = ""
    helo: Line = ""
    tls: Line = ""
    spf: Line = ""
    dkim: Line = ""
    dmarc: Line = ""
    gateway: Line = ""
    authenticated: Line = ""
    disposition: Literal["deliver", "quarantine"] = "deliver"


class Notification(Record, frozen=True, tag="notification.1"):
    """What the recipient's agent needs to fetch, check, open, show and delete one message (§3.1 step 5).

    `digest` and `sealed_size` are of the sealed body, `content_size` is of the content without padding, `trace` is what
    the agent prepends to the content, `delete_secret` opens this recipient's delete right.
    """

    inbox_key: Key
    signer: Digest
    reverse_path: Path
    forward_path: Path
    trace: Annotated[bytes, Meta(max_length=params.MAX_NOTIFICATION)]
    body_identifier: Identifier
    session_key: Secret
    digest: Digest
    sealed_size: Count
    content_size: Count
    received: Time
    verdicts: Verdicts
    delete_secret: Secret


# --- The domain ---


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


class SealedKey(Record, frozen=True, tag="sealed-key.1"):
    """The address list's key, HPKE-sealed to one gateway; info = "p2pmail addresses 1" ‖ 0x00 ‖ domain."""

    algorithm: Literal["hpke-mlkem768x25519-hkdf-sha256-aes-256-gcm"]
    recipient: Digest
    ciphertext: Annotated[bytes, Meta(max_length=2_048)]


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


class Invitation(Record, frozen=True, tag="invitation.1"):
    """What a new machine is given: whom it may become, the CA, where to begin, and a one-time code."""

    domain: Host
    role: Role
    name: Annotated[str, Meta(min_length=1, max_length=params.MAX_ADDRESS)]
    authority: Der
    contacts: tuple[ContactInfo, ...]
    record: bytes  # an encoded PublishedVersion of the domain record
    code: Instance
    expires: Time


class JoinRequest(Record, frozen=True, tag="join.1"):
    """The new machine's public keys and endpoint.

    `proof` = HMAC-SHA256(code, this record with empty `proof` and `signature`); `signature` = Ed25519 by the new
    key over "p2pmail join 1" ‖ 0x00 ‖ this record with empty `signature`.
    """

    domain: Host
    role: Role
    name: Annotated[str, Meta(min_length=1, max_length=params.MAX_ADDRESS)]
    host: Annotated[str, Meta(max_length=params.MAX_DOMAIN)]
    port: Port
    signing_key: Key
    hpke_key: Annotated[bytes, Meta(max_length=2_048)]
    proof: Annotated[bytes, Meta(max_length=32)]
    signature: Annotated[bytes, Meta(max_length=64)]


class JoinAnswer(Record, frozen=True, tag="admission.1"):
    """The new machine's certificate and the domain record that lists it (an encoded PublishedVersion)."""

    certificate: Der
    record: bytes


class Identity(Record, frozen=True, tag="identity.1"):
    """One role's private keys and certificates on disk (mode 0600), also the content of a recovery kit.

    `hpke_keys`: newest first, 96 octets each (64-octet ML-KEM seed ‖ 32-octet X25519); `certificate` may be empty
    before admission. Old keys are kept as long as anything sealed to them may live.
    """

    role: Role
    domain: Host
    name: str
    signing_key: Secret
    hpke_keys: tuple[Annotated[bytes, Meta(min_length=96, max_length=96)], ...]
    certificate: Der
    authority: Der


# --- What travels between a client and a node ---


class PublishedVersion(Record, frozen=True, tag="published.1"):
    """A versioned object with its statement: certificate (DER) or encoded DomainRecord."""

    version: SignedStatement
    content: Annotated[bytes, Meta(max_length=params.MAX_DOMAIN_RECORD)]


class Store(Record, frozen=True, tag="store.1"):
    """Store primitive for a body of at most INLINE_BODY octets. Result: empty."""

    object: SignedStatement
    body: bytes


class Fetch(Record, frozen=True, tag="fetch.1"):
    """Fetch primitive. `digest` empty: any object under the key. Result: FetchedBody (TooLarge: use GET)."""

    object_key: Key
    digest: Annotated[bytes, Meta(max_length=32)]


class Delete(Record, frozen=True, tag="delete.1"):
    """Delete primitive. Result: empty; idempotent, also where the object is not held."""

    deletion: Deletion


class Append(Record, frozen=True, tag="append.1"):
    """Append-inbox primitive. Result: empty; idempotent."""

    entry: SignedStatement


class Acknowledge(Record, frozen=True, tag="acknowledge-op.1"):
    """The owner's acknowledgement. Result: empty; idempotent."""

    acknowledgement: SignedStatement


class Publish(Record, frozen=True, tag="publish.1"):
    """Store primitive for a versioned object. Result: empty; an older version than the one held: Superseded."""

    published: PublishedVersion


class Resolve(Record, frozen=True, tag="resolve.1"):
    """Fetch primitive for a versioned object. Result: PublishedVersion."""

    kind: Literal["certificate", "domain"]
    identifier: Identifier


class AskInbox(Record, frozen=True, tag="ask-inbox.1"):
    """May an entry of this signer be appended now? Result: InboxStatus."""

    inbox_key: Key


class AskCertificate(Record, frozen=True, tag="ask-certificate.1"):
    """The certificate with this digest, if anything it signed is held here. Result: its DER octets."""

    certificate: Digest


class Offer(Record, frozen=True, tag="offer.1"):
    """Repair: identities that the sender holds and this node should. Result: OfferReply."""

    kind: Literal["object", "entry", "acknowledge", "deletion", "version"]
    identities: Annotated[tuple[Digest, ...], Meta(max_length=10_000)]


Operation = Store | Fetch | Delete | Append | Acknowledge | Publish | Resolve | AskInbox | AskCertificate | Offer


class Batch(Record, frozen=True, tag="batch.1"):
    """Body of `POST /v1/batch`: operations in order, and certificates (DER) that the node may not know."""

    certificates: Annotated[tuple[Der, ...], Meta(max_length=100)]
    operations: Annotated[tuple[Operation, ...], Meta(max_length=params.MAX_BATCH_OPERATIONS)]


class Result(Record, frozen=True, tag="result.1"):
    """One operation's outcome: an HTTP status, "Failure class: detail" where it is not 200, and a value."""

    status: Annotated[int, Meta(ge=100, le=599)]
    reason: Line = ""
    value: bytes = b""


class BatchReply(Record, frozen=True, tag="batch-reply.1"):
    """`time` is the node's clock; `heads` the newest directory heads it knows."""

    results: tuple[Result, ...]
    time: Time
    heads: tuple[SignedStatement, ...]


class FetchedBody(Record, frozen=True, tag="fetched.1"):
    object: SignedStatement
    body: bytes


class InboxStatus(Record, frozen=True, tag="inbox-status.1"):
    """`last_read` is 0 where the owner has never read here; `room`: an append would be taken now."""

    entries: Count
    octets: Count
    last_read: Time
    room: bool


class Acknowledged(Record, frozen=True, tag="acknowledged.1"):
    entry: Digest
    instance: Instance


class InboxPage(Record, frozen=True, tag="inbox-page.1"):
    """Answer of read-inbox: what came after the cursor, in insertion order.

    The next request gives (`incarnation`, `cursor`) back; a node that does not know the incarnation starts from zero.
    `more`: another page is waiting. Acknowledged entries are not repeated in `entries`.
    """

    incarnation: Instance
    cursor: Count
    entries: tuple[SignedStatement, ...]
    acknowledged: tuple[Acknowledged, ...]
    more: bool
    time: Time
    heads: tuple[SignedStatement, ...]


class OfferReply(Record, frozen=True, tag="offer-reply.1"):
    """Indices of the offered identities that this node has neither in store nor tombstoned."""

    missing: tuple[Count, ...]


# --- Datagrams of the DHT ---


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


_encoder = msgspec.msgpack.Encoder()


def encode(record: Record) -> bytes:
    """Return the canonical encoding of `record`."""
    return _encoder.encode(record)


def decode(kind: type[R], octets: bytes | memoryview) -> R:
    """Return the `kind` record that `octets` encode. Raises Malformed."""
    try:
        return msgspec.msgpack.decode(octets, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"{kind.__name__}: {error}") from error


def identity(statement: Record) -> bytes:
    """Return the 32-octet identity of a statement or deletion: its Merkle leaf, so without any signature.

    A deletion's identity is that of its right: SHA-256(0x00 ‖ object identity ‖ SHA-256(secret)).
    """
    if isinstance(statement, Deletion):
        right = hashlib.sha256(statement.secret).digest()
        return hashlib.sha256(b"\x00" + identity(statement.object.statement) + right).digest()
    return hashlib.sha256(b"\x00" + encode(statement)).digest()
