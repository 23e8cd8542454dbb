"""One user's outgoing mail, kept from the 250 to her client until every recipient has an outcome.

Layout: `outbox.db` (SQLite, WAL, synchronous=FULL, encrypted) and `contents/<random hex>` (large contents, sealed under
keys in the database; large bodies, sealed for the network). Each state follows from the one above by one transaction:

| state on disk                           | next step                      | a crash here                            |
|-----------------------------------------|--------------------------------|-----------------------------------------|
| content file, no row                    | accept's commit, then its 250  | nothing was promised; the file goes (1) |
| message, recipients not tried           | route each                     | routed at the next start                |
| body file, no row                       | commit of the statements       | the file goes (1); sealed afresh        |
| statements kept (`injections`)          | append them                    | the very same ones again: idempotent    |
| parcel begun (`parcels.begun`)          | DATA at its gateway            | same gateway and envelope ID: one copy  |
| parcel answered 4yz (`begun` = 0)       | any gateway at `next_attempt`  | the same, with the same envelope ID     |
| outcome of some recipients              | attempt for the others         | who has an outcome is not tried again   |
| report or copy owed (`filings`)         | file it in her mailbox         | filed again: known there by identity    |
| filed, row not yet forgotten            | forget the row                 | the same                                |
| outcome of all, copy filed              | message removed in that commit | its files go (1)                        |

(1) at the next start: files that no row names are removed.

A temporary failure leads to the next attempt (`schedule`), a permanent one, or `give_up_after`, to a failed recipient
and a report, whose commit is the outcome's. It waits for new mail, the next due time and `wake`; it never polls.
"""

import asyncio
import errno
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from gateway.mail.address import parse_mailbox
from gateway.mail.submission import Submission
from gateway.mailbox.errors import StoreError, StoreFull
from gateway.outbox import rows
from gateway.outbox.attempt import Attempts
from gateway.outbox.direct import Courier, DirectDelivery
from gateway.outbox.filing import Filing
from gateway.outbox.gateways import GatewayDelivery
from gateway.outbox.model import FileOnce, Message, OutboxStatus
from gateway.outbox.network import Injector, NetworkDelivery
from gateway.outbox.params import ATTEMPTS_AT_ONCE, CONTENT_IN_ROW, LARGE_AT_ONCE, RETRY, RETRY_LAST, OutboxLimits
from gateway.outbox.probing import GatewayProbe
from gateway.outbox.relay import Dialler
from gateway.outbox.routes import Names, Router
from gateway.outbox.store import OutboxStore
from p2pcore import names, params
from p2pcore.clock import Clock
from p2pcore.crypto.certificates import parse_certificate
from p2pcore.errors import Malformed
from p2pcore.records import GatewayInfo, Identity

log = structlog.get_logger("outbox")


