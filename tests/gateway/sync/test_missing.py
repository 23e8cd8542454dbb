"""What her mailbox says of messages that could not be had."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.sync.ingest import TRIES
from gateway.sync.missing import REFUSED_A_DAY
from gateway.sync.reports import REPORT
from p2pcore import params
from p2pcore.errors import CertificateRefused, NoGoodCopy, Tampered
from p2pcore.records import Verdicts
from tests.gateway.sync.scene import Scene, scene
from tests.gateway.sync.support import CONTENT, TRACE


def test_entry_that_does_not_open(tmp_path: Path) -> None:
    """What is sealed to another key is reported once and left where it is: with a recovered key it takes its place."""

    async def test(s: Scene) -> None:
        older = s.world.user("bob")
        entry = s.entry(s.notification(b"Subject: late\r\n\r\n"), to=older)
        await s.ingest.take([entry, s.entry(s.notification())])
        await s.work()
        s.ingest = s.fresh()
        await s.ingest.take([entry])
        await s.work()
        assert sorted(b"cannot be opened" in message for message in await s.messages()) == [False, True]
        assert [task.entry for task in await s.owed()] != [entry.identity]
        assert await s.store.seen([entry.identity]) == frozenset()
        s.ingest = s.fresh()
        s.ingest._keys = (*s.ingest._keys, older.hpke_key)
        await s.ingest.take([entry])
        await s.work()
        assert [message.endswith(b"Subject: late\r\n\r\n") for message in await s.messages()] == [False, True]

    scene(tmp_path, test)


@pytest.mark.parametrize("signed_by_user", [False, True])
def test_received_in_no_year(tmp_path: Path, signed_by_user: bool) -> None:
    """A time of reception beyond the entry's own expiry is nobody's: it is reported, and holds up no other message."""

    async def test(s: Scene) -> None:
        bob, entry = s.world.user("bob"), s.entry(s.notification(received=2**53))
        if signed_by_user:
            own = {"verdicts": Verdicts(), "reverse_path": "bob@example.org", "trace": b"", "received": 2**53}
            entry = s.entry(s.notification(b"From: bob@example.org\r\n\r\n", signer=bob, **own), bob)
        lost = s.notification(received=2**53)
        s.replicas.missing(lost, TRIES, NoGoodCopy)
        await s.ingest.take([entry, s.entry(lost), s.entry(s.notification())])
        await s.work()
        assert sorted(b"cannot be opened" in message for message in await s.messages()) == [False, True, True]
        assert TRACE + CONTENT in await s.messages()

    scene(tmp_path, test)


def test_placeholder_after_a_day(tmp_path: Path) -> None:
    """A body not found for 24 h has a placeholder in INBOX, one, wherever she moves it; the message takes its place."""

    async def test(s: Scene) -> None:
        notification = s.notification(reverse_path="eve@example.net\r\nBcc: x")
        entry = s.entry(notification)
        s.replicas.missing(notification, 10_000)

        async def hours(count: int) -> None:
            for _ in range(count):
                s.world.clock.now += params.HOUR
                s.ingest = s.fresh()  # after a restart too
                await s.ingest.take([entry])
                await s.work()

        await hours(24)
        assert await s.messages() == []
        await hours(3)
        (placeholder,) = await s.messages()
        assert b"Subject: A message for you has not been found yet" in placeholder
        assert b"eve@example.net??Bcc: x" in placeholder
        assert b"The last time: not now" in placeholder
        assert await s.flags() == [{REPORT}]
        assert await s.owed() == []
        inbox = (await s.store.mailbox("INBOX")).id
        await s.store.copy(inbox, [1], "Archive")
        await s.store.move(inbox, [1], "Trash")
        s.replicas.missing(notification, 0)
        await hours(1)
        assert await s.messages() == [TRACE + CONTENT]
        assert await s.messages("Archive") == await s.messages("Trash") == []

    scene(tmp_path, test)


def test_bad_copies_are_reported_at_once(tmp_path: Path) -> None:
    """Where every copy given was bad her mailbox says so after TRIES tries, and nothing is acknowledged or deleted.

    One lying node is enough to bring that about: the message is looked for as before, and takes the report's place.
    """

    async def test(s: Scene) -> None:
        notification = s.notification()
        entry = s.entry(notification)
        s.replicas.missing(notification, TRIES, lambda _: NoGoodCopy("1 of 3 nodes gave a bad copy (192.0.2.1:4466)"))
        await s.ingest.take([entry])
        await s.work()
        (report,) = await s.messages()
        assert b"Subject: A message for you came damaged from every machine that has it" in report
        assert b"1 of 3 nodes gave a bad copy (192.0.2.1:4466)" in report
        assert b"bob@example.net" in report
        assert await s.flags() == [{REPORT}]
        assert (await s.owed(), await s.store.seen([entry.identity])) == ([], frozenset())
        assert s.given_up == [entry.identity]  # so that the reader meets it again
        s.ingest = s.fresh()
        await s.ingest.take([entry])
        await s.work()
        assert await s.messages() == [TRACE + CONTENT]

    scene(tmp_path, test)


def test_a_deleted_placeholder_stays_deleted(tmp_path: Path) -> None:
    """It is not shown again; the message comes all the same."""

    async def test(s: Scene) -> None:
        notification = s.notification()
        entry = s.entry(notification)
        s.replicas.missing(notification, 10_000)
        for _ in range(4):
            s.ingest = s.fresh()
            await s.ingest.take([entry])
            await s.work()
            s.world.clock.now += params.DAY
            if uids := [row.uid for row in (await s.store.snapshot("INBOX")).messages]:
                await s.store.store_flags(1, uids, "add", ["\\Deleted"])
                assert await s.store.expunge(1, None) == (1,)
        assert (await s.store.mailbox("INBOX")).uidnext == 2
        s.replicas.missing(notification, 0)
        s.ingest = s.fresh()
        await s.ingest.take([entry])
        await s.work()
        assert await s.messages() == [TRACE + CONTENT]

    scene(tmp_path, test)


def test_entries_of_nobody_are_reported_within_bounds(tmp_path: Path) -> None:
    """Each of the first is a report; a node that makes up thousands fills no mailbox."""

    async def test(s: Scene) -> None:
        for number in range(1_000):
            s.ingest.refused(number.to_bytes(32), CertificateRefused("of another domain"))
        await s.work()
        messages = await s.messages()
        assert len(messages) == REFUSED_A_DAY
        assert b"log only" in messages[-1]
        s.world.clock.now += 2 * params.DAY
        s.ingest.refused(bytes(31) + b"x", CertificateRefused("of another domain"))
        await s.work()
        assert len(await s.messages()) == REFUSED_A_DAY + 1

    scene(tmp_path, test)


@pytest.mark.parametrize("failure", [Tampered])
def test_body_that_never_opens(tmp_path: Path, failure: Callable[[str], Exception]) -> None:
    """A body that its own gateway sealed wrongly is acknowledged and reported: no replica will ever do."""

    async def test(s: Scene) -> None:
        broken = s.notification()
        s.replicas.missing(broken, 1, failure)
        entry = s.entry(broken)
        await s.ingest.take([entry])
        await s.work()
        (report,) = await s.messages()
        assert b"Subject: A message for you was refused" in report
        assert b"bob@example.net" in report
        assert await s.flags() == [{REPORT}]
        (task,) = await s.owed()
        assert (task.entry, task.object) == (entry.identity, None)
        assert await s.store.seen([entry.identity]) == {entry.identity}

    scene(tmp_path, test)
