"""Recipients that a gateway takes: one transaction per parcel, the same gateway first, kept until its 250.

| the process dies, or the connection ends | what happens |
|---|---|
| before a parcel is begun | nothing was sent; any gateway may be next |
| parcel begun, up to the final dot | the process: as the next line; the connection: any gateway may be next |
| final dot sent, reply not recorded | the same gateway, under the same envelope ID, which it queues once; |
| | after `relay_switch_after` another one |
| reply recorded | 250: done; 4yz: any gateway, the same envelope ID; 5yz: failed |

A gateway that knows an envelope ID has queued for everybody it was first used for, and judges no recipient again: a
refusal at RCPT means that it has nothing for her. So the recipients of a parcel are fixed before DATA and never become
more; who is deferred at RCPT meanwhile leaves it, unless it is in doubt.

In doubt a refusal is believed only of the one gateway that may have the message, and only where it has looked for the
envelope ID: at RCPT and at the dot. What another gateway refuses, or this one at MAIL, may be delivered all the same;
a report of failure would be false, so it stays in doubt.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

from gateway.mailbox.errors import StoreError
from gateway.outbound.replies import Reply
from gateway.outbox import contents, handover
from gateway.outbox.model import Message, Outcome, Parcel, Recipient, envelope_id
from gateway.outbox.params import OutboxLimits
from gateway.outbox.relay import Dialler, RelaySession, Unanswered, in_order
from gateway.outbox.store import OutboxStore
from p2pcore.clock import Clock
from p2pcore.errors import Unreachable
from p2pcore.records import GatewayInfo

_NO_GATEWAY = Outcome("pending", "4.4.1", "no gateway of the domain takes submissions")
_MAY_HAVE_IT = "a gateway may have the message"
_IN_DOUBT = Outcome("pending", "4.4.2", f"{_MAY_HAVE_IT}; it is asked again first")


class GatewayDelivery:
    """Hands parcels to the domain's gateways."""

    def __init__(
        self,
        store: OutboxStore,
        gateways: Callable[[], Sequence[GatewayInfo]],
        dialler: Dialler,
        clock: Clock,
        limits: OutboxLimits,
    ) -> None:
        self._store = store
        self._gateways = gateways
        self._dialler = dialler
        self._clock = clock
        self._limits = limits
        self.unreached: dict[str, str] = {}  # messages for which no gateway could be asked last time, and why

    async def deliver(self, message: Message, recipients: Sequence[Recipient]) -> dict[int, Outcome]:
        """Try all `recipients` once; gives each an outcome by number. Raises StoreError, OSError."""
        known = await self._store.read(handover.parcels, message.id)
        groups: dict[int | None, _Group] = {}
        for recipient in recipients:
            number = recipient.parcel
            group = groups.setdefault(number, _Group(None if number is None else known[number], []))
            group.recipients.append(recipient)
        async with AsyncExitStack() as stack:
            sessions = _Sessions(stack, self._dialler)
            for group in groups.values():
                await self._deliver(sessions, message, group)
        outcomes = {number: outcome for group in groups.values() for number, outcome in group.outcomes.items()}
        self.unreached.pop(message.id, None)
        for outcome in outcomes.values():
            if outcome.unreached:
                self.unreached[message.id] = outcome.reply
        return outcomes

    async def _deliver(self, sessions: "_Sessions", message: Message, group: "_Group") -> None:
        """Try the gateways in turn until one has answered, or may have the message. Raises StoreError, OSError."""
        outcome = _IN_DOUBT if group.in_doubt else _NO_GATEWAY
        reached = False
        for gateway in self._candidates(message.id, group.parcel):
            try:
                session = await sessions.to(gateway)
                reached = True
                await self._transact(session, message, group)
            except Unanswered as failure:  # nobody else is tried now
                outcome = group.unreached(failure)
                break
            except Unreachable as failure:
                sessions.forget(gateway, failure)
                outcome = group.unreached(failure)
            else:
                return
        group.decide(replace(outcome, unreached=not reached))

    def _candidates(self, message_id: str, parcel: Parcel | None) -> list[GatewayInfo]:
        """Return the gateways to try now: the parcel's first, and no other while that may have it."""
        ordered = in_order(self._gateways(), message_id)
        if parcel is None:
            return ordered
        ordered.sort(key=lambda gateway: gateway.hpke_key != parcel.gateway)
        if parcel.begun and self._clock() - parcel.begun < self._limits.relay_switch_after:
            return [gateway for gateway in ordered if gateway.hpke_key == parcel.gateway]
        return ordered

    async def _transact(self, session: RelaySession, message: Message, group: "_Group") -> None:
        """One transaction, with outcomes for whoever got one. Raises Unreachable, Unanswered, StoreError, OSError."""
        refusal = _cannot(session, message)
        if refusal is not None:
            group.decide(_IN_DOUBT if group.in_doubt else refusal)
            return
        number = group.parcel.number if group.parcel else await self._store.read(handover.next_parcel, message.id)
        reply = await session.mail(message, envelope_id(message.id, number))
        if not reply.positive:
            await session.reset()
            group.decide(_IN_DOUBT if group.in_doubt and reply.permanent else _outcome(reply, session.gateway.host))
            return
        refused, deferred = await self._name_recipients(session, group.recipients)
        if group.doubts(session.gateway):
            deferred |= dict.fromkeys(refused, _IN_DOUBT)
            refused = {}
        if group.in_doubt and deferred:
            # All of them go together: one who left would be lost, or get it twice
            await session.reset()
            group.outcomes |= refused | deferred
            group.decide(_IN_DOUBT)
            return
        group.settle(refused | deferred)
        if not group.recipients:
            await session.reset()
            return
        before, doubted = group.parcel, group.doubts(session.gateway)
        group.parcel = await self._store.write(
            handover.begin_parcel,
            message.id,
            group.parcel,
            number,
            [recipient.number for recipient in group.recipients],
            session.gateway.hpke_key,
            self._clock(),
        )
        last = await self._send(session, message, group, before)
        group.decide(_IN_DOUBT if doubted and last.permanent else _outcome(last, session.gateway.host))

    async def _name_recipients(
        self, session: RelaySession, recipients: Sequence[Recipient]
    ) -> tuple[dict[int, Outcome], dict[int, Outcome]]:
        """Return who is refused for good, and who is for now."""
        refused: dict[int, Outcome] = {}
        deferred: dict[int, Outcome] = {}
        for recipient in recipients:
            reply = await session.recipient(recipient)
            if not reply.positive:
                kind = refused if reply.permanent else deferred
                kind[recipient.number] = _outcome(reply, session.gateway.host)
        return refused, deferred

    async def _send(self, session: RelaySession, message: Message, group: "_Group", before: Parcel | None) -> Reply:
        """Send the content; where it was answered, or surely did not arrive, the parcel is in doubt no more.

        That ends only the doubt that this very transaction began: the one `before` it remains.
        """
        reply: Reply | None = None
        try:
            reply = await session.content(contents.stuffed(contents.pieces(self._store.files, message.content)))
        except Unanswered:
            raise
        except (Unreachable, StoreError, OSError):
            await self._answered(message, group, before)
            raise
        if not reply.positive:
            await self._answered(message, group, before)
        return reply

    async def _answered(self, message: Message, group: "_Group", before: Parcel | None) -> None:
        assert group.parcel is not None
        group.parcel = await self._store.write(handover.answered, message.id, group.parcel, before)


