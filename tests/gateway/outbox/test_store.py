"""gateway.outbox on disk: private, locked, unreadable without its key, and cleaned of what a crash orphaned."""

import errno
import stat
from pathlib import Path

import pytest

from gateway.mailbox.errors import StoreDamaged, StoreLocked
from gateway.mailbox.sealed import SealedDirectory
from gateway.outbox.store import OutboxStore
from p2pcore import params
from tests.gateway.outbox.world import KEY, OUTSIDE, bench, submission


async def test_one_process_at_a_time(tmp_path: Path) -> None:
    """A second one is told so; after the first has stopped it may."""
    async with bench(tmp_path) as it:
        with pytest.raises(StoreLocked):
            await OutboxStore.open(tmp_path / "outbox", KEY, 0)
        await it.outbox.stop()
        again = await OutboxStore.open(tmp_path / "outbox", KEY, 0)
        await again.close()


async def test_another_key_opens_nothing(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        await it.outbox.stop()
        with pytest.raises(StoreDamaged):
            await OutboxStore.open(tmp_path / "outbox", bytes(32), 0)
        with pytest.raises(ValueError):
            await OutboxStore.open(tmp_path / "outbox", b"short", 0)


async def test_nobody_else_can_look_in(tmp_path: Path) -> None:
    """Directories are 0700, content files 0600."""
    async with bench(tmp_path, gateways=0) as it:
        await it.outbox.accept(submission(OUTSIDE, content=bytes(100_000)))
        await it.settled()
        for path in (tmp_path / "outbox", *(tmp_path / "outbox").rglob("contents/*")):
            wanted = 0o700 if path.is_dir() else 0o600
            assert stat.S_IMODE(path.stat().st_mode) == wanted


async def test_files_without_rows_are_removed(tmp_path: Path) -> None:
    """What a crash left in the directory goes at the next start; what a row names stays."""
    async with bench(tmp_path, gateways=0) as it:
        await it.outbox.accept(submission(OUTSIDE, content=bytes(100_000)))
        await it.settled()
        contents = tmp_path / "outbox" / "contents"
        (kept,) = contents.iterdir()
        (contents / "orphan").write_bytes(b"x")
        await it.restart()
        assert list(contents.iterdir()) == [kept]


async def test_a_content_lost_from_the_disk_ends_in_a_report(tmp_path: Path) -> None:
    """Damage from outside is no reason to try for ever, nor to say nothing."""
    async with bench(tmp_path) as it:
        it.gateways[0].at_mail = ["451 4.3.0 not now"]
        await it.outbox.accept(submission(OUTSIDE, content=bytes(100_000)))
        await it.settled()
        for path in (tmp_path / "outbox" / "contents").iterdir():
            path.unlink()
        await it.pass_time(6 * params.DAY)
        assert "Status: 5.4.7" in it.mailbox.report()
        assert not it.gateways[0].queued


async def test_without_room_nothing_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client is not told 250, and nothing of the message is left; with room again it is taken."""

    def full(_self: SealedDirectory) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    async with bench(tmp_path) as it:
        with monkeypatch.context() as faults:
            faults.setattr(SealedDirectory, "sync", full)
            with pytest.raises(OSError, match="no room"):
                await it.outbox.accept(submission(OUTSIDE, content=bytes(100_000)))
        assert (await it.outbox.status()).messages == 0
        assert list((tmp_path / "outbox" / "contents").iterdir()) == []
        await it.outbox.accept(submission(OUTSIDE, content=bytes(100_000)))
        await it.settled()
        assert len(it.gateways[0].queued) == 1
