"""names: canonical addresses and keys, frozen by tests/vectors/names.json."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcore import names, params
from p2pcore.errors import Malformed

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "names.json").read_text())


@pytest.mark.parametrize("vector", VECTORS["addresses"], ids=lambda vector: ascii(vector["address"]))
def test_address_vectors(vector: dict[str, str]) -> None:
    """Everybody's inbox key is SHA-256 of the canonical form, which never changes."""
    canonical = names.canonical_address(vector["address"])
    assert canonical == vector["canonical"]
    assert names.inbox_key(canonical).hex() == vector["inbox_key"]
    assert names.key_of(names.certificate_identifier(canonical)).hex() == vector["certificate_key"]


@pytest.mark.parametrize("vector", VECTORS["domains"], ids=lambda vector: ascii(vector["domain"]))
def test_domain_vectors(vector: dict[str, str]) -> None:
    """A domain's record stands under SHA-256("p2pmail-domain:" + A-labels)."""
    canonical = names.canonical_domain(vector["domain"])
    assert canonical == vector["canonical"]
    assert names.key_of(names.domain_identifier(canonical)).hex() == vector["record_key"]


@pytest.mark.parametrize("address", VECTORS["malformed"], ids=ascii)
def test_malformed_vectors(address: str) -> None:
    """What is no address of RFC 5321 and RFC 6531 has no canonical form."""
    with pytest.raises(Malformed):
        names.canonical_address(address)


def test_keys_are_sha256() -> None:
    """A key is the SHA-256 of its identifier's UTF-8 octets (Table 1)."""
    assert names.inbox_key("bob@example.org") == hashlib.sha256(b"bob@example.org").digest()


def test_surrogates_are_malformed() -> None:
    """Octets that were no UTF-8 are refused as an address, not as an encoding error."""
    with pytest.raises(Malformed):
        names.canonical_address("b\udcffb@example.org")


def test_root_dot_is_dropped() -> None:
    """A trailing full stop, of whatever script, does not make another domain."""
    assert names.canonical_domain("example.org.") == "example.org"
    assert names.canonical_domain("example.org。") == "example.org"


def test_lengths() -> None:
    """A local part has at most 64 octets, an address 254, before folding and after."""
    longest = "x" * params.MAX_LOCAL_PART
    assert names.canonical_address(f"{longest}@example.org") == f"{longest}@example.org"
    for address in (f"{longest}x@example.org", "İ" * 22 + "@example.org", "b@" + "x." * 127 + "org"):
        with pytest.raises(Malformed):
            names.canonical_address(address)


local_parts = st.one_of(
    st.text(max_size=40),
    st.text(alphabet='aB+."\\ @;ßİǅ\u0345\u0301\u037eΐ', max_size=12).map(lambda text: f'"{text}"'),
    st.from_regex(r"[A-Za-z+=.]{1,20}", fullmatch=True),
)
domains = st.one_of(
    st.text(max_size=20), st.sampled_from(["example.org", "Münch.example", "xn--mnch-0ra.example", "a。"])
)


@given(local_parts, domains)
def test_canonical_address_is_idempotent(local: str, domain: str) -> None:
    """Invariant: canonical_address raises Malformed or returns a fixed point of itself, whatever the text."""
    try:
        canonical = names.canonical_address(f"{local}@{domain}")
    except Malformed:
        return
    assert names.canonical_address(canonical) == canonical


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_malformed(text: str) -> None:
    """Invariant: no text makes canonical_address or canonical_domain raise anything but Malformed."""
    for function in (names.canonical_address, names.canonical_domain):
        try:
            assert function(text)
        except Malformed:
            continue


@given(st.from_regex(r"[a-z]{1,10}", fullmatch=True), st.from_regex(r"[a-z+.\-]{0,10}", fullmatch=True))
def test_tag_and_case_do_not_matter(user: str, tag: str) -> None:
    """Invariant: user+tag@domain, in any case, is user@domain."""
    try:
        tagged = names.canonical_address(f"{user.upper()}+{tag}@EXAMPLE.org")
    except Malformed:
        return
    assert tagged == f"{user}@example.org"


def test_a_domain_of_any_length_is_not_remembered() -> None:
    """What is longer than any address is refused before it is looked at."""
    assert names.canonical_domain("example.org" + "\u00ad" * 100) == "example.org"
    with pytest.raises(Malformed):
        names.canonical_domain("example.org" + "\u00ad" * 1_000)
