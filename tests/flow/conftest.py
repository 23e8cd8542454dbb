"""One machine with every role for most tests, and a domain of five machines for what needs several nodes."""

import imaplib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from gateway.site import Site
from p2pcore.crypto.keys import HpkeKey
from p2pcore.crypto.notifications import open_notification
from p2pcore.endpoint import Endpoint
from p2pcore.names import inbox_key, key_of
from tests.flow import mta
from tests.flow.disk import Disk, Held, wait_until
from tests.flow.insider import Insider
from tests.flow.machines import (
    DOMAIN,
    HOSTNAME,
    Hosts,
    Machines,
    SeveralMachines,
    add_users,
    administration,
    one_machine,
)
from tests.flow.reader import Reader
from tests.flow.zone import Zone

# One for `several`, and one for each test that uses `several_agent`; admitted before the start, since a new record
# takes seconds to spread
AGENTS = 8


@dataclass
class Network:
    """The one machine: users alice and bob, and `waiting` and `other`, whose agents never run.

    Each test waits until all that it sent to alice or bob has come to its end, so the next finds them quiet.
    """

    site: Site
    waiting: Insider
    other: Insider

    hostname = HOSTNAME

    @property
    def smtp(self) -> Endpoint:
        return self.site.config.smtp.listen[0]

    @property
    def imap(self) -> Endpoint:
        return self.site.config.imap.listen[0]

    @property
    def disk(self) -> Disk:
        return Disk(self.site)

    def address(self, user: str) -> str:
        return f"{user}@{DOMAIN}"

    def send(self, content: bytes, *users: str, reverse_path: str = mta.SENDER) -> str:
        """Send a mail to users (or aliases) and return the reply after the dot."""
        return mta.send(self.smtp, content, *map(self.address, users), reverse_path=reverse_path)


@dataclass
class Several:
    """Three nodes (k = 3, w = 2; the first is the directory's machine) and a gateway; another and an agent are off."""

    machines: Machines
    nodes: list[Site]
    gateway: Site
    idle_gateway: Site
    agent: Site
    address: str

    @property
    def smtp(self) -> Endpoint:
        return self.gateway.config.smtp.listen[0]

    @property
    def disks(self) -> list[Disk]:
        return [Disk(node) for node in self.nodes]

    def is_everywhere(self) -> bool:
        """Whether the body and the entry of the newest mail to the user are on every node."""
        inbox = inbox_key(self.address)
        newest = max((entry for disk in self.disks for entry in disk.entries(inbox)), key=lambda entry: entry.issued)
        keys = self.agent.user_identity(self.address).hpke_keys
        notification = open_notification(
            newest.notification, [HpkeKey.from_bytes(key) for key in keys], inbox, newest.signer
        )
        body = key_of(notification.body_identifier)
        return all(disk.holds(body) and newest in disk.entries(inbox) for disk in self.disks)

    def reader(self) -> Reader:
        return Reader(self.agent.config.imap.listen[0], self.address)


@pytest.fixture(scope="package")
def machines() -> Iterator[Machines]:
    machines = Machines()
    yield machines
    machines.close()


@pytest.fixture(scope="package")
def hosts() -> Hosts:
    return Hosts()


@pytest.fixture(scope="package")
def zone() -> Iterator[Zone]:
    zone = Zone().start()
    yield zone
    zone.close()


@pytest.fixture(scope="package")
def _network(tmp_path_factory: pytest.TempPathFactory, machines: Machines, hosts: Hosts, zone: Zone) -> Network:
    site = one_machine(tmp_path_factory.mktemp("flow") / "one", hosts.take(), zone)
    with administration(site) as ask:
        add_users(ask, "alice", "bob")
        network = Network(site, Insider(site, ask, "waiting"), Insider(site, ask, "other"))
        ask("postmaster", address=network.address("alice"))
        for alias, users in (("both", ("alice", "bob")), ("absent", ("waiting", "other")), ("büro", ("alice",))):
            ask("alias-set", alias=network.address(alias), targets=[network.address(user) for user in users])
    machines.start(site)
    return network


@pytest.fixture
def network(_network: Network) -> Network:
    """The one machine; what earlier tests sent to those whose agents never run is passed over."""
    _network.waiting.new_entries()
    _network.other.new_entries()
    return _network


class Readers:
    """One connection per user for all tests: a login costs as much as a mail."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._open: dict[str, Reader] = {}

    def of(self, user: str) -> Reader:
        """Return a reader with INBOX selected; a new one where a failed test has left the old one unusable."""
        if user in self._open:
            try:
                self._open[user].begin()
            except (OSError, imaplib.IMAP4.error):
                self._open.pop(user).imap.shutdown()
        if user not in self._open:
            self._open[user] = Reader(self._network.imap, user)
            self._open[user].begin()
        return self._open[user]

    def close(self) -> None:
        for reader in self._open.values():
            reader.imap.shutdown()


@pytest.fixture(scope="package")
def _readers(_network: Network) -> Iterator[Readers]:
    readers = Readers(_network)
    yield readers
    readers.close()


@pytest.fixture
def alice(_readers: Readers) -> Reader:
    return _readers.of("alice")


@pytest.fixture
def bob(_readers: Readers) -> Reader:
    return _readers.of("bob")


@pytest.fixture(scope="package")
def _several(tmp_path_factory: pytest.TempPathFactory, machines: Machines, hosts: Hosts) -> SeveralMachines:
    domain = SeveralMachines(tmp_path_factory.mktemp("several"), hosts, nodes=3, gateways=2, agents=AGENTS)
    machines.start(*domain.nodes, domain.gateways[0])
    return domain


@pytest.fixture
def several(_several: SeveralMachines, machines: Machines) -> Iterator[Several]:
    """The domain of several machines with a user who never reads."""
    yield from _several_with(_several, machines, *_several.agents[0])


@pytest.fixture
def several_agent(_several: SeveralMachines, machines: Machines) -> Iterator[Several]:
    """The domain of several machines with a user of this test's own, whose agent is off."""
    yield from _several_with(_several, machines, *_several.agents.pop())


def _several_with(domain: SeveralMachines, machines: Machines, agent: Site, address: str) -> Iterator[Several]:
    several = Several(machines, domain.nodes, domain.gateways[0], domain.gateways[1], agent, address)
    wait_until(lambda: mta.rcpt(several.smtp, several.address).startswith("250"))
    yield several
    machines.stop(agent, several.idle_gateway)
    machines.start(*(node for node in several.nodes if not machines.is_running(node)))


@pytest.fixture(scope="package")
def _quiet(tmp_path_factory: pytest.TempPathFactory, machines: Machines, hosts: Hosts, zone: Zone) -> Site:
    site = one_machine(tmp_path_factory.mktemp("quiet") / "quiet", hosts.take(), zone)
    with administration(site) as ask:
        add_users(ask, "alice", "bob", "carol")
    machines.start(site)
    return site


@pytest.fixture
def quiet(_quiet: Site) -> Site:
    """A running machine with the users alice, bob and carol, whose every mail is read and cleaned up."""
    wait_until(lambda: Disk(_quiet).held() == Held(0, 0))
    return _quiet
