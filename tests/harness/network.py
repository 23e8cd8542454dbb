"""What the nodes of a harness hold, by asking each running process."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.harness.machines import START_TIMEOUT, Machine


@dataclass(frozen=True)
class Held:
    objects: int
    entries: int


def held(nodes: Sequence[Machine]) -> dict[Machine, Held]:
    """Return what each running node holds."""
    reports = {node: node.status()["node"] for node in nodes if node.process is not None}
    return {node: Held(report["objects"], report["entries"]) for node, report in reports.items()}


def wait_until_holding(expected: dict[Machine, Held]) -> None:
    """Wait until these nodes hold exactly this much."""
    deadline = time.monotonic() + START_TIMEOUT
    while (now := held(list(expected))) != expected:
        assert time.monotonic() < deadline, now
        time.sleep(0.1)
