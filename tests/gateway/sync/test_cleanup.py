"""Clean-up: told to every holder, retried with growing pauses, never forgotten before it is done."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import cast

from gateway.mailbox.model import Incoming
from gateway.mailbox.store import MailStore
from gateway.sync.cleanup import FIRST_RETRY, LAST_RETRY, ROUND, Cleanup
from p2pcore import params
from p2pcore.mail.finish import Finisher
from p2pcore.records import CleanupTask, encode
from p2pcore.sim.virtual_time import run_virtually
from tests.gateway.sync.support import Holders
from tests.support.identities import START


class Scene:
    """A store with tasks, and holders that confirm or not."""

    def __init__(self, store: MailStore) -> None:
        self.store = store
        self.holders = Holders()
        self.cleanup = self.fresh()

    def fresh(self) -> Cleanup:
        """As the next run of the agent makes it."""
        return Cleanup(self.store, cast(Finisher, self.holders), lambda: START)

    async def owe(self, *numbers: int, expires: int = START + params.OBJECT_LIFETIME) -> None:
        for number in numbers:
            entry = number.to_bytes(32)
            await self.store.owe_cleanup(entry, encode(CleanupTask(entry, expires, START, None, b"")))
        self.cleanup.wake()

    async def left(self) -> int:
        return len(await self.store.pending_cleanup(10_000))

    @property
    def asked(self) -> list[list[int]]:
        return [[int.from_bytes(entry) for entry in entries] for entries in self.holders.rounds]

    async def work(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.cleanup.run()


def scene(tmp_path: Path, test: Callable[[Scene], Awaitable[None]]) -> None:
    async def whole() -> None:
        store = await MailStore.open(tmp_path / "mailbox", bytes(32))
        try:
            await test(Scene(store))
        finally:
            await store.close()

    run_virtually(whole())


def test_done(tmp_path: Path) -> None:
    """What was owed at the start and what comes later is told once and forgotten; nothing to do, nobody asked."""

    async def test(s: Scene) -> None:
        await s.work(LAST_RETRY)
        assert s.asked == []
        await s.owe(1, 2)
        working = asyncio.create_task(s.work(LAST_RETRY))
        await asyncio.sleep(100)
        assert (s.asked, await s.left()) == ([[1, 2]], 0)
        await s.owe(3)
        await working
        assert (s.asked, await s.left()) == ([[1, 2], [3]], 0)

    scene(tmp_path, test)


def test_retried_with_growing_pauses(tmp_path: Path) -> None:
    """What a holder has not confirmed is told again after 10 s, 20 s, 40 s … at most hourly, until it has."""

    async def test(s: Scene) -> None:
        await s.owe(1, 2, 3)
        s.holders.tell = lambda entry: int.from_bytes(entry) != 2
        await s.work(FIRST_RETRY * 7 - 1)  # 10 s and 30 s after the first
        assert s.asked == [[1, 2, 3], [2], [2]]
        await s.work(24 * 3_600)
        assert len(s.asked) - 3 < 24 + 12
        assert await s.left() == 1
        s.holders.tell = lambda entry: True
        s.cleanup = s.fresh()  # after a restart at once
        await s.work(1)
        assert (s.asked[-1], await s.left()) == ([2], 0)

    scene(tmp_path, test)


def test_new_tasks_do_not_hurry_old_ones(tmp_path: Path) -> None:
    """Every new message has its own told at once; what waits for a retry is not asked about with each of them."""

    async def test(s: Scene) -> None:
        await s.owe(1)
        s.holders.tell = lambda entry: int.from_bytes(entry) != 1
        working = asyncio.create_task(s.work(FIRST_RETRY - 1))
        for number in (2, 3, 4):
            await asyncio.sleep(1)
            await s.owe(number)
        await working
        assert s.asked == [[1], [2], [3], [4]]
        assert await s.left() == 1

    scene(tmp_path, test)


def test_retry_though_ever_new_ones_come(tmp_path: Path) -> None:
    """A stream of new messages does not put the retry off."""

    async def test(s: Scene) -> None:
        await s.owe(1)
        s.holders.tell = lambda entry: int.from_bytes(entry) != 1
        working = asyncio.create_task(s.work(FIRST_RETRY * 3.5))
        for number in range(2, 40):
            await asyncio.sleep(0.9)
            await s.owe(number)
        await working
        assert sum(1 in entries for entries in s.asked) == 3

    scene(tmp_path, test)


def test_network_that_cannot_be_asked(tmp_path: Path) -> None:
    """While nothing is known of the network one request per pause is tried, whatever is owed."""

    async def test(s: Scene) -> None:
        await s.owe(*range(1, ROUND * 2 + 10))
        s.holders.tell = None
        await s.work(FIRST_RETRY * 7 - 1)
        assert [len(entries) for entries in s.asked] == [ROUND] * 3
        s.holders.tell = lambda entry: True
        s.cleanup = s.fresh()
        await s.work(1)
        assert await s.left() == 0
        assert [len(entries) for entries in s.asked[3:]] == [ROUND, ROUND, 9]

    scene(tmp_path, test)


def test_expired_everywhere(tmp_path: Path) -> None:
    """What has expired at every node is owed to nobody any more, even if a holder never confirmed."""

    async def test(s: Scene) -> None:
        s.holders.tell = lambda entry: False
        await s.owe(1, expires=START - params.TOMBSTONE_GRACE - 1)
        await s.work(1)
        assert (s.asked, await s.left()) == ([], 0)
        await s.owe(2, expires=START - params.TOMBSTONE_GRACE - 1)
        await s.owe(3, expires=START - params.TOMBSTONE_GRACE)
        await s.work(1)
        assert (s.asked, await s.left()) == ([[2, 3]], 1)

    scene(tmp_path, test)


def test_killed_after_telling(tmp_path: Path) -> None:
    """Killed between the confirmation and its commit: the next run tells the same again, and then forgets."""

    async def test(s: Scene) -> None:
        await s.owe(1)
        done = s.store.cleanup_done

        async def die(ids: object) -> None:
            raise RuntimeError("killed")

        s.store.cleanup_done = die  # type: ignore[method-assign]
        with suppress(RuntimeError):
            await s.work(1)
        s.store.cleanup_done = done  # type: ignore[method-assign]
        assert await s.left() == 1
        s.cleanup = s.fresh()
        await s.work(1)
        assert (s.asked, await s.left()) == ([[1], [1]], 0)

    scene(tmp_path, test)


def test_kept_until_its_time(tmp_path: Path) -> None:
    """A kept message is told of when its time has come, by itself, beside those that are not kept."""

    async def whole() -> None:
        store = await MailStore.open(tmp_path / "mailbox", bytes(32), clock=lambda: START / 1_000)
        now = asyncio.get_running_loop().time
        made = Scene(store)
        made.cleanup = Cleanup(store, cast(Finisher, made.holders), lambda: START + int(now() * 1_000))
        identity = bytes(32)
        task = encode(CleanupTask(identity, START + params.OBJECT_LIFETIME, START, None, b""))
        kept = Incoming(identity, None, b"", b"\r\n", 0, "INBOX", frozenset(), task, 7 * params.DAY, 1)
        await store.file_incoming([kept])
        working = asyncio.create_task(made.work(8 * 86_400))
        await asyncio.sleep(7 * 86_400 - 100)
        await made.owe(5)
        assert made.asked == []
        await asyncio.sleep(50)
        assert made.asked == [[5]]
        await asyncio.sleep(100)
        assert made.asked == [[5], [0]]
        await working
        await store.close()

    run_virtually(whole())
