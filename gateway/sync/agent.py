"""One user's agent: reads her inbox from the network into her mailbox for as long as it runs."""

import asyncio
import secrets
from dataclasses import dataclass

import structlog

from gateway.mailbox.store import MailStore
from gateway.sync.cleanup import Cleanup
from gateway.sync.ingest import Ingest
from p2pcore.mail.read import InboxReader

_INSTANCE = "agent.instance"  # name ‖ when it was made (ms, big-endian)
_NAME, _TIME = 16, 8  # octets

log = structlog.get_logger("agent")


class Agent:
    """Watcher → ingest → clean-up of one account."""

    def __init__(self, reader: InboxReader, ingest: Ingest, cleanup: Cleanup) -> None:
        self._reader = reader
        self._ingest = ingest
        self._cleanup = cleanup
        ingest.on_filed = cleanup.wake

    async def run(self) -> None:
        """Work until cancelled; whatever was under way is taken up again by the next run."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._ingest.run(), name="ingest")
            tasks.create_task(self._cleanup.run(), name="clean-up")
            tasks.create_task(self._watch(), name="watch")

    async def _watch(self) -> None:
        await self._reader.start()
        try:
            while True:
                await self._ingest.take(await self._reader.next_batch())
                await self._ingest.tried()
        finally:
            await self._reader.stop()


@dataclass(frozen=True, slots=True)
class Instance:
    """What tells this agent from another of the same user: 16 random octets; `began` when they were made, in ms."""

    name: bytes
    began: int


async def instance_of(store: MailStore, now: int) -> Instance:
    """Return this agent's instance, made at `now` the first time; durable on return."""
    known = await store.setting(_INSTANCE)
    if known is None:
        known = secrets.token_bytes(_NAME) + now.to_bytes(_TIME, "big")
        await store.set_setting(_INSTANCE, known)
    return Instance(known[:_NAME], int.from_bytes(known[_NAME:], "big"))
