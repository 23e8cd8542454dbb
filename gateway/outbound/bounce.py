"""Reports to senders: written once, kept as finished statements, repeated until they are in the sender's inbox.

A report has the null reverse-path and comes from mailer-daemon of our domain (RFC 5321 §6.1, RFC 3464 §2). The reverse
path of a queue item is an address of our own domain, so a report goes by injection, never out by MX. What is still
owed after the schedule's end is given up: its reader can no longer be reached.
"""

import asyncio
import secrets
from collections.abc import Sequence
from typing import Protocol

import structlog

from gateway.mail import dsn
from gateway.mail.dsn import RecipientStatus, Report
from gateway.mail.trace import return_path
from gateway.outbound import params
from gateway.outbound.bodies import open_beginning, seal
from gateway.outbound.model import KeptInjection, OwedReport, QueuedRecipient, QueueItem
from gateway.outbound.network import Names
from gateway.outbound.schedule import Schedule
from p2pcore.clock import Clock
from p2pcore.errors import Failure, Malformed, NoSuchAddress, NotOurDomain, Tampered
from p2pcore.mail.injection import Injection, RecipientPart, SealedContent
from p2pcore.mail.send import Stored
from p2pcore.records import Verdicts

log = structlog.get_logger("mail")


class ReportInjector(Protocol):
    """Stores reports: p2pcore.mail.send.Sender, signing as this gateway."""

    async def prepare(self, sealed: SealedContent, parts: Sequence[RecipientPart], verdicts: Verdicts) -> Injection: ...

    async def inject(self, injection: Injection) -> Stored: ...


class ReportKeeper(Protocol):
    """Keeps what is owed: gateway.outbound.queue.Queue."""

    schedule: Schedule

    async def keep_report(self, owed: OwedReport, injection: Injection) -> bool: ...

    async def drop_report(self, owed: OwedReport) -> None: ...

    async def postpone_report(self, owed: OwedReport, at: int) -> None: ...

    async def injected(self, kept: KeptInjection) -> None: ...

    async def postpone_injection(self, kept: KeptInjection, at: int) -> None: ...


class Reporter:
    """Makes and stores the reports of one gateway, `hostname`, of `domain`."""

    def __init__(
        self, names: Names, injector: ReportInjector, queue: ReportKeeper, domain: str, hostname: str, clock: Clock
    ) -> None:
        self._names = names
        self._injector = injector
        self._queue = queue
        self._domain = domain
        self._hostname = hostname
        self._clock = clock

    async def make(self, owed: OwedReport) -> str:
        """Write the report that is owed and keep it; return "made", "dropped" or "postponed". Raises QueueUnusable."""
        injection = await self._prepared(owed)
        if isinstance(injection, Injection):
            return "made" if await self._queue.keep_report(owed, injection) else "dropped"
        if isinstance(injection, NoSuchAddress | NotOurDomain | Malformed) or self._is_over(self._owed_since(owed)):
            await self._queue.drop_report(owed)
            return "dropped"
        await self._queue.postpone_report(owed, self._clock() + params.REPORT_RETRY)
        return "postponed"

    async def _prepared(self, owed: OwedReport) -> Injection | Exception:
        """Return the finished report, or why there is none."""
        try:
            recipients = await self._names.recipient(owed.item.reverse_path)
            content = await asyncio.to_thread(self._write, owed)
            trace = return_path("").encode()
            path = owed.item.reverse_path
            parts = [RecipientPart(each, "", path, trace) for each in recipients.certificates]
            sealed = await asyncio.to_thread(seal, content)
            return await self._injector.prepare(sealed, parts, Verdicts(gateway=self._hostname))
        except Failure as failure:
            return failure
        except Exception as error:  # what nobody foresaw is not repeated without a pause either
            log.exception("failed", where="report", item=owed.item.id, error=repr(error))
            return error

    async def inject(self, kept: KeptInjection) -> bool:
        """Store a kept report; False: not now, and when to repeat it is recorded. Raises QueueUnusable."""
        if await self._injected(kept):
            await self._queue.injected(kept)
            return True
        if self._is_over(kept.begun):
            await self._queue.injected(kept)
            return False
        pause = min(params.REPORT_RETRY << min(kept.attempts, 16), params.RETRY_LAST)
        await self._queue.postpone_injection(kept, self._clock() + pause)
        return False

    async def _injected(self, kept: KeptInjection) -> bool:
        try:
            await self._injector.inject(kept.injection)
        except Failure:
            return False
        except Exception as error:
            log.exception("failed", where="report", item=kept.item_id, error=repr(error))
            return False
        return True

    def _is_over(self, since: int) -> bool:
        return self._clock() >= self._queue.schedule.retry_until(since)

    def _owed_since(self, owed: OwedReport) -> int:
        return max(recipient.last_attempt for recipient, _ in owed.actions)

    def _write(self, owed: OwedReport) -> bytes:
        item = owed.item
        return dsn.build(
            Report(
                reporting_mta=self._hostname,
                sender=f"mailer-daemon@{self._domain}",
                to=item.reverse_path,
                message_id=f"<{secrets.token_hex(16)}@{self._hostname}>",
                time=self._clock(),
                arrival=item.accepted,
                recipients=tuple(self._status(item, *each) for each in owed.actions),
                content=_readable(item.sealed),
                full=item.ret == "FULL",
                envelope_id=item.envelope_id,
            )
        )

    def _status(self, item: QueueItem, recipient: QueuedRecipient, action: dsn.Action) -> RecipientStatus:
        return RecipientStatus(
            recipient=recipient.forward_path,
            action=action,
            status=recipient.status,
            diagnostic=recipient.reply,
            remote=recipient.remote,
            original=recipient.orcpt,
            last_attempt=recipient.last_attempt,
            retry_until=self._queue.schedule.retry_until(item.accepted) if action == "delayed" else 0,
        )


def _readable(sealed: SealedContent) -> bytes:
    """Return what a report needs of the content; nothing where it is damaged: its sender hears of it all the same."""
    try:
        return open_beginning(sealed, dsn.MAX_RETURNED + 1)
    except (Tampered, OSError):
        return b""
