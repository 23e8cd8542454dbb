"""Users and TLS contexts are made once; each test makes the server it needs."""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from p2pcore.crypto.tls import make_server_certificate, server_context
from tests.gateway.smtp.submission_world import People
from tests.gateway.smtp.world import Users, World, make_world

WorldMaker = Callable[..., World]


@pytest.fixture(scope="session")
def users() -> Users:
    return Users("alice", "bob", "grüße", '"quoted local"')


@pytest.fixture(scope="session")
def people() -> People:
    return People()


@pytest.fixture(scope="session")
def server_tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    directory = tmp_path_factory.mktemp("tls")
    certificate, key = make_server_certificate(["localhost", "127.0.0.1"])
    (directory / "cert.pem").write_bytes(certificate)
    (directory / "key.pem").write_bytes(key)
    return server_context(directory / "cert.pem", directory / "key.pem")


@pytest.fixture(scope="session")
def client_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.fixture
def new_world(users: Users, tmp_path: Path) -> WorldMaker:
    """Makes a server that is not started; keywords as for make_world."""

    def make(**settings: Any) -> World:
        return make_world(users, tmp_path, **settings)

    return make
