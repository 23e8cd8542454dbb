"""`p2pmail mailbox`: the same on a running machine and on a stopped one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway import backups, mailbox_jobs
from gateway.administration import administer
from gateway.errors import OperatorError
from gateway.mail.outgoing import NewRecipient
from gateway.mail.submission import Submission
from gateway.main import running
from gateway.outbox import rows
from gateway.outbox.store import OutboxStore
from gateway.site import Site
from tests.gateway.sites import ALICE, BOB, PASSWORD
from tests.gateway.test_status import asked

MAIL = b"Subject: kept\r\n\r\n" + b"line\r\n" * 20_000


@asynccontextmanager
async def machine(site: Site, up: bool) -> AsyncIterator[None]:
    if not up:
        yield
        return
    with site.locked():
        async with running(site):
            yield


async def done(site: Site, operation: str, **more: Any) -> list[str]:
    """What the command prints. Raises OperatorError."""
    arguments = {"operation": operation, "address": ALICE, **{name: str(value) for name, value in more.items()}}
    report = await asyncio.to_thread(mailbox_jobs.carry_out, site, lambda _: None, arguments)
    if report["error"]:
        raise OperatorError(report["error"])
    assert report["exit_code"] == 0
    lines: list[str] = report["lines"]
    return lines


@pytest.fixture
async def hers(site: Site) -> Site:
    """A site with alice, who has a message, and mail that waits for a gateway."""
    await asyncio.to_thread(administer, site, "user-add", address=ALICE, password=PASSWORD)
    async with mailbox_jobs.opened_here(site, ALICE) as account:
        await account.store.append("INBOX", MAIL, ["\\Seen"], 0, 0)
        await account.store.set_setting("agent.instance", bytes(24))
        await account.store.set_setting("agent.outbox", b"released")
    directory = site.account_directory(ALICE)
    key = backups.outbox_key((directory / "mailbox.key").read_bytes())
    outbox = await OutboxStore.open(directory / "outbox", key, 0)
    recipient = NewRecipient("x@example.net")
    submission = Submission(ALICE, (recipient,), b"Subject: waits\r\n\r\n")
    await outbox.write(rows.accept, "0" * 32, submission, 2**42, save_sent=False)
    await outbox.close()
    return site


async def _instance(site: Site) -> bytes | None:
    async with mailbox_jobs.opened_here(site, ALICE) as account:
        return await account.store.setting("agent.instance")


@pytest.mark.parametrize("up", [False, True], ids=["stopped", "running"])
async def test_backup_and_restore(hers: Site, tmp_path: Path, up: bool) -> None:
    """What is lost after the backup is there again; mail readers and other agents are told apart; the outbox waits."""
    async with machine(hers, up):
        await done(hers, "backup", path=tmp_path / "backup")
        await done(hers, "import", path=_eml(tmp_path), format="eml")
        assert await done(hers, "check") == [f"{ALICE}: nothing is wrong."]
        await done(hers, "restore", path=tmp_path / "backup")
        if up:
            (held,) = [line for line in (await asked(hers, "status"))["warnings"] if "queue release" in line]  # type: ignore[attr-defined]
            assert held.startswith(ALICE)
            assert list(await asked(hers, "queue-release")) == [ALICE]
            assert list(await asked(hers, "queue-release")) == []
            assert not any("queue release" in line for line in (await asked(hers, "status"))["warnings"])  # type: ignore[attr-defined]
    async with mailbox_jobs.opened_here(hers, ALICE) as account:
        inbox = await account.store.snapshot("INBOX")
        assert [row.flags for row in inbox.messages] == [{"\\Seen"}]
        assert await account.store.read(inbox.mailbox.id, 1) == MAIL
        assert account.outbox is not None
        assert [message.id for message in await account.outbox.read(rows.messages)] == ["0" * 32]
    assert await _instance(hers) != bytes(24)
    (replaced,) = hers.account_directory(ALICE).glob("replaced-*")
    assert (replaced / "mailbox" / "mail.db").exists()


def _eml(directory: Path) -> Path:
    (directory / "eml" / "INBOX").mkdir(parents=True, exist_ok=True)
    (directory / "eml" / "INBOX" / "1.eml").write_bytes(b"Subject: later\r\n\r\n")
    return directory / "eml"


@pytest.mark.parametrize("up", [False, True], ids=["stopped", "running"])
async def test_export_import_repair(hers: Site, tmp_path: Path, up: bool) -> None:
    """Each says what it did, in either case."""
    async with machine(hers, up):
        assert "1 messages" in (await done(hers, "export", path=tmp_path / "out", format="maildir"))[-1]
        assert "1 messages" in (await done(hers, "import", path=tmp_path / "out", format="maildir"))[-1]
        assert any("full-text" in line for line in await done(hers, "repair"))
        with pytest.raises(OperatorError, match="exists"):
            await done(hers, "backup", path=tmp_path / "out")
        with pytest.raises(OperatorError, match="no backup"):
            await done(hers, "restore", path=tmp_path / "out")


@pytest.mark.parametrize(("directory", "file"), [("mailbox", "mail.db"), ("outbox", "outbox.db")])
async def test_a_damaged_store_is_named(hers: Site, directory: str, file: str) -> None:
    """Which of an account's stores cannot be opened is said first."""
    damaged = hers.account_directory(ALICE) / directory
    (damaged / file).write_bytes(b"rubbish" * 2_000)
    with pytest.raises(OperatorError) as refused:
        await done(hers, "check")
    assert str(refused.value).startswith(f"{damaged}: ")


