"""A domain over five nodes in memory."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from p2pcore.client.replicas import Replicas
from tests.p2pcore.client.memory_network import MemoryNetwork
from tests.p2pcore.mail.bench import Domain, replicas_over


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
