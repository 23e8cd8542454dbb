"""Statements: signed, meaning the same to every node, forwardable."""

import hashlib
from typing import Annotated, Literal

from msgspec import Meta

from p2pcore import params
from p2pcore.records.base import Count, Digest, Host, Identifier, Instance, Key, Record, Secret, Time, encode


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


def identity(statement: Record) -> bytes:
    """Return the 32-octet identity of a statement or deletion: its Merkle leaf, so without any signature.

    A deletion's identity is that of its right: SHA-256(0x00 ‖ object identity ‖ SHA-256(secret)).
    """
    if isinstance(statement, Deletion):
        return right_identity(identity(statement.object.statement), statement.secret)
    return hashlib.sha256(b"\x00" + encode(statement)).digest()


def right_identity(object_identity: bytes, secret: bytes) -> bytes:
    """Return the identity of the deletion that reveals `secret` of the object with this identity."""
    return hashlib.sha256(b"\x00" + object_identity + hashlib.sha256(secret).digest()).digest()
