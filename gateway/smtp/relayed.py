"""Reports to outside senders who asked for one: on how many nodes their mail is (RFC 3461 §4.1, NOTIFY=SUCCESS).

The action is "relayed": the network has the mail, and her agent, which sends no reports, has yet to fetch it (RFC 3461
§6.2.2, RFC 3464 §2.3.3). Such a report goes to whoever the reverse-path names, so it is sent only where SPF has shown
that the client may speak for that domain, or the client is ours, and no more than so many an hour to one domain
(docs/decisions/0024): nobody is mailed by us because somebody else gave her address.

| the process dies | what happens |
|---|---|
| before the report is in the queue | no 250 was said; the sender's repetition is reported |
| after that | the queue sends it; where the 250 was lost, the repetition is reported once more |
"""

from typing import Protocol

from gateway.mail import dsn
from gateway.mail.outgoing import NewItem, NewRecipient
from gateway.maillog import MailLog
from gateway.smtp import params
from gateway.smtp.acceptance import Arrival
from gateway.smtp.limits import Pace
from p2pcore.clock import Clock
from p2pcore.errors import Failure
from p2pcore.mail.send import Stored


class Queue(Protocol):
    """The gateway's outgoing mail: gateway.outbound.queue."""

    async def accept(self, item: NewItem) -> bool:
        """Return once `item` is durable. Raises Failure, OSError."""
        ...


class RelayedReports:
    """Queues the reports of the gateway `hostname` of `domain`."""

    def __init__(self, queue: Queue, domain: str, hostname: str, clock: Clock, log: MailLog | None = None) -> None:
        self._queue = queue
        self._domain = domain
        self._hostname = hostname
        self._clock = clock
        self._log = log or MailLog()
        self._pace = Pace(params.REPORTS_PER_HOUR, params.HOUR, clock)

    async def tell(self, arrival: Arrival, header: bytes, stored: Stored) -> None:
        """Queue the report that was asked for, if any; it is durable on return. Raises nothing: the mail is stored."""
        identifier, reverse_path = arrival.identifier, arrival.envelope.reverse_path
        asking = [each for each in arrival.requests.values() if dsn.wanted("relayed", each.notify)]
        if not asking or not reverse_path:  # RFC 3461 §6.1: none about mail that has no reverse-path
            return
        if not self._pace.take(reverse_path.rpartition("@")[2].lower()):
            self._log.unreported(id=identifier, reverse_path=reverse_path, reason="too many reports to this domain")
            return
        try:
            await self._queue.accept(self._item(arrival, asking, header, stored))
        except (Failure, OSError, ValueError) as error:
            self._log.failed("report to an outside sender", error, id=identifier)

    def _item(self, arrival: Arrival, asking: list[NewRecipient], header: bytes, stored: Stored) -> NewItem:
        identifier, reverse_path = arrival.identifier, arrival.envelope.reverse_path
        now = self._clock()
        content = dsn.build(
            dsn.Report(
                reporting_mta=self._hostname,
                sender=f"mailer-daemon@{self._domain}",
                to=reverse_path,
                message_id=f"<{identifier}.relayed@{self._hostname}>",
                time=now,
                arrival=now,
                recipients=tuple(
                    dsn.RecipientStatus(
                        recipient=each.forward_path,
                        action="relayed",
                        status="2.6.0",
                        diagnostic=f"stored on {stored.nodes} of {stored.k} nodes",
                        original=each.orcpt,
                        last_attempt=now,
                    )
                    for each in asking
                ),
                content=header,
                envelope_id=arrival.envelope_id,
            )
        )
        return NewItem(
            submission_id=f"{identifier}.relayed",
            submitter=f"mailer-daemon@{self._domain}",
            reverse_path="",  # RFC 3461 §6.1: nobody reports on a report
            recipients=(NewRecipient(reverse_path, "NEVER"),),
            content=content,
            body="7BIT" if content.isascii() else "8BITMIME",
            smtputf8=not reverse_path.isascii(),
        )
