"""How many requests of one signer are under way: each holds a connection, and memory for what it brings and takes."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from p2pcore.crypto.certificates import Certificate
from p2pcore.errors import RateLimited


class UnderWay:
    """At most `most` of each signer. Used from the event loop only."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: Counter[bytes] = Counter()

    @contextmanager
    def another(self, signer: Certificate) -> Iterator[None]:
        """Count a request of `signer` until it has its answer. Raises RateLimited."""
        if self._counts[signer.fingerprint] >= self._most:
            raise RateLimited(f"{self._most} requests of this {signer.role} are under way")
        self._counts[signer.fingerprint] += 1
        try:
            yield
        finally:
            self._counts[signer.fingerprint] -= 1
            if not self._counts[signer.fingerprint]:
                del self._counts[signer.fingerprint]
