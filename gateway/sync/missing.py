"""What her mailbox says of entries whose message could not be had; `gateway.mailbox.missing` has the states."""

import asyncio
from contextlib import suppress

import structlog

from gateway.mailbox.model import NewMessage
from gateway.mailbox.store import MailStore
from gateway.sync import reports
from gateway.sync.opening import Opened
from p2pcore import params
from p2pcore.clock import Clock
from p2pcore.errors import Failure, NoGoodCopy
from p2pcore.mail.read import ReceivedEntry

PLACEHOLDER = params.DAY  # until a message whose body is not found is spoken of in INBOX
NOT_HAD = 2_000  # entries that wait to be noted as such; beyond them one is noted when it is met again
REFUSED_A_DAY = 20  # entries that are reported which are no mail of anybody admitted: a lying node can make any number

log = structlog.get_logger("ingest")


class Missing:
    """Notes entries whose message could not be had; `run` files what is to be said of them, until cancelled.

    A crash loses what waits to be noted: the entry is not acknowledged, so it is met again, and noted then.
    """

    def __init__(self, store: MailStore, domain: str, clock: Clock) -> None:
        self._store = store
        self._domain = domain
        self._clock = clock
        self._noted: asyncio.Queue[tuple[bytes, int, bytes, int]] = asyncio.Queue(NOT_HAD)
        self._refused_since = 0  # ms: when counting of `_refused_count` began
        self._refused_count = 0

    def not_opened(self, entry: ReceivedEntry, why: str) -> None:
        """Report an entry that opens with none of our keys, at once."""
        expires = entry.statement.expires
        report = reports.not_opened(entry.identity, self._domain, self._clock(), expires, why)
        self._note(entry.identity, expires, report, 0)

    def not_had(self, opened: Opened, failure: Exception) -> None:
        """Report an entry whose body was looked for in vain: at once where bad copies were given, else after a day."""
        identity, expires = opened.entry.identity, opened.entry.statement.expires
        bad = isinstance(failure, NoGoodCopy)
        say = reports.no_good_copy if bad else reports.not_found
        report = say(identity, opened.notification, self._domain, self._clock(), expires, str(failure))
        self._note(identity, expires, report, 0 if bad else PLACEHOLDER)

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
        self._note(entry, now + params.OBJECT_LIFETIME, reports.refused(entry, None, self._domain, now, why), 0)

    def _note(self, entry: bytes, expires: int, placeholder: bytes, patience: int) -> None:
        """Have it noted that a message could not be had, and its placeholder filed when that is due."""
        with suppress(asyncio.QueueFull):
            self._noted.put_nowait((entry, expires, placeholder, patience))

    async def run(self) -> None:
        """Note what comes, until cancelled."""
        while True:
            entry, expires, placeholder, patience = await self._noted.get()
            now = self._clock()
            message = NewMessage(placeholder, frozenset({reports.REPORT}), now // params.SECOND, 0)
            if await self._store.missed(entry, message, now, expires, patience):
                log.warning("reported in her mailbox", entry=entry.hex())
