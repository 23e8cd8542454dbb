"""Keeps the network at the directory's word: publishes changes at once, everything daily, and signs heads.

Two tasks. *Publication* wakes on a change in this process, at the latest every HEAD_INTERVAL (another process may have
written to the book), renews certificates past half of their life, and publishes what no quorum has taken yet or what
was taken more than PUBLISH_INTERVAL ago: first certificates nobody has, then the record that may name them, then the
daily rest. Each holder finds its successor in the network (mail.successor).
What fails is tried again after PUBLISH_RETRY_FIRST, doubled up to PUBLISH_RETRY_LAST; one that fails does not hold up
the others. *Heads* signs a head every HEAD_INTERVAL and after each new record, but only for a record that a quorum has:
a head that names what nobody can fetch would say less than none.

What was taken is in the book, so a crash costs at most a second publication of the same (idempotent).
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from p2pcore import params
from p2pcore.crypto.statements import Signer
from p2pcore.crypto.trust import Trust
from p2pcore.directory.directory import Directory
from p2pcore.directory.errors import AuthorityLocked, NotListed
from p2pcore.directory.heads import Announcer, sign_head
from p2pcore.errors import Failure, Superseded
from p2pcore.records import PublishedVersion, VersionStatement

CONCURRENT = 8  # certificates published at the same time
CHUNK = 200  # certificates signed at a time, so that each is sent within DIRECT_SKEW of its issue

_log = logging.getLogger(__name__)


class Publisher(Protocol):
    """The network as a place for versioned objects (client.replicas.Replicas)."""

    async def publish(self, published: PublishedVersion) -> object:
        """Write to the VERSIONED_REPLICAS closest nodes; a majority has it on return. Raises Failure."""


class DirectoryPublisher:
    """Owns the two tasks. Made and used on one event loop; the directory is called in threads."""

    def __init__(
        self,
        directory: Directory,
        publisher: Publisher,
        announcer: Announcer | None = None,
        *,
        trust: Trust | None = None,
        own: Signer | None = None,
        retry_first: int = params.PUBLISH_RETRY_FIRST,
        retry_last: int = params.PUBLISH_RETRY_LAST,
        head_interval: int = params.HEAD_INTERVAL,
    ) -> None:
        """Times are in ms. Without an announcer no heads are signed.

        `trust` is where the publisher finds certificates that a node asks for: it is shown our own, renewed ones too.
        `own` signs the publisher's requests, and adopts them: they would have to be published under the expired one
        after the directory was off for long.
        """
        self._trust = trust
        self._own = own
        self._directory = directory
        self._publisher = publisher
        self._announcer = announcer
        self._retry_first, self._retry_last, self._head_interval = retry_first, retry_last, head_interval
        self._changed = asyncio.Event()
        self._head_wanted = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._head_of = b""  # digest of the newest record, once a quorum has it
        self.failures: dict[str, Failure] = {}  # what waits for a retry, by identifier; for `status`

    async def start(self) -> None:
        """Publish what is due and go on doing so until `stop`."""
        self._loop = asyncio.get_running_loop()
        self._directory.on_change(self._wake)
        self._tasks = [asyncio.create_task(self._publish_forever(), name="directory publication")]
        if self._announcer:
            self._tasks.append(asyncio.create_task(self._announce_forever(self._announcer), name="directory heads"))
        for task in self._tasks:
            task.add_done_callback(_log_crash)

    async def stop(self) -> None:
        """End both tasks; what was under way is published again at the next start."""
        self._loop = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def _wake(self) -> None:
        """Called in whatever thread changed the book."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._changed.set)

    async def _publish_forever(self) -> None:
        delay = self._retry_first
        while True:
            self._changed.clear()
            await self.publish_due()
            pause = min(delay, self._head_interval) if self.failures else self._head_interval
            delay = min(2 * delay, self._retry_last) if self.failures else self._retry_first
            await _set_or_passed(self._changed, pause)

    async def publish_due(self) -> None:
        """Do one round: renew, then publish whatever is due; what failed is in `failures` afterwards."""
        self.failures = {}
        try:
            await asyncio.to_thread(self._renew)
            self._adopt(self._directory.signer)
            due = await asyncio.to_thread(self._directory.certificates_due)
        except Failure as failure:
            self._failed("renewals", failure)
            due = ((), ())
        new, old = due
        await self._publish_certificates(new)
        await self._publish_record()
        await self._publish_certificates(old)

    def _renew(self) -> None:
        directory = self._directory
        for certificate in directory.renewals_due(directory.clock()):
            try:
                directory.renew(certificate)
            except AuthorityLocked as failure:
                _log.warning("cannot renew %s %s: %s", certificate.role, certificate.name, failure)
                break
            except NotListed:
                continue  # revoked or renewed meanwhile
            except Failure as failure:
                _log.error("cannot renew %s %s: %s", certificate.role, certificate.name, failure)
                continue
            _log.info("renewed the certificate of %s %s", certificate.role, certificate.name)

    def _adopt(self, signer: Signer) -> None:
        if self._trust is not None:
            self._trust.add(signer.certificate.der)
        if self._own is not None and self._own.fingerprint != signer.fingerprint:
            self._own.adopt(signer.certificate)

    async def _publish_record(self) -> None:
        directory = self._directory
        try:
            published = await asyncio.to_thread(directory.record_to_publish)
            statement = version_of(published)
            due = await asyncio.to_thread(directory.is_due, statement)
        except Failure as failure:
            self._failed("record", failure)
            return
        if not due:
            self._taken(statement.digest)
            return
        if statement.digest != self._head_of:
            self._head_of = b""  # the record that heads name is not the newest any more
        if not await self._publish(published):
            if isinstance(self.failures[statement.identifier], Superseded):
                await self._supersede()
            return
        self._taken(statement.digest)

    async def _supersede(self) -> None:
        try:
            await asyncio.to_thread(self._directory.supersede)
        except Failure as failure:
            self._failed("record", failure)

    def _taken(self, record_digest: bytes) -> None:
        """A quorum has the newest record: heads may name it."""
        if record_digest != self._head_of:
            self._head_of = record_digest
            self._head_wanted.set()

    async def _publish_certificates(self, fingerprints: Sequence[bytes]) -> None:
        for start in range(0, len(fingerprints), CHUNK):
            chunk = set(fingerprints[start : start + CHUNK])
            try:
                versions = await asyncio.to_thread(self._directory.certificates_to_publish, chunk)
            except Failure as failure:
                self._failed("certificates", failure)
                return
            slots = asyncio.Semaphore(CONCURRENT)
            async with asyncio.TaskGroup() as group:
                for version in versions:
                    group.create_task(self._publish_in_turn(slots, version))

    async def _publish_in_turn(self, slots: asyncio.Semaphore, version: PublishedVersion) -> None:
        async with slots:
            await self._publish(version)

    async def _publish(self, published: PublishedVersion) -> bool:
        """Return whether a quorum took it; then it is noted in the book."""
        statement = version_of(published)
        try:
            await self._publisher.publish(published)
            await asyncio.to_thread(self._directory.note_published, statement)
        except Failure as failure:
            self._failed(statement.identifier, failure)
            return False
        return True

    def _failed(self, what: str, failure: Failure) -> None:
        self.failures[what] = failure
        _log.warning("not published: %s: %s: %s", what, type(failure).__name__, failure)

    async def _announce_forever(self, announcer: Announcer) -> None:
        while True:
            self._head_wanted.clear()
            if self._head_of:
                try:
                    head = await asyncio.to_thread(sign_head, self._directory, self._head_of)
                    await announcer.announce(head)
                except Failure as failure:
                    _log.warning("head not announced: %s: %s", type(failure).__name__, failure)
            await _set_or_passed(self._head_wanted, self._head_interval)


def version_of(published: PublishedVersion) -> VersionStatement:
    """Return the statement that every PublishedVersion made by a directory carries."""
    statement = published.version.statement
    assert isinstance(statement, VersionStatement)
    return statement


def _log_crash(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("task %s ended: %r", task.get_name(), error, exc_info=error)


async def _set_or_passed(event: asyncio.Event, pause: int) -> None:
    """Return when `event` is set, at the latest after `pause` ms."""
    try:
        async with asyncio.timeout(pause / params.SECOND):
            await event.wait()
    except TimeoutError:
        return
