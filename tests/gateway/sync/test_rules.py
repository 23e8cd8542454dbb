"""What a signed notification may claim, and when two are the same message."""

import hashlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sync.rules import SIGNED, UNVERIFIED, check_trace, duplicate_key, keywords_for
from p2pcore.errors import NotAuthorised
from p2pcore.records import Notification, Verdicts
from tests.gateway.sync.support import Sending
from tests.support.record_values import values

DOMAIN = "example.org"
SENDING = Sending()
ALICE = SENDING.world.user("alice", "alice.smith")
OUTSIDE: dict[str, Any] = {"verdicts": Verdicts(client_address="192.0.2.9")}
OWN: dict[str, Any] = {"verdicts": Verdicts(), "reverse_path": "alice@example.org", "trace": b"Received: x\r\n"}


def judged_for_gateway(header: bytes | None, **changed: Any) -> frozenset[str]:
    return keywords_for(SENDING.notification(**{**OUTSIDE, **changed}), SENDING.gateway.certificate, header, DOMAIN)


def judged_for_user(header: bytes | None, **changed: Any) -> frozenset[str]:
    return keywords_for(SENDING.notification(signer=ALICE, **{**OWN, **changed}), ALICE.certificate, header, DOMAIN)


@pytest.mark.parametrize(
    ("header", "changed", "unverified"),
    [
        (b"From: bob@example.net\r\n", {}, False),
        (b"Subject: none\r\n", {}, False),
        (b"From: alice@example.org\r\n", {}, True),
        (b"From: Alice <ALICE@Example.ORG>\r\n", {}, True),
        (b"FROM : x\r\n <alice@example.org>\r\n", {}, True),
        (b"From: bob@example.net, alice@example.org\r\n", {}, True),
        (b"From: bob@example.net\r\nFrom: alice@example.org\r\n", {}, True),
        (b"X: y\rFrom: alice@example.org\r\n", {}, True),
        (b"X: y\nFrom: alice@example.org\r\n", {}, True),
        (b"From: anybody@example.org.example.net\r\n", {}, False),
        (None, {}, True),
        (b"From: " + b"bob@example.net," * 1_000 + b"\r\n", {}, True),
        (b"From: bob@example.net\r\n" * 1_000, {}, True),
        (b"From: alice@example.org\r\n", {"verdicts": Verdicts(authenticated="alice@example.org")}, False),
        (b"From: bob@example.org\r\n", {"verdicts": Verdicts(authenticated="alice@example.org")}, True),
        (b"From: MAILER-DAEMON@example.org\r\n", {"reverse_path": "", "verdicts": Verdicts()}, False),
        (b"From: MAILER-DAEMON@example.org\r\n", {"reverse_path": ""}, True),
        (b"From: MAILER-DAEMON@example.org\r\n", {"verdicts": Verdicts()}, True),
        (b"From: alice@example.org\r\n", {"reverse_path": "", "verdicts": Verdicts()}, True),
    ],
)
def test_mail_from_outside(header: bytes | None, changed: dict[str, Any], unverified: bool) -> None:
    """What claims to come from our own domain is marked, unless the gateway vouches for it or reports itself."""
    assert judged_for_gateway(header, **changed) == (frozenset({UNVERIFIED}) if unverified else frozenset())


@pytest.mark.parametrize(
    "header",
    [
        b"From: alice@example.org\r\n",
        b"From: A <Alice.Smith@EXAMPLE.org>\r\n",
        b"From: alice+x@example.org\r\nTo: b\r\n",
    ],
)
def test_signed_by_its_author(header: bytes) -> None:
    """A user who writes under her own addresses has signed."""
    assert judged_for_user(header) == {SIGNED}
    assert judged_for_user(header, reverse_path="") == {SIGNED}
    assert judged_for_user(header, reverse_path="alice.smith@example.org") == {SIGNED}


@pytest.mark.parametrize(
    ("header", "changed"),
    [
        (b"From: bob@example.org\r\n", {}),
        (b"From: bank@example.com\r\n", {}),
        (b"From: alice@example.org, bob@example.org\r\n", {}),
        (b"From: alice@example.org\r\nFrom: bob@example.org\r\n", {}),
        (b"From: alice@example.org\r\nX: y\rFrom: bob@example.org\r\n", {}),
        (b"From: bank.com\r\n", {}),
        (b"From: alice@example.org\r\n", {"reverse_path": "bob@example.org"}),
        (b"From: alice@example.org\r\n", {"verdicts": Verdicts(spf="pass")}),
        (b"From: alice@example.org\r\n", {"trace": b"Authentication-Results: x; spf=pass\r\n"}),
        (None, {}),
        (b"From: " + b"alice@example.org," * 1_000 + b"\r\n", {}),
    ],
)
def test_user_may_not(header: bytes | None, changed: dict[str, Any]) -> None:
    """A user signs for no other address, no verdict, and no From that cannot be found."""
    with pytest.raises(NotAuthorised):
        judged_for_user(header, **changed)


