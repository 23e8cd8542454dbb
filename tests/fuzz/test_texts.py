"""Readers of short texts that have no test of their own kind beside them."""

import contextlib
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from gateway.imap.dates import parse_date
from gateway.imap.errors import Bad, No
from gateway.imap.flags import parse_flags
from gateway.imap.mailbox_names import decode_utf8_name
from gateway.imap.sequence_sets import SequenceSet
from gateway.mail.address import parse_mailbox, parse_path
from gateway.mailbox import names
from gateway.mailbox.errors import MailboxError
from gateway.mailbox.params import MAX_NAME
from p2pcore.errors import Malformed

# int() refuses more than 4,300 digits with a ValueError: whoever reads numbers has to bound them first
DIGITS: Final = st.integers(1, 6_000).map(lambda count: "9" * count)


@given(st.text(max_size=20) | st.from_regex(r"[0-9]{1,2}-[A-Za-z]{3}-[0-9]{4}", fullmatch=True) | DIGITS)
def test_dates(text: str) -> None:
    """Invariant: a text is Bad, or a date whose day, month and year are those that are written."""
    try:
        found = parse_date(text)
    except Bad:
        return
    assert f"{found.day}-{found:%b}-{found.year:04}".casefold() == text.lstrip("0").casefold()


@given(st.lists(st.sampled_from(["\\Seen", "\\SEEN", "\\Recent", "\\*", "\\", "x"]) | st.text(max_size=5), max_size=5))
def test_flags(texts: list[str]) -> None:
    """Invariant: flags are Bad, or keywords as they are and system flags in one spelling."""
    try:
        found = parse_flags(texts)
    except Bad:
        return
    assert {flag.upper() for flag in found} == {text.upper() for text in texts}
    assert len({flag for flag in found if flag.startswith("\\")}) == len(
        {t.upper() for t in texts if t.startswith("\\")}
    )


@given(st.text(alphabet="0123456789*:,", max_size=30) | st.text(max_size=10) | DIGITS, st.lists(st.integers(1, 60)))
def test_sequence_sets(text: str, uids: list[int]) -> None:
    """Invariant: a text is Bad, or a set that selects some of what there is, each once and in order."""
    there = sorted(set(uids))
    try:
        selected = SequenceSet.parse(text).select(there)
    except Bad:
        return
    assert list(selected) == sorted(set(selected) & set(there))


@given(st.text(max_size=30) | st.builds("{}@{}".format, st.text(max_size=12), st.text(max_size=12)))
def test_mailboxes(text: str) -> None:
    """Invariant: what is read as a mailbox is written as it was read, and is the path that holds it; or Malformed."""
    try:
        mailbox = parse_mailbox(text)
    except Malformed:
        return
    assert str(mailbox) == text
    assert parse_path(f"<{text}>") == (mailbox, "")


@given(st.text(max_size=40))
def test_mailbox_names(text: str) -> None:
    """Invariant: a name is refused, or has one spelling within the limit that is its own."""
    with contextlib.suppress(MailboxError):
        name = names.canonical(text)
        assert names.canonical(name) == name
        assert 0 < len(name.encode()) <= MAX_NAME


@given(st.binary(max_size=20) | st.sampled_from([b"inbox", b"INBOX/x"]))
def test_utf8_names(raw: bytes) -> None:
    """Invariant: octets are No, or the text that they are in UTF-8, but for INBOX, which has one spelling."""
    with contextlib.suppress(No):
        name = decode_utf8_name(raw)
        assert name.encode() == (b"INBOX" if raw.upper() == b"INBOX" else raw)
