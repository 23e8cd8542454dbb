"""What the rest of the system asks of a DHT (§2.1): a lookup service, whatever network is beneath."""

from collections.abc import Callable
from typing import Protocol

from p2pcore.dht.contact import Contact


class Substrate(Protocol):
    """The lookup service of §2.1: a key and k give the k closest live nodes."""

    async def lookup(self, key: bytes, k: int) -> tuple[Contact, ...]:
        """Return up to `k` live, verified nodes closest to `key`, nearest first; this process's own node included."""

    def nearest(self, key: bytes, k: int) -> tuple[Contact, ...] | None:
        """Return what `lookup` would where it need not ask or wait for anybody, else None."""

    def known(self) -> tuple[Contact, ...]:
        """Return every verified contact in the routing table (and the own node), in no order."""

    def report(self, contact: Contact, *, alive: bool) -> None:
        """Tell what a request to `contact` showed, so that the next lookup need not find out again."""

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` (on the event loop) whenever a contact is added to or evicted from the table."""
