"""A body's hash does not depend on how it arrives, and is what dkimpy makes of the whole."""

import hashlib

import pytest
from dkim.canonicalization import CanonicalizationPolicy
from hypothesis import given
from hypothesis import strategies as st

from gateway.mail.dkim_header import Canonicalisation
from gateway.smtp.body_hashes import BodyHashes, BodyRule

PARTS = st.lists(st.sampled_from([b"\r\n", b" ", b"\t", b"a", b".", b"\xff", b"\r\n\r\n", b"  \t", b" \r\n"]))


def canonical(body: bytes, form: str) -> bytes:
    """The whole body as dkimpy canonicalises it."""
    return bytes(CanonicalizationPolicy.from_c_value(b"simple/" + form.encode()).canonicalize_body(body))


@given(PARTS, st.sets(st.integers(0, 40)), st.integers(0, 30))
def test_blocks_hash_like_the_whole(parts: list[bytes], cuts: set[int], length: int) -> None:
    """Invariant: however a body of CRLF lines is cut (not inside a CRLF), its hashes are those of dkimpy's form."""
    if parts and not parts[-1].endswith(b"\n"):
        parts = [*parts, b"\r\n"]
    rules = [BodyRule(form, limit) for form in ("simple", "relaxed") for limit in (None, length)]
    hashes, block = BodyHashes(rules), b""
    for number, part in enumerate(parts):
        if number in cuts:
            hashes.update(block)
            block = b""
        block += part
    hashes.update(block)
    hashes.finish()
    for rule in rules:
        whole = canonical(b"".join(parts), rule.canonicalisation)
        assert hashes.digest(rule) == hashlib.sha256(whole[: rule.length]).digest()
        assert hashes.size(rule) == len(whole)


@pytest.mark.parametrize(
    ("body", "form", "whole"),
    [
        (b"", "simple", b"\r\n"),
        (b"", "relaxed", b""),
        (b"a", "simple", b"a\r\n"),
        (b"a", "relaxed", b"a\r\n"),
        (b"a \t", "relaxed", b"a\r\n"),
        (b" \t", "relaxed", b""),
        (b" \r\n\t\r\n", "relaxed", b""),
        (b"\r\n\r\n", "simple", b"\r\n"),
    ],
)
def test_ends(body: bytes, form: Canonicalisation, whole: bytes) -> None:
    """RFC 6376 §3.4.3 and §3.4.4: empty bodies, and last lines without CRLF, as chunks can have them."""
    rule = BodyRule(form)
    hashes = BodyHashes([rule])
    hashes.update(body)
    hashes.finish()
    assert hashes.digest(rule) == hashlib.sha256(whole).digest()


def test_empty_lines_are_counted_and_not_kept() -> None:
    """Many of them in the middle of a body are hashed once something follows, and only then."""
    rule = BodyRule("simple")
    hashes = BodyHashes([rule])
    hashes.update(b"a\r\n")
    for _ in range(100):
        hashes.update(b"\r\n" * 1_000)
    hashes.update(b"end\r\n" + b"\r\n" * 1_000)
    hashes.finish()
    whole = b"a\r\n" + b"\r\n" * 100_000 + b"end\r\n"
    assert hashes.size(rule) == len(whole)
    assert hashes.digest(rule) == hashlib.sha256(whole).digest()
