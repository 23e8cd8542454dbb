"""One's own certificate followed: its successor is found in the network and taken up, for as long as one runs.

The directory issues successors from half of a certificate's life on and publishes them under the holder's name. They
are asked for at the start (a recovery kit may be old), every ASK_INTERVAL from half-time on, and at once when somebody
has reason to think that there is one.

| the process dies | at the next start |
|---|---|
| before `adopted` has returned | the old certificate is in use; the successor is found again |
| after it | whatever `adopted` has made durable is in use |
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from p2pcore import params
from p2pcore.client.replicas import Replicas
from p2pcore.client.tasks import Tasks
from p2pcore.clock import Clock
from p2pcore.crypto.certificates import Certificate
from p2pcore.crypto.statements import Signer
from p2pcore.errors import Failure

ASK_INTERVAL = params.HOUR

Adopted = Callable[[Certificate], Awaitable[None]]

_log = logging.getLogger(__name__)


class Successor:
    """Follows the certificate of `signer`, whose requests `replicas` sends."""

    def __init__(self, replicas: Replicas, signer: Signer, clock: Clock, adopted: Adopted) -> None:
        """`adopted` makes a successor durable; what it raises (Failure, OSError) is logged, and it is asked again."""
        self._replicas = replicas
        self._signer = signer
        self._clock = clock
        self._adopted = adopted
        self._wanted = asyncio.Event()
        self._known = False  # the network has answered since the start
        self._tasks = Tasks()
        self.replaced = False  # the network has a newer certificate of ours for other keys

    async def start(self) -> None:
        """Begin to follow."""
        self._tasks.start(self._follow(), f"certificate of {self._signer.certificate.name}")

    async def stop(self) -> None:
        await self._tasks.stop()

    def wake(self) -> None:
        """Ask now: there may be a successor."""
        self._wanted.set()

    async def ask(self) -> bool:
        """Take up the successor if there is one; it is durable and in use when this returns True.

        Raises CannotKnow, and what `adopted` raises.
        """
        held = self._signer.certificate
        published = await self._replicas.resolve("certificate", held.identifier)
        if published is None:
            return False
        found = self._replicas.checker.trust.add(published.content)
        if found.not_before <= held.not_before:
            return False
        if (found.public_key, found.hpke_key) != (held.public_key, held.hpke_key):
            if not self.replaced:
                _log.warning("certificate of %s: the domain lists newer ones for other keys", held.name)
            self.replaced = True
            return False
        await self._adopted(found)
        self._signer.adopt(found)
        _log.info("certificate of %s: renewed until %d", found.name, found.not_after)
        return True

    async def _follow(self) -> None:
        while True:
            self._wanted.clear()
            if not self._known or self._clock() >= self._signer.certificate.renewable_from:
                await self._try()
            try:
                async with asyncio.timeout(ASK_INTERVAL / params.SECOND):
                    await self._wanted.wait()
            except TimeoutError:
                continue
            await self._try()

    async def _try(self) -> None:
        try:
            await self.ask()
            self._known = True
        except (Failure, OSError) as error:
            _log.info("certificate of %s: %s", self._signer.certificate.name, error)
