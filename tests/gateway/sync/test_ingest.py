"""From entries to messages: rounds, what leaves them, and what is met again."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.sync import ingest as module
from gateway.sync.filing import CLEANUP_DELAY
from gateway.sync.ingest import TRIES
from p2pcore.errors import CannotKnow, CertificateRefused, NotAuthorised, Unreachable
from tests.gateway.sync.scene import Scene, scene
from tests.gateway.sync.support import CONTENT, TRACE


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
        await asyncio.sleep(CLEANUP_DELAY)
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
