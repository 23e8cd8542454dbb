"""Endpoints are tried before anything starts."""

import socket

import pytest

from gateway.endpoints import check_endpoints
from gateway.errors import ConfigurationError
from tests.gateway.sites import config_of


def test_free_endpoints() -> None:
    """Nothing is left bound: the same check again finds the same."""
    config = config_of()
    check_endpoints(config)
    check_endpoints(config)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_node_wants_both(kind: socket.SocketKind) -> None:
    """A node needs its port for TCP and for UDP."""
    config = config_of()
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind((config.node.listen.host, config.node.listen.port))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        with pytest.raises(ConfigurationError, match=r"node\.listen: .* cannot be used: Address already in use"):
            check_endpoints(config)


def test_only_what_runs_here() -> None:
    """The ports of roles that do not run here may be anybody's."""
    config = config_of(['domain.roles=["agent"]'])
    with socket.create_server((config.node.listen.host, config.node.listen.port)):
        check_endpoints(config)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ('smtp.listen=["127.0.0.1:0", "no.such.host.invalid:25"]', r"smtp\.listen: no\.such\.host\.invalid:25 cannot"),
        (f'smtp.listen=["{"x" * 70}:25"]', r"smtp\.listen: x+:25 cannot be used"),
        ('smtp.listen=["192.0.2.1:25"]', r"smtp\.listen: 192\.0\.2\.1:25 cannot be used"),
    ],
)
def test_hosts_that_are_not_here(override: str, said: str) -> None:
    """A name that does not resolve, or an address of another machine, is named with its key."""
    with pytest.raises(ConfigurationError, match=said):
        check_endpoints(config_of([override]))


def test_one_endpoint_for_two() -> None:
    """Two listeners on one endpoint: both keys are named."""
    config = config_of()
    twice = config_of([f'imaps.listen=["{config.smtp.listen[0]}"]', f'smtp.listen=["{config.smtp.listen[0]}"]'])
    with pytest.raises(ConfigurationError, match=r"imaps\.listen: .* is in smtp\.listen already"):
        check_endpoints(twice)
