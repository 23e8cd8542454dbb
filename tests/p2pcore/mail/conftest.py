"""A domain over five nodes in memory."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from p2pcore.client.replicas import Replicas
from p2pcore.mail.names import DomainNames
from tests.p2pcore.client.memory_network import MemoryNetwork
from tests.p2pcore.mail.bench import Domain, names_over, replicas_over


@pytest.fixture
def domain() -> Domain:
    return Domain.new()


@pytest.fixture
def network(domain: Domain) -> MemoryNetwork:
    network = MemoryNetwork(5)
    domain.install(network)
    return network


@pytest.fixture
async def replicas(domain: Domain, network: MemoryNetwork, tmp_path: Path) -> AsyncIterator[Replicas]:
    """The side that knows only the authority at first."""
    replicas = replicas_over(domain, network, tmp_path, domain.world.trust())
    yield replicas
    await replicas.stop()
    await replicas.batcher.stop()


@pytest.fixture
async def gateway_names(domain: Domain, replicas: Replicas, tmp_path: Path) -> AsyncIterator[DomainNames]:
    """A gateway's names, which know the domain's record."""
    names = names_over(domain, replicas, tmp_path)
    await names.refresh()
    yield names
    await names.stop()