class Outbox:
    """The outbox of one account; use it between `start` and `stop`.

    Its calls but `accept` may raise StoreFull, StoreDamaged and OSError besides what they name.
    """

    def __init__(
        self,
        directory: Path,
        key: bytes,
        identity: Identity,
        domain_names: Names,
        sender: Injector,
        gateways: Callable[[], Sequence[GatewayInfo]],
        append_sent: FileOnce,
        file_report: FileOnce,
        clock: Clock,
        limits: OutboxLimits,
        temporary: Path,
        courier: Courier | None = None,
    ) -> None:
        """`key` (32 octets) encrypts `directory`; `identity` is the user's, `sender` signs as her; `gateways` gives the
        domain record's. `temporary` takes large contents in clear, in nameless files, while they are filed.
        With a `courier` other domains' recipients go by MX from here instead of to a gateway.
        """
        self._directory = directory
        self._key = key
        self._dialler = Dialler(identity, domain_names.domain, limits)
        self._address = parse_certificate(identity.certificate).primary_address
        self._router = Router(domain_names, direct=courier is not None)
        self._sender = sender
        self._gateways = gateways
        self._append_sent = append_sent
        self._file_report = file_report
        self._clock = clock
        self._limits = limits
        self._temporary = temporary
        self._courier = courier
        self.held = False  # nothing is tried until `release`; set it before `start`'s caller waits for anything
        self._opened: OutboxStore | None = None
        self._nodes_came = False
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        self._under_way: dict[str, tuple[asyncio.Task[None], bool]] = {}  # by message ID: its attempt, is it large
        self._resting: dict[str, int] = {}  # messages whose attempt could not be recorded: when to go on
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open the store and begin to deliver what is in it. Raises StoreLocked, StoreDamaged, OSError."""
        store = self._opened = await OutboxStore.open(self._directory, self._key, self._clock())
        network = NetworkDelivery(store, self._sender, self._router.domain, self._clock)
        self._relaying = GatewayDelivery(store, self._gateways, self._dialler, self._clock, self._limits)
        direct = DirectDelivery(store, self._courier, self._router.domain) if self._courier else None
        self._probe = GatewayProbe(self._dialler, self._gateways, self._address, self._limits.check_timeout)
        self._attempts = Attempts(store, self._router, network, self._relaying, direct, self._clock, self._limits)
        self._filing = Filing(
            store,
            self._append_sent,
            self._file_report,
            self._temporary,
            self._clock,
            retry=self._limits.filing_retry,
            sent_grace=self._limits.sent_grace,
        )
        self._tasks = [
            asyncio.create_task(self._run(), name=f"outbox of {self._address}"),
            asyncio.create_task(self._filing.run(), name=f"outbox filing of {self._address}"),
        ]

    def renew(self, identity: Identity) -> None:
        """Show gateways the certificate of `identity` from now on: the user's own, renewed."""
        self._dialler.identity = identity

    async def stop(self) -> None:
        """End what is under way and close; the next start takes it up again."""
        tasks = [*self._tasks, *(task for task, _ in self._under_way.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks, self._under_way = [], {}
        if self._opened is not None:
            await self._opened.close()
            self._opened = None

    async def accept(self, submission: Submission) -> str:
        """Keep a submission; gives its ID. Content, recipients and the copy owed to Sent are durable on return.

        Raises Malformed (no recipient, or one that is no address), OSError; nothing is kept then.
        """
        if not submission.recipients:
            raise Malformed("a submission has at least one recipient")
        for path in (*submission.forward_paths, *filter(None, [submission.reverse_path])):
            parse_mailbox(path)
        message_id = secrets.token_hex(16)
        self._settled.clear()
        now, save_sent = self._clock(), self._limits.save_sent
        try:
            await self._store.write(rows.accept, message_id, submission, now, save_sent=save_sent)
        except StoreError as error:
            # The session that says 250 knows the file system's errors, not a mail store's
            raise OSError(errno.ENOSPC if isinstance(error, StoreFull) else errno.EIO, str(error)) from error
        log.info("accepted", id=message_id, recipients=len(submission.recipients))
        self._filing.wake()
        self.wake()
        return message_id

    async def check_recipient(self, address: str) -> None:
        """Return if mail for `address` may be taken. Waits `check_timeout` at most for gateways.

        Another domain's address may. One of ours may where its certificate is found; else a gateway is asked, and its
        refusal is raised: NoSuchAddress, NotOurDomain, TooLarge, PermanentFailure. Where no gateway can say, it may:
        the outbox keeps the mail until one can. Raises Malformed.
        """
        parse_mailbox(address)
        if not self._router.is_ours(address):
            return
        names.canonical_address(address)
        if await self._router.certificate(address) is None:
            await self._probe.check(address)

    def wake(self) -> None:
        """Look again at what is due: the clock, the domain record or the network may have changed."""
        self._settled.clear()
        self._wake.set()

    def nodes_came(self) -> None:
        """Try soon what our own network put off: a node is there that was not."""
        self._nodes_came = True
        self.wake()

    async def settled(self) -> None:
        """Wait until every attempt that is due has been made, and everything owed to the mailbox has been tried."""
        await self._settled.wait()
        await self._filing.settled()

    def release(self) -> None:
        """Send what `held` kept back."""
        self.held = False
        self.wake()

    @property
    def store(self) -> OutboxStore:
        """What it keeps, for a backup of it."""
        return self._store

    async def status(self) -> OutboxStatus:
        """Return the counts."""
        return await self._store.read(rows.status)

    async def unreached(self) -> tuple[int, str]:
        """Return how many messages wait because no gateway could be asked, and what the newest of them met."""
        noted = dict(self._relaying.unreached)
        waiting = await self._store.read(rows.waiting, noted)
        for gone in noted.keys() - waiting:
            self._relaying.unreached.pop(gone, None)
        return len(waiting), next((why for message_id, why in reversed(noted.items()) if message_id in waiting), "")

    async def list(self) -> tuple[Message, ...]:
        """Return the oldest LISTED messages with their recipients' states, without small contents."""
        return await self._store.read(rows.messages)

    async def message(self, message_id: str) -> Message | None:
        """Return one kept message, None if it is gone."""
        return await self._store.read(rows.load, message_id)

    async def retry(self, message_id: str | None = None) -> int:
        """Make every pending recipient of a message (None: of all) due now; return how many messages that touches.

        Raises UnknownSubmission.
        """
        self._settled.clear()
        touched = await self._store.write(rows.retry, message_id, self._clock())
        if message_id is None:
            self._resting.clear()
        else:
            self._resting.pop(message_id, None)
        self.wake()
        return touched

    async def remove(self, message_id: str) -> None:
        """Drop a message and the copy still owed; what was sent stays sent. Raises UnknownSubmission."""
        await self._store.write(rows.remove, message_id)

    @property
    def _store(self) -> OutboxStore:
        if self._opened is None:
            raise RuntimeError("the outbox is not started")
        return self._opened

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                pause = await self._start_due()
            except Exception:  # whatever it is, mail that waits must not wait for a restart
                log.exception("outbox not readable")
                pause = self._limits.filing_retry
            if not self._under_way and not self._wake.is_set():
                self._settled.set()
            try:
                async with asyncio.timeout(None if pause is None else pause / params.SECOND):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _start_due(self) -> int | None:
        """Start attempts for what is due, as far as there is room; gives how long to wait, None: until woken."""
        if self.held:
            return None
        now = self._clock()
        if self._nodes_came:
            self._nodes_came = False
            await self._store.write(rows.hasten, now, RETRY[0])
        if await self._store.read(rows.is_ahead, now + RETRY_LAST):  # the clock was set back since
            await self._store.write(rows.catch_up, now, now + RETRY_LAST)
        rest = self._limits.filing_retry
        self._resting = {each: until for each, until in self._resting.items() if now < until <= now + rest}
        ready, next_due = await self._store.read(
            rows.due,
            now,
            {*self._under_way, *self._resting},
            ATTEMPTS_AT_ONCE - len(self._under_way),
            LARGE_AT_ONCE - sum(large for _, large in self._under_way.values()),
        )
        for message_id, size in ready.items():
            task = asyncio.create_task(self._attempt(message_id), name=f"attempt for {message_id}")
            self._under_way[message_id] = (task, size > CONTENT_IN_ROW)
        times = [time for time in (next_due, *self._resting.values()) if time is not None]
        return max(0, min(times) - now) if times else None

    async def _attempt(self, message_id: str) -> None:
        try:
            await self._attempts.attempt(message_id)
        except Exception:  # it has no outcome, so it stays due: rest, or it would be tried without a pause
            log.exception("attempt not recorded; it is made again", id=message_id)
            self._resting[message_id] = self._clock() + self._limits.filing_retry
        finally:
            self._under_way.pop(message_id, None)
            self._filing.wake()
            self.wake()
