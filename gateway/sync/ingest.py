"""From entries to messages: open, retrieve, judge and file, each entry exactly once.

Work goes in rounds: what one node reported together is asked for in one request, opened and judged in one job of a
thread, and filed in one transaction. A message whose body is large, or not good at once, leaves its round and goes on
alone: no other waits for it.

| the process dies | what happens |
|---|---|
| before a message's transaction commits | nothing was acknowledged; the next start reads it again |
| after it | it is known as seen; `gateway.sync.filing` says what is there with it |
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import structlog

from gateway.mailbox.store import MailStore
from gateway.sync.allowance import Allowance
from gateway.sync.filing import Filing
from gateway.sync.judging import Judge, Ready
from gateway.sync.missing import Missing
from gateway.sync.opening import Opened, open_entries
from p2pcore import params
from p2pcore.client.reads import Asked
from p2pcore.clock import Clock, system_clock
from p2pcore.crypto.certificate_parsing import Certificate
from p2pcore.crypto.keys import HpkeKey
from p2pcore.dht.contact import Contact
from p2pcore.errors import Failure, Malformed, Tampered
from p2pcore.mail.read import ReceivedEntry
from p2pcore.mail.retrieve import Retrieved, Retriever

ROUND = 200  # messages of one round
ROUND_OCTETS = 3 << 20  # of the sealed bodies of a round: they fit one request (`batching.BATCH_OCTETS`)
WAITING = 8  # rounds taken from the reader and not yet begun; the reader waits beyond that
IN_HAND = 64 << 20  # octets of bodies in memory, from before they are asked for until they are filed
LEAST = 64 << 10  # octets that any message counts as: so no more than 1,024 are in hand
IN_FILE = 2 << 20  # octets that a large message counts as: its file takes time and connections more than memory
OPEN_HERE = 4  # entries: opening more at once would be felt on the event loop
FIRST_RETRY = 1.0  # seconds until a body that no replica gave is asked for again; doubled with every try
TRIES = 9  # over some 4 minutes; then the entry is met again at the reader's next reading from zero
RETRYING = 1_000  # messages waiting for another try; beyond them one is given up after its first
IN_THREAD = 64 << 10  # octets: judging less costs less than a thread's two wake-ups
PATIENCE = 0.2  # seconds at most that the next entries wait for the first try of those in hand

log = structlog.get_logger("ingest")


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
        """`keys` open notifications; `give_up` is told an entry whose body could not be had in TRIES tries; the rest
        is as for `Judge`.
        """
        self._store = store
        self._retriever = retriever
        self._keys = tuple(keys)
        self._give_up = give_up
        self._judge = Judge(domain, compromised=compromised, clock=clock, keep=keep, hosts=hosts)
        self._filing = Filing(store, lambda: self.on_filed())
        self._missing = Missing(store, domain, clock)
        self._rounds: asyncio.Queue[list[Opened]] = asyncio.Queue(WAITING)
        self._in_hand = Allowance(IN_HAND)
        self._under_way: set[bytes] = set()
        self._first_try: set[bytes] = set()  # of those: not filed, settled or found missing yet
        self._tried = asyncio.Event()  # `_first_try` is empty
        self._retrying = 0
        self.on_filed: Callable[[], None] = lambda: None  # clean-up has work

    async def take(self, entries: Sequence[ReceivedEntry]) -> None:
        """Accept entries; waits while WAITING rounds are. What was filed before is only acknowledged again."""
        new = [entry for entry in entries if entry.identity not in self._under_way]
        seen = await self._store.seen(entry.identity for entry in new)
        await self._filing.settle(entry for entry in new if entry.identity in seen)
        fresh = [entry for entry in new if entry.identity not in seen]
        self._under_way.update(entry.identity for entry in fresh)
        if len(fresh) > OPEN_HERE:
            opened, unopened = await asyncio.to_thread(open_entries, fresh, self._keys)
        else:
            opened, unopened = open_entries(fresh, self._keys)
        for entry, why in unopened:
            self._missing.not_opened(entry, why)
        self._first_try.update(each.entry.identity for each in opened)
        for group in _rounds_of(opened):
            await self._rounds.put(group)

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
        """Report an entry that nobody admitted has signed; of a day only so many."""
        self._missing.refused(entry, failure)

    async def run(self) -> None:
        """Retrieve and file until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._missing.run(), name="missing messages")
            while True:
                group = await self._rounds.get()
                await self._in_hand.take(sum(map(_weight, group)))
                if _is_large(group[0]):
                    tasks.create_task(self._alone(group[0]), name="large message")
                else:
                    tasks.create_task(self._together(group, tasks), name="round of messages")

    async def _together(self, group: Sequence[Opened], tasks: asyncio.TaskGroup) -> None:
        """Retrieve and file a round; what is not good at once goes on alone."""

        def use(index: int, retrieved: Retrieved) -> Ready:
            return self._judge.message(group[index], retrieved)

        notifications = [each.notification for each in group]
        outcomes = await self._retriever.retrieve_together(group[0].entry.node, notifications, use)
        ready: list[Ready] = []
        for opened, outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, Asked):
                tasks.create_task(self._alone(opened, outcome), name="message alone")
            else:
                ready.append(outcome)
        if ready:
            await self._file(ready)

    async def _alone(self, opened: Opened, asked: Asked | None = None) -> None:
        """Retrieve and file one message, in TRIES tries at most; the caller has taken its weight of what is in hand.

        After the last try her mailbox says so: where bad copies were all that was given at once, else after a day.
        """
        for number in range(1, TRIES + 1):
            outcome = await self._try(opened, asked)
            if isinstance(outcome, Ready):
                await self._file([outcome])
                return
            asked = None
            self._in_hand.give_back(_weight(opened))
            self._after_first_try([opened])
            if number == TRIES or self._retrying >= RETRYING:
                self._under_way.discard(opened.entry.identity)
                self._missing.not_had(opened, outcome)
                self._give_up(opened.entry.identity)
                return
            self._retrying += 1
            await asyncio.sleep(FIRST_RETRY * 2 ** (number - 1))
            self._retrying -= 1
            await self._in_hand.take(_weight(opened))

    async def _try(self, opened: Opened, asked: Asked | None) -> Ready | Exception:
        """Return the message of an entry, or why no replica of its body can be had now."""
        entry = opened.entry
        try:
            retrieved = await self._retriever.retrieve(opened.notification, entry.node, asked)
        except (Tampered, Malformed) as failure:
            return self._judge.unopened(opened, failure)
        except (Failure, OSError) as failure:  # a node that refuses us, or a full disk, is no reason to drop mail
            log.warning(
                "body not to be had yet", entry=entry.identity.hex(), error=f"{type(failure).__name__}: {failure}"
            )
            return failure
        if isinstance(retrieved.content, bytes) and len(retrieved.content) <= IN_THREAD:
            return self._judge.message(opened, retrieved)
        return await asyncio.to_thread(self._judge.message, opened, retrieved)

    async def _file(self, group: Sequence[Ready]) -> None:
        await self._filing.file(group)
        self._in_hand.give_back(sum(_weight(ready.opened) for ready in group))
        self._under_way.difference_update(ready.opened.entry.identity for ready in group)
        self._after_first_try([ready.opened for ready in group])

    def _after_first_try(self, group: Sequence[Opened]) -> None:
        self._first_try.difference_update(opened.entry.identity for opened in group)
        if not self._first_try:
            self._tried.set()


def _rounds_of(opened: Sequence[Opened]) -> Iterator[list[Opened]]:
    """Yield what can be asked for together: of one node, not too much; every large one by itself."""
    begun: dict[Contact, tuple[list[Opened], int]] = {}
    for each in opened:
        if _is_large(each):
            yield [each]
            continue
        node, size = each.entry.node, each.notification.sealed_size
        group, octets = begun.get(node, ([], 0))
        if group and (len(group) == ROUND or octets + size > ROUND_OCTETS):
            yield group
            group, octets = [], 0
        group.append(each)
        begun[node] = group, octets + size
    for group, _ in begun.values():
        yield group


def _is_large(opened: Opened) -> bool:
    return opened.notification.sealed_size > params.INLINE_BODY


def _weight(opened: Opened) -> int:
    """Return the octets that a message counts as while it is in hand."""
    return IN_FILE if _is_large(opened) else max(opened.notification.sealed_size, LEAST)
