"""From entries to messages: open, judge, retrieve, and file in groups, each entry exactly once.

| the process dies | what happens |
|---|---|
| before the group's transaction commits | nothing was acknowledged; the next start reads it again |
| after it | message, seen identity and clean-up task are there together; clean-up goes on at the next start |
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from gateway.mail.claims import names_us
from gateway.mail.header_section import header_of
from gateway.mailbox.model import Incoming, NewMessage
from gateway.mailbox.store import MailStore
from gateway.sync import reports, rules
from gateway.sync.allowance import Allowance
from gateway.sync.claims import marked
from gateway.sync.origin import trace_of
from p2pcore import params
from p2pcore.clock import Clock, system_clock
from p2pcore.crypto.certificate_parsing import Certificate
from p2pcore.crypto.keys import HpkeKey
from p2pcore.crypto.notifications import open_notification
from p2pcore.errors import Failure, Malformed, NoGoodCopy, Refused, Tampered
from p2pcore.mail.read import ReceivedEntry
from p2pcore.mail.retrieve import Retrieved, Retriever
from p2pcore.records import CleanupTask, Notification, encode

RETRIEVERS = 200  # bodies fetched at once: what was reported together shares requests and a transaction
FETCHING_OCTETS = 32 << 20  # of the bodies in memory that are being fetched
WAITING = 1_000  # entries taken from the reader and not yet filed; the reader waits beyond that
GROUP = 200  # messages of one transaction
GROUP_OCTETS = 32 << 20  # of one transaction, and at most of what waits for the next
FIRST_RETRY = 1.0  # seconds until a body that no replica gave is asked for again; doubled with every try
TRIES = 9  # over some 4 minutes; then the entry is met again at the reader's next reading from zero
IN_THREAD = 64 << 10  # octets: judging less costs less than a thread's two wake-ups
CLEANUP_DELAY = 0.5  # seconds that clean-up may gather work: nobody waits for it
PATIENCE = 0.2  # seconds at most that the next entries wait for the first try of those in hand
PLACEHOLDER = params.DAY  # until a message whose body is not found is spoken of in INBOX
NOT_HAD = 2_000  # entries that wait to be noted as such; beyond them one is noted when it is met again
REFUSED_A_DAY = 20  # entries that are reported which are no mail of anybody admitted: a lying node can make any number
RETRYING = 1_000  # entries waiting for another try; beyond them one is given up after its first

log = structlog.get_logger("ingest")


@dataclass(frozen=True, slots=True)
class _Ready:
    """An entry whose message can be filed, or a report in its place (`retrieved` None)."""

    entry: ReceivedEntry
    incoming: Incoming
    retrieved: Retrieved | None


class Ingest:
    """Files what `take` is given; `run` does the work until cancelled."""

    def __init__(
        self,
        store: MailStore,
        retriever: Retriever,
        keys: Sequence[HpkeKey],
        domain: str,
        *,
        give_up: Callable[[bytes], None],
        compromised: Callable[[Certificate], bool] = lambda _: False,
        clock: Clock = system_clock,
        keep: int = 0,
        hosts: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        """`keys` open notifications; `give_up` is told an entry whose body could not be had in TRIES tries;
        `compromised` says whose key is in other hands. The network keeps what was filed for `keep` ms. `hosts` are the
        domain's gateways, in whose name only they may speak.
        """
        self._store = store
        self._retriever = retriever
        self._keys = tuple(keys)
        self._domain = domain
        self._give_up = give_up
        self._compromised = compromised
        self._clock = clock
        self._keep = keep
        self._hosts = hosts
        self._not_had: asyncio.Queue[tuple[bytes, int, bytes, int]] = asyncio.Queue(NOT_HAD)
        self._refused_since = 0  # ms: when counting of `_refused_count` began
        self._refused_count = 0
        self._opened: asyncio.Queue[tuple[ReceivedEntry, Notification]] = asyncio.Queue(WAITING)
        self._fetching = Allowance(FETCHING_OCTETS)
        self._ready: asyncio.Queue[_Ready] = asyncio.Queue(GROUP)
        self._ready_octets = 0  # of `_ready`
        self._room = asyncio.Event()  # there may be room in `_ready`
        self._again: asyncio.Queue[tuple[ReceivedEntry, Notification]] = asyncio.Queue()
        self._tries: dict[bytes, int] = {}
        self._under_way: set[bytes] = set()
        self._first_try: set[bytes] = set()  # of those: not filed, settled or found missing yet
        self._tried = asyncio.Event()  # `_first_try` is empty
        self._telling: asyncio.TimerHandle | None = None  # of clean-up, that it has work
        self.on_filed: Callable[[], None] = lambda: None

    async def take(self, entries: Sequence[ReceivedEntry]) -> None:
        """Accept entries; waits while WAITING are in hand. What was filed before is only acknowledged again."""
        new = [entry for entry in entries if entry.identity not in self._under_way]
        seen = await self._store.seen(entry.identity for entry in new)
        for entry in new:
            if entry.identity in seen:
                await self._settle(entry)
        fresh = [entry for entry in new if entry.identity not in seen]
        self._under_way.update(entry.identity for entry in fresh)
        unopened = list[tuple[ReceivedEntry, str]]()
        opened = await asyncio.to_thread(self._open, fresh, unopened)
        for entry, why in unopened:
            expires = entry.statement.expires
            report = reports.not_opened(entry.identity, self._domain, self._clock(), expires, why)
            self._missed(entry.identity, expires, report, 0)
        self._first_try.update(entry.identity for entry, _ in opened)
        for entry, notification in opened:
            await self._opened.put((entry, notification))

    async def tried(self) -> None:
        """Return when every entry taken was filed or its body found missing, after PATIENCE at most.

        What is read after that comes together, in few requests and transactions, however much of it there is.
        """
        if self._first_try:
            self._tried.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await self._tried.wait()

    def refused(self, entry: bytes, failure: Failure) -> None:
        """Report an entry that nobody admitted has signed: of a day the first REFUSED_A_DAY, the last as such."""
        now = self._clock()
        if now - self._refused_since > params.DAY:
            self._refused_since, self._refused_count = now, 0
        self._refused_count += 1
        if self._refused_count > REFUSED_A_DAY:
            return
        last = self._refused_count == REFUSED_A_DAY
        why = f"{failure} (more of today are in the log only)" if last else str(failure)
        self._missed(entry, now + params.OBJECT_LIFETIME, reports.refused(entry, None, self._domain, now, why), 0)

    def _missed(self, entry: bytes, expires: int, placeholder: bytes, patience: int) -> None:
        """Have it noted that a message could not be had, and its placeholder filed when that is due."""
        with suppress(asyncio.QueueFull):
            self._not_had.put_nowait((entry, expires, placeholder, patience))

    async def _note_all(self) -> None:
        while True:
            entry, expires, placeholder, patience = await self._not_had.get()
            now = self._clock()
            message = NewMessage(placeholder, frozenset({reports.REPORT}), now // params.SECOND, 0)
            if await self._store.missed(entry, message, now, expires, patience):
                log.warning("reported in her mailbox", entry=entry.hex())

    def _open(
        self, entries: Sequence[ReceivedEntry], unopened: list[tuple[ReceivedEntry, str]]
    ) -> list[tuple[ReceivedEntry, Notification]]:
        opened = []
        for entry in entries:
            statement = entry.statement
            try:
                notification = open_notification(
                    statement.notification, self._keys, statement.inbox_key, statement.signer
                )
            except Refused as failure:
                # Not acknowledged: a recovered key may open it, else it goes when it expires.
                log.warning("entry does not open", entry=entry.identity.hex(), error=str(failure))
                unopened.append((entry, str(failure)))
                continue
            opened.append((entry, notification))
        return opened

    async def run(self) -> None:
        """Retrieve and file until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(RETRIEVERS):
                tasks.create_task(self._retrieve_all(), name=f"retriever {number}")
            tasks.create_task(self._retry_all(), name="retries")
            tasks.create_task(self._note_all(), name="missing messages")
            tasks.create_task(self._file_all(), name="filer")

    async def _retrieve_all(self) -> None:
        while True:
            entry, notification = await self._opened.get()
            # A large one counts as much as the largest that is in memory: it goes to a file, and may take long
            async with self._fetching.taken(min(notification.sealed_size, params.INLINE_BODY)):
                ready = await self._retrieve(entry, notification)
                if isinstance(ready, Exception):
                    self._later(entry, notification, ready)
                else:
                    await self._hand_over(ready)

    async def _hand_over(self, ready: _Ready) -> None:
        """Have `ready` filed; waits while what waits for that has GROUP_OCTETS with it. A larger one goes alone."""
        octets = _octets(ready)
        while self._ready_octets and self._ready_octets + octets > GROUP_OCTETS:
            self._room.clear()
            await self._room.wait()
        self._ready_octets += octets
        await self._ready.put(ready)

    def _later(self, entry: ReceivedEntry, notification: Notification, failure: Exception) -> None:
        """Try again after a while; other messages do not wait for this one.

        After the last try her mailbox says so: where bad copies were all that was given at once, else after a day.
        """
        self._after_first_try([entry])
        tries = self._tries.pop(entry.identity, 0) + 1
        if tries == TRIES or len(self._tries) >= RETRYING:
            self._under_way.discard(entry.identity)
            expires = entry.statement.expires
            bad = isinstance(failure, NoGoodCopy)
            say = reports.no_good_copy if bad else reports.not_found
            report = say(entry.identity, notification, self._domain, self._clock(), expires, str(failure))
            self._missed(entry.identity, expires, report, 0 if bad else PLACEHOLDER)
            self._give_up(entry.identity)
            return
        self._tries[entry.identity] = tries
        delay = FIRST_RETRY * 2 ** (tries - 1)
        asyncio.get_running_loop().call_later(delay, self._again.put_nowait, (entry, notification))

    async def _retry_all(self) -> None:
        while True:
            await self._opened.put(await self._again.get())

    async def _retrieve(self, entry: ReceivedEntry, notification: Notification) -> _Ready | Exception:
        """Return the message of `entry`, or why no replica of its body can be had now."""
        try:
            retrieved = await self._retriever.retrieve(notification, entry.node)
        except (Tampered, Malformed) as failure:
            log.warning("body does not open", entry=entry.identity.hex(), error=str(failure))
            return _Ready(entry, self._report(entry, notification, _owed(entry), failure), None)
        except (Failure, OSError) as failure:  # a node that refuses us, or a full disk, is no reason to drop mail
            log.warning(
                "body not to be had yet", entry=entry.identity.hex(), error=f"{type(failure).__name__}: {failure}"
            )
            return failure
        task = CleanupTask(
            entry=entry.identity,
            entry_expires=entry.statement.expires,
            received=notification.received,
            object=retrieved.object,
            secret=notification.delete_secret,
        )
        try:
            if isinstance(retrieved.content, bytes) and len(retrieved.content) <= IN_THREAD:
                incoming = self._judge(entry, notification, retrieved, task)
            else:
                incoming = await asyncio.to_thread(self._judge, entry, notification, retrieved, task)
        except Refused as failure:
            log.warning("message refused", entry=entry.identity.hex(), error=str(failure))
            retrieved.close()
            return _Ready(entry, self._report(entry, notification, task, failure), None)
        except BaseException:
            retrieved.close()
            raise
        return _Ready(entry, incoming, retrieved)

    def _report(
        self, entry: ReceivedEntry, notification: Notification, task: CleanupTask, failure: Failure
    ) -> Incoming:
        """Return what is filed in the place of a message that is refused for good."""
        now = self._clock()
        return Incoming(
            entry_id=entry.identity,
            duplicate_of=None,
            trace=b"",
            content=reports.refused(entry.identity, notification, self._domain, now, str(failure)),
            internal_date=now // params.SECOND,
            mailbox="INBOX",
            keywords=frozenset({reports.REPORT}),
            cleanup=encode(task),
        )

    def _judge(
        self, entry: ReceivedEntry, notification: Notification, retrieved: Retrieved, task: CleanupTask
    ) -> Incoming:
        header = header_of(retrieved.content)
        signer = entry.certificate
        compromised = self._compromised(signer)
        keywords = rules.keywords_for(notification, signer, header, self._domain, compromised=compromised)
        unverified = rules.UNVERIFIED in keywords
        is_ours = names_us(self._domain, (*self._hosts(), notification.verdicts.gateway))
        return Incoming(
            entry_id=entry.identity,
            duplicate_of=rules.duplicate_key(notification, signer, header, retrieved.content_digest),
            trace=trace_of(notification, signer, self._domain, unverified=unverified, compromised=compromised),
            content=marked(retrieved.content, is_ours),
            internal_date=notification.received // 1_000,
            mailbox="Junk" if notification.verdicts.disposition == "quarantine" else "INBOX",
            keywords=keywords,
            cleanup=encode(task),
            keep=self._keep,
            octets=notification.sealed_size,
        )

    async def _file_all(self) -> None:
        while True:
            group = [await self._ready.get()]
            octets = _octets(group[0])
            while len(group) < GROUP and octets < GROUP_OCTETS and not self._ready.empty():
                group.append(self._ready.get_nowait())
                octets += _octets(group[-1])
            self._ready_octets -= octets
            self._room.set()
            await self._file(group)

    async def _file(self, group: Sequence[_Ready]) -> None:
        filed = await self._store.file_incoming([ready.incoming for ready in group])
        for ready in group:
            if ready.retrieved is not None:
                ready.retrieved.close()
            self._under_way.discard(ready.entry.identity)
            self._tries.pop(ready.entry.identity, None)
        self._after_first_try([ready.entry for ready in group])
        self._owe()
        for ready, outcome in zip(group, filed, strict=True):
            event = ("delivered" if ready.retrieved else "reported") if outcome.uid else "duplicate"
            log.info(event, entry=outcome.entry_id.hex(), uid=outcome.uid)

    def _after_first_try(self, entries: Sequence[ReceivedEntry]) -> None:
        self._first_try.difference_update(entry.identity for entry in entries)
        if not self._first_try:
            self._tried.set()

    def _owe(self) -> None:
        """Say that clean-up has work, once for all that comes within CLEANUP_DELAY."""
        if self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(CLEANUP_DELAY, self._tell)

    def _tell(self) -> None:
        self._telling = None
        self.on_filed()

    async def _settle(self, entry: ReceivedEntry) -> None:
        """Owe an acknowledgement for an entry that brings no further message."""
        await self._store.owe_cleanup(entry.identity, encode(_owed(entry)))
        self._owe()


def _owed(entry: ReceivedEntry) -> CleanupTask:
    """Return the task of an entry without a body that could be deleted."""
    return CleanupTask(entry.identity, entry.statement.expires, entry.statement.issued, None, b"")


def _octets(ready: _Ready) -> int:
    content = ready.retrieved.content if ready.retrieved else b""
    return len(content) if isinstance(content, bytes) else GROUP_OCTETS // 4
