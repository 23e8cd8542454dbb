"""STORE: what changes, what is told, and what CONDSTORE leaves alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mailbox.errors import TooLarge
from gateway.mailbox.flags import canonical, combined
from gateway.mailbox.model import FlagMode, NewMessage
from gateway.mailbox.store import MailStore


@pytest.mark.parametrize(
    ("mode", "given_flags", "after"),
    [
        ("replace", {"\\seen"}, {"\\Seen"}),
        ("replace", set(), set()),
        ("add", {"\\FLAGGED", "work"}, {"\\Flagged", "\\Deleted", "Work"}),
        ("remove", {"\\deleted", "WORK", "other"}, set()),
    ],
)
async def test_modes(store: MailStore, mode: FlagMode, given_flags: set[str], after: set[str]) -> None:
    """Replace, add, remove; without regard to case, a keyword keeping its first spelling (RFC 9051 §6.4.6)."""
    await store.append("INBOX", b"x", ["\\Deleted", "Work"], 0, 0)
    result = await store.store_flags(1, [1, 5], mode, given_flags)
    (row,) = result.changed
    assert row.flags == after
    assert (await store.snapshot("INBOX")).messages == (row,)


async def test_no_difference_no_modseq(store: MailStore) -> None:
    """A message whose flags were so already is answered, with its old modseq."""
    await store.append_many("INBOX", [NewMessage(b"x", frozenset(flags), 0, 0) for flags in ([], ["\\Seen"])])
    before = (await store.mailbox("INBOX")).highest_modseq
    result = await store.store_flags(1, [1, 2], "add", ["\\Seen"])
    assert [(row.uid, row.modseq) for row in result.changed] == [(1, before + 1), (2, before)]
    assert (await store.store_flags(1, [1, 2], "add", ["\\Seen"])).changed == result.changed
    assert (await store.mailbox("INBOX")).highest_modseq == before + 1


async def test_unchanged_since(store: MailStore) -> None:
    """UNCHANGEDSINCE leaves newer messages alone and names them (RFC 7162 §3.1.3)."""
    await store.append_many("INBOX", [NewMessage(b"x", frozenset(), 0, 0)] * 2)
    modseq = (await store.mailbox("INBOX")).highest_modseq
    await store.store_flags(1, [2], "add", ["theirs"])
    result = await store.store_flags(1, [1, 2], "add", ["mine"], unchanged_since=modseq)
    assert [row.uid for row in result.changed] == [1]
    assert result.modified == (2,)
    assert (await store.snapshot("INBOX")).messages[1].flags == {"theirs"}


async def test_limits(store: MailStore) -> None:
    """Too many or too long keywords are LIMIT, also where they only become too many together."""
    await store.append("INBOX", b"x", [f"a{n}" for n in range(100)], 0, 0)
    for mode, flags in [
        ("replace", [f"b{n}" for n in range(129)]),
        ("add", [f"b{n}" for n in range(29)]),
        ("add", ["x" * 256]),
    ]:
        with pytest.raises(TooLarge) as refusal:
            await store.store_flags(1, [1], mode, flags)  # type: ignore[arg-type]
        assert refusal.value.code == "LIMIT"


@pytest.mark.parametrize("flag", ["", "a b", "a\x00", "\u00fc"])
def test_what_is_no_flag(flag: str) -> None:
    """The parser lets none of these through; the store does not take them either."""
    with pytest.raises(ValueError, match="flag"):
        canonical(frozenset({flag}))


_FLAGS = st.frozensets(st.sampled_from(["\\Seen", "\\seen", "a", "A", "b", "\\Recent"])).map(canonical)


@given(_FLAGS, _FLAGS)
def test_combined(old: frozenset[str], new: frozenset[str]) -> None:
    """As sets without case: replace gives the new ones, add the union, remove the difference."""

    def plain(flags: frozenset[str]) -> set[str]:
        return {flag.casefold() for flag in flags}

    assert plain(combined(old, "replace", new)) == plain(new)
    assert plain(combined(old, "add", new)) == plain(old) | plain(new)
    assert plain(combined(old, "remove", new)) == plain(old) - plain(new)
    assert old <= combined(old, "add", new)
