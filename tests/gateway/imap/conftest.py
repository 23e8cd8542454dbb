"""A real IMAP server over real mail stores: accounts alice (password secret) and bob (password hunter2)."""

import datetime
import ipaddress
import secrets
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.errors import AccountClosed
from gateway.imap.params import ImapLimits
from gateway.imap.server import ImapServer
from gateway.mailbox.store import MailStore
from p2pcore.crypto.passwords import ScramVerifier
from p2pcore.endpoint import Endpoint
from tests.gateway.imap.client import Client


@dataclass(frozen=True, slots=True)
class Certificate:
    """A self-signed certificate for localhost, as both sides' contexts."""

    server: ssl.SSLContext
    client: ssl.SSLContext


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    alternatives: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    pem = signed.public_bytes(serialization.Encoding.PEM)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + pem
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    client = ssl.create_default_context(cadata=pem.decode("ascii"))
    return Certificate(server, client)


class TwoAccounts:
    """alice and bob, each with a store of her or his own, but for those in `closed`."""

    def __init__(self, alice: MailStore, bob: MailStore) -> None:
        self._stores = {("alice", "secret"): alice, ("bob", "hunter2"): bob}
        self._by_user = {"alice": alice, "bob": bob}
        self._verifiers = {user: ScramVerifier.of(word, b"salt" * 4, 4_096) for user, word in self._stores}
        self.closed: set[str] = set()

    async def authenticate(self, user: str, password: str) -> MailStore | None:
        if user in self.closed and (user, password) in self._stores:
            raise AccountClosed(user)
        return self._stores.get((user.removesuffix("@example.org"), password))

    scram = True

    def counted_as(self, user: str) -> str:
        return user if "@" in user else f"{user}@example.org"

    def verifier(self, user: str) -> ScramVerifier:
        return self._verifiers.get(user) or ScramVerifier.decoy(user, b"secret")

    def proven(self, user: str, verifier: ScramVerifier) -> MailStore | None:
        if user in self.closed and self._verifiers.get(user) is verifier:
            raise AccountClosed(user)
        return self._by_user.get(user) if self._verifiers.get(user) is verifier else None


@dataclass(slots=True)
class Site:
    """A running server and what is behind it."""

    server: ImapServer
    alice: MailStore
    bob: MailStore
    certificate: Certificate
    clients: list[Client] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.server.sockets[0].getsockname()[1])

    @property
    def tls_port(self) -> int:
        return int(self.server.sockets[1].getsockname()[1])

    async def client(self, *, login: bool = True, select: str | None = None) -> Client:
        """A new plain connection, greeted; as alice and in a mailbox if wanted."""
        client = await Client.connect(self.port)
        self.clients.append(client)
        if login:
            await client.ok("LOGIN alice secret")
        if select is not None:
            await client.ok(f"SELECT {select}")
        return client


class SiteMaker:
    """Starts servers with the limits that a test wants; they share the stores."""

    def __init__(self, alice: MailStore, bob: MailStore, certificate: Certificate) -> None:
        self._alice, self._bob, self._certificate = alice, bob, certificate
        self.sites: list[Site] = []

    async def __call__(self, limits: ImapLimits | None = None, *, spool_directory: Path | None = None) -> Site:
        server = ImapServer(
            TwoAccounts(self._alice, self._bob),
            self._certificate.server,
            limits or ImapLimits(failed_login_delay=0.0),
            spool_directory=spool_directory,
        )
        await server.start([Endpoint("127.0.0.1", 0)], [Endpoint("127.0.0.1", 0)])
        site = Site(server, self._alice, self._bob, self._certificate)
        self.sites.append(site)
        return site


@pytest.fixture
async def start_site(tmp_path: Path, certificate: Certificate) -> AsyncIterator[SiteMaker]:
    alice = await MailStore.open(tmp_path / "alice", secrets.token_bytes(32))
    bob = await MailStore.open(tmp_path / "bob", secrets.token_bytes(32))
    maker = SiteMaker(alice, bob, certificate)
    try:
        yield maker
    finally:
        for site in maker.sites:
            for client in site.clients:
                client.close()
            await site.server.stop()
        await alice.close()
        await bob.close()


@pytest.fixture
async def site(start_site: SiteMaker) -> Site:
    return await start_site()
