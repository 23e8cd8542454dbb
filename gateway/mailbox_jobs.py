"""What `p2pmail mailbox` does, as jobs that say how far they are: in the running process, or on a stopped site.

A job that was begun is carried to its end, also when whoever asked for it has gone; a stop of the process ends it.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast, get_args

import structlog

from gateway import backups, control
from gateway.backups import Opened
from gateway.control import NotRunning
from gateway.errors import OperatorError
from gateway.mailbox.errors import MailboxError
from gateway.mailbox.export import export
from gateway.mailbox.importing import import_into
from gateway.mailbox.maintenance import Progress
from gateway.mailbox.portable import Format
from gateway.mailbox.store import MailStore
from gateway.outbox.store import OutboxStore
from gateway.site import Site
from gateway.starting import starting
from p2pcore.clock import system_clock
from p2pcore.errors import Failure
from p2pcore.names import canonical_address
from p2pcore.records import Identity

OPERATIONS: Final = ("check", "repair", "export", "import", "backup", "restore")
FOLLOW: Final = 1.0  # seconds that a question about a job waits for news
MOST_JOBS: Final = 8  # remembered

Opener = Callable[[str], AbstractAsyncContextManager[Opened]]
Closer = Callable[[str], AbstractAsyncContextManager[None]]
Report = dict[str, Any]

log = structlog.get_logger("mailbox")


@dataclass
class _Job:
    address: str
    task: asyncio.Task[None] | None = None
    what: str = ""
    done: int = 0
    total: int = 0
    ended: bool = False
    lines: list[str] = field(default_factory=list)
    error: str = ""
    exit_code: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def progress(self, what: str, done: int, total: int) -> None:
        self.what, self.done, self.total = what, done, total
        self.news.set()

    def report(self) -> Report:
        return {
            "what": self.what,
            "done": self.done,
            "total": self.total,
            "ended": self.ended,
            "lines": [_printable(line) for line in self.lines] if self.ended else [],
            "error": _printable(self.error),
            "exit_code": self.exit_code,
        }


class MailboxJobs:
    """Begins jobs and tells of them. `opened` gives an account's stores, `closed` keeps an account closed."""

    def __init__(self, site: Site, opened: Opener, closed: Closer) -> None:
        self._site = site
        self._opened = opened
        self._closed = closed
        self._jobs: dict[str, _Job] = {}
        self.commands: dict[str, control.Handler] = {"mailbox-begin": self.begin, "mailbox-follow": self.follow}

    async def begin(self, arguments: dict[str, Any]) -> str:
        """Begin a job and return its name. Raises OperatorError."""
        operation, address = str(arguments["operation"]), canonical_address(str(arguments["address"]))
        if operation not in OPERATIONS:
            raise OperatorError(f"{operation}: unknown; is the running process another version?")
        if address not in self._site.account_addresses():
            raise OperatorError(f"{address}: has no account on this machine; `p2pmail user list` shows who has")
        if any(job.address == address and not job.ended for job in self._jobs.values()):
            raise OperatorError(f"{address}: another `p2pmail mailbox` command is at work on her mail")
        for name in [name for name, job in self._jobs.items() if job.ended][: max(0, len(self._jobs) - MOST_JOBS + 1)]:
            del self._jobs[name]
        name, job = secrets.token_hex(8), _Job(address)
        self._jobs[name] = job
        job.task = asyncio.create_task(self._run(job, operation, arguments), name=f"mailbox {operation} of {address}")
        return name

    async def follow(self, arguments: dict[str, Any]) -> Report:
        """Return how far a job is, when there is news or after FOLLOW. Raises OperatorError."""
        job = self._jobs.get(str(arguments["job"]))
        if job is None:
            raise OperatorError("that command is not known any more; see the log of the running process")
        if not job.ended:
            try:
                async with asyncio.timeout(FOLLOW):
                    await job.news.wait()
            except TimeoutError:
                pass
        job.news.clear()
        return job.report()

    async def stop(self) -> None:
        """End the jobs; what they had written in part stays as their crash tables say."""
        tasks = [job.task for job in self._jobs.values() if job.task is not None and not job.ended]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, job: _Job, operation: str, arguments: dict[str, Any]) -> None:
        try:
            job.lines, job.exit_code = await self._work(operation, job.address, arguments, job.progress)
        except (OperatorError, MailboxError, Failure) as error:
            job.error, job.exit_code = str(error) or type(error).__name__, getattr(error, "exit_code", 1)
        except OSError as error:
            job.error, job.exit_code = f"{error.filename or job.address}: {error.strerror or error}", 1
        except Exception:
            log.exception("mailbox command failed", operation=operation, address=job.address)
            job.error, job.exit_code = "internal error; the log has the details", 1
        finally:
            job.ended = True
            job.news.set()

    async def _work(
        self, operation: str, address: str, arguments: dict[str, Any], progress: Progress
    ) -> tuple[list[str], int]:
        """Do it; return what to print, and the exit code."""
        if operation == "repair":
            return await self._repair(address, progress)
        if operation == "restore":
            return await self._restore(address, _path(arguments), progress)
        async with self._opened(address) as account:
            if operation == "check":
                problems = await account.store.check(progress)
                return problems or [f"{address}: nothing is wrong."], int(bool(problems))
            path = _path(arguments)
            if operation == "backup":
                await backups.back_up(account, path, progress)
                return [f"{path}: backup of {address}. Her identity or recovery kit is needed to restore it."], 0
            form = _format(arguments)
            if operation == "export":
                count, notes = await export(account.store, path, form, progress)
                return [*notes, f"{path}: {count} messages of {address}, in clear."], 0
            count, notes = await import_into(account.store, path, form, progress)
            return [*notes, f"{count} messages imported for {address}."], int(bool(notes))

    async def _repair(self, address: str, progress: Progress) -> tuple[list[str], int]:
        async with self._closed(address), opened_here(self._site, address) as account:
            done, left = await account.store.repair(progress)
        said = [*(f"done: {line}" for line in done), *(f"still wrong: {line}" for line in left)]
        return said, int(bool(left))

    async def _restore(self, address: str, source: Path, progress: Progress) -> tuple[list[str], int]:
        directory = self._site.account_directory(address)
        identity, key = await asyncio.to_thread(_keys, self._site, address)
        async with self._closed(address):
            about = await backups.restore(directory, identity, key, source, progress)
        return [
            f"{address}: as of {_day(about['made'])}. What was there before is in {directory}/replaced-…",
            "Mail readers will download it anew. Her outbox is held if it has mail: `p2pmail status` says so.",
        ], 0


