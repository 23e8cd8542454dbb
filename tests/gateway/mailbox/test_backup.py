"""A backup is the store as of one moment, whatever goes on while it is made."""

import asyncio
from pathlib import Path

from gateway.mailbox import backup
from gateway.mailbox.store import MailStore
from tests.gateway.mailbox.test_check import LARGE, SMALL, quiet

KEY, OTHER = bytes(range(32)), bytes(32)


async def _copied(store: MailStore, directory: Path) -> Path:
    await asyncio.to_thread(directory.mkdir)
    await store.back_up(directory / "mail.db", OTHER, quiet)
    return directory


async def test_a_backup_opens_under_its_key_with_everything(store: MailStore, tmp_path: Path) -> None:
    """Mail, flags, counters, settings: the copy checks as the original does."""
    await store.append("INBOX", SMALL, ["\\Seen"], 0, 0)
    await store.append("Sent", LARGE, ["Work"], 0, 0)
    await store.set_setting("agent.instance", b"me")
    copy = await MailStore.open(await _copied(store, tmp_path / "copy"), OTHER)
    assert await copy.mailboxes() == await store.mailboxes()
    assert await copy.read(3, 1) == LARGE
    assert await copy.setting("agent.instance") == b"me"
    assert await copy.check(quiet) == []
    await copy.close()


async def test_files_that_go_meanwhile_are_in_it(store: MailStore, tmp_path: Path) -> None:
    """A large message expunged while its file waits to be copied is in the backup, and gone from the store after."""
    await store.append("INBOX", LARGE, ["\\Deleted"], 0, 0)
    expunging: list[asyncio.Task[tuple[int, ...]]] = []
    names: list[str] = []

    async def expunge() -> tuple[int, ...]:
        gone = await store.expunge(1, None)
        names.extend(file.name for file in (tmp_path / "account" / "messages").iterdir())
        return gone

    real = asyncio.to_thread

    async def slow(work: object, *arguments: object, **more: object) -> object:
        if work is backup.copy_files and not expunging:
            expunging.append(asyncio.create_task(expunge()))
            await expunging[0]
        return await real(work, *arguments, **more)  # type: ignore[arg-type]

    asyncio.to_thread = slow  # type: ignore[assignment]
    try:
        directory = await _copied(store, tmp_path / "copy")
    finally:
        asyncio.to_thread = real
    assert await expunging[0] == (1,)
    assert len(names) == 1  # kept back for the copy
    assert not list((tmp_path / "account" / "messages").iterdir())
    copy = await MailStore.open(directory, OTHER)
    assert await copy.read(1, 1) == LARGE
    await copy.close()


async def test_a_renewed_store_is_another(store: MailStore, tmp_path: Path) -> None:
    """UIDVALIDITY above every one that was given, no instance, and the outbox not yet allowed to send."""
    await store.append("INBOX", SMALL, [], 0, 0)
    await store.set_setting("agent.instance", b"me")
    await store.set_setting("agent.outbox", b"released")
    copy = await MailStore.open(await _copied(store, tmp_path / "copy"), OTHER)
    await copy.renew()
    highest = max(mailbox.uidvalidity for mailbox in await store.mailboxes())
    fresh = [mailbox.uidvalidity for mailbox in await copy.mailboxes()]
    assert min(fresh) > highest
    assert len(set(fresh)) == len(fresh)
    assert (await copy.create("new")).uidvalidity > max(fresh)
    assert await copy.setting("agent.instance") is None
    assert await copy.setting("agent.outbox") is None
    assert await copy.check(quiet) == []
    await copy.close()
