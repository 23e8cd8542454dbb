"""No signed request counts twice, restarts included, without writing every nonce to disk.

Nonces are remembered in memory for as long as their requests would be accepted. On disk there is one number, the
horizon: no request is answered before a horizon at or above its creation time is durable, and the horizon moves in
steps, so a busy node writes it about once a second, in the transaction of a request that writes anyway.

    state                       a request created                     is
    running                     up to AHEAD after now                 taken once; later ones are ClockSkew
    started again               at or before the horizon found        ClockSkew: perhaps answered in an earlier life
                                after it                              as above; AHEAD counts from the horizon at least

ClockSkew carries the node's time, which then is past the horizon, so an honest client's repetition succeeds at once. A
clock that was ahead and has been put right leaves a horizon ahead: until the clock is past it, that time stands still,
and requests are judged by it.

Where the disk takes not even that number, what only reads is answered all the same: mail on a full disk can be fetched,
and read-inbox played back after a restart would give what it gave before.
"""

import threading
from contextlib import suppress
from typing import Final

from p2pcore import params
from p2pcore.clock import Clock
from p2pcore.errors import ClockSkew, NodeFull, RateLimited, Replayed
from p2pcore.node.storage import Storage, Transaction

AHEAD: Final = 2 * params.SECOND  # RFC 9421 times are whole seconds; a corrected client is at most 1 s ahead
STEP: Final = params.SECOND


class Nonces:
    """Safe to use from several threads; `load` first."""

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage = storage
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[int, set[bytes]] = {}  # by the second in which they may be forgotten
        self._count = 0
        self._forgotten = clock() // params.SECOND
        self._floor = 0
        self._durable = 0

    def load(self) -> None:
        """Read the horizon that earlier lives left. Blocking."""
        horizon = self._storage.read_now(lambda db: db.execute("SELECT value FROM meta WHERE name = 'horizon'").get)
        assert isinstance(horizon, int)
        self._floor = self._durable = horizon

    def time(self) -> int:
        """Return the time (ms) that a client should sign with: now, or just past the horizon found at the start."""
        return max(self._clock(), self._floor + params.SECOND)

    def use(self, nonce: bytes, created: int, expires: int) -> bool:
        """Remember a nonce until `expires`; False: it is remembered already. Raises ClockSkew, RateLimited."""
        now = self._clock()
        if created <= self._floor:
            raise ClockSkew("request was created before this node's start")
        if created > max(now, self._floor) + AHEAD:
            raise ClockSkew(f"request was created {(created - now) // params.SECOND} s ahead")
        with self._lock:
            self._forget(now // params.SECOND)
            second = expires // params.SECOND + 1
            nonces = self._seen.setdefault(second, set())
            if nonce in nonces:
                return False
            if self._count >= params.MAX_NONCES:
                raise RateLimited(f"{self._count} requests in {2 * params.REQUEST_SKEW // params.MINUTE} minutes")
            nonces.add(nonce)
            self._count += 1
            return True

    def due(self, created: int) -> int:
        """Return the horizon to make durable before a request created then is answered; 0: it is already."""
        return created + STEP if created > self._durable else 0

    def write(self, transaction: Transaction, horizon: int) -> None:
        """Write the horizon (0: nothing to do) inside the request's own transaction; then `confirm` it."""
        if horizon:
            transaction.db.execute("UPDATE meta SET value = max(value, ?) WHERE name = 'horizon'", (horizon,))

    def confirm(self, horizon: int) -> None:
        """Take note that `horizon` is durable."""
        self._durable = max(self._durable, horizon)

    async def settle(self, created: int) -> None:
        """Make the horizon durable for a request that writes nothing itself; a full disk does not stop it."""
        horizon = self.due(created)
        if horizon:
            with suppress(NodeFull):
                await self._storage.write(lambda transaction: self.write(transaction, horizon))
                self.confirm(horizon)

    def _forget(self, second: int) -> None:
        if second <= self._forgotten:
            return
        self._forgotten = second
        for gone in [expired for expired in self._seen if expired < second]:
            self._count -= len(self._seen.pop(gone))


class Receipt:
    """What requests.verify_request is given for one request: it holds the nonce until the request may be counted."""

    def __init__(self) -> None:
        self.created = 0  # ms, when the request was signed
        self._nonce = b""
        self._expires = 0

    def add(self, nonce: bytes, expires: int) -> bool:
        """Keep the nonce (requests.NonceStore)."""
        self.created = expires - params.REQUEST_SKEW - params.SECOND
        self._nonce, self._expires = nonce, expires
        return True

    def count(self, nonces: Nonces) -> None:
        """Use the nonce. Raises Replayed, ClockSkew, RateLimited."""
        if not nonces.use(self._nonce, self.created, self._expires):
            raise Replayed("this request was seen before")
