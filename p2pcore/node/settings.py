"""What a node is told at its start, and the numbers it tells about itself."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from p2pcore import params
from p2pcore.endpoint import Endpoint
from p2pcore.records import Role

Scope = Literal["everything", "a change", "stored lately"]  # of a round of repair


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds against one signer or inbox taking everything; rates are operations per second, sizes octets."""

    inbox_entries: int = params.INBOX_MAX_ENTRIES
    inbox_octets: int = params.INBOX_MAX_OCTETS
    inbox_entries_of_user: int = params.INBOX_MAX_ENTRIES // 10  # in one inbox, signed by one user
    user_share: float = 0.25  # of the quota, for what one user signed
    gateway_share: float = 0.9  # the same for a gateway, which is one signer for all outside mail
    machine_share: float = 0.1  # the same for a node or a directory, which sign little
    disk_reserve: int = 64 << 20  # left free for deletions and the database's own needs
    connections: int = 2_000  # at once; at most half of the descriptors that the process may have
    requests_of_signer: int = 64  # under way at once; a client has 8 connections, and one for each inbox it watches
    user_rate: float = 500.0
    peer_rate: float = 20_000.0  # gateways, nodes and the directory: admitted machines, at most broken
    burst: float = 5.0  # seconds' worth of operations that may come at once

    def share(self, role: Role) -> float:
        """Return the part of the quota that what one signer of this role signed may take."""
        match role:
            case "user":
                return self.user_share
            case "gateway":
                return self.gateway_share
        return self.machine_share


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """`directory` is the node's own; `listen` port 0 lets the system choose; `quota` in octets, as in charges.py."""

    directory: Path
    listen: Endpoint
    quota: int
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class NodeCounts:
    """What is held: objects with a body, unacknowledged entries, versioned objects, tombstones.

    `octets`: what counts in the quota (charges.py). `collected`: objects and entries that garbage collection removed
    since the start.
    """

    objects: int
    entries: int
    octets: int
    versions: int
    tombstones: int
    collected: int = 0


@dataclass(frozen=True, slots=True)
class RoundCounts:
    """One round of repair: items compared with the other closest nodes, and what came of it.

    `time`: when it was done, in ms. `ended`: items that another node proved to be over. `silent`: nodes that did not
    answer.
    """

    time: int
    over: Scope
    compared: int
    passed_on: int
    refused: int
    ended: int
    silent: int


@dataclass(frozen=True, slots=True)
class RepairCounts:
    """What repair has done since the start: rounds that compared anything, sums of what these came to, and traffic.

    Octets are those of requests and answers without headers and TLS; what other nodes' repair asks is not among them.
    """

    rounds: int = 0
    passed_on: int = 0
    refused: int = 0
    ended: int = 0
    requests: int = 0
    octets_sent: int = 0
    octets_received: int = 0
    last: RoundCounts | None = None
