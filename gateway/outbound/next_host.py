"""What one host of a domain puts off is tried at one more of them in the same attempt (RFC 5321 §5.1).

Without that, mail would wait for days on the preferred host's full disk, or on a server that greets and then dies,
while the others take mail. Where a connection was lost after the final dot nothing is tried elsewhere at once: the host
may have the message.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Protocol, TypeVar

import structlog

from gateway.outbound.errors import NotDelivered
from gateway.outbound.model import Attempt
from gateway.outbound.mx import Target

log = structlog.get_logger("mail")


class Connected(Protocol):
    """gateway.outbound.session.Session."""

    @property
    def target(self) -> Target: ...

    @property
    def in_doubt(self) -> bool: ...

    async def quit(self) -> None: ...

    def abort(self) -> None: ...


Settled = Callable[[Sequence[Attempt]], Awaitable[object]]
"""Records outcomes; durable on return, raises nothing."""

S = TypeVar("S", bound=Connected, covariant=True)


class Connector(Protocol[S]):
    """gateway.outbound.courier.Courier."""

    async def connect(self, domain: str, *, besides: str = "") -> S:
        """Raises NotDelivered."""
        ...


async def with_next_host(
    connector: Connector[S],
    domain: str,
    session: Connected,
    attempts: Sequence[Attempt],
    deliver: "Callable[[S, Collection[int]], Awaitable[list[Attempt]]]",
    settled: Settled | None = None,
) -> list[Attempt]:
    """Return `attempts`, which were made over `session`, as they stand after `deliver` at the next host.

    `deliver` is given a connection and the numbers of those recipients that were put off. Before that, which may take
    minutes, `settled` is told what is over, and that is not returned.
    """
    put_off = {each.number for each in attempts if each.outcome == "deferred"}
    if not put_off or session.in_doubt:
        return list(attempts)
    if settled is not None and len(put_off) < len(attempts):
        await settled([each for each in attempts if each.number not in put_off])
        attempts = [each for each in attempts if each.number in put_off]
    try:
        again = await _at_another(connector, domain, session.target.host, put_off, deliver)
    except NotDelivered:
        return list(attempts)  # there is no other, or it does not answer: what the first has said stands
    except Exception as error:  # nor does anything that goes wrong here undo it: who has the message has it
        log.exception("failed", where="next host", destination=domain, error=repr(error))
        return list(attempts)
    by_number = {each.number: each for each in again}
    return [by_number.get(each.number, each) for each in attempts]


async def _at_another(
    connector: Connector[S],
    domain: str,
    besides: str,
    numbers: Collection[int],
    deliver: "Callable[[S, Collection[int]], Awaitable[list[Attempt]]]",
) -> list[Attempt]:
    other = await connector.connect(domain, besides=besides)
    try:
        attempts = await deliver(other, numbers)
    except BaseException:
        other.abort()
        raise
    await other.quit()
    return attempts
