"""The zone files: they parse, and say what the configuration says."""

import ipaddress
import re
from pathlib import Path

import dns.name
import dns.reversename
import dns.zone
import pytest

from gateway import config as configuration
from tests.deploy import compose
from tests.deploy.compose import CONFIGURATION, ROOT

EXAMPLE = ROOT / "config" / "dns" / "example.org.zone"
ZONES = [EXAMPLE, *sorted((CONFIGURATION / "dns").glob("*.zone"))]
DOMAIN = "p2pmail.example"


def zone(path: Path) -> dns.zone.Zone:
    """The zone in a file named after it."""
    return dns.zone.from_text(path.read_text(encoding="utf-8"), origin=path.name.removesuffix("zone"))


def values(path: Path, name: str, kind: str) -> list[str]:
    """The values of one name and type, in text form."""
    found = zone(path).get_rdataset(name, kind)
    return [] if found is None else sorted(record.to_text() for record in found)


def text_value(path: Path, name: str) -> str:
    (value,) = values(path, name, "TXT")
    return "".join(re.findall('"([^"]*)"', value))


@pytest.mark.parametrize("path", ZONES, ids=lambda path: path.name)
def test_complete(path: Path) -> None:
    """Each has its start of authority and name server, under the name of the file."""
    assert len(values(path, "@", "SOA")) == 1
    assert values(path, "@", "NS")


@pytest.mark.parametrize("path", [EXAMPLE, CONFIGURATION / "dns" / f"{DOMAIN}.zone"], ids=lambda path: path.name)
def test_mail_records(path: Path) -> None:
    """Two MX of equal preference that are hosts of the zone; SPF for domain and hosts; a DMARC policy."""
    exchangers = [value.split() for value in values(path, "@", "MX")]
    assert exchangers == [["10", "mx1"], ["10", "mx2"]]
    for _, host in exchangers:
        assert values(path, host, "A")
        assert text_value(path, host) == "v=spf1 a -all"
    assert text_value(path, "@") == "v=spf1 mx -all"
    assert re.match(r"v=DMARC1; p=(none|quarantine|reject)(; |$)", text_value(path, "_dmarc"))


def test_example_addresses() -> None:
    """The example's gateways have IPv4 and IPv6, of the ranges for documentation, and the PTR notes name them."""
    text = EXAMPLE.read_text(encoding="utf-8")
    for host in ("mx1", "mx2"):
        for kind, network in (("A", "192.0.2.0/24"), ("AAAA", "2001:db8::/32")):
            (address,) = values(EXAMPLE, host, kind)
            assert ipaddress.ip_address(address) in ipaddress.ip_network(network)
            pointer = dns.reversename.from_address(address).to_text()
            assert re.search(rf"^;\s+{re.escape(pointer)}\s+IN PTR\s+{host}\.example\.org\.$", text, re.MULTILINE)
        assert re.search(rf'^; {host}\._domainkey\s+IN TXT\s+"v=DKIM1; k=rsa; p=', text, re.MULTILINE)


def test_compose_names() -> None:
    """The gateways of the compose file have their configured names, there and back; so has the name server."""
    forward, backward = (CONFIGURATION / "dns" / f"{name}.zone" for name in (DOMAIN, "0.46.10.in-addr.arpa"))
    hosts = {"dns": f"ns.{DOMAIN}"}
    for machine in ("gateway1", "gateway2"):
        hosts[machine] = configuration.load(CONFIGURATION / f"{machine}.toml").smtp.hostname
    for service, name in hosts.items():
        address = compose.services()[service]["networks"]["domain"]["ipv4_address"]
        assert values(forward, name.removesuffix(f".{DOMAIN}"), "A") == [address]
        assert values(backward, address.rpartition(".")[2], "PTR") == [f"{name}."]


def test_server_has_the_zones() -> None:
    """The DNS server's configuration names each zone file at its mounted path, for the zone that it is of."""
    text = (CONFIGURATION / "dns" / "Corefile").read_text(encoding="utf-8")
    for path in ZONES[1:]:
        origin = path.name.removesuffix(".zone")
        assert re.search(
            rf"^{re.escape(origin)} {{\n    file /etc/coredns/{re.escape(path.name)}\n", text, re.MULTILINE
        )
    assert "./config/compose/dns:/etc/coredns:ro" in compose.services()["dns"]["volumes"]
