"""What a listener holds while it serves: what must be as before when everybody is gone."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class State:
    """Sessions, what the limits count, octets held, tasks, and the open files that hold contents."""

    sessions: int
    connections: int
    by_group: dict[str, int]
    memory: int
    tasks: int
    descriptors: int


def state_of(world: Any) -> State:
    """The state of a world's server now."""
    server = world.server
    limits = server._shared.limits
    # other tests' machines may run in this process, and they open and close sockets; a Wire has none
    ours = ("/memfd:content", *([str(world.directory)] if hasattr(world, "directory") else []))
    return State(
        sessions=len(server._listeners.connections),
        connections=limits.connections,
        by_group=dict(limits._by_group),
        memory=server.memory.used,
        tasks=len([task for task in asyncio.all_tasks() if task.get_name() == "smtp session"]),
        descriptors=sum(leads_to.startswith(ours) for leads_to in _open_files()),
    )


def _open_files() -> Iterator[str]:
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the listing itself
            yield os.readlink(f"/proc/self/fd/{descriptor}")
