"""The book's rows about machines: the gateways and nodes of the domain."""

from dataclasses import dataclass
from typing import Literal

from p2pcore import params
from p2pcore.directory.database import Database
from p2pcore.endpoint import Endpoint
from p2pcore.errors import Malformed
from p2pcore.networks import is_dialable

MachineRole = Literal["gateway", "node"]

_COLUMNS = "role, name, node_id, host, port, state, certificate"


@dataclass(frozen=True, slots=True)
class Machine:
    """`node_id` is SHA-256 of its signing key (a gateway's too); `host` and `port` are where it is reached.

    A node's port serves UDP and TCP, a gateway's takes submissions (0: none). `certificate` is the newest's SHA-256.
    """

    role: MachineRole
    name: str
    node_id: bytes
    host: str
    port: int
    state: Literal["active", "removed"]
    certificate: bytes

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.host, self.port)


class Machines:
    """What lends disk and what speaks SMTP. Changes belong in the book's transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> tuple[Machine, ...]:
        """Return every machine there ever was, oldest first."""
        return tuple(Machine(*row) for row in self._database.rows(f"SELECT {_COLUMNS} FROM machines ORDER BY id"))  # noqa: S608 (a constant)

    def active(self, role: MachineRole) -> tuple[Machine, ...]:
        """Return the listed machines of this role, oldest first."""
        return tuple(machine for machine in self.all() if machine.role == role and machine.state == "active")

    def count(self, role: MachineRole) -> int:
        """Return how many machines of this role are listed."""
        rows = self._database.rows("SELECT count(*) FROM machines WHERE role = ? AND state = 'active'", role)
        return int(rows[0][0])

    def add(self, role: MachineRole, name: str, node_id: bytes, endpoint: Endpoint, certificate: bytes) -> None:
        self._database.run(
            "INSERT INTO machines (role, name, node_id, host, port, state, certificate)"
            " VALUES (?, ?, ?, ?, ?, 'active', ?)",
            role,
            name,
            node_id,
            endpoint.host,
            endpoint.port,
            certificate,
        )

    def move(self, role: MachineRole, node_id: bytes, endpoint: Endpoint) -> None:
        """Note where the listed machine is reached now."""
        self._database.run(
            "UPDATE machines SET host = ?, port = ? WHERE role = ? AND node_id = ? AND state = 'active'",
            endpoint.host,
            endpoint.port,
            role,
            node_id,
        )

    def certify(self, role: MachineRole, name: str, certificate: bytes) -> None:
        """Note that `certificate` is now the listed machine's newest."""
        self._database.run(
            "UPDATE machines SET certificate = ? WHERE role = ? AND name = ? AND state = 'active'",
            certificate,
            role,
            name,
        )

    def remove_certified(self, certificate: bytes) -> None:
        """Make the machine whose newest certificate this is `removed`."""
        self._database.run("UPDATE machines SET state = 'removed' WHERE certificate = ?", certificate)


def check_endpoint(role: MachineRole, name: str, endpoint: Endpoint) -> None:
    """Return if the domain record can list `endpoint`. Raises Malformed."""
    if not is_dialable(endpoint.host) or not (role == "node") <= endpoint.port <= 65_535:
        raise Malformed(f"{role} {name}: {endpoint} is not an endpoint that others can reach")


def machine_name(name: str) -> str:
    """Return a node's name for people without blanks around it. Raises Malformed."""
    name = name.strip()
    if not name or not name.isprintable() or len(name.encode()) > params.MAX_ADDRESS:
        raise Malformed(f"machine name {name[:40]!r}: empty, not printable, or longer than {params.MAX_ADDRESS} octets")
    return name
