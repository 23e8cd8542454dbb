"""The MX hosts beside the domain's own MTA-STS policy, from a fake MTA with and without a certificate that fits."""

import ssl
from pathlib import Path

import pytest

from gateway.doctor import mx_tls
from gateway.doctor.zone import Zone
from gateway.outbound.sts_policy import Mode, Policy
from p2pcore.clock import system_clock
from p2pcore.crypto.tls import make_server_certificate, server_context
from tests.support.fake_mta import FakeMta

HOST = "mx1.example.org"
ZONE = Zone("example.org", HOST, {HOST: ("127.0.0.1",)})


def trusting(directory: Path, mta: FakeMta, *names: str, age: int = 0) -> ssl.SSLContext:
    """Give `mta` a certificate for `names`, made `age` ms ago; return a context whose authority it is."""
    for name, octets in zip(("cert", "key"), make_server_certificate(names, system_clock() - age), strict=True):
        (directory / name).write_bytes(octets)
    mta.tls = server_context(directory / "cert", directory / "key")
    return ssl.create_default_context(cafile=str(directory / "cert"))


async def levels(mta: FakeMta, mode: Mode, verified: ssl.SSLContext | None = None, mx: str = HOST) -> list[str]:
    policy = Policy(mode, (mx,) if mx else (), 86_400)
    return [found.level for found in await mx_tls.check(ZONE, policy, system_clock, mta.port, verified=verified)]


async def test_a_certificate_that_fits_is_well(tmp_path: Path, mta: FakeMta) -> None:
    """It is for the host's name and leads to an authority; how many days it holds is said."""
    verified = trusting(tmp_path, mta, HOST)
    (found,) = await mx_tls.check(ZONE, Policy("enforce", (HOST,), 1), system_clock, mta.port, verified=verified)
    assert (found.level, found.subject) == ("ok", f"{HOST} [127.0.0.1]")
    assert "days" in found.detail


@pytest.mark.parametrize(("mode", "expected"), [("enforce", "fail"), ("testing", "warn")])
@pytest.mark.parametrize("fault", ["other name", "not trusted", "no TLS", "not named"])
async def test_what_senders_would_refuse_is_told(
    tmp_path: Path, mta: FakeMta, mode: Mode, expected: str, fault: str
) -> None:
    """While the policy is in testing mode it is a warning, later it is mail that does not come."""
    verified = trusting(tmp_path, mta, "mx2.example.org" if fault == "other name" else HOST)
    if fault == "no TLS":
        mta.tls = None
    trusted = None if fault == "not trusted" else verified
    assert await levels(mta, mode, trusted, "mx3.example.org" if fault == "not named" else HOST) == [expected]


async def test_a_certificate_that_ends_soon_is_told(tmp_path: Path, mta: FakeMta) -> None:
    """Senders refuse it from that day on."""
    day = 86_400_000
    assert await levels(mta, "enforce", trusting(tmp_path, mta, HOST, age=3_643 * day)) == ["warn"]


async def test_without_a_policy_nothing_is_promised(mta: FakeMta) -> None:
    """Nobody is dialled."""
    assert await levels(mta, "none", mx="") == []
    assert await mx_tls.check(ZONE, None, system_clock, mta.port) == []
    assert mta.connections == 0
