"""What a machine knows of its domain, with a fake name server for the rest."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec import structs

from gateway.administration import administer
from gateway.doctor.facts import domain_record, zone_of
from gateway.doctor.reach import Reach
from gateway.doctor.zone import Zone, policy_file
from gateway.joining import finish_join, request_admission
from gateway.resolver import Resolver
from gateway.site import CONFIG_NAME, Site
from p2pcore.crypto.tls import relay_server_context
from p2pcore.endpoint import Endpoint
from p2pcore.records import DomainRecord
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
    return await found(configured, None, dns)


async def found(site: Site, record: DomainRecord | None, dns: FakeDns) -> Zone:
    resolver = Resolver([dns.endpoint], timeout=2_000)
    return await zone_of(site, record, resolver, Reach(resolver, timeout=2_000), "testing")


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


def joined(site: Site, directory: Path, name: str, *overrides: str) -> Site:
    """A gateway that has joined the domain of `site`."""
    invitation = administer(site, "invite", role="gateway", name=name)["text"]
    request = request_admission(directory, invitation, [*sites.endpoints(), *overrides])
    finish_join(directory, administer(site, "sign", request=request)["text"], sites.PASSWORD)
    return Site.open(directory / CONFIG_NAME)


async def test_gateways_that_are_listed_by_address_have_names(site: Site, dns: FakeDns, tmp_path: Path) -> None:
    """The directory has the name of each that joined, however old the record here is, and of none that is revoked."""
    own, older = site.config.smtp.hostname, domain_record(site)
    await asyncio.to_thread(joined, site, tmp_path / "two", "mx2.example.org", "relay.advertise=192.0.2.2:2465")
    await asyncio.to_thread(joined, site, tmp_path / "three", "mx3.example.org", "smtp.hostname=mx3.example.net")
    zone = await found(site, older, dns)
    assert (tuple(zone.gateways), zone.unnamed) == ((own, "mx2.example.org", "mx3.example.net"), ())
    await asyncio.to_thread(administer, site, "revoke", name="mx2.example.org", reason="retired")
    assert tuple((await found(site, older, dns)).gateways) == (own, "mx3.example.net")


async def test_a_gateway_elsewhere_shows_its_name_itself(site: Site, dns: FakeDns, tmp_path: Path) -> None:
    """By the certificate at the address in the record, if its key is the one there; else the name is not known."""
    two = await asyncio.to_thread(joined, site, tmp_path / "two", "mx2.example.org")
    three = await asyncio.to_thread(joined, site, tmp_path / "three", "mx3.example.org")
    identity = two.identity("gateway")
    server = await asyncio.start_server(
        lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=relay_server_context(identity)
    )
    at = Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])
    await asyncio.to_thread(administer, site, "machine-set", name="mx2.example.org", endpoint=str(at), role=None)
    await asyncio.to_thread(
        administer, site, "machine-set", name="mx3.example.org", endpoint="192.0.2.3:2465", role=None
    )
    record = domain_record(await asyncio.to_thread(joined, site, tmp_path / "four", "mx4.example.org"))
    assert record is not None
    async with server:
        zone = await found(three, record, dns)
        assert (tuple(zone.gateways), zone.unnamed) == (
            ("mx3.example.org", "localhost", "mx2.example.org", "mx4.example.org"),
            (),
        )
        (listed,) = (each for each in record.gateways if each.port == at.port)
        another = structs.replace(listed, hpke_key=bytes(32))
        assert (await found(three, structs.replace(record, gateways=(another,)), dns)).unnamed == (f"{at}",)
    zone = await found(three, record, dns)
    assert (tuple(zone.gateways), zone.unnamed) == (("mx3.example.org", "localhost", "mx4.example.org"), (f"{at}",))
