"""Request signatures of any form that RFC 9421 allows, by the http-message-signatures library with our keys.

Other programs may order, spell or label things differently from `signature_base`; they are served here, at a price.
"""

import datetime
import re
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from http_message_signatures import (
    HTTPMessageSignaturesException,
    HTTPMessageSigner,
    HTTPMessageVerifier,
    HTTPSignatureAlgorithm,
    HTTPSignatureKeyResolver,
    InvalidSignature,
)

from p2pcore.crypto import keys
from p2pcore.crypto.certificate_parsing import Certificate
from p2pcore.crypto.keys import SigningKey
from p2pcore.crypto.signature_base import NONCE_SIZE, TAG
from p2pcore.errors import Malformed, SignatureRefused

_MAX_CREATED = 2**42  # seconds; beyond any clock
_KEY_ID = re.compile(r"[0-9a-f]{64}\Z")
_NONCE = re.compile(rf"[0-9a-f]{{{2 * NONCE_SIZE}}}\Z")


@dataclass(slots=True)
class Message:
    """A request as the library wants to see it."""

    method: str
    url: str
    headers: MutableMapping[str, str]


@dataclass(frozen=True, slots=True)
class Found:
    """Who signed a request, when (s), and its nonce."""

    certificate: Certificate
    created: int
    nonce: bytes


SignerOf = Callable[[bytes, int], Certificate]  # of the key ID, for a request created then (s); may raise Failure


def sign(message: Message, key: SigningKey, key_id: bytes, created: int, nonce: bytes, covered: Sequence[str]) -> None:
    """Add Signature-Input and Signature. Raises Malformed: not a request that can be signed."""
    try:
        HTTPMessageSigner(signature_algorithm=_Ed25519, key_resolver=_OneKey(key)).sign(
            message,
            key_id=key_id.hex(),
            created=datetime.datetime.fromtimestamp(created, datetime.UTC),
            nonce=nonce.hex(),
            label=TAG,
            tag=TAG,
            covered_component_ids=covered,
            use_existing_digest=True,
        )
    except HTTPMessageSignaturesException as error:
        raise Malformed(f"request signature: {error}") from error


def verify(message: Message, signer_of: SignerOf, covered: Sequence[str]) -> Found:
    """Return who made the one signature with our tag, which covers at least `covered`.

    Raises Malformed, SignatureRefused, and what `signer_of` does.
    """
    verifier = _Verifier(signer_of)
    try:
        results = verifier.verify(message, max_age=None, expect_tag=TAG, require_components=covered)
    except HTTPMessageSignaturesException as error:
        raise SignatureRefused(f"request signature: {error}") from error
    if len(results) != 1 or verifier.found is None:
        raise SignatureRefused(f"{len(results)} request signatures, not one")
    return verifier.found


class _Ed25519(HTTPSignatureAlgorithm):
    """RFC 9421 §3.3.6 with our keys: a SigningKey, or the 32 octets of a public key."""

    algorithm_id = "ed25519"

    def __init__(self, public_key: Any = None, private_key: Any = None, password: Any = None) -> None:
        self._public: bytes = public_key
        self._private: SigningKey = private_key

    def sign(self, message: bytes) -> bytes:
        return self._private.sign(message)

    def verify(self, signature: bytes, message: bytes) -> None:
        try:
            keys.verify(self._public, signature, message)
        except SignatureRefused as error:
            raise InvalidSignature(str(error)) from error


class _OneKey(HTTPSignatureKeyResolver):
    def __init__(self, key: SigningKey | bytes) -> None:
        self._key = key

    def resolve_private_key(self, key_id: str) -> Any:
        return self._key

    def resolve_public_key(self, key_id: str) -> Any:
        return self._key


class _Verifier(HTTPMessageVerifier):
    """The library's verifier with our clock, and with keys from our certificates."""

    def __init__(self, signer_of: SignerOf) -> None:
        super().__init__(signature_algorithm=_Ed25519, key_resolver=None)
        self._signer_of = signer_of
        self.found: Found | None = None

    def validate_created_and_expires(self, sig_input: Any, max_age: datetime.timedelta | None = None) -> None:
        """Judge the parameters of one signature; the library calls this before it looks at anything else of it."""
        created, key_id, nonce = (sig_input.params.get(name) for name in ("created", "keyid", "nonce"))
        if not isinstance(created, int) or not 0 <= created <= _MAX_CREATED:
            raise Malformed("request signature: created is missing or out of bounds")
        if not isinstance(key_id, str) or not _KEY_ID.match(key_id):
            raise Malformed("request signature: keyid is not a certificate's fingerprint in hex")
        if not isinstance(nonce, str) or not _NONCE.match(nonce):
            raise Malformed(f"request signature: nonce is not {NONCE_SIZE} octets in hex")
        certificate = self._signer_of(bytes.fromhex(key_id), created)
        self.key_resolver = _OneKey(certificate.public_key)
        self.found = Found(certificate, created, bytes.fromhex(nonce))
