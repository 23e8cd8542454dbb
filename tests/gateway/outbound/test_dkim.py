"""DKIM signatures, verified with dkimpy."""

from collections.abc import Callable

import dkim
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.outbound.dkim import DkimSigner
from p2pcore.crypto.dkim_keys import dkim_record, make_dkim_key, make_ed25519_dkim_key
from p2pcore.errors import Malformed

KEY = make_dkim_key()
ED25519_KEY = make_ed25519_dkim_key()
RECORDS = {
    b"s1._domainkey.example.org.": dkim_record(KEY).encode(),
    b"ed25519.s1._domainkey.example.org.": dkim_record(ED25519_KEY).encode(),
}
SIGNER = DkimSigner("example.org", {"s1": KEY, "ed25519.s1": ED25519_KEY})
HEADER = b"From: a@example.org\r\nTo: b@c.example\r\nSubject:  long\r\n  folded \r\nTo: again@c.example\r\n"
TIME = 1_790_000_000_000


def verifies(message: bytes) -> bool:
    """Whether both signatures verify; they stand or fall together."""
    asked = []

    def text(name: bytes, timeout: int = 5) -> bytes:
        asked.append(name)
        return RECORDS[name]

    verifier = dkim.DKIM(message)
    results = {_holds(verifier, index, text) for index in range(2)}
    assert asked in ([], list(RECORDS))
    assert len(results) == 1
    return results.pop()


def _holds(verifier: dkim.DKIM, index: int, text: Callable[..., bytes]) -> bool:
    try:
        return bool(verifier.verify(index, dnsfunc=text))
    except dkim.DKIMException:
        return False


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([b"\r\n", b"x", b".", b" ", b"\xc3\xbc\r\n", b"\r\n\r\n"]), max_size=12).map(b"".join))
def test_every_body_verifies(body: bytes) -> None:
    """Invariant: what is signed verifies, however the body ends."""
    content = HEADER + b"\r\n" + body
    assert verifies(SIGNER.sign(content, TIME) + content)


def test_a_changed_message_does_not_verify() -> None:
    """Body, signed fields and a second From are covered; a field that is not signed is not."""
    content = HEADER + b"\r\nbody\r\n"
    signed = SIGNER.sign(content, TIME) + content
    assert not verifies(signed.replace(b"body", b"Body"))
    assert not verifies(signed.replace(b"b@c.example", b"e@c.example"))
    assert not verifies(b"From: other@example.org\r\n" + signed)
    assert verifies(b"Received: from somewhere\r\n" + signed)


def test_a_repeated_message_has_the_same_signature() -> None:
    """The signature depends on content and time of acceptance only, so a retry is the same octets."""
    content = HEADER + b"\r\nbody\r\n"
    assert SIGNER.sign(content, TIME) == SIGNER.sign(content, TIME)


def test_a_header_longer_than_any_limit_of_ours_is_signed_whole() -> None:
    """Header and body are told apart by the empty line, not by size."""
    content = HEADER + b"".join(b"X-Long: %06d\r\n" % number for number in range(10_000)) + b"\r\nbody\r\n"
    assert verifies(SIGNER.sign(content, TIME) + content)


@pytest.mark.parametrize(
    ("written", "read"),
    [(b"Subject:", b"Subject :"), (b"To: again", b"To\t: again"), (b"From:", b"no field at all\r\nFrom:")],
)
def test_a_header_that_is_not_quite_one_is_signed(written: bytes, read: bytes) -> None:
    """RFC 6376 §3.4.2: white space before a colon does not count; a line that is no field is not signed, and no error:
    its sender was told 250."""
    content = HEADER + b"\r\nbody\r\n"
    assert SIGNER.sign(content.replace(written, read), TIME) == SIGNER.sign(content, TIME)


def test_what_cannot_be_signed_is_malformed() -> None:
    """A message without From, an empty selector and a key that is none are said to be so."""
    with pytest.raises(Malformed):
        SIGNER.sign(b"To: x@y.example\r\n\r\nbody\r\n", TIME)
    with pytest.raises(Malformed):
        DkimSigner("example.org", {"": KEY})
    with pytest.raises(Malformed):
        DkimSigner("example.org", {"s1": b"no key"})
