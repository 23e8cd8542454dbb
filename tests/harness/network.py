"""What the nodes of a harness hold: counts by asking each process, identities by reading its database."""

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from p2pcore.node.schema import open_reader
from tests.harness.machines import START_TIMEOUT, Machine

_HELD = "SELECT identity FROM objects WHERE held > 0 UNION ALL SELECT identity FROM entries"


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


def copies(nodes: Sequence[Machine]) -> Counter[bytes]:
    """Return on how many of these nodes each object and entry is, by identity."""
    found: Counter[bytes] = Counter()
    for node in nodes:
        with closing(open_reader(node.site.node / "node.db")) as db:
            found.update(identity for (identity,) in db.execute(_HELD) if isinstance(identity, bytes))
    return found
