"""DKIM signatures on what leaves the domain (RFC 6376): rsa-sha256, relaxed/simple.

The body is hashed as it lies, without dkimpy's copy of the message; dkimpy canonicalises and signs the header. The
signature's time is that of acceptance, so a message that is sent again is the same octets again.
"""

import base64
import hashlib

import dkim

from p2pcore.errors import Malformed

# RFC 6376 §5.4.1; From is oversigned against a second one, the others are signed as often as they are there
_SIGNED = frozenset(
    b"from sender reply-to subject date message-id to cc mime-version content-type content-transfer-encoding"
    b" content-id content-description in-reply-to references list-id list-help list-unsubscribe list-subscribe"
    b" list-post list-owner list-archive list-unsubscribe-post auto-submitted".split()
)


class DkimSigner:
    """Signs as `domain` with the key that `selector` names in DNS; pure CPU (some 10 ms), so callers use a thread."""

    def __init__(self, domain: str, selector: str, private_pem: bytes) -> None:
        """Raises Malformed (a key that dkimpy cannot use, an empty selector)."""
        if not selector or not selector.isascii():
            raise Malformed(f"DKIM selector {selector!r}: not an ASCII name")
        self._domain = domain.encode("ascii")
        self._selector = selector.encode("ascii")
        try:
            self._key = dkim.parse_pem_private_key(private_pem)
        except dkim.UnparsableKeyError as error:
            raise Malformed(f"DKIM key: {error}") from error

    def sign(self, content: bytes, time: int) -> bytes:
        """Return the DKIM-Signature field with its CRLF, to be put before `content`; `time` in ms.

        Raises Malformed where the header does not parse or has no From.
        """
        header = content[: _header_size(content)]
        try:
            signer = dkim.DKIM(header + b"\r\n")
            names = [name.lower() for name, _ in signer.headers if name.lower() in _SIGNED]
            if b"from" not in names:
                raise Malformed("no From field to sign")
            policy = dkim.CanonicalizationPolicy.from_c_value(b"relaxed/simple")
            signer.hasher = hashlib.sha256
            fields = [
                (b"v", b"1"),
                (b"a", b"rsa-sha256"),
                (b"c", b"relaxed/simple"),
                (b"d", self._domain),
                (b"s", self._selector),
                (b"t", str(time // 1_000).encode()),
                (b"h", b" : ".join([*names, b"from"])),
                (b"bh", base64.b64encode(_simple_body_hash(content, len(header)))),
                (b"b", b"0" * 60),  # a place to fold at
            ]
            value: bytes = signer.gen_header(fields, [*names, b"from"], policy, b"DKIM-Signature", self._key)
        except dkim.DKIMException as error:
            raise Malformed(f"DKIM: {error}") from error
        return b"DKIM-Signature: " + value


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
