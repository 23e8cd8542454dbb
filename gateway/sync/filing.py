"""Messages become durably hers, and clean-up is told of what is owed for them.

| the process dies | what happens |
|---|---|
| before the group's transaction commits | nothing was acknowledged; the next start reads it again |
| after it | message, seen identity and clean-up task are there together; clean-up goes on at the next start |
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import structlog

from gateway.mailbox.store import MailStore
from gateway.sync.judging import Ready, acknowledgement
from p2pcore.mail.read import ReceivedEntry
from p2pcore.records import encode

GROUP = 200  # messages of one transaction
GROUP_OCTETS = 32 << 20  # of one transaction
IN_FILE = 8 << 20  # octets that a large content counts as there: its file is written and synced before the commit
CLEANUP_DELAY = 1.0  # seconds that clean-up may gather work: nobody waits for it, and its requests are for k nodes

log = structlog.get_logger("ingest")


class _Waiting:
    """Messages that are to be filed together."""

    def __init__(self, ready: Sequence[Ready]) -> None:
        self.ready = ready
        self.octets = sum(map(_octets, ready))
        self.filed = False


class Filing:
    """Files what is ready in `store`; `on_owed` is called when clean-up has work."""

    def __init__(self, store: MailStore, on_owed: Callable[[], None]) -> None:
        self._store = store
        self._on_owed = on_owed
        self._waiting: deque[_Waiting] = deque()
        self._turn = asyncio.Lock()  # of the transaction under way
        self._telling: asyncio.TimerHandle | None = None

    async def file(self, ready: Sequence[Ready]) -> None:
        """File `ready` in one transaction, and let go of its files; what waits for the same turn shares it."""
        ours = _Waiting(ready)
        self._waiting.append(ours)
        async with self._turn:
            if ours.filed:  # in another's turn
                return
            group = self._next_group()
            await self._file([one for each in group for one in each.ready])
            for each in group:
                self._waiting.popleft()
                each.filed = True

    def _next_group(self) -> list[_Waiting]:
        """Return what has waited longest, at least one, as much as one transaction should have."""
        group: list[_Waiting] = []
        messages = octets = 0
        for each in self._waiting:
            messages, octets = messages + len(each.ready), octets + each.octets
            if group and (messages > GROUP or octets > GROUP_OCTETS):
                break
            group.append(each)
        return group

    async def _file(self, group: Sequence[Ready]) -> None:
        filed = await self._store.file_incoming([ready.incoming for ready in group])
        self._owe()
        for ready, outcome in zip(group, filed, strict=True):
            ready.close()
            event = ("delivered" if ready.retrieved else "reported") if outcome.uid else "duplicate"
            log.info(event, entry=outcome.entry_id.hex(), uid=outcome.uid)

    async def settle(self, entries: Iterable[ReceivedEntry]) -> None:
        """Owe acknowledgements for entries that bring no further message."""
        async with asyncio.TaskGroup() as tasks:  # together: what waits together is one commit
            for entry in entries:
                tasks.create_task(self._store.owe_cleanup(entry.identity, encode(acknowledgement(entry))))
                self._owe()

    def _owe(self) -> None:
        """Say that clean-up has work, once for all that comes within CLEANUP_DELAY."""
        if self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(CLEANUP_DELAY, self._tell)

    def _tell(self) -> None:
        self._telling = None
        self._on_owed()


def _octets(ready: Ready) -> int:
    content = ready.incoming.content
    return len(content) if isinstance(content, bytes) else IN_FILE
