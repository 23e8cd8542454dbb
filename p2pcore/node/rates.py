"""How many operations one signer may ask for: a token bucket each."""

from collections import OrderedDict
from typing import Final

from p2pcore import params
from p2pcore.clock import Clock
from p2pcore.crypto.certificates import Certificate
from p2pcore.errors import RateLimited
from p2pcore.node.settings import Limits

_MAX_SIGNERS: Final = 10_000


class Rates:
    """Used from the event loop only."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._buckets: OrderedDict[bytes, tuple[float, int]] = OrderedDict()  # signer → operations left, at (ms)

    def take(self, certificate: Certificate, operations: int) -> None:
        """Count `operations` of this signer. Raises RateLimited."""
        rate = self._limits.user_rate if certificate.role == "user" else self._limits.peer_rate
        now = self._clock()
        most = max(rate * self._limits.burst, params.MAX_BATCH_OPERATIONS)
        left, at = self._buckets.get(certificate.fingerprint, (most, now))
        left = min(most, left + max(0, now - at) / params.SECOND * rate)
        if left < operations:
            raise RateLimited(f"{certificate.role} signs more than {rate:.0f} operations/s")
        self._buckets[certificate.fingerprint] = (left - operations, now)
        self._buckets.move_to_end(certificate.fingerprint)
        if len(self._buckets) > _MAX_SIGNERS:
            self._buckets.popitem(last=False)
