"""Ports as `p2pmail doctor` tries them, against fake hosts on loopback."""

from collections.abc import AsyncIterator

import pytest

from gateway.doctor.reach import Reach
from gateway.doctor.zone import Zone
from gateway.resolver import Resolver
from p2pcore.endpoint import Endpoint
from tests.support.fake_dns import FakeDns
from tests.support.fake_mta import FakeMta


@pytest.fixture
async def dns() -> AsyncIterator[FakeDns]:
    dns = FakeDns("outside.example MX 10 mx.outside.example\nmx.outside.example A 127.0.0.1\nempty.example A 127.0.0.1")
    await dns.start()
    yield dns
    await dns.stop()


@pytest.fixture
def reach(dns: FakeDns) -> Reach:
    return Reach(Resolver([dns.endpoint], timeout=2_000), timeout=2_000)


async def test_a_host_that_greets_is_well(reach: Reach, mta: FakeMta) -> None:
    """Inwards at its own addresses, outwards at the MX hosts of another domain."""
    zone = Zone("example.org", "mx1.example.org", {"mx1.example.org": ("127.0.0.1",)})
    (inwards,) = await reach.inwards(zone, mta.port)
    outwards = await reach.outwards("outside.example", mta.port)
    assert (inwards.level, outwards.level) == ("ok", "ok")
    assert inwards.detail == "220 remote.example ESMTP"


async def test_a_closed_port_fails_with_what_to_do(reach: Reach, mta: FakeMta) -> None:
    """Also where something answers that is no mail host, and where no address is known."""
    mta.greeting = "554 no"
    zone = Zone("example.org", "mx1.example.org", {"mx1.example.org": ("127.0.0.1",)})
    (refused,) = await reach.inwards(zone, mta.port)
    assert (refused.level, refused.detail) == ("fail", "says 554 no")
    assert "try it from outside" in refused.remedy  # a router may refuse what comes from inside, and only that
    mta.drop_at = "connect"
    assert (await reach.outwards("outside.example", mta.port)).level == "fail"
    (unknown,) = await reach.inwards(Zone("example.org", "mx1.example.org", {}), mta.port)
    assert unknown.remedy == "see to its A and AAAA records first"
    assert (await reach.outwards("empty.example", mta.port)).level == "warn"


async def test_why_nobody_was_reached_is_said(reach: Reach, dns: FakeDns, mta: FakeMta) -> None:
    """In the system's words, with the address that a name led to; silence of DNS is not that a name has none."""
    assert await reach.greeting(Endpoint("127.0.0.1", 1)) == ("", "Connection refused")
    assert await reach.greeting(Endpoint("::ffff:127.0.0.1", 1)) == ("", "127.0.0.1: Connection refused")
    assert await reach.greeting(Endpoint("mx.outside.example", 1)) == ("", "127.0.0.1: Connection refused")
    assert await reach.greeting(Endpoint("nowhere.example", 1)) == ("", "has no address")
    dns.broken.add("silent.example")
    assert (await reach.smarthost(Endpoint("silent.example", 1))).detail.startswith("DNS A and AAAA silent.example")
    mta.drop_at = "connect"
    assert await reach.greeting(Endpoint("127.0.0.1", mta.port)) == ("", "closes the connection without a greeting")
    mta.drop_at, mta.greeting = None, "220 " + "x" * 600
    assert await reach.greeting(Endpoint("127.0.0.1", mta.port)) == ("", "greets with more than 512 octets")


async def test_the_other_gateways_are_greeted_too(reach: Reach, mta: FakeMta) -> None:
    """Mail comes to every MX host: one that does not answer is named, with what to look at."""
    zone = Zone(
        "example.org", "mx1.example.org", {"mx1.example.org": ("127.0.0.1",), "mx2.example.org": ("127.0.0.9",)}
    )
    own, other = await reach.inwards(zone, mta.port)
    assert (own.level, other.level) == ("ok", "fail")
    assert other.remedy.startswith("look at mx2.example.org: is it running?")


async def test_an_mx_in_front_is_greeted_instead(reach: Reach, mta: FakeMta) -> None:
    """The world comes in there; what the gateway listens on need not be open to it."""
    zone = Zone("example.org", "mx1.example.org", {"mx1.example.org": ()}, fronts={"filter.example": ("127.0.0.1",)})
    (front,) = await reach.inwards(zone, mta.port)
    assert front.level == "ok"


async def test_the_smarthost_is_dialled(reach: Reach, mta: FakeMta) -> None:
    """One that does not answer is named, whatever DNS says of others."""
    assert (await reach.smarthost(Endpoint("mx.outside.example", mta.port))).level == "ok"
    assert (await reach.smarthost(Endpoint("127.0.0.1", 1))).level == "fail"
