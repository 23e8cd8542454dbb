"""What is durable together, and what clean-up is told."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.mailbox.model import Filed, Incoming
from gateway.sync import filing
from gateway.sync import ingest as module
from tests.gateway.sync.scene import Scene, scene
from tests.gateway.sync.support import CONTENT


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
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "ROUND", 4)
            await s.ingest.take([s.entry(s.notification(CONTENT + bytes([65 + number]))) for number in range(20)])
            await s.work()
        assert len(await s.messages()) == 20
        assert s.filed == 1

    scene(tmp_path, test)


def test_what_waits_to_be_filed_is_bounded_in_octets(tmp_path: Path) -> None:
    """While the store is busy no more is fetched than may be in hand, and all of it is filed in the end."""

    async def test(s: Scene) -> None:
        content = CONTENT + bytes([65]) * 1_000
        busy = asyncio.Event()
        file_incoming = s.store.file_incoming

        async def file_slowly(items: Sequence[Incoming]) -> tuple[Filed, ...]:
            await busy.wait()
            return await file_incoming(items)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "IN_HAND", 10 * module.LEAST)
            patch.setattr(module, "ROUND", 4)
            patch.setattr(module, "WAITING", 30)
            patch.setattr(s.store, "file_incoming", file_slowly)
            s.ingest = s.fresh()
            await s.ingest.take([s.entry(s.notification(content + bytes([65 + n]))) for n in range(100)])
            working = asyncio.create_task(s.work())
            await asyncio.sleep(60)
            assert len(s.replicas.given) == 8
            busy.set()
            await working
        assert len(await s.messages()) == 100

    scene(tmp_path, test)


@pytest.mark.parametrize(
    ("messages", "octets", "groups"),
    [(200, 1 << 30, [1, 9]), (4, 1 << 30, [1, 4, 4, 1]), (200, 3 * filing.IN_FILE, [1, 3, 3, 3])],
)
def test_what_is_ready_meanwhile_shares_the_next_transaction(
    tmp_path: Path, messages: int, octets: int, groups: list[int]
) -> None:
    """Large messages come one by one; while one is filed the others wait, and then go together, within bounds."""

    async def test(s: Scene) -> None:
        s.replicas.as_files = True
        file_incoming = s.store.file_incoming
        seen: list[int] = []

        async def file_slowly(items: Sequence[Incoming]) -> tuple[Filed, ...]:
            seen.append(len(items))
            await asyncio.sleep(1)
            return await file_incoming(items)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(filing, "GROUP", messages)
            patch.setattr(filing, "GROUP_OCTETS", octets)
            patch.setattr(s.store, "file_incoming", file_slowly)
            await s.ingest.take([s.entry(s.notification(CONTENT + bytes([65 + n]))) for n in range(10)])
            await s.work()
        assert seen == groups
        assert len(await s.messages()) == 10
        assert all(given.held is not None and given.held.file.closed for given in s.replicas.given)

    scene(tmp_path, test)


def test_rounds_that_wait_are_bounded(tmp_path: Path) -> None:
    """More than WAITING rounds are not taken from the reader before one of them has begun."""

    async def test(s: Scene) -> None:
        entries = [s.entry(s.notification(CONTENT + bytes([65 + n]))) for n in range(10)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "ROUND", 1)
            patch.setattr(module, "WAITING", 9)
            s.ingest = s.fresh()
            taking = asyncio.create_task(s.ingest.take(entries))
            await asyncio.sleep(60)
            assert not taking.done()
            await s.work()
            assert taking.done()
        assert len(await s.messages()) == 10

    scene(tmp_path, test)
