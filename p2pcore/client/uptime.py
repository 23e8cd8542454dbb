"""How often nodes are up: samples of a followed set of nodes, the estimate from them, and the file that keeps both.

A node is followed from when it is first known to be up, as a holder is chosen, and counted up or down in every sample
from the next on, until it has been silent for UPTIME_WINDOW. So the share of ups estimates the p of §4: that a node
which was up when an object was written is up when it is read, at any time in the window.

| state of the file | after a crash |
|---|---|
| absent | no sample was ever kept: following begins anew |
| present | the last sample saved; files are replaced whole, so at most one sample is missing |

Layout: JSON, `{"nodes": {node ID in hex: when last up}, "samples": [[when, followed, up], …]}`, times in ms.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from p2pcore import params
from p2pcore.crypto.files import replace_file
from p2pcore.errors import Malformed

_MAX_FILE = 64 << 10  # octets; a full history takes some 11,000
_HALVINGS = 50  # of the interval that holds the estimate


@dataclass(frozen=True, slots=True)
class Sample:
    """At `time`, `up` of `followed` nodes were up."""

    time: int
    followed: int
    up: int


class UptimeHistory:
    """The followed nodes and the samples of the last UPTIME_WINDOW; bounded, no clock, no chance."""

    def __init__(self, nodes: dict[bytes, int] | None = None, samples: Iterable[Sample] = ()) -> None:
        self._nodes = dict(nodes or {})
        self._samples = list(samples)

    @property
    def nodes(self) -> Mapping[bytes, int]:
        """The IDs of the followed nodes, and when each was last up."""
        return self._nodes

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The samples, oldest first."""
        return tuple(self._samples)

    def room(self) -> int:
        """Return how many more nodes may be followed."""
        return max(0, params.UPTIME_NODES - len(self._nodes))

    def follow(self, node_ids: Iterable[bytes], now: int) -> None:
        """Follow these nodes, which are up, as far as there is room."""
        for node_id in list(node_ids)[: self.room()]:
            self._nodes.setdefault(node_id, now)

    def count(self, up: Collection[bytes], now: int) -> None:
        """Add the sample "of the followed nodes exactly these are up"; forget samples and nodes that are too old.

        A sample in which nobody is up is not kept: most likely this machine itself was cut off.
        """
        begin = now - params.UPTIME_WINDOW
        found = sum(node_id in up for node_id in self._nodes)
        if found:
            self._samples.append(Sample(now, len(self._nodes), found))
            self._nodes = {node_id: now if node_id in up else heard for node_id, heard in self._nodes.items()}
            self._nodes = {node_id: heard for node_id, heard in self._nodes.items() if heard > begin}
        kept = [sample for sample in self._samples if begin < sample.time <= now]
        self._samples = kept[-(params.UPTIME_WINDOW // params.UPTIME_INTERVAL) :]

    def due(self, now: int) -> int:
        """Return in how many ms the next sample is due."""
        last = self._samples[-1].time if self._samples else now - params.UPTIME_INTERVAL
        return max(0, min(last + params.UPTIME_INTERVAL - now, params.UPTIME_INTERVAL))

    def estimate(self) -> float | None:
        """Return p, None before there are UPTIME_SAMPLES samples that tell anything."""
        return estimate(self._samples)

    def telling(self) -> int:
        """Return how many samples tell anything."""
        return len(_telling(self._samples))


def estimate(samples: Sequence[Sample]) -> float | None:
    """Return the probability that a node is up; None where fewer than UPTIME_SAMPLES of the samples tell anything.

    The maximum likelihood of binomial counts that are known not to be 0, for samples without any node up are not kept:
    the p where the expected number of ups, the sum of m p / (1 - (1 - p)^m) over samples of m nodes, is the number
    seen. Two nodes more, one of them up, are counted (Laplace's rule), so that no number of ups makes p certain.
    """
    telling = _telling(samples)
    if len(telling) < params.UPTIME_SAMPLES:
        return None
    seen = sum(sample.up for sample in telling) + 1
    sizes = Counter(sample.followed for sample in telling)
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        p = (low + high) / 2
        expected = 2 * p + sum(times * m * p / (1 - (1 - p) ** m) for m, times in sizes.items())
        low, high = (p, high) if expected < seen else (low, p)
    return (low + high) / 2


def _telling(samples: Iterable[Sample]) -> list[Sample]:
    """Return the samples that tell anything: a single node that is known to be up says nothing of p."""
    return [sample for sample in samples if sample.followed > 1]


def save_uptime(path: Path, history: UptimeHistory) -> None:
    """Write `history` to `path`; durable on return. Raises OSError."""
    nodes = {node_id.hex(): heard for node_id, heard in history.nodes.items()}
    samples = [[sample.time, sample.followed, sample.up] for sample in history.samples]
    replace_file(path, json.dumps({"nodes": nodes, "samples": samples}).encode())


def load_uptime(path: Path) -> UptimeHistory:
    """Return the history kept at `path`, an empty one where there is no file. Raises OSError, Malformed."""
    try:
        with path.open("rb") as file:
            octets = file.read(_MAX_FILE + 1)
    except FileNotFoundError:
        return UptimeHistory()
    try:
        return _read(octets)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Malformed(f"{path}: {error!r}"[:300]) from error


def _read(octets: bytes) -> UptimeHistory:
    if len(octets) > _MAX_FILE:
        raise ValueError(f"longer than {_MAX_FILE} octets")
    content = json.loads(octets)
    nodes = {bytes.fromhex(node_id): _whole(heard) for node_id, heard in content["nodes"].items()}
    samples = [Sample(*map(_whole, numbers)) for numbers in content["samples"]]
    if len(nodes) > params.UPTIME_NODES or any(len(node_id) != params.KEY_SIZE for node_id in nodes):
        raise ValueError("nodes that cannot be")
    if not all(0 < sample.up <= sample.followed <= params.UPTIME_NODES for sample in samples):
        raise ValueError("samples that cannot be")
    return UptimeHistory(nodes, samples)


def _whole(number: object) -> int:
    if type(number) is not int or not 0 <= number <= 2**53:
        raise ValueError(f"{number!r} is no time or count"[:100])
    return number
