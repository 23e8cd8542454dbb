"""Paths and mailboxes are read as RFC 5321 §4.1.2 writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mail.address import Mailbox, is_helo_name, parse_mailbox, parse_path
from p2pcore.errors import Malformed


@given(st.text(max_size=60))
def test_any_text_is_a_path_or_malformed(text: str) -> None:
    """Invariant: what parses is a prefix of the text that parses to the same again; nothing else escapes."""
    try:
        mailbox, rest = parse_path(f"<{text}")
    except Malformed:
        return
    assert f"<{text}".endswith(rest)
    if mailbox is not None:
        assert parse_path(f"<{mailbox}>") == (mailbox, "")
        assert parse_mailbox(str(mailbox)) == mailbox
        assert not any(ord(character) < 32 or ord(character) == 127 for character in str(mailbox))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<>", (None, "")),
        ("<> SIZE=1", (None, " SIZE=1")),
        ("<a@b>", (Mailbox("a", "b"), "")),
        ("<first.last@sub.example.org> X", (Mailbox("first.last", "sub.example.org"), " X")),
        ('<"a b"@example.org>', (Mailbox('"a b"', "example.org"), "")),
        ('<"a@b>c"@example.org>', (Mailbox('"a@b>c"', "example.org"), "")),
        ('<"a\\"b"@example.org>', (Mailbox('"a\\"b"', "example.org"), "")),
        ("<@x.example,@y.example:a@b.example>", (Mailbox("a", "b.example"), "")),
        ("<a@[192.0.2.1]>", (Mailbox("a", "[192.0.2.1]"), "")),
        ("<a@[IPv6:2001:db8::1]>", (Mailbox("a", "[IPv6:2001:db8::1]"), "")),
        ("<grüße@exämple.org>", (Mailbox("grüße", "exämple.org"), "")),
        ("<!#$%&'*+/=?^_`{|}~-@example.org>", (Mailbox("!#$%&'*+/=?^_`{|}~-", "example.org"), "")),
        ("<.user..name.@example.org>", (Mailbox(".user..name.", "example.org"), "")),  # wrong, and some people's
        (f"<{'a' * 242}@example.org>", (Mailbox("a" * 242, "example.org"), "")),
    ],
)
def test_paths(text: str, expected: tuple[Mailbox | None, str]) -> None:
    """These are paths."""
    assert parse_path(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "a@b", "<a@b", "<a>", "<@b>", "<a@>", "<a b@c>", "<a@b c>", "<a@-b>", "<a@b->",
        '<"a"b@c>', '<"a@c>', "<a@b@c>", "<a@[1.2.3.4>", "<a\x00b@c>", "<\x85@c>", '<"a\x7f"@c>', "< a@b>", "<a@b >",
        f"<{'a' * 253}@b>", f"<a@{'b.' * 130}c>", "<@route a@b>", "<a@b\u2028>",
    ],
)  # fmt: skip
def test_not_paths(text: str) -> None:
    """These are not."""
    with pytest.raises(Malformed):
        parse_path(text)


@pytest.mark.parametrize(
    "text",
    [
        "SRS0=3Ypr=QM=news.example=bounce+b.25211.6039846.eb7e7e8ba282f9d0.1f2e3d@forwarder.example",
        "bounces+1234567-89ab-firstname.lastname=department.company.example@em1234.sender.example",
        "someuser+caf_=website_0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0=list.example.org@mail.example",
        "reply+000a1b2c3d4e5f60718293a4b5c6d7e8f9000a1b2c3d4e5f6071829304a5b6c7d8e9f0a1b2@reply.example",
    ],
)
def test_local_parts_of_programs(text: str) -> None:
    """What programs write (SRS, VERP, forwarders, reply tokens) is longer than 64 octets, and mail all the same."""
    assert len(text.partition("@")[0]) > 64
    assert str(parse_mailbox(text)) == text
    assert str(parse_path(f"<{text}>")[0]) == text


@pytest.mark.parametrize("name", ["localhost", "mx.example.org", "[192.0.2.1]", "[IPv6:::1]", "odd_name.example"])
def test_helo_names(name: str) -> None:
    """Domains, address literals, and underscores, which occur."""
    assert is_helo_name(name)


@pytest.mark.parametrize("name", ["", "a b", "a(b)", "a\tb", "ä.example", "a;b", "<a>", "x" * 300, "-", ".", "-.-"])
def test_not_helo_names(name: str) -> None:
    """Anything that could mean something else in a trace field is none."""
    assert not is_helo_name(name)
