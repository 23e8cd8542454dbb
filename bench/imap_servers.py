"""The two IMAP servers, each with one fresh account, on loopback: ours in a process of its own, and Dovecot."""

import asyncio
import multiprocessing
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

import uvloop

from bench import measure
from bench.imap_client import Client
from bench.measure import Usage
from bench.postfix import HOST, PASSWORD, free_port
from gateway import logs
from gateway.imap.params import ImapLimits
from gateway.imap.server import ImapServer
from gateway.mailbox.store import MailStore
from gateway.starting import settle_memory
from p2pcore.endpoint import Endpoint
from tests.support.imap_accounts import PasswordsOnly

OURS, THEIRS = "p2pmail", "Dovecot"

USER = "reader"
_DOVECOT = Path("/usr/sbin/dovecot")
_START = 60.0  # seconds
_MANY = 1_000  # connections of one user, beyond both servers' defaults
_REST = 2.5  # seconds
_QUIET = 0.02  # of a CPU, that a server at rest takes
_CONF = """\
base_dir = {directory}/run
state_dir = {directory}/state
instance_name = bench-imap
log_path = {directory}/dovecot.log
protocols = imap
ssl = no
disable_plaintext_auth = no
first_valid_uid = 1
mail_max_userip_connections = {many}
mail_location = maildir:{directory}/mail
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={directory}/home allow_all_users=yes
}}
service imap-login {{
  inet_listener imap {{
    address = {host}
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
"""


class Server(Protocol):
    """What is measured. `start` first, `stop` last."""

    name: str
    endpoint: tuple[str, int]

    def start(self) -> None:
        """Return when it answers. Raises RuntimeError."""

    def stop(self) -> None:
        """End every process of it."""

    def usage(self) -> dict[str, Usage]:
        """What its processes have used so far."""

    def memory(self) -> float:
        """MiB that its processes have to themselves now."""

    def fill(self, messages: Iterable[bytes]) -> None:
        """Put seen messages into INBOX by the shortest way; logs nobody in before."""


def log_in(server: Server) -> Client:
    """A connection of the account's user."""
    return Client(server.endpoint, USER, PASSWORD)


def settle(server: Server) -> None:
    """Return when the server has nothing more to do by itself."""
    while True:
        before = sum(usage.cpu for usage in server.usage().values())
        time.sleep(_REST)  # longer than the full-text index waits for more mail
        if sum(usage.cpu for usage in server.usage().values()) - before <= 1_000 * _REST * _QUIET:
            return


class Ours:
    """The IMAP server over one encrypted account, as the agent runs them."""

    name = OURS

    def __init__(self, directory: Path) -> None:
        self.endpoint = HOST, 0
        spawn = multiprocessing.get_context("spawn")
        self._port, theirs = spawn.Pipe(duplex=False)
        self._process = spawn.Process(target=_serve, args=(directory, theirs), daemon=True)

    def start(self) -> None:
        self._process.start()
        if not self._port.poll(_START):
            raise RuntimeError("p2pmail did not start")
        self.endpoint = HOST, self._port.recv()

    def stop(self) -> None:
        self._process.terminate()
        self._process.join()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def usage(self) -> dict[str, Usage]:
        return measure.usage_of({self.name: self.pid})

    def memory(self) -> float:
        return measure.private_memory([self.pid]) / 1_024

    def fill(self, messages: Iterable[bytes]) -> None:
        with log_in(self) as client:
            batch: list[bytes] = []
            for message in messages:
                batch.append(message)
                if len(batch) == 100:
                    client.append_many("INBOX", batch)
                    batch.clear()
            if batch:
                client.append_many("INBOX", batch)


class Dovecot:
    """A private Dovecot with a Maildir; stock settings but for directory, port and number of clients."""

    name = THEIRS

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.endpoint = HOST, free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def missing() -> str:
        """Return why it cannot run here, "" where it can."""
        if not _DOVECOT.exists() or not Path("/usr/lib/dovecot/imap").exists():
            return "dovecot-imapd is not installed"
        return "" if os.geteuid() == 0 else "Dovecot starts as root only"

    def start(self) -> None:
        user = pwd.getpwnam("mail")
        for name in ("", "mail", "home"):
            path = self._directory / name
            path.mkdir(parents=True)
            path.chmod(0o755)
            if name:
                shutil.chown(path, "mail", "mail")
        configuration = self._directory / "dovecot.conf"
        configuration.write_text(
            _CONF.format(
                directory=self._directory,
                host=HOST,
                port=self.endpoint[1],
                password=PASSWORD,
                uid=user.pw_uid,
                gid=user.pw_gid,
                many=_MANY,
            )
        )
        with (self._directory / "output").open("wb") as output:
            self._process = subprocess.Popen(
                [_DOVECOT, "-F", "-c", configuration], stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        deadline = time.monotonic() + _START
        while True:
            try:
                with socket.create_connection(self.endpoint, timeout=_START) as connection:
                    connection.recv(1)
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"Dovecot did not start: {(self._directory / 'output').read_text()}") from None
                time.sleep(0.05)

    def stop(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_START)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def usage(self) -> dict[str, Usage]:
        assert self._process is not None
        return measure.usage_of_tree(self.name, self._process.pid)

    def memory(self) -> float:
        assert self._process is not None
        return measure.private_memory(measure.tree(self._process.pid)) / 1_024

    def fill(self, messages: Iterable[bytes]) -> None:
        mailbox = self._directory / "mail"
        for name in ("cur", "new", "tmp"):
            (mailbox / name).mkdir(exist_ok=True)
            shutil.chown(mailbox / name, "mail", "mail")
        now = int(time.time())
        for number, message in enumerate(messages):
            lines = message.replace(b"\r\n", b"\n")
            path = mailbox / "cur" / f"{now}.M{number:06d}P1.bench,S={len(lines)},W={len(message)}:2,S"
            path.write_bytes(lines)
            shutil.chown(path, "mail", "mail")


class _OneAccount(PasswordsOnly):
    def __init__(self, store: MailStore) -> None:
        self._store = store

    async def authenticate(self, user: str, password: str) -> MailStore | None:
        return self._store if (user, password) == (USER, PASSWORD) else None


def _serve(directory: Path, port: Connection) -> None:
    """Serve until terminated, in a process of its own."""
    with Path(os.devnull).open("w") as nowhere:
        sys.stderr = nowhere  # the log is written, and goes nowhere
        logs.configure("INFO")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve_account(directory, port))


async def _serve_account(directory: Path, port: Connection) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    store = await MailStore.open(directory, secrets.token_bytes(32))
    limits = ImapLimits(connections=_MANY, connections_per_account=_MANY)
    server = ImapServer(_OneAccount(store), None, limits)
    await server.start([Endpoint(HOST, 0)], [])
    settle_memory()
    port.send(server.sockets[0].getsockname()[1])
    await stopped.wait()
    await server.stop()
    await store.close()
