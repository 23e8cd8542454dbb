"""What travels between a client and a node (Table 3)."""

from typing import Annotated, Literal

from msgspec import Meta

from p2pcore import params
from p2pcore.records.base import Count, Der, Digest, Identifier, Instance, Key, Line, Record, Secret, Time
from p2pcore.records.statements import Deletion, SignedStatement


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


class AppendAfter(Append, frozen=True, tag="append-after.1"):
    """Append-inbox primitive for an entry whose body is stored by an operation before it. Result: as Append.

    `object` is the identity of the body's ObjectStatement; where it is not held (the store was refused): BodyNotHeld,
    and no entry is left that its owner could not fetch the body of.
    """

    object: Digest


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


class AskSettled(Record, frozen=True, tag="ask-settled.1"):
    """Repair: what settled these (OfferReply)? `inbox_key`: the entries', empty for objects. Result: Settled."""

    kind: Literal["object", "entry"]
    inbox_key: Annotated[bytes, Meta(max_length=32)]
    identities: Annotated[tuple[Digest, ...], Meta(max_length=10_000)]


class Greet(Record, frozen=True, tag="greet.1"):
    """Repair: the sending node has just been started, with an older store or an empty one. Result: empty."""


Operation = (
    Store
    | Fetch
    | Delete
    | Append
    | AppendAfter
    | Acknowledge
    | Publish
    | Resolve
    | AskInbox
    | AskCertificate
    | Offer
    | AskSettled
    | Greet
)


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


class InboxPage(Record, frozen=True, tag="inbox-page.1"):
    """Answer of read-inbox: what came after the cursor, in insertion order.

    The next request gives (`incarnation`, `cursor`) back; a node that does not know the incarnation starts from zero.
    `more`: another page is waiting. `acknowledged` are the owner's AcknowledgeStatements as she signed them, so that a
    node cannot hide an entry by its word alone; the entries they name are not repeated in `entries`.
    """

    incarnation: Instance
    cursor: Count
    entries: tuple[SignedStatement, ...]
    acknowledged: tuple[SignedStatement, ...]
    more: bool
    time: Time
    heads: tuple[SignedStatement, ...]


class OfferReply(Record, frozen=True, tag="offer-reply.1"):
    """Indices of the offered identities: `missing` are neither held nor known to be deleted, `settled` are over.

    Settled is an object whose delete rights are all revealed, and an entry that an acknowledgement here names: nothing
    is so by this node's word, AskSettled gives the proof. An offer names no inbox, and an acknowledgement counts in its
    signer's own only, so an entry that is settled is missing as well.
    """

    missing: tuple[Count, ...]
    settled: tuple[Count, ...]


class Settled(Record, frozen=True, tag="settled.1"):
    """Acknowledgements that name the entries asked for, with their signers' certificates; secrets of the objects'.

    An answer that would be long is of the first identities only: whoever asks applies it and asks for the rest.
    """

    certificates: Annotated[tuple[Der, ...], Meta(max_length=100)]
    acknowledgements: Annotated[tuple[SignedStatement, ...], Meta(max_length=10_000)]
    secrets: Annotated[tuple[Secret, ...], Meta(max_length=100_000)]
