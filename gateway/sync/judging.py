"""What is filed for an entry whose body has come: its message, or the report that it was refused.

Here it is decided what the message is worth (its keywords), where it goes, what is put above it, and which messages are
the same (docs/flow.md §8): `duplicate_of` names what its gateway was given, and the store shows one copy of one name
within 7 days. Whatever is filed has its clean-up task with it, so entry and body go once it is durably hers.
"""

from collections.abc import Callable, Sequence

import msgspec
import structlog

from gateway.mail.claims import names_us
from gateway.mail.header_section import header_of
from gateway.mailbox.model import Incoming
from gateway.sync import reports, rules
from gateway.sync.claims import marked
from gateway.sync.opening import Opened
from gateway.sync.origin import trace_of
from p2pcore import params
from p2pcore.clock import Clock
from p2pcore.crypto.certificate_parsing import Certificate
from p2pcore.errors import Failure, Refused
from p2pcore.mail.read import ReceivedEntry
from p2pcore.mail.retrieve import Retrieved
from p2pcore.records import CleanupTask, encode

log = structlog.get_logger("ingest")


class Ready(msgspec.Struct, frozen=True):
    """An entry whose message can be filed, or a report in its place (`retrieved` None)."""

    opened: Opened
    incoming: Incoming
    retrieved: Retrieved | None

    def close(self) -> None:
        """Let go of a large content's file. Idempotent."""
        if self.retrieved is not None:
            self.retrieved.close()


class Judge:
    """Judges messages to one user of `domain`; may be called in any thread."""

    def __init__(
        self,
        domain: str,
        *,
        compromised: Callable[[Certificate], bool],
        clock: Clock,
        keep: int,
        hosts: Callable[[], Sequence[str]],
    ) -> None:
        """`compromised` says whose key is in other hands. The network keeps what was filed for `keep` ms. `hosts` are
        the domain's gateways, in whose name only they may speak.
        """
        self._domain = domain
        self._compromised = compromised
        self._clock = clock
        self._keep = keep
        self._hosts = hosts

    def message(self, opened: Opened, retrieved: Retrieved) -> Ready:
        """Return the message of `opened`, or a report where its signer may not have sent it.

        Takes over `retrieved`. Raises OSError where a content in a file cannot be read.
        """
        entry, notification = opened.entry, opened.notification
        task = CleanupTask(
            entry=entry.identity,
            entry_expires=entry.statement.expires,
            received=notification.received,
            object=retrieved.object,
            secret=notification.delete_secret,
        )
        try:
            return Ready(opened, self._incoming(opened, retrieved, task), retrieved)
        except Refused as failure:
            log.warning("message refused", entry=entry.identity.hex(), error=str(failure))
            retrieved.close()
            return self._report(opened, task, failure)
        except BaseException:
            retrieved.close()
            raise

    def unopened(self, opened: Opened, failure: Failure) -> Ready:
        """Return the report of a body that its own gateway sealed wrongly: no replica will ever do."""
        log.warning("body does not open", entry=opened.entry.identity.hex(), error=str(failure))
        return self._report(opened, acknowledgement(opened.entry), failure)

    def _incoming(self, opened: Opened, retrieved: Retrieved, task: CleanupTask) -> Incoming:
        notification, signer = opened.notification, opened.entry.certificate
        header = header_of(retrieved.content)
        compromised = self._compromised(signer)
        keywords = rules.keywords_for(notification, signer, header, self._domain, compromised=compromised)
        unverified = rules.UNVERIFIED in keywords
        is_ours = names_us(self._domain, (*self._hosts(), notification.verdicts.gateway))
        return Incoming(
            entry_id=opened.entry.identity,
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

    def _report(self, opened: Opened, task: CleanupTask, failure: Failure) -> Ready:
        """Return what is filed in the place of a message that is refused for good."""
        now, identity = self._clock(), opened.entry.identity
        report = Incoming(
            entry_id=identity,
            duplicate_of=None,
            trace=b"",
            content=reports.refused(identity, opened.notification, self._domain, now, str(failure)),
            internal_date=now // params.SECOND,
            mailbox="INBOX",
            keywords=frozenset({reports.REPORT}),
            cleanup=encode(task),
        )
        return Ready(opened, report, None)


def acknowledgement(entry: ReceivedEntry) -> CleanupTask:
    """Return the task of an entry without a body that could be deleted."""
    return CleanupTask(entry.identity, entry.statement.expires, entry.statement.issued, None, b"")
