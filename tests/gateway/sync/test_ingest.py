"""From entries to messages: every branch, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence, Set
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest

from gateway.mailbox.model import Filed, Incoming
from gateway.mailbox.store import MailStore
from gateway.sync import ingest as module
from gateway.sync.ingest import REFUSED_A_DAY, TRIES, Ingest
from gateway.sync.reports import REPORT
from gateway.sync.rules import SIGNED, UNVERIFIED
from p2pcore import params
from p2pcore.errors import CannotKnow, CertificateRefused, NoGoodCopy, NotAuthorised, Tampered, Unreachable
from p2pcore.mail.retrieve import Retriever
from p2pcore.records import CleanupTask, Verdicts, decode
from p2pcore.sim.virtual_time import run_virtually
from tests.gateway.sync.support import CONTENT, TRACE, Replicas, Sending

LONG = 3_600.0  # seconds: everything that will happen has


class Scene(Sending):
    """Alice's store, her ingest, and what came of it."""

    store: MailStore
    ingest: Ingest
    replicas: Replicas

    keep = 0

    async def open(self, directory: Path) -> None:
        self.store = await MailStore.open(directory / "mailbox", bytes(32), clock=lambda: self.world.clock() / 1_000)
        self.replicas = Replicas(self, directory)
        self.given_up: list[bytes] = []
        self.filed = 0
        self.ingest = self.fresh()

    def fresh(self, compromised: Set[bytes] = frozenset()) -> Ingest:
        """An ingest as the next run of the agent makes it."""
        made = Ingest(
            self.store,
            cast(Retriever, self.replicas),
            [self.alice.hpke_key],
            "example.org",
            give_up=self.given_up.append,
            compromised=lambda certificate: certificate.serial in compromised,
            clock=self.world.clock,
            keep=self.keep,
        )
        made.on_filed = self._count
        return made

    def _count(self) -> None:
        self.filed += 1

    async def work(self, seconds: float = LONG) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.ingest.run()

    async def messages(self, mailbox: str = "INBOX") -> list[bytes]:
        snapshot = await self.store.snapshot(mailbox)
        return [await self.store.read(snapshot.mailbox.id, row.uid) for row in snapshot.messages]

    async def flags(self) -> list[frozenset[str]]:
        return [frozenset(row.flags) for row in (await self.store.snapshot("INBOX")).messages]

    async def owed(self) -> list[CleanupTask]:
        return [decode(CleanupTask, blob) for _, blob in await self.store.pending_cleanup(1_000)]


def scene(tmp_path: Path, test: Callable[[Scene], Awaitable[None]]) -> None:
    async def whole() -> None:
        made = Scene()
        await made.open(tmp_path)
        try:
            await test(made)
        finally:
            await made.store.close()

    run_virtually(whole())


@pytest.mark.parametrize("as_files", [False, True])
def test_filed(tmp_path: Path, as_files: bool) -> None:
    """A message is trace and content, octet for octet; its body's deletion and its acknowledgement are owed."""

    async def test(s: Scene) -> None:
        s.replicas.as_files = as_files
        notification = s.notification()
        entry = s.entry(notification)
        await s.ingest.take([entry])
        await s.work()
        assert await s.messages() == [TRACE + CONTENT]
        assert await s.flags() == [frozenset()]
        (task,) = await s.owed()
        assert (task.entry, task.secret, task.received) == (entry.identity, bytes(32), notification.received)
        assert task.object is not None
        assert s.filed == 1
        assert all(given.held is None or given.held.file.closed for given in s.replicas.given)

    scene(tmp_path, test)


