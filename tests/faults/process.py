"""A process of the test world: what belongs to it in this one interpreter, and its end as by SIGKILL.

Tasks, timers, transports and listening sockets belong to the process in whose context they were made. A process that is
dead takes no further step; its machine begins again on a copy of its directory as it was at that moment, so nothing
that its remains still do to their own files can be seen.
"""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(eq=False)
class Process:
    """One life of a machine; `closers` free what it has open once nobody looks any more."""

    machine: str
    directory: Path
    alive: bool = True
    disk_full: bool = False
    transports: list[asyncio.BaseTransport] = field(default_factory=list)
    servers: list[asyncio.AbstractServer] = field(default_factory=list)
    listening: set[socket.socket] = field(default_factory=set)
    closers: list[Callable[[], object]] = field(default_factory=list)

    def kill(self) -> None:
        """Take no further step; the system closes what was open, with no word to anybody. Idempotent."""
        if not self.alive:
            return
        self.alive = False
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        for listening in self.listening:
            loop.remove_reader(listening)
            listening.close()
        for transport in self.transports:
            abort = getattr(transport, "abort", transport.close)
            abort()

    def free(self) -> None:
        """Close files and databases of a process whose run is over."""
        for close in self.closers:
            with suppress(Exception):
                close()


OWNER: ContextVar[Process | None] = ContextVar("owner", default=None)
