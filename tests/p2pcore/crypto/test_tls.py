"""tls: certificates for mail clients, contexts for nodes."""

import asyncio
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from p2pcore import params
from p2pcore.crypto.certificates import parse_certificate
from p2pcore.crypto.tls import (
    make_server_certificate,
    node_client_context,
    node_server_context,
    relay_server_context,
    renew_context,
    server_context,
    user_client_context,
)
from p2pcore.errors import Malformed
from tests.support.identities import START, World


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> tuple[bytes, str]:
    """Return the server's certificate (DER) and the protocol version of one real handshake."""
    ours, theirs = socket.socketpair()
    accepted: list[ssl.SSLSocket] = []

    def accept() -> None:
        accepted.append(server.wrap_socket(theirs, server_side=True))

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        with client.wrap_socket(ours, server_hostname=host) as connection:
            thread.join()
            return connection.getpeercert(binary_form=True) or b"", connection.version() or ""
    finally:
        thread.join()
        for end in (*accepted, theirs, ours):
            end.close()


def test_server_certificate_names_its_hosts() -> None:
    """Self-signed ECDSA P-256 with DNS names and IP addresses, valid at once in spite of slow clocks."""
    certificate, _key = make_server_certificate(["mail.example.org", "127.0.0.1", "::1"], START)
    loaded = x509.load_pem_x509_certificate(certificate)
    names = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    public = loaded.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert isinstance(public.curve, ec.SECP256R1)
    assert names.get_values_for_type(x509.DNSName) == ["mail.example.org"]
    assert names.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address("127.0.0.1"),
        ipaddress.ip_address("::1"),
    ]
    assert loaded.not_valid_before_utc.timestamp() < START / 1_000


def test_server_certificate_serves(tmp_path: Path) -> None:
    """A client that trusts the certificate verifies it by name."""
    certificate, key = make_server_certificate(["localhost"])
    (tmp_path / "cert.pem").write_bytes(certificate)
    (tmp_path / "key.pem").write_bytes(key)
    client = ssl.create_default_context(cafile=tmp_path / "cert.pem")
    der, version = handshake(server_context(tmp_path / "cert.pem", tmp_path / "key.pem"), client, "localhost")
    assert x509.load_der_x509_certificate(der) == x509.load_pem_x509_certificate(certificate)
    assert version == "TLSv1.3"


def test_server_context_refuses_old_tls_and_bad_files(tmp_path: Path) -> None:
    """Nothing below TLS 1.2, and a file that is no certificate is named."""
    certificate, key = make_server_certificate(["localhost"])
    (tmp_path / "cert.pem").write_bytes(certificate)
    (tmp_path / "key.pem").write_bytes(key)
    context = server_context(tmp_path / "cert.pem", tmp_path / "key.pem")
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    (tmp_path / "cert.pem").write_bytes(b"no certificate")
    with pytest.raises(Malformed, match=r"cert\.pem"):
        server_context(tmp_path / "cert.pem", tmp_path / "key.pem")
    with pytest.raises(FileNotFoundError):
        server_context(tmp_path / "missing.pem", tmp_path / "key.pem")


def test_an_encrypted_key_is_refused_and_nobody_is_asked(tmp_path: Path) -> None:
    """OpenSSL would wait at the terminal, and the event loop with it."""
    certificate, _ = make_server_certificate(["mx.example.org"])
    key = ec.generate_private_key(ec.SECP256R1())
    encrypted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (tmp_path / "certificate.pem").write_bytes(certificate)
    (tmp_path / "key.pem").write_bytes(encrypted)
    with pytest.raises(Malformed, match=r"key\.pem: is under a passphrase"):
        server_context(tmp_path / "certificate.pem", tmp_path / "key.pem")


def test_which_file_cannot_be_used_is_said(tmp_path: Path) -> None:
    """The one that holds something else, the two by each other's names, a key of another certificate."""
    certificate, key = make_server_certificate(["mx.example.org"])
    _, other = make_server_certificate(["mx.example.org"])
    for content, named in ((certificate, "certificate"), (key, "key"), (other, "other")):
        (tmp_path / named).write_bytes(content)
    for first, second, complaint in (
        ("key", "key", "key: no certificate in PEM"),
        ("certificate", "certificate", "certificate: no private key in PEM"),
        ("certificate", "other", f"other: not the key of the certificate in {tmp_path / 'certificate'}"),
    ):
        with pytest.raises(Malformed) as refused:
            server_context(tmp_path / first, tmp_path / second)
        assert str(refused.value) == f"{tmp_path}/{complaint}"


