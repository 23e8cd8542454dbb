"""The machines of docker-compose.yml as processes on loopback: the same script, the same configuration files.

What a container gives is stood in for: an address of 10.46.0.0/24 by one of 127.0.0.0/8, a port below 1024 by one that
needs no privilege, a volume by a directory. The `p2pmail` that the script calls is the installed one for each kind of
command once, for node2's share in all; for the other machines' share it is `warm_server.py`, which saves its start.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.deploy import compose, warm_client
from tests.harness.machines import Machine

PORT_SHIFT = 2500  # 25 → 2525
_SUBNET = "10.46.0."
_P2PMAIL = """\
#!/bin/sh
case " $* " in
    " init "* | " domain "* | " run "* | *node2*) exec "{beside}/p2pmail" "$@" ;;
esac
exec "{python}" -I -S "{client}" "{socket}" "$@"
"""
_ENDPOINT = re.compile(r'"(\d+\.\d+\.\d+\.\d+):(\d+)"')


class ComposeMachine(Machine):
    """One service: its process runs what the compose file says that the container runs."""

    def __init__(self, directory: Path, host: str, command: list[str], environment: dict[str, str]) -> None:
        super().__init__(directory, host)
        directory.mkdir(mode=0o700)
        self._command = command
        self._environment = environment | {"P2PMAIL_SITE": str(directory)}

    def launch(self, program: Iterable[str] = ()) -> None:
        """Start the container's command without waiting for it; `program` is the compose file's alone to say."""
        assert not program
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """End the process at once, and what it has started."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.wait_for_exit()

    def run(self, *arguments: str, stdin: str = "") -> str:
        """Return what `p2pmail` prints, called in this machine's container."""
        command = [sys.executable, "-m", "gateway", *arguments]
        return subprocess.run(
            command, cwd=self.directory, check=True, capture_output=True, text=True, input=stdin, timeout=60
        ).stdout


class Topology:
    """All services that run p2pmail, and the directory that stands in for the exchange volume."""

    def __init__(self, directory: Path) -> None:
        self._network = f"127.251.{os.getpid() % 256}."
        self.configuration = directory / "configuration"
        shutil.copytree(compose.CONFIGURATION, self.configuration)
        for file in self.configuration.glob("*.toml"):
            file.write_text(self.on_loopback(file.read_text(encoding="utf-8")), encoding="utf-8")
        self.exchange = directory / "exchange"
        self.exchange.mkdir(mode=0o700)
        self._warm = _warm_server(directory)
        path = f"{directory / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        environment = dict(os.environ) | {"PATH": path, "P2PMAIL_EXCHANGE": str(self.exchange)}
        self.machines = {
            name: ComposeMachine(
                directory / name,
                self.host(service["networks"]["domain"]["ipv4_address"]),
                self._process(service),
                environment,
            )
            for name, service in compose.machines().items()
        }
        self._admission = self._process(compose.services()["admission"])
        self._environment = environment | {"P2PMAIL_SITE": str(directory / "node1")}

    def host(self, address: str) -> str:
        """Return the loopback address that stands for one of the compose file's."""
        return address.replace(_SUBNET, self._network)

    def on_loopback(self, text: str) -> str:
        """Return a configuration file with its endpoints on loopback."""

        def moved(match: re.Match[str]) -> str:
            host, port = self.host(match[1]), int(match[2])
            return f'"{host}:{port if port >= 1024 else port + PORT_SHIFT}"'

        return _ENDPOINT.sub(moved, text)

    def _process(self, service: dict[str, list[str]]) -> list[str]:
        """Return a service's command line, with the configuration where it is here."""
        line = [*service["entrypoint"], *service["command"]]
        return [part.replace("/etc/p2pmail", str(self.configuration)) for part in line]

    def admit(self) -> str:
        """Do what the admission service does, to its end; return what it printed."""
        return subprocess.run(
            self._admission, env=self._environment, check=True, capture_output=True, text=True, timeout=120
        ).stdout

    def up(self) -> None:
        """Start everything in the order that the dependencies give, and wait until it listens."""
        founder = self.machines["node1"]
        newcomers = [machine for machine in self.machines.values() if machine is not founder]
        for machine in newcomers:
            machine.launch()
        self.admit()
        founder.launch()
        for machine in self.machines.values():
            machine.wait_until_up()

    def kill_all(self) -> None:
        for machine in self.machines.values():
            machine.kill()
        self._warm.kill()
        self._warm.communicate()


def _warm_server(directory: Path) -> subprocess.Popen[bytes]:
    """Write the `p2pmail` that the script is to find, into `directory`/bin, and start the server that it asks."""
    client = Path(warm_client.__file__)
    socket = directory / "warm"
    script = directory / "bin" / "p2pmail"
    script.parent.mkdir()
    beside = Path(sys.executable).parent
    script.write_text(
        _P2PMAIL.format(beside=beside, python=sys.executable, client=client, socket=socket), encoding="utf-8"
    )
    script.chmod(0o755)
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.deploy.warm_server", str(socket)], cwd=compose.ROOT, stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    assert server.stdout.readline() == b"listening\n"
    return server
