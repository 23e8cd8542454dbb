"""What `p2pmail doctor` says of a domain's records, from a fake name server."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dns.zonefile import read_rrsets

from gateway.doctor import published
from gateway.doctor.findings import Finding, failed
from gateway.doctor.zone import Zone, quoted
from gateway.outbound.mta_sts import MtaSts
from gateway.outbound.sts_cache import PolicyCache
from gateway.resolver import Resolver
from p2pcore.crypto.dkim_keys import dkim_record, make_dkim_key, make_ed25519_dkim_key
from p2pcore.errors import NotFound
from tests.support.fake_dns import FakeDns
from tests.support.identities import ManualClock

RSA, ED25519 = dkim_record(make_dkim_key()), dkim_record(make_ed25519_dkim_key())
OTHER = (  # RFC 8463 §A.2
    "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91"
    "y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB"
)
GOOD = f"""example.org MX 10 mx1.example.org
example.org MX 10 mx2.example.org
mx1.example.org A 192.0.2.1
mx2.example.org A 192.0.2.2
1.2.0.192.in-addr.arpa PTR mx1.example.org
2.2.0.192.in-addr.arpa PTR mx2.example.org
example.org TXT "v=spf1 mx -all"
mx1.example.org TXT "v=spf1 a -all"
mx2.example.org TXT "v=spf1 ip4:192.0.2.0/24 -all"
mx1._domainkey.example.org TXT {quoted(RSA)}
ed25519.mx1._domainkey.example.org TXT {quoted(ED25519)}
_dmarc.example.org TXT "v=DMARC1; p=reject"
_mta-sts.example.org TXT "v=STSv1; id=1"
"""
ZONE = Zone(
    "example.org",
    "mx1.example.org",
    {"mx1.example.org": ("192.0.2.1",), "mx2.example.org": ("192.0.2.2",)},
    {"mx1": RSA, "ed25519.mx1": ED25519},
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
        ("", "example.org MX 20 other.example", "MX", "warn", "if `p2pmail machine list`"),
        ("mx1.example.org A", "", "address", "fail", "mx1.example.org. IN A 192.0.2.1"),
        ("1.2.0.192.in-addr.arpa", "", "PTR", "fail", "1.2.0.192.in-addr.arpa. IN PTR mx1.example.org."),
        ("1.2.0.192.in", "1.2.0.192.in-addr.arpa PTR host.isp.example", "PTR", "warn", "1.2.0.192.in-addr.arpa. IN"),
        ("example.org TXT", "", "SPF", "fail", 'example.org. IN TXT "v=spf1 mx -all"'),
        ("mx1.example.org TXT", "", "SPF", "warn", 'mx1.example.org. IN TXT "v=spf1 a -all"'),
        ("", 'example.org TXT "v=spf1 -all"', "SPF", "fail", "leave one"),
        ("example.org TXT", 'example.org TXT "v=spf1 ip4:192.0.2.1 -all"', "SPF", "fail", "example.org. IN TXT"),
        ("mx1.example.org TXT", 'mx1.example.org TXT "v=spf1 -all"', "SPF", "fail", "mx1.example.org. IN TXT"),
        ("example.org TXT", 'example.org TXT "v=spf1 mx +all"', "SPF", "fail", "example.org. IN TXT"),
        ("mx1._domainkey", "", "DKIM", "fail", "mx1._domainkey.example.org. IN TXT"),
        (
            "",
            'mx1._domainkey.example.org TXT "p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="',
            "DKIM",
            "fail",
            "leave one of them",
        ),
        ("", 'mx1._domainkey.example.org TXT "unrelated"', "DKIM", "fail", "leave one of them"),
        ("ed25519.mx1", "", "DKIM", "warn", "ed25519.mx1._domainkey.example.org. IN TXT"),
        ("_dmarc", "", "DMARC", "warn", "_dmarc.example.org. IN TXT"),
        ("_dmarc", '_dmarc.example.org TXT "v=DMARC1; p=maybe"', "DMARC", "fail", "_dmarc.example.org. IN TXT"),
        ("_dmarc", '_dmarc.example.org TXT "v=DMARC1; p=maybe; rua=mailto:a@b.c"', "DMARC", "fail", "_dmarc.example"),
        ("_dmarc", '_dmarc.example.org TXT "v=DMARC1; p=reject, rua=x"', "DMARC", "fail", "_dmarc.example.org. IN TXT"),
        ("", '_dmarc.example.org TXT "v=DMARC1; p=none"', "DMARC", "warn", "leave one of them"),
        ("_mta-sts", "", "MTA-STS", "warn", "_mta-sts.example.org. IN TXT"),
        ("_mta-sts", '_mta-sts.example.org TXT "v=STSv1; id=a-b"', "MTA-STS", "warn", "_mta-sts.example.org. IN TXT"),
        ("", '_mta-sts.example.org TXT "v=STSv1; id=2"', "MTA-STS", "warn", "leave one of them"),
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
    ("selector", "old", "new", "level", "words"),
    [
        ("mx1", "; ", " ;\t", "ok", "is this gateway's key"),
        ("mx1", "v=DKIM1; k=rsa; p=M", "p=M ", "ok", "is this gateway's key"),
        ("mx1", "$", "; t=s; s=other:email; h=sha256", "ok", "is this gateway's key"),
        ("mx1", "p=.*", f"p={OTHER}", "fail", "is another key than this gateway's"),
        ("mx1", "$", "; s=other", "fail", "verifiers will not use it: key is not for mail"),
        ("mx1", "$", "; h=sha1", "fail", "verifiers will not use it: key is not for sha256"),
        ("mx1", "DKIM1", "DKIM2", "fail", "verifiers will not use it: key record of another version"),
        ("mx1", ".{40}$", "", "fail", "verifiers will not use it: key that does not parse"),
        ("mx1", "p=.*", "p=", "fail", "verifiers will not use it: key is revoked"),
        ("mx1", "^.*$", "unrelated", "fail", "verifiers will not use it: not a list of tags"),
        ("mx1", "$", "; t=y", "warn", "is this gateway's key, and signatures prove nothing by it (t=y)"),
        ("ed25519.mx1", "k=ed25519; ", "", "warn", "verifiers will not use it: key that does not parse"),
    ],
)
async def test_dkim_keys_are_read_as_verifiers_do(
    dns: FakeDns, tmp_path: Path, selector: str, old: str, new: str, level: str, words: str
) -> None:
    """It is the key that counts, however it is written; one that proves nothing to them is told with the line."""
    name = f"{selector}._domainkey.example.org"
    dns.replace("\n".join(line for line in GOOD.splitlines() if not line.startswith(name)))
    dns.add(f"{name} TXT {quoted(re.sub(old, new, ZONE.dkim[selector]))}")
    (found,) = (each for each in await findings(dns, tmp_path) if (each.check, each.subject) == ("DKIM", name))
    assert (found.level, found.detail[: len(words)]) == (level, words)
    line = f"{name}. IN TXT {quoted(ZONE.dkim[selector])}  ; in place of what is there"
    assert found.remedy == ("" if level == "ok" else line)


@pytest.mark.parametrize(
    ("record", "words", "instead"),
    [
        ("v=spf1 include:spf.provider.example -all", "include:", ""),
        ("v=spf1 redirect=spf.provider.example", "redirect=", ""),
        (
            "v=spf1 include:other.provider.example -all",
            "says fail of mx2.example.org [192.0.2.2]",
            "v=spf1 mx include:other.provider.example -all",
        ),
        (
            "V=SPF1  redirect=other.provider.example",
            "says softfail of mx2.example.org",
            "v=spf1 mx redirect=other.provider.example",
        ),
        ("v=spf1 include:nowhere.example -all", "says permerror", "v=spf1 mx -all"),
        ("v=spf1 ip4:192.0.2.0/24 ?include:all.provider.example", "ip4", ""),
        ("v=spf1 include:all.provider.example", "everybody", "v=spf1 mx -all"),
        ("v=spf1 ip4:192.0.2.300 -all", "says permerror", "v=spf1 mx -all"),
    ],
)
async def test_spf_is_evaluated_as_receivers_do(
    dns: FakeDns, tmp_path: Path, record: str, words: str, instead: str
) -> None:
    """What it includes and redirects to is looked up: every gateway must pass, and a stranger must not.

    Who else may send by a record that is sound still may by the one to put in its place.
    """
    dns.replace("\n".join(line for line in GOOD.splitlines() if not line.startswith("example.org TXT")))
    dns.add(
        f"""example.org TXT "{record}"
        spf.provider.example TXT "v=spf1 ip4:192.0.2.0/24 -all"
        other.provider.example TXT "v=spf1 ip4:192.0.2.1 ~all"
        all.provider.example TXT "v=spf1 +all"
        """
    )
    (found,) = (each for each in await findings(dns, tmp_path) if (each.check, each.subject) == ("SPF", "example.org"))
    assert (found.level, words in found.detail) == ("fail" if instead else "ok", True), found
    assert found.remedy == (f'example.org. IN TXT "{instead}"  ; in place of what is there' if instead else "")


async def test_spf_that_is_right_waits_for_the_records_it_names(dns: FakeDns, tmp_path: Path) -> None:
    """Without MX records "mx" lets nobody pass: the line that is there already would be no help."""
    dns.replace("\n".join(line for line in GOOD.splitlines() if not line.startswith("example.org MX")))
    (found,) = (each for each in await findings(dns, tmp_path) if each.check == "SPF" and each.level == "fail")
    assert (found.subject, found.remedy) == ("example.org", "see to the MX and address records first")


@pytest.mark.parametrize("without", ["_mta-sts", ""])
async def test_a_gateway_without_a_name_is_left_out_of_nothing(dns: FakeDns, tmp_path: Path, without: str) -> None:
    """It may be the MX host that nobody here knows: first its name, and no policy is advised before."""
    zone = replace(ZONE, unnamed=("192.0.2.7:2465",))
    dns.replace("\n".join(line for line in GOOD.splitlines() if not without or not line.startswith(without)))
    dns.add("example.org MX 10 mx7.example.org")
    resolver = Resolver([dns.endpoint], timeout=2_000)
    policies = Policies(resolver, PolicyCache(tmp_path), ManualClock())
    policies.file = None
    told = {each.check: each for each in await published.check(zone, resolver, policies) if each.level != "ok"}
    assert set(told) == {"gateway name", "MX", "MTA-STS"}
    assert (told["gateway name"].subject, told["gateway name"].level) == ("192.0.2.7:2465", "warn")
    assert "p2pmail machine set" in told["gateway name"].remedy
    assert "mx7.example.org is no gateway that is known here" in told["MX"].detail
    assert told["MTA-STS"].remedy == "see to the gateways' names first: the policy has to have all of them"


async def test_a_policy_keeps_what_it_has(dns: FakeDns, tmp_path: Path) -> None:
    """An MX host that it names already may be a gateway that joined since; what is none any more goes."""
    dns.add("example.org MX 10 mx3.example.org")
    file = (
        b"version: STSv1\nmode: enforce\nmx: mx1.example.org\nmx: mx3.example.org\nmx: mx4.example.org\nmax_age: 86400"
    )
    (found,) = (each for each in await findings(dns, tmp_path, file) if each.check == "MTA-STS")
    assert found.detail == "the policy does not name mx2.example.org"
    assert "mx: mx1.example.org\nmx: mx2.example.org\nmx: mx3.example.org\nmax_age" in found.remedy


NOTHING = """mx1.example.org A 192.0.2.1
mx2.example.org AAAA 2001:db8::2
"""
WRONG = (
    NOTHING
    + """
