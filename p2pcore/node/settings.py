"""What a node is told at its start, and the numbers it tells about itself."""

from dataclasses import dataclass, field
from pathlib import Path

from p2pcore import params
from p2pcore.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds against one signer or inbox taking everything; rates are operations per second, sizes octets."""

    inbox_entries: int = params.INBOX_MAX_ENTRIES
    inbox_octets: int = params.INBOX_MAX_OCTETS
    user_share: float = 0.25  # of the quota, for what one user signed; a gateway is one signer for all outside mail
    user_rate: float = 500.0
    peer_rate: float = 20_000.0  # gateways, nodes and the directory: admitted machines, at most broken
    burst: float = 5.0  # seconds' worth of operations that may come at once


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """`directory` is the node's own; `listen` port 0 lets the system choose; `quota` in octets, bodies and entries."""

    directory: Path
    listen: Endpoint
    quota: int
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class NodeCounts:
    """What is held: objects with a body, unacknowledged entries, their octets, versioned objects, delete tombstones."""

    objects: int
    entries: int
    octets: int
    versions: int
    tombstones: int