@pytest.mark.parametrize(
    ("about", "said"),
    [
        (None, "backup.json cannot be read: No such file or directory"),
        ("[" * 60_000, "backup.json is not what it writes"),
        ("{}", "backup.json is not what it writes"),
        (f'{{"layout": 1, "address": "{ALICE}"}}', "backup.json is not what it writes"),
        (f'{{"layout": 1, "address": "{ALICE}", "made": 1e300}}', "backup.json is not what it writes"),
    ],
)
async def test_what_is_no_backup(hers: Site, tmp_path: Path, about: str | None, said: str) -> None:
    """It is said in a sentence which file is wrong, and nothing is changed."""
    (tmp_path / "backup").mkdir()
    if about is not None:
        (tmp_path / "backup" / "backup.json").write_text(about)
    with pytest.raises(OperatorError) as refused:
        await done(hers, "restore", path=tmp_path / "backup")
    assert str(refused.value) == f"{tmp_path}/backup: is no backup of `p2pmail mailbox backup`: {said}"


@pytest.mark.parametrize("part", ["mailbox/mail.db", "outbox/outbox.db"])
@pytest.mark.parametrize("left", [None, 0, 1, 4096, 40_000])
async def test_a_backup_that_is_not_whole(hers: Site, tmp_path: Path, part: str, left: int | None) -> None:
    """What was copied in part is not restored: an empty store would take the place of hers."""
    await done(hers, "backup", path=tmp_path / "backup")
    database = tmp_path / "backup" / part
    database.write_bytes(database.read_bytes()[:left])
    if left is None:
        database.unlink()
    with pytest.raises(OperatorError, match=f"{part}: "):
        await done(hers, "restore", path=tmp_path / "backup")
    async with mailbox_jobs.opened_here(hers, ALICE) as account:
        assert (await account.store.counts())[1] == 1
        assert account.outbox is not None
        assert len(await account.outbox.read(rows.messages)) == 1


async def test_a_backup_is_sealed_to_its_user(hers: Site, tmp_path: Path) -> None:
    """Another user's account does not take it, nor does anybody without her keys read it."""
    await done(hers, "backup", path=tmp_path / "backup")
    await asyncio.to_thread(administer, hers, "user-add", address=BOB, password=PASSWORD)
    with pytest.raises(OperatorError, match="not of bob"):
        await done(hers, "restore", address=BOB, path=tmp_path / "backup")
    about = (tmp_path / "backup" / "backup.json").read_text().replace(ALICE, BOB)
    (tmp_path / "backup" / "backup.json").write_text(about)
    with pytest.raises(OperatorError, match="none of bob"):
        await done(hers, "restore", address=BOB, path=tmp_path / "backup")
    key = (hers.account_directory(ALICE) / "mailbox.key").read_bytes()
    for file in (tmp_path / "backup").rglob("*"):
        if file.is_file():
            assert key not in file.read_bytes()
            assert b"Subject" not in file.read_bytes()


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
async def test_killed_while_a_restore_is_moved_in(hers: Site, tmp_path: Path, steps: int, monkeypatch: Any) -> None:
    """Wherever it stops, the next opening goes on: the restored mail is there, the old kept."""
    await done(hers, "backup", path=tmp_path / "backup")
    directory = hers.account_directory(ALICE)
    key, real, made = (directory / "mailbox.key").read_bytes(), Path.rename, list[Path]()

    def rename(path: Path, target: Path) -> Path:
        if path.name != "restored.partial":
            if len(made) == steps:
                raise InterruptedError(4, "killed", str(path))
            made.append(path)
        return real(path, target)

    identity = hers.user_identity(ALICE)
    with monkeypatch.context() as dying:
        dying.setattr(Path, "rename", rename)
        with pytest.raises(InterruptedError):
            await backups.restore(directory, identity, key, tmp_path / "backup", lambda *_: None)
    async with mailbox_jobs.opened_here(hers, ALICE) as account:
        assert (await account.store.counts())[1] == 1
        assert await account.store.setting("agent.instance") is None
        assert account.outbox is not None
    assert not (directory / "restored").exists()
    kept = {path.name for replaced in directory.glob("replaced-*") for path in replaced.iterdir()}
    assert kept == {"mailbox", "outbox"}


@asynccontextmanager
async def _not_closed(_: str) -> AsyncIterator[None]:
    yield


async def test_jobs_that_ended_are_remembered(hers: Site, tmp_path: Path) -> None:
    """Whoever follows a job hears its end, although others were begun since: of MOST_JOBS, not of fewer."""
    jobs = mailbox_jobs.MailboxJobs(hers, lambda address: mailbox_jobs.opened_here(hers, address), _not_closed)
    names = []
    for number in range(mailbox_jobs.MOST_JOBS + 1):
        names.append(await jobs.begin({"operation": "backup", "address": ALICE, "path": str(tmp_path / str(number))}))
        while not (await jobs.follow({"job": names[-1]}))["ended"]:
            pass
    with pytest.raises(OperatorError, match="not known any more"):
        await jobs.follow({"job": names[0]})
    for name in names[1:]:
        assert (await jobs.follow({"job": name}))["exit_code"] == 0


async def test_unknown(hers: Site, tmp_path: Path) -> None:
    """Who has no account here, a relative path, and a disk that is not mounted are told in words."""
    with pytest.raises(OperatorError, match="no account"):
        await done(hers, "check", address=BOB)
    with pytest.raises(OperatorError, match="not an absolute path"):
        await done(hers, "backup", path="x")
    with pytest.raises(OperatorError, match="is not one of"):
        await done(hers, "export", path=tmp_path / "x", format="pst")
    with pytest.raises(OperatorError, match="absent: is no directory; make it, or mount it, first"):
        await done(hers, "backup", path=tmp_path / "absent" / "monday")
