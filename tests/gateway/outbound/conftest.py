"""A queue, a remote MTA and a name server for each test; TLS files once."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.outbound.queue import Queue
from p2pcore.crypto.tls import make_server_certificate, server_context
from tests.gateway.outbound.machine import SOON, Machine
from tests.gateway.outbound.world import KEY
from tests.support.fake_dns import FakeDns
from tests.support.fake_mta import FakeMta
from tests.support.identities import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def queue(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Queue]:
    queue = Queue(tmp_path / "queue", KEY, clock, jitter=lambda: 0.0)
    await queue.open()
    yield queue
    await queue.close()


@pytest.fixture
async def dns() -> AsyncIterator[FakeDns]:
    dns = FakeDns()
    await dns.start()
    yield dns
    await dns.stop()


@pytest.fixture(scope="session")
def server_tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    directory = tmp_path_factory.mktemp("tls")
    certificate, key = make_server_certificate(["mx.remote.example"])
    (directory / "cert.pem").write_bytes(certificate)
    (directory / "key.pem").write_bytes(key)
    return server_context(directory / "cert.pem", directory / "key.pem")


@pytest.fixture
async def machine(tmp_path: Path, dns: FakeDns, mta: FakeMta) -> AsyncIterator[Machine]:
    dns.add("remote.example. MX 10 mx.remote.example.\nmx.remote.example. A 127.0.0.1\nnull.example. MX 0 .")
    machine = Machine(tmp_path, dns, mta.port, SOON)
    await machine.start()
    yield machine
    await machine.stop()
