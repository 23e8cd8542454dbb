"""What a machine knows of its domain, with a fake name server for the rest."""

from collections.abc import AsyncIterator

import pytest

from gateway.doctor.facts import zone_of
from gateway.doctor.zone import Zone, policy_file
from gateway.resolver import Resolver
from gateway.site import Site
from tests.gateway import sites
from tests.support.fake_dns import FakeDns

HOST = "smtp.hostname=mx1.example.org"
RELAYS = 'smtp.trusted_relays=["192.0.2.0/24"]'


@pytest.fixture
async def dns() -> AsyncIterator[FakeDns]:
    dns = FakeDns("mx1.example.org A 192.0.2.1\nfilter.example A 192.0.2.9")
    await dns.start()
    yield dns
    await dns.stop()


async def zone(site: Site, dns: FakeDns, *overrides: str) -> Zone:
    configured = Site(site.config_file, sites.config_of([HOST, *overrides]))
    return await zone_of(configured, None, Resolver([dns.endpoint], timeout=2_000), "testing")


@pytest.mark.parametrize(
    ("listen", "told"),
    [
        ("[2606:4700:0::A]:25", ("2606:4700::a",)),
        ("192.168.0.1:25", ("192.0.2.1",)),
        ("100.64.0.1:25", ("192.0.2.1",)),
        ("[::]:25", ("192.0.2.1",)),
    ],
)
async def test_addresses_are_those_that_the_world_dials(
    site: Site, dns: FakeDns, listen: str, told: tuple[str, ...]
) -> None:
    """What we listen on, written as DNS writes it, or what DNS has where that is an address of a private network."""
    assert (await zone(site, dns, f'smtp.listen=["{listen}"]')).gateways == {"mx1.example.org": told}


async def test_a_gateway_behind_another_mx(site: Site, dns: FakeDns) -> None:
    """Where relays are trusted, MX hosts that are no gateways are taken for them: the zone leaves them in place."""
    dns.add("example.org MX 10 FILTER.example")
    assert (await zone(site, dns)).fronts == {}
    found = await zone(site, dns, RELAYS)
    assert found.fronts == {"filter.example": ("192.0.2.9",)}
    assert "mx: filter.example\n" in policy_file(found)
    dns.add("example.org MX 20 mx1.example.org")
    assert (await zone(site, dns, RELAYS)).fronts == {}
    dns.broken.add("example.org")
    assert (await zone(site, dns, RELAYS)).fronts == {}


async def test_a_null_mx_is_in_front_of_nobody(site: Site, dns: FakeDns) -> None:
    """It says that the domain takes no mail (RFC 7505)."""
    dns.add("example.org MX 0 .")
    assert (await zone(site, dns, RELAYS)).fronts == {}
