"""Keys for DKIM signatures: RSA, which every verifier knows, and Ed25519 beside it (RFC 6376 §3.3, RFC 8301, RFC 8463).

Both are kept as PEM: RSA as PKCS #1, Ed25519 as PKCS #8.
"""

import base64
import hashlib
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
)

from p2pcore.errors import Malformed

KEY_BITS = 2_048  # RFC 8301 §3.2: signers SHOULD use at least 2048; larger ones do not fit one DNS answer everywhere
_EXPONENT = 65_537

# Strangers' keys: RFC 8301 §3.2 wants these sizes verified, and a power of larger numbers takes seconds
_MIN_BITS: Final = 1_024
_MAX_BITS: Final = 4_096
_MAX_OCTETS: Final = 1_024  # of a key's encoding; one of _MAX_BITS takes 550
_MAX_EXPONENT_BITS: Final = 32  # nearly all are 65,537


def make_dkim_key() -> bytes:
    """Return a fresh RSA key as PEM, unencrypted: the caller keeps it in a file of mode 0600."""
    private = rsa.generate_private_key(_EXPONENT, KEY_BITS)
    return private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def make_ed25519_dkim_key() -> bytes:
    """Return a fresh Ed25519 key as PEM, unencrypted: the caller keeps it in a file of mode 0600."""
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def dkim_record(private_pem: bytes) -> str:
    """Return the text of the TXT record at <selector>._domainkey.<domain> (RFC 6376 §3.6.1). Raises Malformed."""
    private = _load(private_pem)
    if isinstance(private, Ed25519PrivateKey):
        raw = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)  # RFC 8463 §4.2: the 32 octets alone
        return f"v=DKIM1; k=ed25519; p={base64.b64encode(raw).decode()}"
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"


class DkimPrivate:
    """A signer's private key; `key_type` is k= in its record, "rsa" or "ed25519"."""

    def __init__(self, private: rsa.RSAPrivateKey | Ed25519PrivateKey) -> None:
        self._private = private
        self.key_type = "rsa" if isinstance(private, rsa.RSAPrivateKey) else "ed25519"

    @classmethod
    def read(cls, pem: bytes) -> "DkimPrivate":
        """Return the key in `pem`. Raises Malformed."""
        return cls(_load(pem))

    def sign(self, data: bytes) -> bytes:
        """Return the signature over `data`, with SHA-256 (RFC 6376 §3.3, RFC 8463 §3)."""
        if isinstance(self._private, rsa.RSAPrivateKey):
            return self._private.sign(data, PKCS1v15(), SHA256())
        return self._private.sign(hashlib.sha256(data).digest())


@dataclass(frozen=True, slots=True)
class DkimPublic:
    """A signer's public key as its key record has it; equal to itself however a record writes it."""

    _public: rsa.RSAPublicKey | Ed25519PublicKey

    @property
    def key_type(self) -> str:
        """Return k=, "rsa" or "ed25519"."""
        return "rsa" if isinstance(self._public, rsa.RSAPublicKey) else "ed25519"

    @classmethod
    def read(cls, key_type: str, octets: bytes) -> "DkimPublic":
        """Return the key that k= and p= give; RSA as SubjectPublicKeyInfo or as RSAPublicKey. Raises Malformed."""
        try:
            if key_type == "ed25519":
                return cls(Ed25519PublicKey.from_public_bytes(octets))
            if key_type != "rsa" or len(octets) > _MAX_OCTETS:
                raise Malformed("key of a type or size that is not known here")
            public = load_der_public_key(octets)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise Malformed("key that does not parse") from error
        if not isinstance(public, rsa.RSAPublicKey):
            raise Malformed("key of another type than k= says")
        if not _MIN_BITS <= public.key_size <= _MAX_BITS:
            raise Malformed(f"key of {public.key_size} bits")
        if public.public_numbers().e.bit_length() > _MAX_EXPONENT_BITS:
            raise Malformed("key with a large exponent")
        return cls(public)

    def has_signed(self, data: bytes, signature: bytes) -> bool:
        """Return whether `signature` is this key's over `data`, with SHA-256 (RFC 6376 §3.3, RFC 8463 §3)."""
        try:
            if isinstance(self._public, rsa.RSAPublicKey):
                self._public.verify(signature, data, PKCS1v15(), SHA256())
            else:
                self._public.verify(signature, hashlib.sha256(data).digest())
        except InvalidSignature:
            return False
        return True


def _load(private_pem: bytes) -> rsa.RSAPrivateKey | Ed25519PrivateKey:
    try:
        private = load_pem_private_key(private_pem, None)
    except (ValueError, TypeError) as error:
        raise Malformed(f"DKIM key: {error}") from error
    if not isinstance(private, rsa.RSAPrivateKey | Ed25519PrivateKey):
        raise Malformed("DKIM key: not an RSA or Ed25519 key")
    return private