example.org MX 10 other.example
1.2.0.192.in-addr.arpa PTR other.example
example.org TXT "v=spf1 include:other -all"
mx1.example.org TXT "v=spf1 -all"
mx1._domainkey.example.org TXT "p="
_dmarc.example.org TXT "v=DMARC1; p"
_mta-sts.example.org TXT "v=STSv1;"
_imaps._tcp.example.org SRV 0 1 143 other.example.
"""
)


@pytest.mark.parametrize("published_now", ["", NOTHING, WRONG])
async def test_every_line_to_add_can_be_pasted(dns: FakeDns, tmp_path: Path, published_now: str) -> None:
    """Each remedy that begins with a name in the DNS is one of a zone file as it stands, its remarks included."""
    zone = replace(ZONE, services={"imaps": 993})
    dns.replace(published_now)
    resolver = Resolver([dns.endpoint], timeout=2_000)
    found = await published.check(zone, resolver, Policies(resolver, PolicyCache(tmp_path), ManualClock()))
    lines = [line for each in found for line in each.remedy.splitlines() if " IN " in line]
    assert len(read_rrsets("\n".join(lines), default_ttl=60, rdclass=None)) >= len(set(lines)) - 1 > 5


async def test_a_gateway_with_ipv6_alone_is_well(dns: FakeDns, tmp_path: Path) -> None:
    """Its AAAA and PTR records, and SPF, are found as those of IPv4 are."""
    zone = replace(ZONE, gateways={"mx6.example.org": ("2001:db8::6",)}, host="mx6.example.org")
    dns.replace("\n".join(line for line in GOOD.splitlines() if " MX " not in line))
    dns.add(
        f"""example.org MX 10 MX6.example.org
        mx6.example.org AAAA 2001:db8::6
        mx6.example.org TXT "v=spf1 a -all"
        6.{"0." * 23}8.b.d.0.1.0.0.2.ip6.arpa PTR mx6.example.org"""
    )
    resolver = Resolver([dns.endpoint], timeout=2_000)
    policies = Policies(resolver, PolicyCache(tmp_path), ManualClock())
    found = await published.check(zone, resolver, policies)
    assert [each for each in found if each.level != "ok"] == []
    assert {("address", "mx6.example.org"), ("PTR", "2001:db8::6")} <= {(each.check, each.subject) for each in found}


async def test_a_domain_behind_another_mx_is_well(dns: FakeDns, tmp_path: Path) -> None:
    """The MX in front is not called strange; SPF names the gateways, which send by themselves."""
    zone = replace(ZONE, fronts={"filter.example": ("192.0.2.9",)})
    kept = (line for line in GOOD.splitlines() if not line.startswith(("example.org MX", "example.org TXT")))
    dns.replace("\n".join(kept))
    resolver = Resolver([dns.endpoint], timeout=2_000)
    policies = Policies(resolver, PolicyCache(tmp_path), ManualClock())
    policies.file = POLICY.replace(b"*.example.org", b"filter.example")
    told = {each.check: each.remedy for each in await published.check(zone, resolver, policies) if each.remedy}
    spf = 'example.org. IN TXT "v=spf1 a:mx1.example.org a:mx2.example.org -all"'
    assert told == {"MX": "example.org. IN MX 10 filter.example.", "SPF": spf}
    dns.add("\n".join(told.values()))
    resolver = Resolver([dns.endpoint], timeout=2_000)
    assert [each for each in await published.check(zone, resolver, policies) if each.level != "ok"] == []


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        ({"gateways": {"localhost": ()}}, True),
        ({"gateways": {}, "services": {"imaps": 993}}, True),
        ({"gateways": {}, "autoconfig": True}, True),
        ({"gateways": {}}, False),
    ],
)
async def test_a_machine_without_a_name_is_told(
    dns: FakeDns, tmp_path: Path, of: dict[str, Any], expected: bool
) -> None:
    """The name that was never written is no host's that others could reach; where nothing names it none is wanted."""
    zone = replace(ZONE, host="localhost", **of)
    resolver = Resolver([dns.endpoint], timeout=2_000)
    found = await published.check(zone, resolver, Policies(resolver, PolicyCache(tmp_path), ManualClock()))
    assert [each.level for each in found if each.check == "host name"] == (["fail"] if expected else [])


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
        "_imap._tcp.example.org": ("warn", "_imap._tcp.example.org. IN SRV 0 0 0 .  ; in place of what is there"),
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


