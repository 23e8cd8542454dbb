"""DKIM signatures on what leaves the domain (RFC 6376): relaxed/simple, one signature for each key of the gateway.

Each message has an rsa-sha256 and an ed25519-sha256 signature (RFC 8463 §3): a verifier that knows only one takes that
one. The body is hashed once, as it lies, without dkimpy's copy of the message; dkimpy canonicalises and signs the
header. The signatures' time is that of acceptance, so a message that is sent again is the same octets again.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dkim

from gateway.mail.mime_header import all_fields
from p2pcore.crypto.dkim_keys import ed25519_key
from p2pcore.crypto.keys import SigningKey
from p2pcore.errors import Malformed

# RFC 6376 §5.4.1; From is oversigned against a second one, the others are signed as often as they are there
_SIGNED = frozenset(
    b"from sender reply-to subject date message-id to cc mime-version content-type content-transfer-encoding"
    b" content-id content-description in-reply-to references list-id list-help list-unsubscribe list-subscribe"
    b" list-post list-owner list-archive list-unsubscribe-post auto-submitted".split()
)


class DkimSigner:
    """Signs as `domain` with the keys that selectors name in DNS; pure CPU (some 10 ms), so callers use a thread."""

    def __init__(self, domain: str, keys: Mapping[str, bytes]) -> None:
        """`keys`: selector → private key as PEM. Raises Malformed (a key that cannot be used, an empty selector)."""
        self._domain = domain.encode("ascii")
        self._keys = tuple(_key(selector, pem) for selector, pem in keys.items())

    def sign(self, content: bytes, time: int) -> bytes:
        """Return the DKIM-Signature fields, each with its CRLF, to be put before `content`; `time` in ms.

        Raises Malformed where the header has no From.
        """
        header = content[: _header_size(content)]
        body_hash = base64.b64encode(_simple_body_hash(content, len(header)))
        fields = [(name.lower(), value) for name, value in all_fields(header) if name.lower() in _SIGNED]
        if not any(name == b"from" for name, _ in fields):
            raise Malformed("no From field to sign")
        return b"".join(self._field(key, fields, body_hash, time) for key in self._keys)

    def _field(self, key: "_Key", signed: Sequence[tuple[bytes, bytes]], body_hash: bytes, time: int) -> bytes:
        signer = dkim.DKIM()
        signer.headers = signed  # dkimpy's own parser raises on what every MTA takes (RFC 5322 §4.5)
        names = [name for name, _ in signed]
        policy = dkim.CanonicalizationPolicy.from_c_value(b"relaxed/simple")
        signer.hasher = hashlib.sha256
        signer.signature_algorithm = key.algorithm
        fields = [
            (b"v", b"1"),
            (b"a", key.algorithm),
            (b"c", b"relaxed/simple"),
            (b"d", self._domain),
            (b"s", key.selector),
            (b"t", str(time // 1_000).encode()),
            (b"h", b" : ".join([*names, b"from"])),
            (b"bh", body_hash),
            (b"b", b"0" * 60),  # a place to fold at
        ]
        value: bytes = signer.gen_header(fields, [*names, b"from"], policy, b"DKIM-Signature", key.private)
        return b"DKIM-Signature: " + value


@dataclass(frozen=True, slots=True)
class _Key:
    selector: bytes
    algorithm: bytes
    private: Any  # as dkimpy wants it


@dataclass(frozen=True, slots=True)
class _Signed:
    signature: bytes


class _Ed25519:
    """Our key in the form in which dkimpy takes PyNaCl's."""

    def __init__(self, key: SigningKey) -> None:
        self._key = key

    def sign(self, digest: bytes) -> _Signed:
        return _Signed(self._key.sign(digest))  # RFC 8463 §3: the SHA-256 is what is signed


def _key(selector: str, pem: bytes) -> _Key:
    if not selector or not selector.isascii():
        raise Malformed(f"DKIM selector {selector!r}: not an ASCII name")
    ed25519 = ed25519_key(pem)
    if ed25519 is not None:
        return _Key(selector.encode(), b"ed25519-sha256", _Ed25519(ed25519))
    try:
        return _Key(selector.encode(), b"rsa-sha256", dkim.parse_pem_private_key(pem))
    except dkim.UnparsableKeyError as error:
        raise Malformed(f"DKIM key: {error}") from error


def _header_size(content: bytes) -> int:
    """Return the octets of the header section, with its last CRLF and without the empty line."""
    end = content.find(b"\r\n\r\n")
    return end + 2 if end >= 0 else len(content)


def _simple_body_hash(content: bytes, header_size: int) -> bytes:
    """Return SHA-256 of the body: empty lines at its end are one CRLF, and there is always one (RFC 6376 §3.4.3)."""
    start = header_size + 2  # past the empty line
    end = len(content)
    while end - 2 >= start and content.endswith(b"\r\n", start, end):
        end -= 2
    digest = hashlib.sha256(memoryview(content)[start : max(start, end)])
    digest.update(b"\r\n")
    return digest.digest()
