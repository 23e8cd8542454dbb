"""Tag-lists, signatures and key records: what strangers write is read, or said to be wrong."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mail.dkim_header import SignedHeader, signature_fields
from gateway.smtp.dkim_tags import Key, SignatureField, parse_key, parse_signature, parse_tags
from p2pcore.errors import Malformed

RSA = b"v=1; a=rsa-sha256; d=Example.NET; s=S1; h=From : to; bh=eA==; b=eA =="
PIECES = st.sampled_from(
    b"v a b bh d h i l p k t x = ; : 1 eA== rsa rsa-sha256 relaxed/simple from example.net \xc3\xbc \xff \0".split(b" ")
) | st.sampled_from([b" ", b"\t", b"\r\n "])
OCTETS = st.one_of(st.binary(max_size=200), st.lists(PIECES, max_size=40).map(b"".join))


@pytest.mark.parametrize(
    ("octets", "tags"),
    [
        (b"", {}),
        (b"a=1", {b"a": b"1"}),
        (b" a = 1 ;\r\n\tb=x = y; ", {b"a": b"1", b"b": b"x = y"}),
        (b"a=;b_2=", {b"a": b"", b"b_2": b""}),
    ],
)
def test_lists_of_tags(octets: bytes, tags: dict[bytes, bytes]) -> None:
    """RFC 6376 §3.2: white space around names and values does not count, and the last semicolon may stand."""
    assert parse_tags(octets) == tags


@pytest.mark.parametrize("octets", [b"a", b"=1", b";", b"a=1;;b=2", b"1a=1", b"a=1; a=1", b"a b=1", b"\xe4=1"])
def test_no_lists_of_tags(octets: bytes) -> None:
    """A tag has a name and "=", and stands once."""
    with pytest.raises(Malformed):
        parse_tags(octets)


def test_a_signature() -> None:
    """Names and domains without their case, folding undone."""
    field = parse_signature(b"DKIM-Signature: " + RSA)
    assert (field.defect, field.domain, field.selector, field.identity) == ("", "example.net", "s1", "example.net")
    assert (field.names, field.body_hash, field.signature) == ((b"from", b"to"), b"x", b"x")
    assert field.key_name == "s1._domainkey.example.net"


def test_a_signature_of_an_internationalised_domain() -> None:
    """RFC 8616 §5: DNS is asked for the A-label."""
    field = parse_signature(b"DKIM-Signature: " + RSA.replace(b"Example.NET", "bücher.example".encode()))
    assert field.key_name == "s1._domainkey.xn--bcher-kva.example"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"v=1", b"v=2"),
        (b"rsa-sha256", b"rsa-sha1"),
        (b"d=Example.NET", b"d="),
        (b"d=Example.NET", b"d=a b"),
        (b"s=S1", b"s=a..b"),
        (b"s=S1", b"s=" + b"a" * 300),
        (b"From : to", b"to"),
        (b"bh=eA==", b"bh=e"),
        (b"b=eA ==", b"b="),
        (b"v=1;", b"v=1; c=relaxed/other;"),
        (b"v=1;", b"v=1; l=x;"),
        (b"v=1;", b"v=1; l=-1;"),
        (b"v=1;", b"v=1; t=2; x=2;"),
        (b"v=1;", b"v=1; q=other;"),
        (b"v=1;", b"v=1; i=@other.example;"),
        (b"v=1;", b"v=1; z=" + b"x" * 20_000 + b";"),
    ],
)
def test_a_signature_that_proves_nothing(old: bytes, new: bytes) -> None:
    """It says why (§6.1.1)."""
    assert old in RSA
    assert parse_signature(b"DKIM-Signature: " + RSA.replace(old, new)).defect


@given(OCTETS)
def test_any_list_of_tags(octets: bytes) -> None:
    """Read or Malformed, and what is read is a list of tags still when written again."""
    with suppress(Malformed):
        tags = parse_tags(octets)
        assert parse_tags(b";".join(b"%b=%b" % tag for tag in tags.items())) == tags


@given(OCTETS)
def test_any_signature(octets: bytes) -> None:
    """Nothing is raised."""
    assert isinstance(parse_signature(b"DKIM-Signature:" + octets), SignatureField)


@given(OCTETS)
def test_any_record(octets: bytes) -> None:
    """A key, or Malformed."""
    with suppress(Malformed):
        assert isinstance(parse_key(octets), Key)


_FIELDS = st.sampled_from([b"From: a@b.example", b"DKIM-Signature: v=1", b"dkim-signature : x", b"Subject:"])
_OTHERS = st.sampled_from([b" folded", b"\tDKIM-Signature: no", b"garbage", b">From x", b": x", b"", b"DKIM-Signature"])


@given(st.lists(_FIELDS | _OTHERS, max_size=12).map(lambda lines: b"".join(line + b"\r\n" for line in lines)))
def test_both_ways_of_finding_signatures_agree(header: bytes) -> None:
    """The fields that are judged are those that the header has, in its order."""
    found = signature_fields(header, 100)
    assert len(found) == SignedHeader(header).names.count(b"dkim-signature")
    assert all(field.lower().startswith(b"dkim-signature") for field in found)
