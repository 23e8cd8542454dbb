"""Keys for DKIM signatures: RSA, which every verifier knows, and Ed25519 beside it (RFC 6376 §3.3, RFC 8301, RFC 8463).

Both are kept as PEM: RSA as PKCS #1, Ed25519 as PKCS #8.
"""

import base64

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from p2pcore.crypto.keys import SigningKey
from p2pcore.errors import Malformed

KEY_BITS = 2_048  # RFC 8301 §3.2: signers SHOULD use at least 2048; larger ones do not fit one DNS answer everywhere
_EXPONENT = 65_537
_STRING = 255  # octets of one character-string in a TXT record (RFC 1035 §3.3)


def make_dkim_key() -> bytes:
    """Return a fresh RSA key as PEM, unencrypted: the caller keeps it in a file of mode 0600."""
    private = rsa.generate_private_key(_EXPONENT, KEY_BITS)
    return private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def make_ed25519_dkim_key() -> bytes:
    """Return a fresh Ed25519 key as PEM, unencrypted: the caller keeps it in a file of mode 0600."""
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def ed25519_key(private_pem: bytes) -> SigningKey | None:
    """Return the Ed25519 key in `private_pem`, None where it is one of RSA. Raises Malformed where it is neither."""
    private = _load(private_pem)
    return SigningKey(private) if isinstance(private, Ed25519PrivateKey) else None


def dkim_record(private_pem: bytes) -> str:
    """Return the text of the TXT record at <selector>._domainkey.<domain> (RFC 6376 §3.6.1). Raises Malformed."""
    private = _load(private_pem)
    if isinstance(private, Ed25519PrivateKey):
        raw = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)  # RFC 8463 §4.2: the 32 octets alone
        return f"v=DKIM1; k=ed25519; p={base64.b64encode(raw).decode()}"
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"


def zone_line(selector: str, domain: str, private_pem: bytes) -> str:
    """Return the record as a line of a zone file, its text in strings of at most 255 octets. Raises Malformed."""
    text = dkim_record(private_pem)
    strings = " ".join(f'"{text[start : start + _STRING]}"' for start in range(0, len(text), _STRING))
    return f"{selector}._domainkey.{domain}. IN TXT {strings}"


def _load(private_pem: bytes) -> rsa.RSAPrivateKey | Ed25519PrivateKey:
    try:
        private = load_pem_private_key(private_pem, None)
    except (ValueError, TypeError) as error:
        raise Malformed(f"DKIM key: {error}") from error
    if not isinstance(private, rsa.RSAPrivateKey | Ed25519PrivateKey):
        raise Malformed("DKIM key: not an RSA or Ed25519 key")
    return private
