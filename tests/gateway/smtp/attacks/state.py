"""What a listener holds while it serves: what must be as before when everybody is gone."""

import asyncio
import os
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class State:
    """Sessions, what the limits count, octets held, tasks and open files of this process."""

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
    return State(
        sessions=len(server._listeners.connections),
        connections=limits.connections,
        by_group=dict(limits._by_group),
        memory=server.memory.used,
        tasks=len([task for task in asyncio.all_tasks() if task.get_name() == "smtp session"]),
        descriptors=len(os.listdir("/proc/self/fd")),
    )