def test_seen_again(tmp_path: Path) -> None:
    """An entry met again, now or after a restart, is shown once; its clean-up is owed once, again after it was done."""

    async def test(s: Scene) -> None:
        entry = s.entry(s.notification())
        await s.ingest.take([entry])
        await s.ingest.take([entry])  # under way
        await s.work()
        s.ingest = s.fresh()
        await s.ingest.take([entry])
        await s.work()
        assert len(await s.messages()) == 1
        assert len(s.replicas.asked) == 1
        assert [task.object is None for task in await s.owed()] == [False]
        await s.store.cleanup_done([number for number, _ in await s.store.pending_cleanup(9)])
        s.ingest = s.fresh()
        await s.ingest.take([entry])
        await s.work()
        assert [task.object is None for task in await s.owed()] == [True]
        assert s.filed == 3

    scene(tmp_path, test)


def test_repeated_by_its_sender(tmp_path: Path) -> None:
    """The same message through another gateway is shown once, and both bodies' deletions are owed."""

    async def test(s: Scene) -> None:
        other = s.world.gateway("mx2.example.org")
        await s.ingest.take([s.entry(s.notification()), s.entry(s.notification(signer=other), other)])
        await s.work()
        assert len(await s.messages()) == 1
        assert [task.object is None for task in await s.owed()] == [False, False]

    scene(tmp_path, test)


def test_without_message_id_shown_twice(tmp_path: Path) -> None:
    """Two equal messages without a Message-ID are two messages."""

    async def test(s: Scene) -> None:
        content = b"From: bob@example.net\r\n\r\ndisk full\r\n"
        await s.ingest.take([s.entry(s.notification(content)) for _ in range(2)])
        await s.work()
        assert len(await s.messages()) == 2

    scene(tmp_path, test)


@pytest.mark.parametrize("failure", [CannotKnow, Unreachable, CertificateRefused, NotAuthorised, OSError])
def test_body_missing_then_found(tmp_path: Path, failure: Callable[[str], Exception]) -> None:
    """A body that cannot be had now, for whatever reason, is asked for again; others do not wait for it."""

    async def test(s: Scene) -> None:
        late, prompt = s.notification(), s.notification(CONTENT.replace(b"<1@", b"<2@"))
        s.replicas.missing(late, 3, failure)
        await s.ingest.take([s.entry(late), s.entry(prompt)])
        await s.work(0.5)
        assert len(await s.messages()) == 1
        s.ingest = s.fresh()
        await s.ingest.take([s.entry(late)])
        await s.work(1.0 + 2.0 - 0.1)
        assert len(await s.messages()) == 1
        s.ingest = s.fresh()
        await s.ingest.take([s.entry(late)])
        await s.work()
        assert len(await s.messages()) == 2
        assert s.given_up == []

    scene(tmp_path, test)


def test_body_lost(tmp_path: Path) -> None:
    """A body that no replica gives is given back to the reader after TRIES tries, and nothing is acknowledged."""

    async def test(s: Scene) -> None:
        lost = s.notification()
        s.replicas.missing(lost, 1_000)
        entry = s.entry(lost)
        await s.ingest.take([entry])
        await s.work()
        assert len(s.replicas.asked) == TRIES
        assert s.given_up == [entry.identity]
        assert await s.owed() == []
        s.replicas.failures.clear()
        await s.ingest.take([entry])  # the reader meets it again
        await s.work()
        assert len(await s.messages()) == 1

    scene(tmp_path, test)


