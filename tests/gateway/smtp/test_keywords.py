"""SMTP's own words are ASCII in any case, and nothing else is one of them."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.smtp.keywords import keyword


@given(st.text(st.sampled_from("aB1-ſıẞéﬀ"), max_size=8))
def test_only_ascii_becomes_ascii(text: str) -> None:
    """Invariant: what is ASCII afterwards was ASCII before, and its case alone is another."""
    word = keyword(text)
    assert word.isascii() == text.isascii()
    assert word.lower() == text.lower()


def test_any_case() -> None:
    """RFC 5321 §2.4."""
    assert {keyword(word) for word in ("8bitmime", "8BitMime", "8BITMIME")} == {"8BITMIME"}
