"""The machines of docker-compose.yml, started on loopback by the script and from the files that the containers use.

Needs a POSIX shell, `p2pmail` installed beside Python, and addresses of 127.0.0.0/8 (Linux); skipped elsewhere.
Most of its time goes into the commands that make and admit six machines.
"""

import imaplib
import shutil
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.topology import PORT_SHIFT, Topology
from tests.harness.machines import PASSWORD, START_TIMEOUT
from tests.harness.mail import message, new_token, send, wait_until_accepting

ADDRESS = "alice@p2pmail.example"

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.0/8 is loopback as a whole on Linux alone"),
    pytest.mark.skipif(shutil.which("sh") is None, reason="machine.sh needs a POSIX shell"),
    pytest.mark.skipif(
        not (Path(sys.executable).parent / "p2pmail").exists(), reason="p2pmail is not installed beside Python"
    ),
]


@pytest.fixture(scope="module")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    """All machines, up for the first time."""
    topology = Topology(tmp_path_factory.mktemp("compose"))
    try:
        topology.up()
        yield topology
    finally:
        topology.kill_all()


def test_roles(topology: Topology) -> None:
    """Each machine answers for what its configuration file says that it is; the health check succeeds."""
    assert " p2pmail.example " in topology.machines["gateway1"].run("status")
    for name, machine in topology.machines.items():
        roles = {"node1": ["directory", "node"], "agent": ["agent"]}.get(name, [name.rstrip("123")])
        assert machine.status()["roles"] == roles


def test_mail(topology: Topology) -> None:
    """Mail that either gateway takes is in w = 2 nodes of k = 3 and in the agent's INBOX, over TLS alone."""
    agent = topology.machines["agent"]
    agent.run("user", "password", ADDRESS, "--password-stdin", stdin=f"{PASSWORD}\n")
    tokens = [new_token(), new_token()]
    for gateway, token in zip(("gateway1", "gateway2"), tokens, strict=True):
        machine = topology.machines[gateway]
        wait_until_accepting(machine, ADDRESS)
        assert "of 3 nodes" in send(machine, message(token), ADDRESS)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # self-signed
    with imaplib.IMAP4_SSL(agent.host, 1993, ssl_context=context, timeout=60) as imap:
        imap.login(ADDRESS, PASSWORD)
        for token in tokens:
            _wait_for(imap, token)


def _wait_for(imap: imaplib.IMAP4, token: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        imap.select("INBOX", readonly=True)
        if imap.search(None, "SUBJECT", token)[1] != [b""]:
            return
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_no_privileged_port_is_left(topology: Topology) -> None:
    """The gateways listen where the compose file's port 25 was moved to."""
    for name in ("gateway1", "gateway2"):
        (endpoint,) = topology.machines[name].site.config.smtp.listen
        assert (endpoint.host, endpoint.port) == (topology.machines[name].host, 25 + PORT_SHIFT)


def test_second_start(topology: Topology) -> None:
    """Once all have joined, admission changes nothing, and a machine that is stopped and started just runs."""
    exchanged = {path.name: path.read_bytes() for path in topology.exchange.iterdir()}
    assert topology.admit() == ""
    assert {path.name: path.read_bytes() for path in topology.exchange.iterdir()} == exchanged
    node = topology.machines["node2"]
    identity = (node.directory / "node.identity").read_bytes()
    assert node.stop() == 0
    node.start()
    assert (node.directory / "node.identity").read_bytes() == identity
