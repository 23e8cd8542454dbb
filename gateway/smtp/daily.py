"""The limit on the recipients that each user may send to in a day; a restart forgets nothing (docs/decisions/0025)."""

from collections.abc import Sequence
from typing import Protocol

from gateway.mail.outgoing import NewItem, Sending
from gateway.smtp import replies
from gateway.smtp.limits import Pace
from gateway.smtp.replies import Refusal
from p2pcore.clock import Clock
from p2pcore.errors import Failure
from p2pcore.params import DAY


class Keeper(Protocol):
    """The gateway's queue, which writes down in `accept` what counts."""

    async def knows(self, submitter: str, submission_id: str) -> bool: ...

    async def accept(self, item: NewItem) -> bool: ...

    async def sendings(self) -> Sequence[Sending]:
        """Return what was accepted in the last day, oldest first. Raises Failure."""
        ...


class DailyRecipients:
    """At most `limit` for each user; only what the queue has kept counts, and once."""

    def __init__(self, limit: int, queue: Keeper, clock: Clock) -> None:
        self._queue = queue
        self._pace = Pace(limit, DAY, clock)

    async def restore(self) -> None:
        """Count what was accepted before this process began. Raises Failure."""
        for sending in await self._queue.sendings():
            self._pace.count(sending.submitter, sending.recipients, sending.at)

    async def check(self, user: str, submission_id: str, recipients: int) -> None:
        """Raises Refusal where so many more are too many now, unless they are known already; nothing is counted."""
        if self._pace.left(user) >= recipients:
            return
        try:
            known = await self._queue.knows(user, submission_id)
        except Failure as failure:
            raise Refusal(replies.INTERNAL, str(failure)) from failure
        if not known:
            raise Refusal(replies.TOO_MANY_TODAY, user)

    async def accept(self, item: NewItem) -> bool:
        """Have `item` kept. False: it was known, and is not counted again. Raises Refusal, Failure, OSError."""
        if not self._pace.take(item.submitter, len(item.recipients)):  # others of her sessions were quicker
            if await self._queue.knows(item.submitter, item.submission_id):
                return False
            raise Refusal(replies.TOO_MANY_TODAY, item.submitter)
        new = False
        try:
            new = await self._queue.accept(item)
        finally:
            if not new:
                self._pace.give_back(item.submitter, len(item.recipients))
        return new
