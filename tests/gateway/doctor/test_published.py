"""What `p2pmail doctor` says of a domain's records, from a fake name server."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.doctor import published
from gateway.doctor.findings import Finding, failed
from gateway.doctor.zone import Zone
from gateway.outbound.mta_sts import MtaSts
from gateway.outbound.sts_cache import PolicyCache
from gateway.resolver import Resolver
from p2pcore.errors import NotFound
from tests.support.fake_dns import FakeDns
from tests.support.identities import ManualClock

GOOD = """example.org MX 10 mx1.example.org
example.org MX 10 mx2.example.org
mx1.example.org A 192.0.2.1
mx2.example.org A 192.0.2.2
1.2.0.192.in-addr.arpa PTR mx1.example.org
2.2.0.192.in-addr.arpa PTR mx2.example.org
example.org TXT "v=spf1 mx -all"
mx1.example.org TXT "v=spf1 a -all"
mx2.example.org TXT "v=spf1 ip4:192.0.2.0/24 -all"
mx1._domainkey.example.org TXT "v=DKIM1; k=rsa; p=AA" "AA"
ed25519.mx1._domainkey.example.org TXT "v=DKIM1; k=ed25519; p=BBBB"
_dmarc.example.org TXT "v=DMARC1; p=reject"
_mta-sts.example.org TXT "v=STSv1; id=1"
"""
ZONE = Zone(
    "example.org",
    "mx1.example.org",
    {"mx1.example.org": ("192.0.2.1",), "mx2.example.org": ("192.0.2.2",)},
    {"mx1": "v=DKIM1; k=rsa; p=AAAA", "ed25519.mx1": "v=DKIM1; k=ed25519; p=BBBB"},
)
POLICY = b"version: STSv1\nmode: enforce\nmx: *.example.org\nmax_age: 86400\n"


class Policies(MtaSts):
    """Serves `file` instead of fetching one."""

    file: bytes | None = POLICY

    async def fetch(self, domain: str) -> bytes:
        if self.file is None:
            raise NotFound("status 404")
        return self.file


@pytest.fixture
async def dns() -> AsyncIterator[FakeDns]:
    dns = FakeDns(GOOD)
    await dns.start()
    yield dns
    await dns.stop()


async def findings(dns: FakeDns, tmp_path: Path, file: bytes | None = POLICY) -> list[Finding]:
    resolver = Resolver([dns.endpoint], timeout=2_000)
    policies = Policies(resolver, PolicyCache(tmp_path), ManualClock())
    policies.file = file
    return await published.check(ZONE, resolver, policies)


async def test_a_complete_domain_is_well(dns: FakeDns, tmp_path: Path) -> None:
    """Each kind of record is looked at, and nothing is left to do."""
    found = await findings(dns, tmp_path)
    assert [each for each in found if each.level != "ok"] == []
    assert {each.check for each in found} == {"MX", "address", "PTR", "SPF", "DKIM", "DMARC", "MTA-STS"}


@pytest.mark.parametrize(
    ("without", "instead", "check", "level", "remedy"),
    [
        ("example.org MX 10", "", "MX", "fail", "example.org. IN MX 10 mx1.example.org."),
        ("example.org MX 10 mx2", "", "MX", "warn", "example.org. IN MX 10 mx2.example.org."),
        ("", "example.org MX 20 other.example", "MX", "warn", "take it out"),
        ("mx1.example.org A", "", "address", "fail", "mx1.example.org. IN A 192.0.2.1"),
        ("1.2.0.192.in-addr.arpa", "", "PTR", "fail", "1.2.0.192.in-addr.arpa. IN PTR mx1.example.org."),
        ("1.2.0.192.in", "1.2.0.192.in-addr.arpa PTR host.isp.example", "PTR", "warn", "1.2.0.192.in-addr.arpa. IN"),
        ("example.org TXT", "", "SPF", "fail", 'example.org. IN TXT "v=spf1 mx -all"'),
        ("mx1.example.org TXT", "", "SPF", "warn", 'mx1.example.org. IN TXT "v=spf1 a -all"'),
        ("", 'example.org TXT "v=spf1 -all"', "SPF", "fail", "leave one"),
        ("example.org TXT", 'example.org TXT "v=spf1 ip4:192.0.2.1 -all"', "SPF", "fail", "example.org. IN TXT"),
        ("example.org TXT", 'example.org TXT "v=spf1 mx +all"', "SPF", "fail", "example.org. IN TXT"),
        ("mx1._domainkey", "", "DKIM", "fail", "mx1._domainkey.example.org. IN TXT"),
        ("mx1._domainkey", 'mx1._domainkey.example.org TXT "p=CCCC"', "DKIM", "fail", "mx1._domainkey.example.org. IN"),
        ("ed25519.mx1", "", "DKIM", "warn", "ed25519.mx1._domainkey.example.org. IN TXT"),
        ("_dmarc", "", "DMARC", "warn", "_dmarc.example.org. IN TXT"),
        ("_dmarc", '_dmarc.example.org TXT "v=DMARC1; p=maybe"', "DMARC", "fail", "_dmarc.example.org. IN TXT"),
        ("_mta-sts", "", "MTA-STS", "warn", "_mta-sts.example.org. IN TXT"),
    ],
)
async def test_what_is_missing_is_said_with_the_line_to_add(
    dns: FakeDns, tmp_path: Path, without: str, instead: str, check: str, level: str, remedy: str
) -> None:
    """One record is missing or wrong: that is found, with what to do, and nothing else but SPF that names it."""
    kept = [line for line in GOOD.splitlines() if not without or not line.startswith(without)]
    dns.replace("\n".join([*kept, instead]))
    found = [each for each in await findings(dns, tmp_path) if each.level != "ok"]
    assert {each.check for each in found} - ({"SPF"} if check in ("MX", "address") else set()) == {check}
    assert found[0].level == level
    assert found[0].remedy.startswith(remedy)


@pytest.mark.parametrize(
    ("record", "level", "words"),
    [
        ("v=spf1 include:spf.provider.example -all", "ok", "include:"),
        ("v=spf1 redirect=spf.provider.example", "ok", "redirect="),
        ("v=spf1 include:other.provider.example -all", "fail", "says fail of mx2.example.org [192.0.2.2]"),
        ("v=spf1 redirect=other.provider.example", "fail", "says softfail of mx2.example.org"),
        ("v=spf1 include:nowhere.example -all", "fail", "says permerror"),
        ("v=spf1 ip4:192.0.2.0/24 ?include:all.provider.example", "ok", "ip4"),
        ("v=spf1 include:all.provider.example", "fail", "everybody"),
        ("v=spf1 ip4:192.0.2.300 -all", "fail", "says permerror"),
    ],
)
async def test_spf_is_evaluated_as_receivers_do(
    dns: FakeDns, tmp_path: Path, record: str, level: str, words: str
) -> None:
    """What it includes and redirects to is looked up: every gateway must pass, and a stranger must not."""
    dns.replace("\n".join(line for line in GOOD.splitlines() if not line.startswith("example.org TXT")))
    dns.add(
        f"""example.org TXT "{record}"
        spf.provider.example TXT "v=spf1 ip4:192.0.2.0/24 -all"
        other.provider.example TXT "v=spf1 ip4:192.0.2.1 ~all"
        all.provider.example TXT "v=spf1 +all"
        """
    )
    (found,) = (each for each in await findings(dns, tmp_path) if (each.check, each.subject) == ("SPF", "example.org"))
    assert (found.level, words in found.detail) == (level, True), found
    assert found.remedy == ("" if level == "ok" else 'example.org. IN TXT "v=spf1 mx -all"')


async def test_services_that_readers_look_for(dns: FakeDns, tmp_path: Path) -> None:
    """What is offered has its SRV record, and no other does (RFC 6186 §3.4)."""
    zone = replace(ZONE, services={"imaps": 993, "submissions": 465})
    dns.add(
        """_imaps._tcp.example.org SRV 0 1 993 MX1.example.org.
        _imap._tcp.example.org SRV 0 1 143 mx1.example.org.
        _submission._tcp.example.org SRV 0 0 0 ."""
    )
    resolver = Resolver([dns.endpoint], timeout=2_000)
    found = await published.check(zone, resolver, Policies(resolver, PolicyCache(tmp_path), ManualClock()))
    told = {each.subject: (each.level, each.remedy) for each in found if each.check == "SRV"}
    assert told == {
        "_imap._tcp.example.org": ("warn", "_imap._tcp.example.org. IN SRV 0 0 0 ."),
        "_imaps._tcp.example.org": ("ok", ""),
        "_submissions._tcp.example.org": ("warn", "_submissions._tcp.example.org. IN SRV 0 1 465 mx1.example.org."),
    }


async def test_an_address_that_dns_does_not_say_is_told(dns: FakeDns, tmp_path: Path) -> None:
    """A gateway that listens where no sender finds it has the line for that."""
    zone = replace(ZONE, gateways={**ZONE.gateways, "mx1.example.org": ("192.0.2.1", "2001:db8::1")})
    resolver = Resolver([dns.endpoint], timeout=2_000)
    found = await published.check(zone, resolver, Policies(resolver, PolicyCache(tmp_path), ManualClock()))
    (wrong,) = (each for each in found if each.check == "address" and each.level != "ok")
    assert wrong.remedy == "mx1.example.org. IN AAAA 2001:db8::1"


async def test_a_name_server_that_fails_is_told(dns: FakeDns, tmp_path: Path) -> None:
    """Nothing is concluded from silence: each kind that could not be looked up fails by itself."""
    dns.broken |= {"example.org", "_dmarc.example.org"}
    found = await findings(dns, tmp_path)
    assert {each.check for each in found if each.level == "fail"} == {"MX", "SPF", "DMARC"}


@pytest.mark.parametrize("file", [None, b"<html>", POLICY.replace(b"*", b"mx")])
async def test_a_policy_that_would_turn_mail_away_is_told(dns: FakeDns, tmp_path: Path, file: bytes | None) -> None:
    """No file, no policy, or one that names other hosts: the text to serve is shown."""
    found = await findings(dns, tmp_path, file)
    assert failed(found)
    (wrong,) = (each for each in found if each.level == "fail")
    assert wrong.check == "MTA-STS"
    assert "version: STSv1\nmode: testing\nmx: mx1.example.org\nmx: mx2.example.org\n" in wrong.remedy
