"""docker-compose.yml, the Dockerfile and config/compose: valid, and of one mind."""

import re
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from gateway import config as configuration
from gateway.config_rules import relay_endpoint
from tests.deploy import commands, compose
from tests.deploy.compose import CONFIGURATION, ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
SCRIPT = CONFIGURATION / "machine.sh"
VOLUME = "/srv/p2pmail"


def table() -> dict[str, tuple[str, str]]:
    """Who joins: machine → role, name."""
    lines = (CONFIGURATION / "machines").read_text(encoding="utf-8").splitlines()
    rows = [line.split() for line in lines if not line.startswith("#")]
    return {machine: (role, name) for machine, role, name in rows}


def test_specification() -> None:
    """The compose file breaks no rule of the Compose Specification."""
    assert list(compose.faults(compose.project())) == []


def _node2(content: dict[str, Any]) -> dict[str, Any]:
    service: dict[str, Any] = content["services"]["node2"]
    return service


BROKEN: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "unknown key": (lambda content: _node2(content).update(volume=[]), "services.node2.volume: not a key"),
    "wrong type": (lambda content: _node2(content).update(read_only="yes"), "services.node2.read_only: 'yes'"),
    "health check": (lambda content: _node2(content).update(healthcheck={"test": ["p2pmail"]}), "node2.healthcheck"),
    "duration": (lambda content: _node2(content).update(stop_grace_period="1 minute"), "node2.stop_grace_period"),
    "port": (lambda content: content["services"]["agent"].update(ports=["993"]), "services.agent.ports"),
    "condition": (
        lambda content: _node2(content).update(depends_on={"dns": {"condition": "up"}}),
        "services.node2.depends_on",
    ),
    "no service": (lambda content: _node2(content).update(depends_on=["node9"]), "no other service node9"),
    "no volume": (lambda content: content["volumes"].pop("node2"), "services.node2.volumes: no volume node2"),
    "no network": (lambda content: content.update(networks={}), "services.dns.networks: no network domain"),
    "address": (
        lambda content: _node2(content)["networks"]["domain"].update(ipv4_address="10.46.0.11"),
        "10.46.0.11 is node1's",
    ),
    "subnet": (
        lambda content: _node2(content)["networks"]["domain"].update(ipv4_address="10.47.0.1"),
        "10.47.0.1 is outside",
    ),
    "no image": (lambda content: content["services"]["dns"].pop("image"), "services.dns: neither image nor build"),
    "section": (lambda content: content.pop("services"), "services: missing"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_faults_are_found(case: str) -> None:
    """What breaks the specification is named with its place."""
    content = compose.project()
    change, said = BROKEN[case]
    change(content)
    assert any(said in fault for fault in compose.faults(content)), list(compose.faults(content))


def test_machines() -> None:
    """There are three nodes, two gateways and an agent; each has a configuration file, and all but node1 join."""
    names = list(compose.machines())
    assert sorted(names) == ["agent", "gateway1", "gateway2", "node1", "node2", "node3"]
    assert sorted(path.stem for path in CONFIGURATION.glob("*.toml")) == sorted(names)
    assert sorted(table()) == sorted(set(names) - {"node1"})
    for name, service in compose.machines().items():
        assert service["command"] == ["run" if name == "node1" else "join", name]


@pytest.mark.parametrize("machine", list(compose.machines()))
def test_configuration(machine: str) -> None:
    """p2pmail takes the file; it has one key a line; its endpoints have the container's address."""
    file = CONFIGURATION / f"{machine}.toml"
    config = configuration.load(file)
    assert config.domain.name == "p2pmail.example"
    for line in file.read_text(encoding="utf-8").splitlines():
        assert line.startswith("#") or re.match(r"[a-z]+\.[a-z_]+ = \S", line), line
    own = compose.machines()[machine]["networks"]["domain"]["ipv4_address"]
    roles = config.domain.roles
    listening = [config.node.listen] if "node" in roles else []
    if "gateway" in roles:
        listening += [*config.smtp.listen, *config.relay.listen, relay_endpoint(config)]
        assert config.smtp.hostname == table()[machine][1]
    if "agent" in roles:
        assert config.imap.listen == config.submission.listen == ()  # passwords in clear: on loopback alone
        listening += [*config.imaps.listen, *config.submissions.listen]
    assert {endpoint.host for endpoint in listening} == {own}
    name_server = compose.services()["dns"]["networks"]["domain"]["ipv4_address"]
    assert all(str(endpoint) == f"{name_server}:53" for endpoint in config.outbound.resolvers)
    ports = {endpoint.port for endpoint in listening}
    for published in compose.machines()[machine].get("ports", ()):
        host, _, port = published.rsplit(":", 2)
        assert (host, int(port) in ports) == ("127.0.0.1", True), published


def test_hardened() -> None:
    """Every machine is without privileges, writes to its own volume and /tmp alone, and is asked for its status."""
    for name, service in compose.machines().items():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert [mount.split(":")[0] for mount in service["tmpfs"]] == ["/tmp"]
        assert f"{name}:{VOLUME}" in service["volumes"]
        for mount in service["volumes"]:
            assert mount.split(":")[0] in (name, "exchange") or mount.endswith(":ro"), mount
        assert service["healthcheck"]["test"][0] == "CMD"
        assert "exchange:/exchange" not in compose.machines()["node1"]["volumes"]  # the CA's machine takes no part


def test_restart() -> None:
    """What runs for good is there again after a restart of the host; admission, which ends, only after a failure."""
    restarts = {name: service["restart"] for name, service in compose.services().items()}
    assert restarts.pop("admission") == "on-failure"
    assert set(restarts.values()) == {"unless-stopped"}


def test_commands_and_paths_exist() -> None:
    """What the containers run is there: the script, each p2pmail command in it and in the health checks, each mount."""
    for service in compose.services().values():
        for mount in service["volumes"]:
            source = mount.split(":")[0]
            assert not source.startswith("./") or (ROOT / source).is_dir(), mount
    for service in compose.machines().values():
        assert service["entrypoint"] == ["sh", "/etc/p2pmail/machine.sh"]
        test = service["healthcheck"]["test"]
        assert test[1] == "p2pmail"
        commands.check(test[2:])
    script = SCRIPT.read_text(encoding="utf-8")
    found = commands.calls(re.sub(r'"\$[1@]"|\$2', "node", script).replace("--set node", ""))
    assert {tuple(words[:2])[: 2 if words[0] in ("ca", "domain") else 1] for words in found} >= {
        ("init",), ("invite",), ("ca", "sign"), ("join",), ("domain", "set"), ("run",)
    }  # fmt: skip
    for words in found:
        commands.check([word for word in words if word != "node" or words[0] == "invite"])


def test_script() -> None:
    """The script is POSIX shell; a verb that it does not know ends it with 2."""
    subprocess.run(["sh", "-n", str(SCRIPT)], check=True)
    ended = subprocess.run(["sh", str(SCRIPT), "dance", "node1"], capture_output=True, check=False)
    assert (ended.returncode, b"not one of" in ended.stderr) == (2, True)


def test_no_secrets() -> None:
    """Nothing in the repository's deployment files is a key or a password."""
    for path in (*CONFIGURATION.rglob("*"), ROOT / "docker-compose.yml", ROOT / "Dockerfile"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"BEGIN [A-Z ]*PRIVATE KEY|(?i:password|passphrase)\s*[=:]\s*\S", text), path


def test_dockerfile() -> None:
    """The image is built from what exists, checks hashes, runs as a number that is not root, in its volume."""
    for source in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE):
        for name in source.split():
            assert (ROOT / name).exists(), name
            assert f"!{name}" in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "--require-hashes" in DOCKERFILE
    instructions = dict(re.findall(r"^(USER|WORKDIR|VOLUME) (.*)$", DOCKERFILE, re.MULTILINE)[-3:])
    assert instructions == {"USER": "4466:4466", "WORKDIR": VOLUME, "VOLUME": VOLUME}
    assert re.search(r'^ENTRYPOINT \["p2pmail"\]\nCMD \["run"\]$', DOCKERFILE, re.MULTILINE)
    commands.check(["run"])


def test_image_has_the_python_that_is_tested() -> None:
    """Both stages are the Python version that pyproject.toml names for the checks."""
    versions = set(re.findall(r"^FROM python:(\d+\.\d+)", DOCKERFILE, re.MULTILINE))
    assert f'python_version = "{versions.pop()}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert not versions


def test_volumes_are_not_shared() -> None:
    """No volume is shared by two machines but the one for admission."""
    used: dict[str, list[str]] = {}
    for name, service in compose.machines().items():
        for mount in service["volumes"]:
            used.setdefault(mount.split(":")[0], []).append(name)
    shared = {source for source, users in used.items() if len(users) > 1}
    assert shared == {"./config/compose", "exchange"}
