"""What a message is worth, which are the same, and what is owed for it."""

from pathlib import Path

import pytest

from gateway.sync.reports import REPORT
from gateway.sync.rules import SIGNED, UNVERIFIED
from p2pcore import params
from p2pcore.records import Verdicts
from tests.gateway.sync.scene import Scene, scene
from tests.gateway.sync.support import CONTENT


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
