"""Our side: a domain of real processes with k = 3, or everything in one process with k = 1."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from bench import measure
from bench.measure import Usage
from gateway import config as configuration
from gateway.administration import administer
from gateway.founding import found_domain
from gateway.site import Site, write_private
from tests.harness.machines import DOMAIN, IMAP_PORT, NODE_PORT, PASSWORD, SMTP_PORT, Domain, Machine
from tests.harness.mail import wait_until_accepting

_PER_CLIENT = ["smtp.max_connections_per_client=1000", "smtp.messages_per_minute=1000000"]


class Ours:
    """Machines by name; `gateway` takes the mail, `agent` shows it. `start` first, `stop` last."""

    def __init__(self, machines: dict[str, Machine], gateway: Machine, agent: Machine) -> None:
        self._machines = machines
        self.gateway = gateway
        self.agent = agent
        self.address = f"bob@{DOMAIN}"
        self.smtp = gateway.smtp
        self.imap = agent.imap

    def start(self) -> None:
        """Return when every process is up and the gateway knows the domain."""
        for machine in self._machines.values():
            machine.launch()
        for machine in self._machines.values():
            machine.wait_until_up()
        wait_until_accepting(self.gateway, self.address)

    def stop(self) -> None:
        for machine in self._machines.values():
            machine.kill()

    def pids(self) -> dict[str, int]:
        return {name: machine.process.pid for name, machine in self._machines.items() if machine.process}

    def usage(self) -> dict[str, Usage]:
        """Return what each process has used so far."""
        return measure.usage_of(self.pids())

    def count_requests(self, wait: Callable[[], None], settle: Callable[[], None]) -> Counter[str]:
        """Restart the agent's process so that it notes its requests; return those to each endpoint during `wait`."""
        noted = self.agent.directory / "requests"
        self.agent.stop()
        os.environ["BENCH_REQUESTS"] = str(noted)
        self.agent.launch(("-m", "bench.counted"))
        self.agent.wait_until_up()
        settle()
        before = Counter(noted.read_text().split())
        wait()
        after = Counter(noted.read_text().split())
        after.subtract(before)
        return after


def three_nodes(directory: Path) -> Ours:
    """Found a domain with k = 3, w = 2: three nodes, a gateway and an agent, each a process."""
    domain = Domain(directory, k=3, w=2)
    for _ in range(2):
        domain.add_node()
    gateway = domain.add_gateway()
    agent = domain.add_user("bob")
    _configure(gateway, _PER_CLIENT)
    nodes = {f"node {number}": machine for number, machine in enumerate(domain.nodes, 1)}
    return Ours({**nodes, "gateway": gateway, "agent": agent}, gateway, agent)


def one_machine(directory: Path) -> Ours:
    """Found a domain with k = 1 whose only machine does everything."""
    host = f"127.{1 + (os.getpid() >> 8) % 250}.{os.getpid() % 256}.200"
    machine = Machine(directory / "all", host)
    overrides = [
        f'node.listen="{host}:{NODE_PORT}"',
        f'smtp.listen=["{host}:{SMTP_PORT}"]',
        f'imap.listen=["{host}:{IMAP_PORT}"]',
        "imaps.listen=[]",
        "submission.listen=[]",
        *_PER_CLIENT,
    ]
    raw = configuration.with_overrides({"domain": {"name": DOMAIN}}, overrides)
    site = found_domain(machine.directory, configuration.check(raw, "bench"))
    administer(site, "user-add", address=f"bob@{DOMAIN}", password=PASSWORD)
    return Ours({"everything": machine}, machine, machine)


def _configure(machine: Machine, overrides: list[str]) -> None:
    site = Site.open(machine.config_file, tuple(overrides))
    write_private(site.config_file, configuration.render(site.config).encode())
