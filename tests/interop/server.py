"""A complete one-machine network as a real process, on 127.0.0.1 so that `localhost` is a name for it."""

import itertools
import os
import random
import smtplib
import socket
import ssl
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway import config as configuration
from gateway.founding import found_domain
from p2pcore.endpoint import Endpoint
from tests.harness.machines import PASSWORD, Machine
from tests.harness.mail import wait_until_accepting
from tests.interop.waiting import wait_for

DOMAIN = "interop.test"
HOST = "127.0.0.1"
_BATCH = 8
_numbers = itertools.count(1)


@dataclass(frozen=True)
class User:
    address: str
    password: str


class Server(Machine):
    """Node, gateway, agent and directory in one process with the configuration that `p2pmail init` writes.

    It asks `resolver` for MX records and dials `mx_port` of the hosts that they name.
    """

    def __init__(self, directory: Path, resolver: Endpoint) -> None:
        super().__init__(directory, HOST)
        node, smtp, imap, imaps, submission, submissions, relay, autoconfig, self.mx_port = free_ports(9)
        raw = {
            "domain": {"name": DOMAIN},
            "node": {"listen": f"{HOST}:{node}"},
            "smtp": {
                "listen": [f"{HOST}:{smtp}"],
                "max_connections_per_client": 200,
                "verify": "on",  # loopback, where all these clients are, would be spared
            },
            "imap": {"listen": [f"{HOST}:{imap}"]},
            "imaps": {"listen": [f"{HOST}:{imaps}"]},
            "submission": {"listen": [f"{HOST}:{submission}"]},
            "submissions": {"listen": [f"{HOST}:{submissions}"]},
            "relay": {"listen": [f"{HOST}:{relay}"]},
            "autoconfig": {"listen": [f"{HOST}:{autoconfig}"]},
            "outbound": {"resolvers": [f"{resolver}"], "port": self.mx_port},
            "sync": {"keep_days": 0},  # an empty inbox tells that all was filed
        }
        self._fresh: list[User] = []
        self._smtp, self._imap, self._imaps = (HOST, smtp), (HOST, imap), (HOST, imaps)
        self._submission, self._submissions = (HOST, submission), (HOST, submissions)
        self._autoconfig = (HOST, autoconfig)
        found_domain(directory, configuration.check(raw, "interop"))

    @property
    def smtp(self) -> tuple[str, int]:
        return self._smtp

    @property
    def imap(self) -> tuple[str, int]:
        return self._imap

    @property
    def imaps(self) -> tuple[str, int]:
        return self._imaps

    @property
    def submission(self) -> tuple[str, int]:
        return self._submission

    @property
    def submissions(self) -> tuple[str, int]:
        """Submission with TLS from the first octet."""
        return self._submissions

    @property
    def autoconfig(self) -> tuple[str, int]:
        """Where autoconfig.<domain> would lead."""
        return self._autoconfig

    @property
    def certificate(self) -> Path:
        """The self-signed certificate that mail readers are shown, PEM."""
        return self.site.tls_files()[0]

    def outgoing(self, user: User) -> list[dict[str, Any]]:
        """What of a user's mail is in her outbox or in the gateway's queue."""
        return [each for each in self.ask("queue-list") if each["from"] == user.address]

    def wait_until_filed(self) -> None:
        """Wait until the agents have filed and acknowledged whatever was accepted."""
        wait_for(lambda: self.status()["node"]["entries"] == 0, "no entry left in any inbox")

    def new_user(self) -> User:
        """Return a user whom nobody had before, for whom the gateway takes mail."""
        if not self._fresh:
            for _ in range(_BATCH):  # the gateway hears of new users only so often: of several at once
                user = User(f"user{next(_numbers)}@{DOMAIN}", PASSWORD)
                self.ask("user-add", address=user.address, password=user.password)
                self._fresh.append(user)
            for user in self._fresh:
                wait_until_accepting(self, user.address)
        return self._fresh.pop(0)


def submit(
    server: Server,
    user: User,
    content: bytes,
    *recipients: str,
    mail_options: Sequence[str] = (),
    rcpt_options: Sequence[str] = (),
) -> None:
    """Submit as a mail reader does."""
    with smtplib.SMTP("localhost", server.submission[1], local_hostname="desk.home.example", timeout=60) as client:
        client.starttls(context=ssl.create_default_context(cafile=str(server.certificate)))
        client.login(user.address, user.password)
        client.sendmail(user.address, recipients, content, ["BODY=8BITMIME", *mail_options], rcpt_options)


def own_address(number: int) -> str:
    """Return a loopback address that only this process uses; `number` from 200: below are other tests'."""
    return f"127.{1 + (os.getpid() >> 8) % 250}.{os.getpid() % 256}.{number}"


def free_ports(count: int) -> list[int]:
    """Return ports of HOST on which neither TCP nor UDP is in use.

    They are none of those that systems give to clients, one of which could take the port of a server that is down.
    """
    with ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < count:
            tcp = stack.enter_context(socket.socket())
            udp = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            port = random.randrange(16_384, 32_768)
            try:
                tcp.bind((HOST, port))
                udp.bind((HOST, port))
            except OSError:
                continue
            ports.append(port)
        return ports
