"""One domain of real processes: six nodes, two gateways; every test gets a user of its own with her agent."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.harness.machines import DOMAIN, Domain, Machine
from tests.harness.mail import wait_until_accepting

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Harness:
    """The processes, all up but for the agent, which has never been started."""

    domain: Domain
    nodes: list[Machine]
    gateways: list[Machine]
    agent: Machine
    address: str

    def start_again(self) -> None:
        """Start what a test has killed."""
        for machine in (*self.nodes, *self.gateways):
            if machine.process is None:
                machine.start()


@pytest.fixture(scope="session")
def domain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Domain]:
    """Six nodes (k = 3, w = 2) and two gateways, up."""
    domain = Domain(tmp_path_factory.mktemp("net"), k=3, w=2)
    for _ in range(5):
        domain.add_node()
    for _ in range(2):
        domain.add_gateway()
    machines = [*domain.nodes, *domain.gateways]
    try:
        for machine in machines:
            machine.launch()
        for machine in machines:
            machine.wait_until_up()
        yield domain
    finally:
        domain.kill_all()


@pytest.fixture
def harness(domain: Domain) -> Iterator[Harness]:
    """The domain with a new user, whom both gateways know."""
    user = f"user{next(_numbers)}"
    agent = domain.add_user(user)
    harness = Harness(domain, domain.nodes, domain.gateways, agent, f"{user}@{DOMAIN}")
    for gateway in domain.gateways:
        wait_until_accepting(gateway, harness.address)
    yield harness
    agent.kill()
    harness.start_again()
