"""RSA keys for DKIM signatures: the one algorithm every verifier knows (RFC 6376 §3.3, RFC 8301 §3)."""

import base64

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from p2pcore.errors import Malformed

KEY_BITS = 2_048  # RFC 8301 §3.2: signers SHOULD use at least 2048; larger ones do not fit one DNS answer everywhere
_EXPONENT = 65_537
_STRING = 255  # octets of one character-string in a TXT record (RFC 1035 §3.3)


def make_dkim_key() -> bytes:
    """Return a fresh private key as PEM (PKCS #1), unencrypted: the caller keeps it in a file of mode 0600."""
    private = rsa.generate_private_key(_EXPONENT, KEY_BITS)
    return private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def dkim_record(private_pem: bytes) -> str:
    """Return the text of the TXT record at <selector>._domainkey.<domain> (RFC 6376 §3.6.1). Raises Malformed."""
    try:
        private = load_pem_private_key(private_pem, None)
    except (ValueError, TypeError) as error:
        raise Malformed(f"DKIM key: {error}") from error
    if not isinstance(private, rsa.RSAPrivateKey):
        raise Malformed("DKIM key: not an RSA key")
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"


def zone_line(selector: str, domain: str, private_pem: bytes) -> str:
    """Return the record as a line of a zone file, its text in strings of at most 255 octets. Raises Malformed."""
    text = dkim_record(private_pem)
    strings = " ".join(f'"{text[start : start + _STRING]}"' for start in range(0, len(text), _STRING))
    return f"{selector}._domainkey.{domain}. IN TXT {strings}"
