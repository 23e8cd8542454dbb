"""How a machine becomes a member, and what it then keeps of itself."""

from typing import Annotated

from msgspec import Meta

from p2pcore import params
from p2pcore.records.base import Der, Host, Instance, Key, Port, Record, Role, Secret, Time
from p2pcore.records.domain import ContactInfo


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


class KeyRequest(Record, frozen=True, tag="keys.1"):
    """New public keys for a user who has a certificate.

    Both signatures are Ed25519 over "p2pmail keys 1" ‖ 0x00 ‖ this record with both empty: `held` by the key of her
    newest certificate, `signature` by the new one. The answer is a JoinAnswer.
    """

    domain: Host
    name: Annotated[str, Meta(min_length=1, max_length=params.MAX_ADDRESS)]
    signing_key: Key
    hpke_key: Annotated[bytes, Meta(max_length=2_048)]
    held: Annotated[bytes, Meta(max_length=64)]
    signature: Annotated[bytes, Meta(max_length=64)]


class JoinAnswer(Record, frozen=True, tag="admission.1"):
    """The new machine's certificate, the domain record that lists it (an encoded PublishedVersion), and the certificate
    of the directory that signed the record.
    """

    certificate: Der
    record: bytes
    directory: Der


class Identity(Record, frozen=True, tag="identity.1"):
    """One role's private keys and certificates on disk (mode 0600), also the content of a recovery kit.

    `hpke_keys`: newest first, private octets of which the number tells the suite (crypto.hpke_suites); `certificate`
    may be empty before admission. Old keys are kept as long as anything sealed to them may live.
    """

    role: Role
    domain: Host
    name: str
    signing_key: Secret
    hpke_keys: tuple[Annotated[bytes, Meta(min_length=96, max_length=112)], ...]
    certificate: Der
    authority: Der
