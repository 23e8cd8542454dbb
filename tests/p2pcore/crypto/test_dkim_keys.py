"""Keys for DKIM and the record that publishes them."""

import base64
from collections.abc import Callable

import dkim
import pytest

from p2pcore.crypto.dkim_keys import DkimPrivate, DkimPublic, dkim_record, make_dkim_key, make_ed25519_dkim_key
from p2pcore.crypto.tls import make_server_certificate
from p2pcore.errors import Malformed


def test_the_record_carries_the_key_that_verifies() -> None:
    """A signature made with the key verifies under its record, which names RSA and DKIM1."""
    key = make_dkim_key()
    record = dkim_record(key)
    message = b"From: a@example.org\r\n\r\nbody\r\n"
    signature = dkim.sign(message, b"s1", b"example.org", key)
    assert record.startswith("v=DKIM1; k=rsa; p=")
    assert dkim.verify(signature + message, dnsfunc=lambda name, timeout=5: record.encode())


def test_an_ed25519_record_holds_the_bare_key() -> None:
    """RFC 8463 §4.2: the 32 octets of the public key, without ASN.1 around them."""
    record = dkim_record(make_ed25519_dkim_key())
    before, _, key = record.partition("p=")
    assert before == "v=DKIM1; k=ed25519; "
    assert len(base64.b64decode(key)) == 32


@pytest.mark.parametrize(("make", "kind"), [(make_dkim_key, "rsa"), (make_ed25519_dkim_key, "ed25519")])
def test_what_is_signed_verifies(make: Callable[[], bytes], kind: str) -> None:
    """Under the record's key, and nothing else does."""
    pem = make()
    private = DkimPrivate.read(pem)
    public = DkimPublic.read(kind, base64.b64decode(dkim_record(pem).partition("p=")[2]))
    assert private.key_type == public.key_type == kind
    signature = private.sign(b"octets")
    assert public.has_signed(b"octets", signature)
    assert not public.has_signed(b"Octets", signature)
    assert not public.has_signed(b"octets", signature[:-1])


@pytest.mark.parametrize("kind", ["rsa", "ed25519", "unknown"])
def test_rubbish_is_not_a_strangers_key(kind: str) -> None:
    """Whatever DNS holds."""
    for octets in (b"", b"x" * 31, b"\x30\x00", make_server_certificate(["mx.example.org"])[0], b"x" * 100_000):
        with pytest.raises(Malformed):
            DkimPublic.read(kind, octets)


def test_something_else_is_not_a_key() -> None:
    """What is no key in PEM, or one of another kind, is Malformed."""
    with pytest.raises(Malformed):
        dkim_record(make_server_certificate(["mx.example.org"])[1])
    with pytest.raises(Malformed):
        dkim_record(b"-----BEGIN NOTHING-----")