def _printable(text: str) -> str:
    """Return `text` without what a file's name may have that is no UTF-8."""
    return text.encode("utf-8", "replace").decode()


def _day(made: int) -> str:
    return datetime.fromtimestamp(made, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _path(arguments: dict[str, Any]) -> Path:
    path = Path(str(arguments["path"]))
    if not path.is_absolute():
        raise OperatorError(f"{path}: not an absolute path")
    return path


def _format(arguments: dict[str, Any]) -> Format:
    for form in get_args(Format):
        if form == arguments["format"]:
            return cast(Format, form)
    raise OperatorError(f"{arguments['format']}: is not one of {', '.join(get_args(Format))}")


def _keys(site: Site, address: str) -> tuple[Identity, bytes]:
    return site.user_identity(address), site.mailbox_key(address)


@asynccontextmanager
async def opened_here(site: Site, address: str) -> AsyncIterator[Opened]:
    """Open the stores of an account that is closed. Raises ConfigurationError."""
    directory = site.account_directory(address)
    identity, key = await asyncio.to_thread(_keys, site, address)
    await asyncio.to_thread(backups.finish_restore, directory)
    with starting(f"{directory / 'mailbox'}"):
        store = await MailStore.open(directory / "mailbox", key)
    try:
        outbox = None
        if (directory / "outbox" / "outbox.db").exists():
            with starting(f"{directory / 'outbox'}"):
                outbox = await OutboxStore.open(directory / "outbox", backups.outbox_key(key), system_clock())
        try:
            yield Opened(address, directory, identity, key, store, outbox)
        finally:
            if outbox is not None:
                await outbox.close()
    finally:
        await store.close()


@asynccontextmanager
async def _closed_already(_: str) -> AsyncIterator[None]:
    yield


def carry_out(site: Site, show: Callable[[Report], object], arguments: dict[str, Any]) -> Report:
    """Have a job done by the process running on `site`, or right here if there is none; return its last report.

    `show` is given each report. Raises OperatorError.
    """
    try:
        job = control.ask(site.control_socket, "mailbox-begin", arguments)
    except NotRunning:
        with site.locked():
            return asyncio.run(_here(site, show, arguments))
    while True:
        report: Report = control.ask(site.control_socket, "mailbox-follow", {"job": job})
        show(report)
        if report["ended"]:
            return report


async def _here(site: Site, show: Callable[[Report], object], arguments: dict[str, Any]) -> Report:
    jobs = MailboxJobs(site, lambda address: opened_here(site, address), _closed_already)
    job = await jobs.begin(arguments)
    try:
        while True:
            report = await jobs.follow({"job": job})
            show(report)
            if report["ended"]:
                return report
    finally:
        await jobs.stop()
