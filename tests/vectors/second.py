"""A second reader of the formats, from docs/formats.md alone: nothing of p2pmail, only hashlib, hmac and cryptography.

It reads and does not guard: what a real implementation must refuse (§3's bounds, §4's rules) is tested elsewhere.
"""

import base64
import hashlib
import hmac
import re
import struct
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_SIZES: Final = {0xC4: ">B", 0xC5: ">H", 0xC6: ">I", 0xD9: ">B", 0xDA: ">H", 0xDB: ">I", 0xDC: ">H", 0xDE: ">H"}
_NUMBERS: Final = {0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q"}


def unpack(octets: bytes) -> Any:
    """§3: one MessagePack item, of the types that records have, and nothing after it."""
    item, end = _item(octets, 0)
    assert end == len(octets)
    return item


def _item(octets: bytes, at: int) -> tuple[Any, int]:
    first = octets[at]
    at += 1
    if first < 0x80:
        return first, at
    if first in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[first], at
    if first in _NUMBERS:
        size = struct.calcsize(_NUMBERS[first])
        return struct.unpack_from(_NUMBERS[first], octets, at)[0], at + size
    if first < 0x90:
        return _map(octets, at, first & 0x0F)
    if first < 0xA0:
        return _array(octets, at, first & 0x0F)
    if first < 0xC0:
        return octets[at : at + (first & 0x1F)].decode(), at + (first & 0x1F)
    (size,) = struct.unpack_from(_SIZES[first], octets, at)
    at += struct.calcsize(_SIZES[first])
    if first == 0xDC:
        return _array(octets, at, size)
    if first == 0xDE:
        return _map(octets, at, size)
    content = octets[at : at + size]
    return (content if first <= 0xC6 else content.decode()), at + size


def _array(octets: bytes, at: int, count: int) -> tuple[list[Any], int]:
    items = []
    for _ in range(count):
        item, at = _item(octets, at)
        items.append(item)
    return items, at


def _map(octets: bytes, at: int, count: int) -> tuple[dict[str, Any], int]:
    items, at = _array(octets, at, 2 * count)
    return dict(zip(items[::2], items[1::2], strict=True)), at


def pack(item: Any) -> bytes:
    """§3: the canonical encoding, every item in its shortest form."""
    match item:
        case None | bool():
            return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[item]
        case int() if item < 0x80:
            return bytes([item])
        case int():
            mark = next(mark for mark, form in _NUMBERS.items() if item < 1 << (8 * struct.calcsize(form)))
            return bytes([mark]) + struct.pack(_NUMBERS[mark], item)
        case bytes():
            return _head(len(item), None, (0xC4, 0xC5, 0xC6)) + item
        case str():
            octets = item.encode()
            return _head(len(octets), (0xA0, 32), (0xD9, 0xDA, 0xDB)) + octets
        case list():
            return _head(len(item), (0x90, 16), (0xDC,)) + b"".join(map(pack, item))
        case dict():
            pairs = b"".join(pack(key) + pack(value) for key, value in item.items())
            return _head(len(item), (0x80, 16), (0xDE,)) + pairs
    raise TypeError(type(item))


def _head(size: int, short: tuple[int, int] | None, marks: tuple[int, ...]) -> bytes:
    if short is not None and size < short[1]:
        return bytes([short[0] | size])
    mark = next(mark for mark in marks if size < 1 << (8 * struct.calcsize(_SIZES[mark])))
    return bytes([mark]) + struct.pack(_SIZES[mark], size)


def verify(public_key: bytes, signature: bytes, octets: bytes) -> None:
    """§1: Ed25519. Raises InvalidSignature."""
    ed25519.Ed25519PublicKey.from_public_bytes(public_key).verify(signature, octets)


def key_in(certificate: bytes) -> bytes:
    """§5: the public key that a certificate of a leaf speaks for."""
    return x509.load_der_x509_certificate(certificate).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def identity(statement: list[Any]) -> bytes:
    """§4: SHA-256(0x00 ‖ encoding)."""
    return hashlib.sha256(b"\x00" + pack(statement)).digest()


def merkle_root(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes:
    """§4: RFC 9162 §2.1.3.2."""
    node, last = index, size - 1
    for sibling in path:
        assert last > 0
        if node % 2 or node == last:
            leaf = hashlib.sha256(b"\x01" + sibling + leaf).digest()
            while node % 2 == 0 and node:
                node, last = node // 2, last // 2
        else:
            leaf = hashlib.sha256(b"\x01" + leaf + sibling).digest()
        node, last = node // 2, last // 2
    assert last == 0
    return leaf


def verify_statement(signed: bytes, certificates: dict[bytes, bytes]) -> list[Any]:
    """§4: return the statement of an encoded signed.1, after its proof, by the certificate that it names."""
    tag, statement, (proof_tag, size, index, path, signature) = unpack(signed)
    assert (tag, proof_tag) == ("signed.1", "ed25519-merkle.1")
    signer = statement[-1]
    root = merkle_root(identity(statement), index, size, path)
    octets = b"p2pmail merkle 1\x00" + size.to_bytes(8, "big") + root
    verify(key_in(certificates[signer]), signature, octets)
    return list(statement)


def padme(size: int) -> int:
    """§6."""
    if size < 2:
        return size
    exponent = size.bit_length() - 1
    mantissa = exponent.bit_length()  # ⌊log₂ E⌋ + 1
    unit = 1 << max(0, exponent - mantissa)
    return -(-size // unit) * unit


def open_body(session_key: bytes, content_size: int, sealed: bytes) -> bytes:
    """§6."""
    header = sealed[1 : 1 + sealed[0]]
    tag, algorithm, segment_size = unpack(header)
    assert (tag, algorithm) == ("body.1", "aes-256-gcm")
    rest = sealed[1 + len(header) :]
    step = segment_size + 16
    segments = [rest[start : start + step] for start in range(0, len(rest), step)]
    plain = b""
    for number, segment in enumerate(segments):
        last = b"\x01" if number == len(segments) - 1 else b"\x00"
        nonce = bytes(3) + number.to_bytes(8, "big") + last
        plain += AESGCM(session_key).decrypt(nonce, segment, header)
    assert len(plain) == padme(content_size)
    assert not any(plain[content_size:])
    return plain[:content_size]


def open_hpke(private: bytes, info: bytes, sealed: list[Any]) -> bytes:
    """§7: what a sealed.1 or sealed-key.1 holds (RFC 9180 §5.1 and §5.2, with the keys of §5)."""
    _tag, algorithm, recipient, ciphertext = sealed
    name, decapsulate, size, suite = _HPKE[algorithm]
    public, shared_secret = decapsulate(private, ciphertext[:size])
    assert hashlib.sha256(public).digest() == recipient

    def extract(label: bytes, octets: bytes, salt: bytes = b"") -> bytes:
        return hmac.digest(salt, b"HPKE-v1" + suite + label + octets, name)

    def expand(label: bytes, length: int) -> bytes:
        labeled = struct.pack(">H", length) + b"HPKE-v1" + suite + label + context
        return hmac.digest(secret, labeled + b"\x01", name)[:length]  # HKDF's first block is long enough

    context = b"\x00" + extract(b"psk_id_hash", b"") + extract(b"info_hash", info)
    secret = extract(b"secret", b"", shared_secret)
    return AESGCM(expand(b"key", 32)).decrypt(expand(b"base_nonce", 12), ciphertext[size:], b"")


def _with_x25519(private: bytes, encapsulated: bytes) -> tuple[bytes, bytes]:
    """§7: the public key of 96 private octets, and the secret encapsulated to it."""
    lattice = mlkem.MLKEM768PrivateKey.from_seed_bytes(private[:64])
    curve = x25519.X25519PrivateKey.from_private_bytes(private[64:])
    share, public = encapsulated[1_088:], curve.public_key().public_bytes_raw()
    secrets = lattice.decapsulate(encapsulated[:1_088])
    secrets += curve.exchange(x25519.X25519PublicKey.from_public_bytes(share))
    shared_secret = hashlib.sha3_256(secrets + share + public + b"\\.//^\\").digest()
    return lattice.public_key().public_bytes_raw() + public, shared_secret


def _with_p384(private: bytes, encapsulated: bytes) -> tuple[bytes, bytes]:
    """§7: the public key of 112 private octets, and the secret encapsulated to it."""
    lattice = mlkem.MLKEM1024PrivateKey.from_seed_bytes(private[:64])
    curve = ec.derive_private_key(int.from_bytes(private[64:], "big"), ec.SECP384R1())
    share = encapsulated[1_568:]
    public = curve.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    secrets = lattice.decapsulate(encapsulated[:1_568])
    secrets += curve.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), share))
    shared_secret = hashlib.sha3_256(secrets + share + public + b"MLKEM1024-P384").digest()
    return lattice.public_key().public_bytes_raw() + public, shared_secret