def test_bounded_patience(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More bodies missing than may wait are given back at once instead of filling the memory."""
    monkeypatch.setattr(module, "RETRYING", 2)

    async def test(s: Scene) -> None:
        lost = [s.notification() for _ in range(5)]
        for notification in lost:
            s.replicas.missing(notification, 1_000)
        await s.ingest.take([s.entry(notification) for notification in lost])
        await s.work(0.5)
        assert len(s.given_up) == 3

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


@pytest.mark.parametrize("trace", [b"Subject: forged\r\n", b"Received: a\r\n\r\n"])
@pytest.mark.parametrize("as_files", [False, True])
def test_refused_trace(tmp_path: Path, trace: bytes, as_files: bool) -> None:
    """A forged trace block is never shown, but reported; entry and body are cleaned up."""

    async def test(s: Scene) -> None:
        s.replicas.as_files = as_files
        await s.ingest.take([s.entry(s.notification(trace=trace))])
        await s.work()
        (report,) = await s.messages()
        assert b"was refused" in report
        assert CONTENT not in report
        (task,) = await s.owed()
        assert task.object is not None
        assert all(given.held is None or given.held.file.closed for given in s.replicas.given)

    scene(tmp_path, test)


def test_keywords(tmp_path: Path) -> None:
    """What a colleague signed is shown so; what only claims to be hers is marked; what she forged is not shown."""

    async def test(s: Scene) -> None:
        bob = s.world.user("bob")
        own = {"verdicts": Verdicts(), "reverse_path": "bob@example.org", "trace": b"Received: a\r\n"}
        signed = s.notification(b"From: bob@example.org\r\n\r\n1", signer=bob, **own)
        forged = s.notification(b"From: boss@example.org\r\n\r\n2", signer=bob, **own)
        hidden = s.notification(b"X: " + b"y" * 300_000 + b"\r\nFrom: boss@example.org\r\n\r\n3", signer=bob, **own)
        await s.ingest.take([s.entry(each, bob) for each in (signed, forged, hidden)])
        await s.ingest.take([s.entry(s.notification(b"From: bob@example.org\r\n\r\n4"))])
        await s.work()
        shown = {message[-1:]: flags for message, flags in zip(await s.messages(), await s.flags(), strict=True)}
        assert shown == {b"1": {SIGNED}, b"4": {UNVERIFIED}, b"\n": {REPORT}}

    scene(tmp_path, test)


@pytest.mark.parametrize("role", ["gateway", "user"])
def test_compromised(tmp_path: Path, role: str) -> None:
    """What a key signed that is in other hands by now is shown, as unverified, whatever it claims."""

    async def test(s: Scene) -> None:
        bob = s.world.user("bob")
        s.ingest = s.fresh(compromised={s.gateway.certificate.serial, bob.certificate.serial})
        if role == "user":
            own = {"verdicts": Verdicts(), "reverse_path": "bob@example.org", "trace": b"Received: a\r\n"}
            await s.ingest.take([s.entry(s.notification(b"From: bob@example.org\r\n\r\n1", signer=bob, **own), bob)])
        else:
            await s.ingest.take([s.entry(s.notification())])
        await s.work()
        assert await s.flags() == [{UNVERIFIED}]
        ((message,),) = [await s.messages()]
        assert b"x-p2pmail=fail (signed with a key that is in other hands)" in message
        assert b"x-p2pmail=pass" not in message

    scene(tmp_path, test)


def test_quarantine(tmp_path: Path) -> None:
    """What the gateway's DMARC verdict quarantines is in Junk."""

    async def test(s: Scene) -> None:
        await s.ingest.take([s.entry(s.notification(verdicts=Verdicts(disposition="quarantine")))])
        await s.work()
        assert (await s.messages(), len(await s.messages("Junk"))) == ([], 1)

    scene(tmp_path, test)


def test_many(tmp_path: Path) -> None:
    """Hundreds arrive in groups, each exactly once, also when some bodies come late."""

    async def test(s: Scene) -> None:
        notifications = [s.notification(CONTENT.replace(b"<1@", b"<%d@" % number)) for number in range(500)]
        for notification in notifications[::7]:
            s.replicas.missing(notification, 2)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(s.work())
            tasks.create_task(s.ingest.take([s.entry(notification) for notification in notifications]))
        assert len(await s.messages()) == 500
        assert len({task.entry for task in await s.owed()}) == 500

    scene(tmp_path, test)


def test_killed_before_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where filing fails nothing is owed, so the next run finds the entry where it was."""

    async def test(s: Scene) -> None:
        entry = s.entry(s.notification())

        async def fail(items: object) -> object:
            raise RuntimeError("killed")

        with monkeypatch.context() as patch:
            patch.setattr(s.store, "file_incoming", fail)
            await s.ingest.take([entry])
            with pytest.raises(ExceptionGroup):
                await s.work()
        assert (await s.owed(), s.filed) == ([], 0)
        s.ingest = s.fresh()
        await s.ingest.take([entry])
        await s.work()
        assert len(await s.messages()) == 1

    scene(tmp_path, test)


def test_clean_up_is_told_once_for_what_is_in_hand(tmp_path: Path) -> None:
    """Entries that came together are acknowledged together, however many transactions they took."""

    async def test(s: Scene) -> None:
        await s.ingest.take([s.entry(s.notification(CONTENT + bytes([65 + number]))) for number in range(20)])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "GROUP", 1)
            await s.work()
        assert len(await s.messages()) == 20
        assert s.filed == 1

    scene(tmp_path, test)


def test_what_waits_to_be_filed_is_bounded_in_octets(tmp_path: Path) -> None:
    """While the store is busy no more is fetched than it can take at once, beside what every retriever holds."""

    async def test(s: Scene) -> None:
        content = CONTENT + bytes([65]) * 1_000
        busy = asyncio.Event()
        file_incoming = s.store.file_incoming

        async def file_slowly(items: Sequence[Incoming]) -> tuple[Filed, ...]:
            await busy.wait()
            return await file_incoming(items)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "GROUP_OCTETS", 5 * len(content))
            patch.setattr(module, "RETRIEVERS", 30)
            patch.setattr(s.store, "file_incoming", file_slowly)
            await s.ingest.take([s.entry(s.notification(content + bytes([65 + n]))) for n in range(100)])
            await s.work(60)
            assert len(s.replicas.given) <= 5 + 5 + 30
            busy.set()
            s.ingest = s.fresh()
            await s.ingest.take([s.entry(s.notification(content + bytes([65 + n]))) for n in range(100)])
            await s.work()
        assert len(await s.messages()) == 100

    scene(tmp_path, test)


@pytest.mark.parametrize("hangs", [False, True])
def test_nothing_waits_behind_a_missing_body(tmp_path: Path, hangs: bool) -> None:
    """A body that no replica gives, now or not even a refusal, holds up neither reading nor clean-up."""

    async def test(s: Scene) -> None:
        missing, good = s.notification(), s.notification(CONTENT + b"good")
        s.replicas.missing(missing, 1_000)
        if hangs:
            s.replicas.hangs.add(missing.body_identifier)
        await s.ingest.take([s.entry(missing), s.entry(good)])
        working = asyncio.create_task(s.ingest.run())
        now = asyncio.get_running_loop().time
        begun = now()
        await s.ingest.tried()
        assert now() - begun <= module.PATIENCE
        await asyncio.sleep(4 * module.PATIENCE)
        assert s.filed == 1
        assert len(await s.messages()) == 1
        working.cancel()
        await asyncio.wait([working])

    scene(tmp_path, test)


def test_tried(tmp_path: Path) -> None:
    """What was taken is filed, or known to be missing, before the reader is asked for more."""

    async def test(s: Scene) -> None:
        await s.ingest.tried()  # nothing is in hand
        working = asyncio.create_task(s.ingest.run())
        await s.ingest.take([s.entry(s.notification())])
        await s.ingest.tried()
        assert len(await s.messages()) == 1
        working.cancel()
        await asyncio.wait([working])

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


def test_kept_in_the_network(tmp_path: Path) -> None:
    """For `keep` neither body nor entry is cleaned up, however often the entry is met; it is fetched once."""

    async def test(s: Scene) -> None:
        s.keep = 7 * params.DAY
        entry = s.entry(s.notification())
        for _ in range(3):
            s.ingest = s.fresh()
            await s.ingest.take([entry])
            await s.work()
        due = await s.store.release_kept(s.world.clock(), 10, 1 << 30)
        assert due is not None
        assert abs(due - s.world.clock() - 7 * params.DAY) < params.SECOND
        assert await s.owed() == []
        assert len(s.replicas.asked) == 1
        assert await s.store.release_kept(due, 10, 1 << 30) is None
        (task,) = await s.owed()
        assert task.object is not None

    scene(tmp_path, test)