@pytest.mark.parametrize("address", ["192.168.1.9", "172.31.0.1", "100.64.0.1", "127.0.0.1", "fd00::1", "fe80::1"])
async def test_an_address_behind_a_router_is_no_address(dns: FakeDns, tmp_path: Path, address: str) -> None:
    """The world cannot come there, and no reverse zone is ours to make: the public one is asked for in its place."""
    dns.replace("\n".join(line for line in GOOD.splitlines() if not line.startswith("mx1.example.org A")))
    dns.add(f"mx1.example.org {'AAAA' if ':' in address else 'A'} {address}")
    found = await findings(dns, tmp_path)
    told = [(each.level, each.remedy) for each in found if address in each.subject + each.detail]
    kind = "AAAA" if ":" in address else "A"
    line = f"mx1.example.org. IN {kind} <its public address>  ; in place of what is there"
    assert ("fail", line) in told
    assert [each.subject for each in found if each.check == "PTR"] == ["192.0.2.2"]


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
    mode = "enforce" if file and b"STSv1" in file else "testing"  # what is in force is not weakened
    assert f"version: STSv1\nmode: {mode}\nmx: mx1.example.org\nmx: mx2.example.org\n" in wrong.remedy
    assert (mode == "enforce") == ("_mta-sts.example.org. IN TXT" in wrong.remedy)
