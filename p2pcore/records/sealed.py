"""What is sealed: bodies and notifications, and what an injecting side says in them (§3.1)."""

from typing import Annotated, Literal

from msgspec import Meta

from p2pcore import params
from p2pcore.records.base import Count, Digest, HpkeAlgorithm, Identifier, Key, Line, Path, Record, Secret, Time
from p2pcore.records.statements import SignedStatement


class BodyHeader(Record, frozen=True, tag="body.1"):
    """First octets of a sealed body (one length octet, then this), also the associated data of every segment.

    Then segments of `segment_size` plaintext octets (the last may be shorter) + 16-octet tag, AES-256-GCM under the
    session key, nonce = 0x00 × 3 ‖ segment number (8 octets, big-endian) ‖ (0x01 if last else 0x00). The plaintext is
    the content followed by zero octets up to its Padmé size.
    """

    algorithm: Literal["aes-256-gcm"]
    segment_size: Annotated[int, Meta(ge=1 << 12, le=1 << 24)]


class SealedKey(Record, frozen=True, tag="sealed-key.1"):
    """A 32-octet key, sealed with HPKE base mode to the HPKE key whose SHA-256 is `recipient`.

    What it opens is in HPKE's info: an address list ("p2pmail addresses 1" ‖ 0x00 ‖ domain), or notifications
    ("p2pmail notifications 1" ‖ 0x00 ‖ inbox key ‖ signer's certificate digest).
    """

    algorithm: HpkeAlgorithm
    recipient: Digest
    ciphertext: Annotated[bytes, Meta(max_length=2_048)]


class SealedNotification(Record, frozen=True, tag="sealed.2"):
    """A Notification under a key that those of the same inbox, signer and moment share (decision 35).

    `ciphertext` = 12-octet nonce ‖ AES-256-GCM(plaintext), no associated data; the nonce is random.
    Plaintext = length (4 octets, big-endian) ‖ Notification ‖ zero octets up to a size class.
    """

    key: SealedKey
    ciphertext: Annotated[bytes, Meta(max_length=params.MAX_NOTIFICATION)]


class SingleNotification(Record, frozen=True, tag="sealed.1"):
    """The same plaintext in HPKE itself, as it was written before sealed.2, and is read as long as such mail may wait.

    HPKE info = "p2pmail notification 1" ‖ 0x00 ‖ inbox key ‖ signer (certificate digest).
    """

    algorithm: HpkeAlgorithm
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


class InjectionStatements(Record, frozen=True, tag="injection.1"):
    """The finished statements of one message, kept by a durable queue so that it repeats exactly these."""

    object: SignedStatement
    entries: Annotated[tuple[SignedStatement, ...], Meta(min_length=1, max_length=params.MAX_DELETE_RIGHTS)]
