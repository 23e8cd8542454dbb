"""`p2pmail doctor`, `p2pmail dns` and `p2pmail dkim` as commands."""

import json

import pytest

from gateway.cli import dns, doctor
from gateway.doctor import examination
from gateway.doctor.findings import Finding
from gateway.resolver import Resolver
from gateway.site import Site
from p2pcore.endpoint import Endpoint
from tests.gateway.cli.conftest import Command, unchanged

FINE = Finding("MX", "example.org", "ok", "mx1.example.org")
WRONG = Finding("PTR", "2001:db8:a:b::1", "fail", "says [bold]\x1b[2J", "first line\n[/] :b:")


@pytest.mark.parametrize(("findings", "code"), [([FINE], 0), ([FINE, WRONG], 1)])
def test_the_exit_code_says_whether_something_fails(
    p2pmail: Command, site: Site, monkeypatch: pytest.MonkeyPatch, findings: list[Finding], code: int
) -> None:
    """Each finding has its line, what to do below it; strangers' words are only text. JSON has them all."""

    async def examined(*_: object) -> list[Finding]:
        return findings

    monkeypatch.setattr(doctor, "examine", examined)
    ended = p2pmail("doctor", "-c", site.config_file)
    assert ended.code == code
    assert ended.out.startswith("ok   MX: example.org: mx1.example.org\n")
    if code:
        assert ended.out.endswith("fail PTR: 2001:db8:a:b::1: says [bold]?[2J\n       first line\n       [/] :b:\n")
    ended = p2pmail("doctor", "--json", "-c", site.config_file)
    assert ended.code == code
    assert [each["level"] for each in json.loads(ended.out)] == [finding.level for finding in findings]


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name servers that do not answer, and are not waited for."""

    def resolver(*_: object) -> Resolver:
        return Resolver([Endpoint("127.0.0.1", 1)], timeout=50)

    monkeypatch.setattr(examination, "Resolver", resolver)
    monkeypatch.setattr(dns, "Resolver", resolver)


def test_a_real_examination_comes_to_its_end(p2pmail: Command, site: Site, silent: None) -> None:
    """On a machine without network: DNS and ports fail, its own certificates are well, nothing breaks."""
    ended = p2pmail("doctor", "--json", "-c", site.config_file)
    assert ended.code == 1
    levels = {each["check"]: each["level"] for each in json.loads(ended.out)}
    assert levels["host name"] == levels["port 25 out"] == levels["node reachable"] == "fail"
    assert levels["identity"] == "ok"


@pytest.mark.parametrize("role", ["node", "agent", "directory"])
def test_keys_are_made_where_a_gateway_is_and_nowhere_else(p2pmail: Command, site: Site, role: str) -> None:
    """What another machine printed would be published, and sign nothing."""
    roles = json.dumps(["node", "gateway", "agent", "directory"])
    config = site.config_file.read_text()
    assert roles in config
    site.config_file.write_text(config.replace(roles, json.dumps([role])))
    with unchanged(site.directory):
        ended = p2pmail("dkim", "-c", site.config_file)
    assert (ended.code, ended.out) == (2, "")
    assert "domain.roles: no gateway runs here" in ended.err


def test_dns_prints_the_keys_that_dkim_prints(p2pmail: Command, site: Site, silent: None) -> None:
    """RSA and Ed25519 under two selectors; the same keys each time."""
    lines = p2pmail("dkim", "-c", site.config_file).out.splitlines()
    assert [line.split("; ")[1] for line in lines] == ["k=rsa", "k=ed25519"]
    zone = p2pmail("dns", "-c", site.config_file, "--mta-sts", "enforce")
    assert zone.code == 0
    assert set(lines) <= set(zone.out.splitlines())
    assert ";     mode: enforce\n" in zone.out
