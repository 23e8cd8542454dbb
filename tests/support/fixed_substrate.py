"""A substrate whose contacts are what a test says: lookups sort the list, nothing is ever sent."""

from collections.abc import Callable, Iterable

from p2pcore.dht.contact import Contact, distance


class FixedSubstrate:
    """Implements Substrate. `reports` keeps what was reported."""

    def __init__(self, contacts: Iterable[Contact] = ()) -> None:
        self.contacts = list(contacts)
        self.reports: list[tuple[Contact, bool]] = []
        self._callbacks: list[Callable[[], None]] = []

    async def lookup(self, key: bytes, k: int) -> tuple[Contact, ...]:
        return self.nearest(key, k)

    def nearest(self, key: bytes, k: int) -> tuple[Contact, ...]:
        return tuple(sorted(self.contacts, key=lambda contact: distance(contact.node_id, key))[:k])

    def known(self) -> tuple[Contact, ...]:
        return tuple(self.contacts)

    def report(self, contact: Contact, *, alive: bool) -> None:
        self.reports.append((contact, alive))

    def on_change(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def replace(self, contacts: Iterable[Contact]) -> None:
        """Change the contacts and say so."""
        self.contacts = list(contacts)
        for callback in self._callbacks:
            callback()
