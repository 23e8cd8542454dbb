"""Two SMTP servers in processes of their own that take mail and store nothing: ours with all its checks, and aiosmtpd.

Ours is the gateway's: SPF and DMARC against a DNS of a few records, DKIM as far as messages have signatures, sealing,
a notification per recipient, signing. Only the network behind it says "stored" at once.
"""

import asyncio
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

import uvloop
from aiosmtpd.smtp import SMTP, Envelope, Session

from bench import measure
from bench.measure import Usage
from gateway import logs
from gateway.resolver import Kind, Value
from gateway.smtp.server import GatewaySmtp
from gateway.smtp.settings import SmtpLimits, SmtpSettings
from gateway.starting import settle_memory
from p2pcore.client.replicas import Replicas
from p2pcore.clock import system_clock
from p2pcore.endpoint import Endpoint
from p2pcore.mail.injection import Injection
from p2pcore.mail.send import Sender, Stored
from tests.gateway.smtp.world import DOMAIN, FakeDns, FakeNames, Users

HOST = "127.0.0.1"
RECIPIENT = f"alice@{DOMAIN}"
OURS, STOCK = "p2pmail", "aiosmtpd"

_MAX_SIZE = 64 << 20
_START = 30.0  # seconds
_DNS: dict[tuple[str, Kind], tuple[Value, ...]] = {
    ("sender.example", "TXT"): ((b"v=spf1 ip4:127.0.0.0/8 -all",),),
    ("_dmarc.sender.example", "TXT"): ((b"v=DMARC1; p=reject",),),
    (f"ptr:{HOST}", "PTR"): ("mta.sender.example",),
    ("mta.sender.example", "A"): (HOST,),
}


class Receiver:
    """One of the two (`name`: OURS or STOCK) on a free port. `start` first, `stop` last."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.endpoint = HOST, 0
        spawn = multiprocessing.get_context("spawn")
        self._port, theirs = spawn.Pipe(duplex=False)
        self._process = spawn.Process(target=_serve, args=(name, theirs), daemon=True)

    def start(self) -> None:
        """Return when it listens. Raises RuntimeError."""
        self._process.start()
        if not self._port.poll(_START):
            raise RuntimeError(f"{self.name} did not start")
        self.endpoint = HOST, self._port.recv()

    def stop(self) -> None:
        self._process.kill()
        self._process.join()

    def usage(self) -> Usage:
        """Return what the process has used so far."""
        assert self._process.pid is not None
        return measure.usage_of({self.name: self._process.pid})[self.name]


class _NoStorage(Sender):
    """Seals and signs; what is to be stored is dropped."""

    async def inject(self, injection: Injection) -> Stored:
        return Stored(3, 3)


class _Drop:
    """aiosmtpd's handler."""

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        return "250 2.6.0 dropped"


def _serve(name: str, port: Connection) -> None:
    """Serve until killed, in a process of its own."""
    with Path(os.devnull).open("w") as nowhere, tempfile.TemporaryDirectory() as directory:
        sys.stderr = nowhere  # the mail log is written, and goes nowhere
        if name == OURS:
            logs.configure("INFO")
            factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
            server = _serve_ours(Path(directory), port)
        else:
            factory = asyncio.new_event_loop
            server = _serve_stock(port)
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(server)


async def _serve_ours(directory: Path, port: Connection) -> None:
    users = Users("alice")
    sender = _NoStorage(cast(Replicas, None), users.signer, system_clock)
    limits = SmtpLimits(connections_per_client=1_000, messages_per_minute=1_000_000)
    settings = SmtpSettings(
        (Endpoint(HOST, 0),), f"mx.{DOMAIN}", directory, max_message_size=_MAX_SIZE, verify="on", limits=limits
    )
    server = GatewaySmtp(settings, FakeNames(users), sender, None, FakeDns(_DNS), system_clock)
    await server.start()
    settle_memory()
    port.send(server.ports[0])
    await asyncio.Event().wait()


async def _serve_stock(port: Connection) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(_Drop(), data_size_limit=_MAX_SIZE, loop=loop), HOST, 0)
    port.send(server.sockets[0].getsockname()[1])
    await asyncio.Event().wait()
