"""DKIM signatures on what leaves the domain (RFC 6376): relaxed/simple, one signature for each key of the gateway.

Each message has an rsa-sha256 and an ed25519-sha256 signature (RFC 8463 §3): a verifier that knows only one takes that
one. The signatures' time is that of acceptance, so a message that is sent again is the same octets again.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from gateway.mail.dkim_header import SignedHeader
from p2pcore.crypto.dkim_keys import DkimPrivate
from p2pcore.errors import Malformed

# RFC 6376 §5.4.1; From is oversigned against a second one, the others are signed as often as they are there
_SIGNED = frozenset(
    b"from sender reply-to subject date message-id to cc mime-version content-type content-transfer-encoding"
    b" content-id content-description in-reply-to references list-id list-help list-unsubscribe list-subscribe"
    b" list-post list-owner list-archive list-unsubscribe-post auto-submitted".split()
)
_LINE = 76  # octets; RFC 5322 §2.1.1 wants 78 at most


class DkimSigner:
    """Signs as `domain` with the keys that selectors name in DNS; CPU for a thread where contents are large."""

    def __init__(self, domain: str, keys: Mapping[str, bytes]) -> None:
        """`keys`: selector → private key as PEM. Raises Malformed (a key that cannot be used, an empty selector)."""
        self._domain = domain.encode("ascii")
        self._keys = [(_selector(name), DkimPrivate.read(pem)) for name, pem in keys.items()]

    def sign(self, content: bytes, time: int) -> bytes:
        """Return the DKIM-Signature fields, each with its CRLF, to be put before `content`; `time` in ms.

        Raises Malformed where the header has no From.
        """
        size = _header_size(content)
        header = SignedHeader(content[:size])
        names = [name for name in header.names if name in _SIGNED]
        if b"from" not in names:
            raise Malformed("no From field to sign")
        names.append(b"from")
        body_hash = base64.b64encode(_simple_body_hash(content, size))
        tags = [b"t=%d;" % (time // 1_000), *_listed(b"h", names), b"bh=%b;" % body_hash, b"b="]
        return b"".join(self._field(selector, key, header, names, tags) for selector, key in self._keys)

    def _field(
        self, selector: bytes, key: DkimPrivate, header: SignedHeader, names: Sequence[bytes], tags: Iterable[bytes]
    ) -> bytes:
        algorithm = f"{key.key_type}-sha256".encode()
        own = [b"v=1;", b"a=%b;" % algorithm, b"c=relaxed/simple;", b"d=%b;" % self._domain, b"s=%b;" % selector]
        field = _folded([b"DKIM-Signature:", *own, *tags])
        signature = base64.b64encode(key.sign(header.covered(names, "relaxed", field)))
        lines = [signature[start : start + _LINE - 1] for start in range(0, len(signature), _LINE - 1)]
        return b"\r\n\t".join((field, *lines)) + b"\r\n"


def _selector(name: str) -> bytes:
    if not name or not name.isascii():
        raise Malformed(f"DKIM selector {name!r}: not an ASCII name")
    return name.encode()


def _listed(tag: bytes, names: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the words of tag=name:name:…;, between which a line may be folded."""
    *others, last = names
    first = b"%b=" % tag
    for name in others:
        yield b"%b%b:" % (first, name)
        first = b""
    yield b"%b%b;" % (first, last)


def _folded(words: Sequence[bytes]) -> bytes:
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + 1 + len(word) <= _LINE:
            lines[-1] += b" " + word
        else:
            lines.append(b"\t" + word)
    return b"\r\n".join(lines)


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
