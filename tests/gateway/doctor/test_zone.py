"""The zone that `p2pmail dns` prints."""

import re
from dataclasses import replace

import dns.zone
import pytest

from gateway.doctor.zone import Zone, key_record, policy_file, text
from gateway.outbound.sts_policy import Mode, parse_policy
from p2pcore.crypto.dkim_keys import dkim_record, make_dkim_key, make_ed25519_dkim_key

RSA, ED25519 = dkim_record(make_dkim_key()), dkim_record(make_ed25519_dkim_key())
START = "$ORIGIN example.org.\n$TTL 60\n@ IN SOA ns h 1 1 1 1 1\n@ IN NS ns.example.net.\n"


def zone(mode: Mode = "testing") -> Zone:
    return Zone(
        domain="example.org",
        host="mx1.example.org",
        gateways={"mx1.example.org": ("192.0.2.1", "2001:db8::1"), "mx2.example.org": ()},
        dkim={"mx1": RSA, "ed25519.mx1": ED25519},
        services={"imaps": 993},
        sts=mode,
    )


def values(name: str, kind: str) -> list[str]:
    found = dns.zone.from_text(START + text(zone()), origin="example.org").get_rdataset(name, kind)
    return sorted(record.to_text() for record in found or ())


def test_where_mail_readers_ask() -> None:
    """The name that Thunderbird asks is there where something answers, and not otherwise."""
    told = text(replace(zone(), autoconfig=True))
    assert "autoconfig.example.org. IN CNAME mx1.example.org.\n" in told
    assert "autoconfig" not in text(zone())


def test_every_line_is_of_a_zone_file() -> None:
    """A name server reads it, long keys included, and finds each record under its name."""
    assert values("@", "MX") == ["10 mx1", "10 mx2"]
    assert (values("mx1", "A"), values("mx1", "AAAA")) == (["192.0.2.1"], ["2001:db8::1"])
    assert values("@", "TXT") == ['"v=spf1 mx -all"']
    assert values("mx2", "TXT") == ['"v=spf1 a -all"']
    assert values("mx1._domainkey", "TXT")[0].replace('" "', "") == f'"{RSA}"'
    assert values("ed25519.mx1._domainkey", "TXT") == [f'"{ED25519}"']
    assert values("_dmarc", "TXT")[0].startswith('"v=DMARC1; p=quarantine;')
    assert values("_mta-sts", "TXT")[0].startswith('"v=STSv1; id=')


def test_a_long_text_is_made_of_short_strings() -> None:
    """No character-string has more than 255 octets, and together they are the text."""
    line = f"{key_record('example.org', 's1', RSA)}"
    strings = re.findall(r'"([^"]*)"', line)
    assert line.startswith("s1._domainkey.example.org. IN TXT ")
    assert max(map(len, strings)) <= 255
    assert "".join(strings) == RSA


def test_services_that_nobody_reaches_are_said_to_be_none() -> None:
    """RFC 6186 §3.4: "." as target; the others have host and port."""
    assert values("_imaps._tcp", "SRV") == ["0 1 993 mx1"]
    assert values("_submission._tcp", "SRV") == ["0 0 0 ."]


def test_what_is_missing_is_said_in_comments() -> None:
    """Addresses that are not known, keys of other gateways, and where the policy file goes."""
    shown = text(zone())
    assert "; mx2.example.org. IN A or AAAA" in shown
    assert "`p2pmail dkim` prints on mx2.example.org" in shown
    assert "https://mta-sts.example.org/.well-known/mta-sts.txt" in shown


def test_a_machine_that_is_no_gateway_has_no_keys() -> None:
    """Nothing stands where they would: they are printed where the gateways are."""
    shown = text(replace(zone(), host="node.example.org", dkim={}))
    assert "this gateway" not in shown
    for host in ("mx1", "mx2"):
        assert f"`p2pmail dkim` prints on {host}.example.org" in shown


def test_a_gateway_without_a_name_is_told_before_all_else() -> None:
    """Whoever published these lines as they are would leave it out."""
    first = text(replace(zone(), unnamed=("192.0.2.7:2465",))).splitlines()[0]
    assert first.startswith("; first let the gateway at 192.0.2.7:2465 be known by name: ")
    assert "endpoint=NAME:2465" in first


def test_records_of_other_zones_stand_in_comments() -> None:
    """A gateway of several domains has its name in one of them: a zone with another's records does not load."""
    shown = text(replace(zone(), domain="other.example"))
    names = {line.split(" ")[0] for line in shown.splitlines() if not line.startswith(";")}
    assert {name for name in names if not name.endswith("other.example.")} == set()
    assert "; in another zone: mx1.example.org. IN A 192.0.2.1\n" in shown
    assert '; in another zone: mx2.example.org. IN TXT "v=spf1 a -all"\n' in shown
    assert "another zone" not in text(zone())


def test_a_machine_without_a_name_says_so_first() -> None:
    """Where smtp.hostname was never written the lines would lead everybody to her own machine."""
    nameless = replace(zone(), host="localhost", gateways={"localhost": ()})
    assert text(nameless).startswith("; first write in smtp.hostname ")
    assert text(replace(nameless, gateways={})).startswith("; first write in smtp.hostname ")
    assert "smtp.hostname" not in text(replace(nameless, gateways={}, services={})) + text(zone())


@pytest.mark.parametrize("mode", ["testing", "enforce", "none"])
def test_the_policy_file_is_one(mode: Mode) -> None:
    """It names every gateway, and another text has another ID."""
    policy = parse_policy(policy_file(zone(mode)).encode())
    assert policy.mode == mode
    assert policy.mx == ("mx1.example.org", "mx2.example.org")
    other: Mode = "enforce" if mode == "testing" else "testing"
    identifiers = {
        line for shown in (text(zone(mode)), text(zone(other))) for line in shown.split("\n") if "STSv1;" in line
    }
    assert len(identifiers) == 2


def test_the_policy_file_is_the_same_on_every_gateway() -> None:
    """Each gateway names itself first elsewhere; the policy, whose ID is made from its text, is one."""
    one, addresses = zone(), dict(reversed([*zone().gateways.items()]))
    assert policy_file(replace(one, host="mx2.example.org", gateways=addresses)) == policy_file(one)