@dataclass(slots=True)
class _Group:
    """Recipients that share a transaction; `recipients` are those without an outcome yet in this attempt."""

    parcel: Parcel | None
    recipients: list[Recipient]
    outcomes: dict[int, Outcome] = field(default_factory=dict)

    @property
    def in_doubt(self) -> bool:
        """Whether a gateway may have the message for them."""
        return self.parcel is not None and self.parcel.begun != 0

    def doubts(self, gateway: GatewayInfo) -> bool:
        """Whether another gateway than this one may have the message for them, so that no refusal is believed here."""
        return self.parcel is not None and not self.parcel.only_with(gateway.hpke_key)

    def unreached(self, failure: Unreachable) -> Outcome:
        """Return what a session that did not come about, or broke, means for them."""
        return Outcome("pending", failure.status, f"{failure}; {_MAY_HAVE_IT}" if self.in_doubt else str(failure))

    def settle(self, outcomes: Mapping[int, Outcome]) -> None:
        """Note some recipients' outcomes."""
        self.outcomes |= outcomes
        self.recipients = [recipient for recipient in self.recipients if recipient.number not in outcomes]

    def decide(self, outcome: Outcome) -> None:
        """Note the same outcome for all that have none."""
        self.settle({each.number: outcome for each in self.recipients if each.number not in self.outcomes})


class _Sessions:
    """The sessions of one attempt: each gateway is dialled once."""

    def __init__(self, stack: AsyncExitStack, dialler: Dialler) -> None:
        self._stack = stack
        self._dialler = dialler
        self._known: dict[bytes, RelaySession | Unreachable] = {}

    async def to(self, gateway: GatewayInfo) -> RelaySession:
        """Return the session with `gateway`. Raises Unreachable."""
        known = self._known.get(gateway.hpke_key)
        if known is None:
            session = await self._stack.enter_async_context(self._dialler.session(gateway))
            known = self._known[gateway.hpke_key] = session
        if isinstance(known, Unreachable):
            raise known
        return known

    def forget(self, gateway: GatewayInfo, failure: Unreachable) -> None:
        """Answer with `failure` from now on."""
        self._known[gateway.hpke_key] = failure


def _cannot(session: RelaySession, message: Message) -> Outcome | None:
    """Return why this gateway could never take the message, None if it could."""
    if session.max_size and message.content.size > session.max_size:  # RFC 1870 §6.3
        return Outcome("failed", "5.3.4", f"the message is larger than {session.max_size} octets")
    if message.smtputf8 and not session.offers("smtputf8"):  # RFC 6531 §3.2
        return Outcome("failed", "5.6.7", "the gateway does not take internationalised mail")
    return None


def _outcome(reply: Reply, remote: str) -> Outcome:
    if reply.positive:
        return Outcome("delivered", reply.status, reply.text, remote)
    return Outcome("failed" if reply.permanent else "pending", reply.status, reply.text, remote)
