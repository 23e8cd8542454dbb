"""Asking gateways whether they would take a recipient, before her mail is accepted."""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from gateway.outbound.replies import Reply
from gateway.outbox.relay import Dialler, in_order
from p2pcore import params
from p2pcore.errors import Failure, NoSuchAddress, NotOurDomain, PermanentFailure, TooLarge, Unreachable
from p2pcore.records import GatewayInfo

log = structlog.get_logger("outbox")

_KINDS = (("5.1.", NoSuchAddress), ("5.7.1", NotOurDomain), ("5.3.4", TooLarge))


class GatewayProbe:
    """Asks for the user whose primary address is `reverse_path`; `timeout` (ms) bounds one question."""

    def __init__(
        self, dialler: Dialler, gateways: Callable[[], Sequence[GatewayInfo]], reverse_path: str, timeout: int
    ) -> None:
        self._dialler = dialler
        self._gateways = gateways
        self._reverse_path = reverse_path
        self._timeout = timeout

    async def check(self, forward_path: str) -> None:
        """Ask the gateways in turn whether they take `forward_path`; nothing where none of them can say.

        Raises NoSuchAddress, NotOurDomain, TooLarge, PermanentFailure as the first that answers refuses it.
        """
        try:
            async with asyncio.timeout(self._timeout / params.SECOND):
                reply = await self._ask(forward_path)
        except TimeoutError:
            return
        if reply is not None and reply.permanent:
            raise _failure(reply)

    async def _ask(self, forward_path: str) -> Reply | None:
        for gateway in in_order(self._gateways(), forward_path):
            try:
                async with self._dialler.session(gateway) as session:
                    return await session.probe(self._reverse_path, forward_path)
            except Unreachable as failure:
                log.info("gateway not asked", forward_path=forward_path, reason=str(failure))
        return None


def _failure(reply: Reply) -> Failure:
    """Return a refusal of RCPT in our own words."""
    kind = next((kind for status, kind in _KINDS if reply.status.startswith(status)), PermanentFailure)
    return kind(reply.text)
