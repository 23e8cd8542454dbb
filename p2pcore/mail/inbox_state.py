"""Whether inboxes take entries now, asked before the mail itself arrives."""

from collections.abc import Sequence
from dataclasses import dataclass

from p2pcore import params
from p2pcore.client.placement import widened
from p2pcore.client.replicas import Replicas
from p2pcore.clock import Clock
from p2pcore.dht.contact import Contact
from p2pcore.errors import Failure, NoQuorum
from p2pcore.mail.cache import FreshCache
from p2pcore.records import AskInbox, InboxStatus, Result, decode

_SIZE = 100_000


@dataclass(frozen=True, slots=True)
class InboxState:
    """`room`: a quorum of the inbox's nodes would take an entry, or of those next to them in place of full ones.

    `last_read` is in ms, 0 where it was never read; `full`: it is the inbox that has no room, and not the nodes.
    """

    room: bool
    last_read: int
    full: bool = False


def summarise(statuses: Sequence[InboxStatus], w: int) -> InboxState:
    """Return what `statuses`, one per node that answered, say together. Raises NoQuorum below w answers."""
    if len(statuses) < w:
        raise NoQuorum(f"{len(statuses)} of {w} nodes answered for the inbox")
    return InboxState(
        room=sum(status.room for status in statuses) >= w,
        last_read=max(status.last_read for status in statuses),
        full=sum(_fits(status) for status in statuses) < w,
    )


def _fits(status: InboxStatus) -> bool:
    """Return whether the inbox itself takes one more entry."""
    octets = status.octets + params.MAX_NOTIFICATION
    return status.entries < params.INBOX_MAX_ENTRIES and octets <= params.INBOX_MAX_OCTETS


class InboxStates:
    """The state of inboxes by key, believed for RCPT_CACHE."""

    def __init__(self, replicas: Replicas, clock: Clock) -> None:
        self._replicas = replicas
        self._cache: FreshCache[bytes, InboxState] = FreshCache(
            self._ask, clock, lifetime=params.RCPT_CACHE, size=_SIZE
        )

    async def of(self, inbox_key: bytes) -> InboxState:
        """Return the state of the inbox. Raises CannotKnow, NoQuorum."""
        return await self._cache.get(inbox_key)

    def known(self, inbox_key: bytes) -> InboxState | None:
        """As `of` where that takes no question, else None."""
        return self._cache.fresh(inbox_key)

    async def stop(self) -> None:
        await self._cache.stop()

    async def _ask(self, inbox_key: bytes) -> InboxState:
        replication = self._replicas.current()
        contacts = await self._replicas.substrate.lookup(inbox_key, replication.k)
        statuses = await self._statuses(inbox_key, contacts)
        state = summarise(statuses, replication.w)
        if not state.room and not state.full:  # an entry goes to the next closest in place of a full node
            further = await self._replicas.substrate.lookup(inbox_key, widened(replication.k))
            statuses += await self._statuses(inbox_key, [each for each in further if each not in contacts])
            state = summarise(statuses, replication.w)
        return state

    async def _statuses(self, inbox_key: bytes, contacts: Sequence[Contact]) -> list[InboxStatus]:
        answers = await self._replicas.ask_all(contacts, AskInbox(inbox_key))
        return [status for answer in answers if (status := _status(answer)) is not None]


def _status(answer: Result | Failure) -> InboxStatus | None:
    if isinstance(answer, Failure):
        return None
    try:
        return decode(InboxStatus, answer.value)
    except Failure:
        return None
