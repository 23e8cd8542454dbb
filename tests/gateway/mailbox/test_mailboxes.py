"""Mailboxes by name: CREATE, RENAME, DELETE, subscriptions."""

import unicodedata

import pytest

from gateway.mailbox.errors import (
    InvalidMailboxName,
    MailboxError,
    MailboxExists,
    MailboxHasChildren,
    NoSuchMailbox,
    TooLarge,
)
from gateway.mailbox.store import MailStore


async def names(store: MailStore) -> list[str]:
    return [mailbox.name for mailbox in await store.mailboxes()]


FIRST = ["INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash"]


class TestFirst:
    async def test_new_store(self, store: MailStore) -> None:
        """A new store has INBOX and the five special folders, subscribed, each with its own UIDVALIDITY."""
        made = await store.mailboxes()
        assert {mailbox.name: mailbox.special_use for mailbox in made} == {
            "INBOX": None,
            **{name: f"\\{name}" for name in FIRST[1:]},
        }
        assert all(mailbox.subscribed and mailbox.uidnext == 1 and mailbox.messages == 0 for mailbox in made)
        assert len({mailbox.uidvalidity for mailbox in made}) == 6
        assert await store.counts() == (6, 0)

    async def test_names_are_found_in_every_spelling(self, store: MailStore) -> None:
        """INBOX in any case (RFC 9051 §5.1), other names in any normal form."""
        await store.create("inbox/Ju\u0308rgen")
        assert (await store.mailbox("iNbOx")).name == "INBOX"
        assert (await store.mailbox("Inbox/J\u00fcrgen")).name == unicodedata.normalize("NFC", "INBOX/Ju\u0308rgen")
        with pytest.raises(NoSuchMailbox):
            await store.mailbox("sent")
        with pytest.raises(NoSuchMailbox):
            await store.mailbox("")


class TestCreate:
    async def test_superiors(self, store: MailStore) -> None:
        """Missing names above are made, unsubscribed; a delimiter at the end is an intent (RFC 9051 §6.3.4)."""
        made = await store.create("a/b/c/")
        assert made.name == "a/b/c"
        assert (await names(store)) == ["INBOX", "a", "a/b", "a/b/c", *FIRST[1:]]
        assert not made.subscribed

    @pytest.mark.parametrize("name", ["", "/", "/a", "a//b", "a*", "50%", "a\x00", "a\nb", "\udc80", "a\u2028"])
    async def test_impossible_names(self, store: MailStore, name: str) -> None:
        """Empty levels, wildcards and control characters are refused."""
        with pytest.raises(InvalidMailboxName) as refusal:
            await store.create(name)
        assert refusal.value.code == "CANNOT"
        assert await names(store) == FIRST

    async def test_refusals(self, store: MailStore) -> None:
        """A taken name, one too long, a special use that is taken or unknown."""
        cases: list[tuple[str, str | None, type[MailboxError], str]] = [
            ("Inbox", None, MailboxExists, "ALREADYEXISTS"),
            ("x" * 513, None, TooLarge, "LIMIT"),
            ("Sent 2", "\\Sent", InvalidMailboxName, "USEATTR"),
            ("Other", "\\Other", InvalidMailboxName, "USEATTR"),
        ]
        for name, special_use, error, code in cases:
            with pytest.raises(error) as refusal:
                await store.create(name, special_use)
            assert refusal.value.code == code

    async def test_uidvalidity_is_never_used_again(self, store: MailStore) -> None:
        """A name made again has a higher UIDVALIDITY and another number (RFC 9051 §2.3.1.1)."""
        first = await store.create("a")
        await store.delete("a")
        second = await store.create("a")
        assert second.uidvalidity > first.uidvalidity
        assert second.id > first.id


class TestRename:
    async def test_children_move(self, store: MailStore) -> None:
        """Names below move along; number, UIDVALIDITY and messages stay (RFC 9051 §6.3.6)."""
        await store.create("a/b/c")
        await store.create("ab")
        before = await store.mailbox("a/b")
        await store.append("a/b", b"x", [], 0, 0)
        await store.rename("a", "n/m")
        assert await names(store) == [
            "INBOX",
            "ab",
            "Archive",
            "Drafts",
            "Junk",
            "n",
            "n/m",
            "n/m/b",
            "n/m/b/c",
            *FIRST[4:],
        ]
        after = await store.mailbox("n/m/b")
        assert (after.id, after.uidvalidity, after.messages) == (before.id, before.uidvalidity, 1)

    async def test_inbox_gives_its_messages(self, store: MailStore) -> None:
        """RENAME INBOX moves the messages and leaves INBOX, its children untouched (RFC 3501 §6.3.5)."""
        await store.create("INBOX/sub")
        await store.append("INBOX", b"x", ["\\Seen", "k"], 7, 60)
        await store.rename("INBOX", "old")
        assert (await store.mailbox("INBOX")).messages == 0
        assert (await store.mailbox("INBOX")).uidnext == 2
        (row,) = (await store.snapshot("old")).messages
        assert (row.flags, row.internal_date, row.zone) == (frozenset({"\\Seen", "k"}), 7, 60)
        assert "INBOX/sub" in await names(store)

    async def test_refusals_change_nothing(self, store: MailStore) -> None:
        """Taken, missing, or below itself."""
        await store.create("a/b")
        before = await names(store)
        for old, new, error in [
            ("a", "Sent", MailboxExists),
            ("a", "a", MailboxExists),
            ("none", "x/y", NoSuchMailbox),
            ("a", "a/c", InvalidMailboxName),
            ("INBOX", "Sent", MailboxExists),
        ]:
            with pytest.raises(error):
                await store.rename(old, new)
        assert await names(store) == before


class TestDelete:
    async def test_delete(self, store: MailStore) -> None:
        """Messages go with the mailbox; the subscription stays (RFC 9051 §6.3.7)."""
        await store.append("Trash", b"x" * 100_000, [], 0, 0)
        await store.delete("Trash")
        assert "Trash" not in await names(store)
        assert "Trash" in await store.subscriptions()
        assert await store.counts() == (5, 0)

    async def test_refusals(self, store: MailStore) -> None:
        """INBOX, a parent, a missing one."""
        await store.create("a/b")
        for name, error in [("inbox", InvalidMailboxName), ("a", MailboxHasChildren), ("x", NoSuchMailbox)]:
            with pytest.raises(error):
                await store.delete(name)


class TestSubscribe:
    async def test_any_name(self, store: MailStore) -> None:
        """A name may be subscribed before it exists (RFC 3501 §6.3.6), twice and off twice."""
        for on in (True, True, False, False, True):
            await store.subscribe("later", on)
        assert "later" in await store.subscriptions()
        assert (await store.create("later")).subscribed
        await store.subscribe("inbox", False)
        assert not (await store.mailbox("INBOX")).subscribed