# §7: HKDF's hash, the KEM, octets of an encapsulated key, RFC 9180's suite_id
_HPKE: Final = {
    "hpke-mlkem768x25519-hkdf-sha256-aes-256-gcm": ("sha256", _with_x25519, 1_120, b"HPKE\x64\x7a\x00\x01\x00\x02"),
    "hpke-mlkem1024p384-hkdf-sha384-aes-256-gcm": ("sha384", _with_p384, 1_665, b"HPKE\x00\x51\x00\x02\x00\x02"),
}


def open_addresses(private: bytes, domain: str, sealed_key: bytes, addresses: bytes) -> bytes:
    """§7: the encoded addresses.1 of a domain.1."""
    key = open_hpke(private, b"p2pmail addresses 1\x00" + domain.encode(), unpack(sealed_key))
    return AESGCM(key).decrypt(addresses[:12], addresses[12:], domain.encode())


def open_notification(private: bytes, inbox_key: bytes, signer: bytes, sealed: bytes) -> bytes:
    """§7: the encoded notification.1 in an encoded sealed.2 or sealed.1."""
    tag, *fields = unpack(sealed)
    if tag == "sealed.2":
        sealed_key, ciphertext = fields
        key = open_hpke(private, b"p2pmail notifications 1\x00" + inbox_key + signer, sealed_key)
        plain = AESGCM(key).decrypt(ciphertext[:12], ciphertext[12:], b"")
    else:
        plain = open_hpke(private, b"p2pmail notification 1\x00" + inbox_key + signer, unpack(sealed))
    size = int.from_bytes(plain[:4], "big")
    assert len(plain) in (2_048, 4_096, 8_192, 16_384, 32_768, 57_344)
    assert not any(plain[4 + size :])
    return plain[4 : 4 + size]


