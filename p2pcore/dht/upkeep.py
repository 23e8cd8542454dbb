"""What keeps the routing table true while time passes: verification, the dead asked again, buckets refreshed, saving.

| what | when |
|---|---|
| contacts not heard lately, and α others for news | WARM_REFRESH while a small table is used, else IDLE_REFRESH |
| dead contacts | at the end of their back-off, until DEAD_FORGOTTEN_AFTER vain attempts |
| buckets that no lookup has touched for an hour | when that hour is over, by a lookup of a random ID in them |
| contacts file | at the first change, then at most every CONTACTS_SAVED_EVERY |
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from p2pcore import params
from p2pcore.dht.contact import Contact
from p2pcore.dht.contacts import save_contacts
from p2pcore.dht.peers import Peers

_log = structlog.get_logger(__name__)


class Upkeep:
    """The timed work of one DHT; `search` is an iterative lookup, whose answers enter the table."""

    def __init__(
        self,
        peers: Peers,
        search: Callable[[bytes], Awaitable[object]],
        contacts_file: Path,
        source: random.Random | None = None,
    ) -> None:
        """`source` picks who is asked for news and which IDs are looked up; None: the system's."""
        self._peers = peers
        self._search = search
        self._contacts_file = contacts_file
        self._random = source or random.SystemRandom()
        self._wake = asyncio.Event()
        self._changed = asyncio.Event()
        self._refreshed = peers.now()
        self._looked_up = -params.WARM_AFTER_LOOKUP + peers.now()
        self._unsaved = False

    # --- events ---

    def looked_up(self) -> None:
        """Note that a lookup is being asked for."""
        now = self._peers.now()
        if now - self._looked_up >= params.WARM_AFTER_LOOKUP:
            self._wake.set()
        self._looked_up = now

    def contact_died(self) -> None:
        """Note that a back-off has begun."""
        self._wake.set()

    def table_changed(self) -> None:
        """Note that there is something to save."""
        self._unsaved = True
        self._changed.set()

    # --- verification ---

    def refresh(self, since: int) -> "list[asyncio.Task[None]]":
        """Return verifications of contacts not heard since then, at most a bucket, and of α at least if it is time."""
        table, liveness, now = self._peers.table, self._peers.liveness, self._peers.now()
        contacts = [
            contact
            for contact in table.all()
            if not liveness.fresh(contact, since) and not liveness.passed_over(contact, now)
        ][: self._peers.bucket_size]
        if self._refreshed <= since:
            self._refreshed = now
            others = [contact for contact in table.all() if contact not in contacts]
            contacts += self._random.sample(others, min(len(others), max(0, params.ALPHA - len(contacts))))
        tasks = (self._peers.verify(contact) for contact in contacts)
        return [task for task in tasks if task is not None]

    def is_fresh(self, since: int) -> bool:
        """Return whether `refresh` would verify nobody."""
        liveness, now = self._peers.liveness, self._peers.now()
        return self._refreshed > since and all(
            liveness.fresh(contact, since) or liveness.passed_over(contact, now) for contact in self._peers.table.all()
        )

    async def run(self) -> None:
        """Do the timed work for ever; the owner cancels."""
        while True:
            try:
                async with asyncio.timeout(max(0, self._due() - self._peers.now()) / params.SECOND):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            now = self._peers.now()
            if now >= self._refreshed + self._interval():
                self.refresh(now - self._interval())
            self._ask_dead(now)
            await self._refresh_buckets(now)

    def _due(self) -> int:
        retries = [self._peers.liveness.retry_at(contact) for contact in self._retried()]
        buckets = [looked_into + params.BUCKET_REFRESH for looked_into in self._peers.table.looked_into()]
        return min([self._refreshed + self._interval(), *retries, *buckets])

    def _interval(self) -> int:
        small = self._peers.is_small()
        warm = self._peers.now() - self._looked_up < params.WARM_AFTER_LOOKUP
        return params.WARM_REFRESH if small and warm else params.IDLE_REFRESH

    def _retried(self) -> list[Contact]:
        under_way = self._peers.meeting
        return [contact for contact in self._peers.dead if not under_way(contact)]

    def _ask_dead(self, now: int) -> None:
        for contact in self._retried():
            if self._peers.liveness.deaths(contact) > params.DEAD_FORGOTTEN_AFTER:
                del self._peers.dead[contact]
            elif not self._peers.liveness.blocked(contact, now):
                self._peers.meet(contact)

    async def refresh_distant_buckets(self) -> None:
        """Look up a random ID in every bucket but our own ID's."""
        for first, last in self._peers.table.ranges():
            await self._refresh_bucket(first, last)

    async def _refresh_buckets(self, now: int) -> None:
        for first, last in self._peers.table.stale(now - params.BUCKET_REFRESH):
            await self._refresh_bucket(first, last)

    async def _refresh_bucket(self, first: int, last: int) -> None:
        await self._search(self._random.randint(first, last).to_bytes(params.KEY_SIZE, "big"))

    # --- saving ---

    async def keep_saved(self) -> None:
        """Save contacts after changes for ever; the owner cancels and then calls `save`."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self.save()
            await asyncio.sleep(params.CONTACTS_SAVED_EVERY / params.SECOND)  # the pace of saving, not a wait for it

    async def save(self) -> None:
        """Save contacts, the dead last, if anything changed; a failure is logged. Never empties the file."""
        contacts = (*self._peers.table.all(), *self._peers.dead)
        if not self._unsaved or not contacts:
            return
        self._unsaved = False
        try:
            await asyncio.to_thread(save_contacts, self._contacts_file, contacts)
        except OSError as error:
            self._unsaved = True
            _log.warning("contacts not saved", file=str(self._contacts_file), error=str(error))
