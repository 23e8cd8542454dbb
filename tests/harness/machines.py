"""Real processes of one domain on loopback: each machine has a data directory and an IP address of its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from gateway import config as configuration
from gateway import control
from gateway.administration import administer
from gateway.founding import found_domain
from gateway.joining import finish_join, request_admission
from gateway.site import CONFIG_NAME, Site
from p2pcore.endpoint import Endpoint

DOMAIN = "harness.test"
PASSWORD = "correct horse battery"
START_TIMEOUT = 60

SMTP_PORT, IMAP_PORT, NODE_PORT, SUBMISSION_PORT, RELAY_PORT = 2525, 1143, 4466, 1587, 2465
DNS_PORT, REMOTE_PORT = 5353, 2526  # of the outside world: outside.py


class Machine:
    """One machine: `start`, `kill` (SIGKILL), `stop` (SIGTERM) its process; its files stay."""

    def __init__(self, directory: Path, host: str) -> None:
        self.directory = directory
        self.host = host
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def config_file(self) -> Path:
        return self.directory / CONFIG_NAME

    @property
    def site(self) -> Site:
        return Site.open(self.config_file)

    def launch(self, program: Iterable[str] = ("-m", "gateway")) -> None:
        """Start the process without waiting for it; its log goes on in `log`. `program`: how Python is called."""
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *program, "run", "-c", str(self.config_file)],
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )

    def wait_until_up(self) -> None:
        """Wait for the line that says everything listens."""
        assert self.process is not None
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith(b"p2pmail is up"), f"{self.directory}: {line!r}\n{self.log()[-4000:]}"

    def start(self) -> None:
        self.launch()
        self.wait_until_up()

    def kill(self) -> None:
        """End the process at once, as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Ask the process to end and return its exit code."""
        return self._end(signal.SIGTERM)

    def wait_for_exit(self) -> int:
        """Wait for the process to end by itself and return its exit code."""
        assert self.process is not None
        code = self.process.wait(START_TIMEOUT)
        self._close()
        return code

    def _end(self, number: signal.Signals) -> int:
        if self.process is None:
            return 0
        self.process.send_signal(number)
        return self.wait_for_exit()

    def _close(self) -> None:
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None

    def ask(self, command: str, **arguments: Any) -> Any:
        return control.ask(self.site.control_socket, command, arguments)

    def status(self) -> dict[str, Any]:
        return cast(dict[str, Any], self.ask("status"))

    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace") if (self.directory / "log").exists() else ""

    @property
    def smtp(self) -> tuple[str, int]:
        return self.host, SMTP_PORT

    @property
    def submission(self) -> tuple[str, int]:
        return self.host, SUBMISSION_PORT

    @property
    def imap(self) -> tuple[str, int]:
        return self.host, IMAP_PORT


class Domain:
    """A domain under construction: the founder (directory and first node), then machines that join it."""

    def __init__(self, directory: Path, k: int, w: int, *, first_host: int = 1) -> None:
        """`first_host`: the last number of the first machine's address, apart from those of other domains here."""
        self._directory = directory
        self._network = f"127.{1 + (os.getpid() >> 8) % 250}.{os.getpid() % 256}"
        self._count = first_host - 1
        self.resolver = Endpoint(f"{self._network}.250", DNS_PORT)  # nobody answers there until a test does
        self.remote = Endpoint(f"{self._network}.251", REMOTE_PORT)  # the same
        self.machines: list[Machine] = []
        host = self._next_host()
        self.founder = Machine(directory / "founder", host)
        raw = configuration.with_overrides(
            {"domain": {"name": DOMAIN, "roles": ["directory", "node"]}}, self._endpoints(host)
        )
        found_domain(self.founder.directory, configuration.check(raw, "harness"))
        self.machines.append(self.founder)
        self.nodes = [self.founder]
        self.gateways: list[Machine] = []
        self._k, self._w = k, w

    def _next_host(self) -> str:
        self._count += 1
        return f"{self._network}.{self._count}"

    def _endpoints(self, host: str) -> list[str]:
        return [
            *endpoints(host, self.resolver, REMOTE_PORT),
            "sync.keep_days=0",  # so that it can be seen when the network has forgotten a message
        ]

    def _join(self, role: str, name: str, directory: str) -> Machine:
        host = self._next_host()
        machine = Machine(self._directory / directory, host)
        invitation = administer(self.founder.site, "invite", role=role, name=name)["text"]
        request = request_admission(machine.directory, invitation, self._endpoints(host))
        answer = administer(self.founder.site, "sign", request=request)["text"]
        finish_join(machine.directory, answer, PASSWORD)
        self.machines.append(machine)
        return machine

    def add_node(self) -> Machine:
        name = f"node{len(self.nodes)}"
        self.nodes.append(self._join("node", f"{name}.{DOMAIN}", name))
        if len(self.nodes) == self._k:
            administer(self.founder.site, "domain-set", k=self._k, w=self._w)
        return self.nodes[-1]

    def add_gateway(self) -> Machine:
        name = f"mx{len(self.gateways) + 1}"
        self.gateways.append(self._join("gateway", f"{name}.{DOMAIN}", name))
        return self.gateways[-1]

    def add_user(self, local_part: str) -> Machine:
        return self._join("user", f"{local_part}@{DOMAIN}", f"agent-{local_part}")

    def kill_all(self) -> None:
        for machine in self.machines:
            machine.kill()


def endpoints(host: str, resolver: Endpoint, mx_port: int) -> list[str]:
    """Return settings that put every listener on `host`, where DNS is `resolver` and other MTAs are at `mx_port`."""
    return [
        f'node.listen="{host}:{NODE_PORT}"',
        f'smtp.listen=["{host}:{SMTP_PORT}"]',
        f'imap.listen=["{host}:{IMAP_PORT}"]',
        f'submission.listen=["{host}:{SUBMISSION_PORT}"]',
        f'relay.listen=["{host}:{RELAY_PORT}"]',
        f'relay.advertise="{host}:{RELAY_PORT}"',
        "imaps.listen=[]",
        "submissions.listen=[]",
        f'outbound.resolvers=["{resolver}"]',
        f"outbound.port={mx_port}",
        "outbound.retry_first=1",
        "outbound.retry_last=1",
    ]


def begin_with(machine: Machine, *nodes: str) -> None:
    """Write these ("host:port") as the nodes that `machine` begins with into its settings."""
    config = configuration.load(machine.config_file, [f"node.bootstrap={json.dumps(nodes)}"])
    machine.config_file.write_text(configuration.render(config))


def p2pmail(machine: Machine, *words: str) -> str:
    """What `p2pmail` with these words prints about a machine; raises where its exit code is not 0."""
    command = [sys.executable, "-m", "gateway", *words, "-c", str(machine.config_file)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def status_json(machine: Machine) -> dict[str, Any]:
    """What `p2pmail status --json` prints for a running machine."""
    return cast(dict[str, Any], json.loads(p2pmail(machine, "status", "--json")))