@pytest.mark.parametrize("header", [b"Subject: x\r\n", b"From:\r\n", b"From: alice@example.org\r\n" * 2])
def test_user_without_one_author(header: bytes) -> None:
    """Nobody has signed for what readers may show as anybody's."""
    assert judged_for_user(header) == {UNVERIFIED}


@pytest.mark.parametrize(
    ("trace", "good"),
    [
        (b"", True),
        (b"Return-Path: <>\r\nReceived: a\r\n\tb\r\n c\r\nAuthentication-Results: d\r\n", True),
        (b"RECEIVED: a\r\n", True),
        (b"From: a@b\r\n", False),
        (b"Received: a", False),
        (b"Received: a\n", False),
        (b"Received: a\r\n\r\n", False),
        (b"Received: a\r\n\r\nFrom: a@b\r\n", False),
        (b"Received: a\rFrom: b\r\n", False),
        (b"Received: a\x00\r\n", False),
        (b" Received: a\r\n", False),
        (b"Received : a\r\n", False),
    ],
)
def test_trace(trace: bytes, good: bool) -> None:
    """Only complete fields of the fixed list may be put before a message."""
    if good:
        check_trace(trace)
    else:
        with pytest.raises(NotAuthorised):
            check_trace(trace)


def same(*, header: bytes | None = b"Message-ID: <1@x>\r\n", content: bytes = b"c", **changed: Any) -> bytes | None:
    notification = SENDING.notification(**{**OUTSIDE, **changed})
    return duplicate_key(notification, SENDING.gateway.certificate, header, hashlib.sha256(content).digest())


def test_duplicates() -> None:
    """The same octets in the same envelope with the same verdicts are the same message, wherever they came in."""
    first = same()
    assert first is not None
    assert same(received=1, trace=b"", delete_secret=bytes([1]) * 32) == first
    assert same(verdicts=Verdicts(client_address="192.0.2.77", gateway="mx2", tls="x", helo="y")) == first
    others = [
        same(content=b"d"),
        same(reverse_path=""),
        same(forward_path="Alice@example.org"),
        same(verdicts=Verdicts(spf="pass")),
        same(verdicts=Verdicts(disposition="quarantine")),
    ]
    assert len({first, *others}) == 1 + len(others)


def test_never_collapsed() -> None:
    """Without a Message-ID that can be seen, or from a user, nothing is taken for a repetition."""
    for header in (b"", b"Message-ID:\r\n", b"X-Message-ID: <1@x>\r\n", None):
        assert same(header=header) is None
    notification = SENDING.notification(signer=ALICE, **OWN)
    assert duplicate_key(notification, ALICE.certificate, b"Message-ID: <1@x>\r\n", bytes(32)) is None


@given(values(Notification), st.binary() | st.none(), st.booleans())
@settings(deadline=None)
def test_anything(notification: Notification, header: bytes | None, by_user: bool) -> None:
    """Whatever was signed, it deserves known keywords or is refused; a user's never passes for another's."""
    signer = ALICE if by_user else SENDING.gateway
    duplicate_key(notification, signer.certificate, header, bytes(32))
    try:
        keywords = keywords_for(notification, signer.certificate, header, DOMAIN)
    except NotAuthorised:
        return
    assert keywords in ({SIGNED}, {UNVERIFIED}) if by_user else keywords in (set(), {UNVERIFIED})


@given(
    st.lists(
        st.sampled_from(
            [b"From", b"from ", b"X", b":", b" a@example.org", b" bob@x.y", b"\r\n", b"\r", b"\n", b"<", b">"]
        )
    )
)
@settings(deadline=None)
def test_no_foreign_author_is_signed_for(pieces: list[bytes]) -> None:
    """Where mail is shown as signed by alice, its header has no address but hers in any From."""
    header = b"".join(pieces) + b"\r\nFrom: alice@example.org\r\n"
    try:
        keywords = judged_for_user(header)
    except NotAuthorised:
        return
    froms = [
        line
        for line in header.replace(b"\r", b"\n").split(b"\n")
        if line.lower().replace(b" ", b"").startswith(b"from:")
    ]
    assert keywords == {UNVERIFIED} or len(froms) == 1


def test_a_quoted_local_part_is_hers() -> None:
    """From is compared with the certificate after its quoting has been put back."""
    quoted = SENDING.world.user('"a b"')
    changed = OWN | {"reverse_path": '"a b"@example.org'}
    notification = SENDING.notification(signer=quoted, **changed)
    header = b'From: Ann <"a b"@example.org>\r\n'
    assert keywords_for(notification, quoted.certificate, header, DOMAIN) == {SIGNED}
