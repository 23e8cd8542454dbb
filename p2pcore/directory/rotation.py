"""New keys for a user who has a certificate: request from her agent, answer of the directory (docs/formats.md §10).

agent:     new_keys          →  Identity    fresh private keys, saved before anything is sent; old HPKE keys behind
agent:     make_key_request  →  KeyRequest  new public keys, signed by the key in use and by the new one
directory: accept_keys       →  JoinAnswer  her certificate for the new keys is listed and published
agent:     with_certificate  →  Identity    with that certificate, which is checked
"""

from typing import Final

import msgspec

from p2pcore.crypto.keys import HpkeKey, SigningKey, verify
from p2pcore.crypto.trust import Trust
from p2pcore.directory.directory import Directory
from p2pcore.directory.errors import InvitationRefused
from p2pcore.errors import CertificateRefused
from p2pcore.records import Identity, JoinAnswer, KeyRequest, encode

_CONTEXT: Final = b"p2pmail keys 1\x00"


def new_keys(held: Identity) -> Identity:
    """Return fresh keys for the holder of `held`, without certificate; what was sealed to the old ones opens still."""
    return msgspec.structs.replace(
        held,
        signing_key=SigningKey.generate().private_bytes,
        hpke_keys=(HpkeKey.generate().private_bytes, *held.hpke_keys),
        certificate=b"",
    )


def make_key_request(held: Identity, fresh: Identity) -> KeyRequest:
    """Return the request of the agent that holds both; the same arguments make the same octets."""
    old, new = SigningKey.from_bytes(held.signing_key), SigningKey.from_bytes(fresh.signing_key)
    request = KeyRequest(
        domain=held.domain,
        name=held.name,
        signing_key=new.public_bytes,
        hpke_key=HpkeKey.from_bytes(fresh.hpke_keys[0]).public_bytes,
        held=b"",
        signature=b"",
    )
    signed = _signed(request)
    return msgspec.structs.replace(request, held=old.sign(signed), signature=new.sign(signed))


def accept_keys(directory: Directory, request: KeyRequest) -> JoinAnswer:
    """List the new keys and return the answer; all of it is in the book on return, or nothing.

    The same request again gets the same certificate again. Raises InvitationRefused (another domain, or not signed by
    the key that she has), SignatureRefused, and what Directory.rotate_user does.
    """
    if request.domain != directory.domain:
        raise InvitationRefused(f"the request is for {request.domain}, this is {directory.domain}")
    signed = _signed(request)
    verify(request.signing_key, request.signature, signed)
    with directory.book.transaction():
        listed = directory.user_certificate(request.name)
        if (listed.public_key, listed.hpke_key) != (request.signing_key, request.hpke_key):
            verify(listed.public_key, request.held, signed)
        certificate = directory.rotate_user(request.name, request.signing_key, request.hpke_key)
        record = encode(directory.current_record())
    return JoinAnswer(certificate, record, directory.signer.certificate.der)


def with_certificate(fresh: Identity, der: bytes) -> Identity:
    """Return `fresh` with the certificate in `der`; the caller saves it.

    Raises CertificateRefused: not of the authority that `fresh` names, or for other keys or another holder.
    """
    certificate = Trust(fresh.authority, fresh.domain).add(der)
    keys = (SigningKey.from_bytes(fresh.signing_key).public_bytes, HpkeKey.from_bytes(fresh.hpke_keys[0]).public_bytes)
    if (certificate.public_key, certificate.hpke_key) != keys:
        raise CertificateRefused(f"the certificate is not for the keys that wait here for {fresh.name}")
    if certificate.primary_address != fresh.name:
        raise CertificateRefused(f"the certificate is of {certificate.primary_address}, not of {fresh.name}")
    return msgspec.structs.replace(fresh, certificate=der)


def _signed(request: KeyRequest) -> bytes:
    return _CONTEXT + encode(msgspec.structs.replace(request, held=b"", signature=b""))