@pytest.mark.parametrize("hosts", [[], ["mäil.example"]])
def test_server_certificate_needs_ascii_hosts(hosts: list[str]) -> None:
    """Host names are A-labels, and there is at least one."""
    with pytest.raises(Malformed):
        make_server_certificate(hosts)


def test_node_serves_its_own_certificate() -> None:
    """A node's port shows the certificate whose key hashes to its node ID, over TLS 1.3."""
    node = World().node()
    der, version = handshake(node_server_context(node.identity), node_client_context(), "node")
    assert parse_certificate(der).node_id == node.signer.key.fingerprint
    assert version == "TLSv1.3"


def test_node_key_reaches_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Making a node's context leaves no file anywhere a temporary one would be."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    node_server_context(World().node().identity)
    assert list(tmp_path.iterdir()) == []


LOOPS = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])


def dialled(
    new_loop: Callable[[], asyncio.AbstractEventLoop], server: ssl.SSLContext, client: ssl.SSLContext
) -> tuple[bytes, bytes | None, str]:
    """What the client reads, and which client certificate and TLS version the server sees."""

    async def dial() -> tuple[bytes, bytes | None, str]:
        seen: list[tuple[bytes | None, str]] = []

        async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            secured = writer.get_extra_info("ssl_object")
            seen.append((secured.getpeercert(binary_form=True), secured.version()))
            writer.write(b"hello")
            writer.close()

        listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server)
        async with listener:
            port = listener.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname="")
            try:
                read = await reader.readexactly(5)
            finally:
                writer.close()
        return read, *seen[0]

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(dial())


@LOOPS
@pytest.mark.parametrize("address", ["alice", "grüße", '"quoted local"'])
def test_agent_and_gateway_show_their_certificates(
    address: str, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Both know whom they talk to, over TLS 1.3, whatever address the name constraints are applied to."""
    world = World()
    user, gateway = world.user(address), world.gateway()
    client = user_client_context(user.identity, gateway.certificate.fingerprint)
    outcome = dialled(new_loop, relay_server_context(gateway.identity), client)
    assert outcome == (b"hello", user.certificate.der, "TLSv1.3")


@LOOPS
def test_a_renewed_certificate_is_shown_from_the_next_handshake_on(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """A gateway that listens goes over to its successor, by which agents know it then, without a restart."""
    world = World()
    user, gateway = world.user("alice"), world.gateway()
    server = relay_server_context(gateway.identity)
    later, hpke_key = world.clock() + params.DAY, gateway.hpke_key.public_bytes
    renewed = world.authority.issue("gateway", "mx.example.org", gateway.certificate.public_key, hpke_key, later)
    renew_context(server, msgspec.structs.replace(gateway.identity, certificate=renewed))
    client = user_client_context(user.identity, parse_certificate(renewed).fingerprint)
    assert dialled(new_loop, server, client) == (b"hello", user.certificate.der, "TLSv1.3")
    with pytest.raises(ssl.SSLCertVerificationError, match="instead of"):
        dialled(new_loop, server, user_client_context(user.identity, gateway.certificate.fingerprint))


@LOOPS
def test_the_pin_fails_the_handshake(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """A gateway with another certificate is refused before an octet of the application, though its key is certified."""
    world = World()
    user, gateway, other = world.user("alice"), world.gateway(), world.gateway()
    client = user_client_context(user.identity, other.certificate.fingerprint)
    with pytest.raises(ssl.SSLCertVerificationError, match="instead of"):
        dialled(new_loop, relay_server_context(gateway.identity), client)


@LOOPS
def test_another_domains_user_is_refused(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """The handshake fails for a certificate of another authority; without any it succeeds, and shows none."""
    gateway, stranger = World().gateway(), World("example.net").user("alice")
    server = relay_server_context(gateway.identity)
    client = user_client_context(stranger.identity, gateway.certificate.fingerprint)
    with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
        dialled(new_loop, server, client)
    assert dialled(new_loop, server, node_client_context()) == (b"hello", None, "TLSv1.3")


def test_a_pinning_context_makes_no_blocking_sockets() -> None:
    """Such a socket would not be pinned, so there is none."""
    world = World()
    context = user_client_context(world.user("alice").identity, world.gateway().certificate.fingerprint)
    with socket.socket() as plain, pytest.raises(ssl.SSLError, match="pins"):
        context.wrap_socket(plain)
