"""TLS files that are replaced while servers run: the next handshake shows what they hold by then, at every listener."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvloop
from structlog.testing import capture_logs

from gateway.imap.server import ImapServer
from gateway.main import running
from gateway.site import Site
from gateway.tls_files import TlsFiles
from p2pcore.crypto.tls import make_server_certificate
from p2pcore.endpoint import Endpoint
from p2pcore.errors import Malformed
from tests.gateway.imap.conftest import TwoAccounts
from tests.gateway.smtp.submission_world import LOCALHOST, People, make_submission
from tests.gateway.smtp.world import make_world

LOOPS = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
SMTP_STARTTLS: tuple[bytes, ...] = (
    b"EHLO client.example.net\r\n",
    b"STARTTLS\r\n",
    b"220 2.0.0 ready to start TLS\r\n",
)
IMAP_STARTTLS: tuple[bytes, ...] = (b"a STARTTLS\r\n", b"a OK begin TLS negotiation now\r\n")


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, both PEM."""

    certificate: bytes
    key: bytes

    @classmethod
    def new(cls) -> "Pair":
        return cls(*make_server_certificate(["localhost"]))

    @property
    def der(self) -> bytes:
        return ssl.PEM_cert_to_DER_cert(self.certificate.decode())


class Files:
    """What a server was told to show."""

    def __init__(self, directory: Path, pair: Pair) -> None:
        self.certificate, self.key = directory / "fullchain.pem", directory / "privkey.pem"
        self.replace(self.certificate, pair.certificate)
        self.replace(self.key, pair.key)

    def replace(self, path: Path, octets: bytes) -> None:
        """As ACME clients do: the name stands for another file from one moment to the next."""
        new = path.with_suffix(".new")
        new.write_bytes(octets)
        new.replace(path)

    def put(self, pair: Pair) -> None:
        self.replace(self.certificate, pair.certificate)
        self.replace(self.key, pair.key)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path, Pair.new())


@pytest.fixture(scope="module")
def people() -> People:
    return People()


Listener = Callable[[TlsFiles, People, Path], "AsyncIterator[Endpoint]"]


async def smtp(tls: TlsFiles, people: People, directory: Path) -> AsyncIterator[Endpoint]:
    async with make_world(people.users, directory, tls) as world:
        yield world.server.listeners[0]


async def submission(tls: TlsFiles, people: People, directory: Path) -> AsyncIterator[Endpoint]:
    async with make_submission(people, tls) as world:
        yield world.server.listeners[0]


async def submissions(tls: TlsFiles, people: People, directory: Path) -> AsyncIterator[Endpoint]:
    async with make_submission(people, tls, listen_tls=(LOCALHOST,)) as world:
        yield world.server.listeners[1]


async def imap(tls: TlsFiles, people: People, directory: Path) -> AsyncIterator[Endpoint]:
    async for _clear, secured in _imap(tls):
        yield secured


async def imap_in_clear(tls: TlsFiles, people: People, directory: Path) -> AsyncIterator[Endpoint]:
    async for clear, _secured in _imap(tls):
        yield clear


async def _imap(tls: TlsFiles) -> AsyncIterator[tuple[Endpoint, Endpoint]]:
    server = ImapServer(TwoAccounts(None, None), tls)  # type: ignore[arg-type]  # nobody logs in
    await server.start([LOCALHOST], [LOCALHOST])
    try:
        clear, secured = (Endpoint(*bound.getsockname()) for bound in server.sockets)
        yield clear, secured
    finally:
        await server.stop()


LISTENERS = pytest.mark.parametrize(
    ("listener", "dialogue"),
    [(smtp, SMTP_STARTTLS), (submission, SMTP_STARTTLS), (submissions, ()), (imap_in_clear, IMAP_STARTTLS), (imap, ())],
)