_INPUT: Final = re.compile(r'p2pmail=(\((?P<covered>[^)]*)\);.*keyid="(?P<key>[0-9a-f]{64})".*)')


def verify_request(request: dict[str, Any], certificates: dict[bytes, bytes]) -> bytes:
    """§8: return the fingerprint of whose request it is (RFC 9421 §2.5), after its signature and digest."""
    fields = {name.lower(): value for name, value in request["headers"].items()}
    digest = base64.b64encode(hashlib.sha256(bytes.fromhex(request["body"])).digest()).decode()
    assert fields["content-digest"] == f"sha-256=:{digest}:"
    given = _INPUT.fullmatch(fields["signature-input"])
    assert given is not None
    target = urlsplit(request["target"])
    derived = {"@method": request["method"], "@path": target.path, "@query": f"?{target.query}"}
    covered = [name.strip('"') for name in given["covered"].split()]
    needed = {"@method", "@path", "@query", "content-digest", "p2pmail-node"} | ({"pragma"} & set(fields))
    assert needed <= set(covered)
    lines = [f'"{name}": {(derived | fields)[name]}' for name in covered]
    lines.append(f'"@signature-params": {given[1]}')
    signer = bytes.fromhex(given["key"])
    known = dict(certificates)
    if "p2pmail-certificate" in fields:
        der = base64.b64decode(fields["p2pmail-certificate"].strip(":"))
        known[hashlib.sha256(der).digest()] = der
    signature = base64.b64decode(fields["signature"].removeprefix("p2pmail=").strip(":"))
    verify(key_in(known[signer]), signature, "\n".join(lines).encode())
    return signer


def verify_datagram(octets: bytes, public_key: bytes) -> list[Any]:
    """§9: the dht.1 of a datagram."""
    verify(public_key, octets[:64], b"p2pmail dht 1\x00" + octets[64:])
    return list(unpack(octets[64:]))


def from_text(title: str, text: str) -> list[Any]:
    """§10: the record in a text."""
    inner = text.partition(f"-----BEGIN P2PMAIL {title}-----")[2].partition(f"-----END P2PMAIL {title}-----")[0]
    payload = "".join(inner.split())
    octets = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    record, checksum = octets[:-8], octets[-8:]
    assert checksum == hashlib.sha256(title.encode() + b"\x00" + record).digest()[:8]
    return list(unpack(record))


def verify_join(code: bytes, request: list[Any]) -> None:
    """§10: a join.1's proof and signature."""
    *fields, proof, signature = request
    expected = hmac.digest(code, pack([*fields, b"", b""]), "sha256")
    assert hmac.compare_digest(proof, expected)
    verify(request[6], signature, b"p2pmail join 1\x00" + pack([*fields, proof, b""]))


def verify_keys(held_key: bytes, request: list[Any]) -> None:
    """§10: a keys.1's two signatures."""
    *fields, held, signature = request
    octets = b"p2pmail keys 1\x00" + pack([*fields, b"", b""])
    verify(held_key, held, octets)
    verify(request[3], signature, octets)
