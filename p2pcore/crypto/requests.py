"""Signed HTTP requests between clients and nodes (RFC 9421): who asks what of which node, once, now.

Covered: @method, @path, @query, content-digest, p2pmail-node (the addressed node's ID in hex) and, where the request
has one, pragma. Parameters: created, keyid (the certificate's fingerprint in hex), alg, nonce, tag "p2pmail".
"""

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping, MutableMapping
from typing import Protocol

from p2pcore import params
from p2pcore.crypto import keys, rfc9421
from p2pcore.crypto.certificate_parsing import Certificate
from p2pcore.crypto.signature_base import NONCE_SIZE, TAG, components, parameters, read_own, signature_base
from p2pcore.crypto.statements import Signer
from p2pcore.crypto.trust import Trust
from p2pcore.errors import ClockSkew, Malformed, NotAuthorised, Replayed, UnknownCertificate

CERTIFICATE_HEADER = "P2pmail-Certificate"
NODE_HEADER = "P2pmail-Node"
_CONTENT_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):\Z")  # RFC 9530 §2
_BYTE_SEQUENCE = re.compile(r":([A-Za-z0-9+/]*={0,2}):\Z")  # RFC 9651 §3.3.5


class NonceStore(Protocol):
    """Nonces that have been used; it survives restarts, else a request could be replayed after one."""

    def add(self, nonce: bytes, expires: int) -> bool:
        """Remember the 32 octets `nonce` until `expires` (ms); return False where they are remembered already.

        `expires` is REQUEST_SKEW and one second after the request was created: from then on it is refused as old.
        """


def sign_request(
    method: str,
    url: str,
    headers: MutableMapping[str, str],
    content_digest: bytes,
    node_id: bytes,
    signer: Signer,
    now: int,
    *,
    include_certificate: bool = False,
) -> None:
    """Add to `headers` what makes this a request of `signer` to the node `node_id`.

    `url` is absolute; `content_digest` is the SHA-256 of the body (of no octets where there is none). `headers` may
    hold Pragma already. `include_certificate`: the node does not know it yet.
    """
    headers["Content-Digest"] = f"sha-256=:{base64.b64encode(content_digest).decode()}:"
    headers[NODE_HEADER] = node_id.hex()
    if include_certificate:
        headers[CERTIFICATE_HEADER] = f":{base64.b64encode(signer.certificate.der).decode()}:"
    created, nonce = now // params.SECOND, secrets.token_bytes(NONCE_SIZE)
    covered = components(headers)
    made = parameters(covered, created, signer.fingerprint, nonce)
    base = signature_base(method, url, fields_of(headers), made)
    if base is None:
        message = rfc9421.Message(method, url, headers)
        rfc9421.sign(message, signer.key, signer.fingerprint, created, nonce, covered)
        return
    headers["Signature-Input"] = f"{TAG}={made}"
    headers["Signature"] = f"{TAG}=:{base64.b64encode(signer.key.sign(base)).decode()}:"


def verify_request(
    method: str,
    url: str,
    headers: Mapping[str, str],
    node_id: bytes,
    trust: Trust,
    nonces: NonceStore,
    now: int,
) -> Certificate:
    """Return the certificate of who signed this request to the node `node_id`, and learn it if it came along.

    The body is the caller's to compare with `content_digest(headers)`. Raises Malformed, NotAuthorised (another node
    is addressed), ClockSkew (created more than REQUEST_SKEW from `now`), UnknownCertificate, CertificateRefused,
    SignatureRefused, Replayed.
    """
    fields = fields_of(headers)
    content_digest(headers)
    if fields.get("p2pmail-node") != node_id.hex():
        raise NotAuthorised("the request is addressed to another node")
    given = _given_certificate(fields)

    def signer_of(key_id: bytes, created: int) -> Certificate:
        time = created * params.SECOND
        if abs(time - now) > params.REQUEST_SKEW:
            raise ClockSkew(f"request was created {abs(time - now) // params.SECOND} s from now")
        certificate = _certificate(trust, key_id, given)
        trust.judge(certificate, time, now, direct=True)
        return certificate

    found = _verify_own(method, url, fields, signer_of)
    if found is None:
        found = rfc9421.verify(rfc9421.Message(method, url, fields), signer_of, components(fields))
    certificate = found.certificate
    # Only now, and bound to the signer: nobody else can use up a nonce
    used = hashlib.sha256(certificate.fingerprint + found.nonce).digest()
    if not nonces.add(used, found.created * params.SECOND + params.REQUEST_SKEW + params.SECOND):
        raise Replayed(f"request of {certificate.name} was seen before")
    return certificate


def content_digest(headers: Mapping[str, str]) -> bytes:
    """Return the SHA-256 that the body must have (RFC 9530). Raises Malformed."""
    match = _CONTENT_DIGEST.match(fields_of(headers).get("content-digest", ""))
    if not match:
        raise Malformed("Content-Digest is missing, or not a single sha-256")
    return base64.b64decode(match[1])


def _verify_own(method: str, url: str, fields: Mapping[str, str], signer_of: rfc9421.SignerOf) -> rfc9421.Found | None:
    """Return who signed a request of our own form; None where it is of another. Raises SignatureRefused."""
    own = read_own(fields)
    base = signature_base(method, url, fields, own.parameters) if own else None
    if own is None or base is None:
        return None
    certificate = signer_of(own.key_id, own.created)
    keys.verify(certificate.public_key, own.signature, base)
    return rfc9421.Found(certificate, own.created, own.nonce)


def _certificate(trust: Trust, fingerprint: bytes, given: bytes | None) -> Certificate:
    certificate = trust.get(fingerprint)
    if certificate is None and given is not None and hashlib.sha256(given).digest() == fingerprint:
        certificate = trust.add(given)
    if certificate is None:
        raise UnknownCertificate(f"certificate {fingerprint.hex()} is not known here")
    return certificate


class Fields(dict[str, str]):
    """All fields of a header by lower-case name, trimmed, several lines of one name joined (RFC 9110 §5.3)."""


def fields_of(headers: Mapping[str, str]) -> Fields:
    """Return the fields of `headers`, which may be Fields already."""
    if isinstance(headers, Fields):
        return headers
    fields = Fields()
    for name, value in headers.items():
        lower = name.lower()
        fields[lower] = f"{fields[lower]}, {value.strip()}" if lower in fields else value.strip()
    return fields


def _given_certificate(fields: Mapping[str, str]) -> bytes | None:
    text = fields.get("p2pmail-certificate")
    if text is None:
        return None
    match = _BYTE_SEQUENCE.match(text)
    if not match:
        raise Malformed(f"{CERTIFICATE_HEADER} is not a byte sequence")
    try:
        return base64.b64decode(match[1], validate=True)
    except ValueError as error:
        raise Malformed(f"{CERTIFICATE_HEADER}: {error}") from error
