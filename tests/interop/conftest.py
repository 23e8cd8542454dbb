"""One running p2pmail, and one Thunderbird, for all tests here; every test has users of its own."""

from collections.abc import Iterator

import pytest

from tests.interop import thunderbird as application
from tests.interop.name_server import NameServer
from tests.interop.programs import program, require_root
from tests.interop.server import Server, User, own_address
from tests.interop.thunderbird import Thunderbird

_DNS_PORT = 53


@pytest.fixture(scope="session")
def world() -> Iterator[NameServer]:
    """The DNS that the server asks; tests add their domains."""
    world = NameServer()
    yield world
    world.stop()


@pytest.fixture(scope="session")
def name_server() -> Iterator[NameServer]:
    """A name server for other MTAs, at the port that /etc/resolv.conf means; tests add their domains."""
    require_root("port 53 is bound")
    try:
        server = NameServer(own_address(240), _DNS_PORT)
    except OSError as error:
        pytest.skip(f"port 53 of a loopback address, which MTAs ask, cannot be bound here: {error}")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, world: NameServer) -> Iterator[Server]:
    """A complete one-machine network, up."""
    server = Server(tmp_path_factory.mktemp("server"), world.endpoint)
    try:
        server.start()
        yield server
        assert server.stop() == 0, server.log()[-4000:]
        assert "Traceback" not in server.log()
    finally:
        server.kill()


@pytest.fixture
def user(server: Server) -> User:
    """A new user, for whom the gateway takes mail."""
    return server.new_user()


@pytest.fixture(scope="session")
def thunderbird(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Thunderbird]:
    """A running Thunderbird that has no account yet."""
    with application.running(
        program("thunderbird", "thunderbird"), tmp_path_factory.mktemp("thunderbird"), server
    ) as running:
        yield running