async def shown(endpoint: Endpoint, dialogue: tuple[bytes, ...] = ()) -> bytes:
    """The certificate (DER) of a handshake, which `dialogue` comes before: what to say, and the last of the answers."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port, ssl=None if dialogue else client)
        if dialogue:
            *lines, ready = dialogue
            await reader.readline()  # the greeting
            for line in lines:
                writer.write(line)
                while not (said := await reader.readline()).startswith((b"250 ", ready)):
                    assert said
            await writer.start_tls(client)
        certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.transport.abort()
    assert isinstance(certificate, bytes)
    return certificate


@LOOPS
@LISTENERS
def test_a_new_pair(
    listener: Listener,
    dialogue: tuple[bytes, ...],
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    files: Files,
    people: People,
    tmp_path: Path,
) -> None:
    """It is shown from the next handshake on; while one of the two files is new, the pair before is."""
    old, new = Pair(files.certificate.read_bytes(), files.key.read_bytes()), Pair.new()

    async def story() -> None:
        async with asynccontextmanager(listener)(TlsFiles(files.certificate, files.key), people, tmp_path) as endpoint:
            assert await shown(endpoint, dialogue) == old.der
            files.replace(files.certificate, new.certificate)
            assert await shown(endpoint, dialogue) == old.der
            files.replace(files.key, new.key)
            assert await shown(endpoint, dialogue) == new.der

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(story())


async def test_every_listener_of_a_machine(site: Site) -> None:
    """The files are those of `tls_files`, and one look at them serves all listeners: one line tells of a change."""
    new, config = Pair.new(), site.config
    listeners = [(endpoint, SMTP_STARTTLS) for endpoint in (*config.smtp.listen, *config.submission.listen)]
    listeners += [(endpoint, IMAP_STARTTLS) for endpoint in config.imap.listen]
    with site.locked():
        async with running(site):
            certificate, key = site.tls_files()
            old = ssl.PEM_cert_to_DER_cert(certificate.read_text())
            assert [await shown(endpoint, dialogue) for endpoint, dialogue in listeners] == [old] * 3
            certificate.write_bytes(new.certificate)
            key.write_bytes(new.key)
            with capture_logs() as logs:
                assert [await shown(endpoint, dialogue) for endpoint, dialogue in listeners] == [new.der] * 3
            assert len([line for line in logs if line.get("certificate") == str(certificate)]) == 1


def end_early(files: Files) -> None:
    files.certificate.write_bytes(files.certificate.read_bytes()[:200])


def of_another(files: Files) -> None:
    files.replace(files.key, Pair.new().key)


def nothing(files: Files) -> None:
    files.key.write_bytes(b"")


def gone(files: Files) -> None:
    files.certificate.unlink()


def no_file(files: Files) -> None:
    files.key.unlink()
    files.key.mkdir()


@pytest.mark.parametrize("spoil", [end_early, of_another, nothing, gone, no_file])
async def test_what_cannot_be_used(
    spoil: Callable[[Files], None], files: Files, people: People, tmp_path: Path
) -> None:
    """What the files held before stays in use, and one line says so; the next change is looked at again."""
    old, new = files.certificate.read_bytes(), Pair.new()
    async with asynccontextmanager(smtp)(TlsFiles(files.certificate, files.key), people, tmp_path) as endpoint:
        spoil(files)
        with capture_logs() as logs:
            for _ in range(3):
                assert await shown(endpoint, SMTP_STARTTLS) == ssl.PEM_cert_to_DER_cert(old.decode())
        (line,) = logs
        assert line["log_level"] == "warning"
        assert (line["certificate"], line["key"]) == (str(files.certificate), str(files.key))
        assert any(str(path) in line["error"] for path in (files.certificate, files.key))
        if files.key.is_dir():
            files.key.rmdir()
        files.put(new)
        with capture_logs() as logs:
            assert await shown(endpoint, SMTP_STARTTLS) == new.der
        assert [line["log_level"] for line in logs] == ["info"]


def test_files_that_have_not_changed_are_not_read(files: Files) -> None:
    """A handshake looks at them, and no more."""
    tls = TlsFiles(files.certificate, files.key)
    before = tls._shown
    tls.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
    assert tls._shown is before


def test_written_in_place_with_the_old_times(files: Files) -> None:
    """As rsync does: the same file, of the same length and age, is another all the same."""
    tls, new = TlsFiles(files.certificate, files.key), Pair.new()
    for path, octets in ((files.certificate, new.certificate), (files.key, new.key)):
        was = path.stat()
        path.write_bytes(octets)
        os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    before = tls._shown
    tls.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
    assert tls._shown is not before


def test_a_start_needs_a_pair(files: Files) -> None:
    """There is nothing before it that could stay in use."""
    of_another(files)
    with pytest.raises(Malformed, match=r"fullchain\.pem"):
        TlsFiles(files.certificate, files.key)
    gone(files)
    with pytest.raises(FileNotFoundError):
        TlsFiles(files.certificate, files.key)
