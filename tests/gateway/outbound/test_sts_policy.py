"""MTA-STS records and policy files (RFC 8461 §3)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.outbound.sts_policy import MAX_POLICY, Policy, parse_policy, parse_record
from p2pcore.errors import Malformed

FILE = b"version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.Example.net\r\nmax_age: 604800\r\n"


@given(st.binary(max_size=300) | st.binary(max_size=60).map(lambda octets: FILE + octets))
def test_any_octets_are_a_policy_or_malformed(octets: bytes) -> None:
    """Invariant: whatever a host serves is a policy with a known mode, or Malformed, and nothing else."""
    try:
        policy = parse_policy(octets)
    except Malformed:
        return
    assert policy.mode in ("enforce", "testing", "none")
    assert policy.mx or policy.mode == "none"


@given(st.lists(st.binary(max_size=60) | st.just(b"v=STSv1; id=1;"), max_size=4))
def test_any_records_name_an_identifier_or_nothing(records: list[bytes]) -> None:
    """Invariant: an identifier is 1 to 32 letters and digits."""
    identifier = parse_record(records)
    assert identifier is None or (identifier.isalnum() and 1 <= len(identifier) <= 32)


@pytest.mark.parametrize(
    ("records", "identifier"),
    [
        ([b"v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
        ([b"v=spf1 -all", b"v=STSv1;id=a1"], "a1"),
        ([b"v=STSv1 ; other=x ; id=a1 ;"], "a1"),
        ([b"v=STSv1; id=a1", b"v=STSv1; id=a2"], None),
        ([b"v=STSv1; id=not-alphanumeric"], None),
        ([b"v=STSv1;"], None),
        ([b"v=STSv10; id=a1"], None),
        ([], None),
    ],
)
def test_exactly_one_record_names_the_policy(records: list[bytes], identifier: str | None) -> None:
    """§3.1: other TXT records are ignored, two of this kind or one that does not parse are as good as none."""
    assert parse_record(records) == identifier


def test_a_policy_file_is_read_as_the_rfc_shows_it() -> None:
    """§3.2: keys and values on lines that end in LF or CRLF; keys that are not known are ignored."""
    policy = Policy("enforce", ("mail.example.com", "*.example.net"), 604_800)
    assert parse_policy(FILE) == policy
    assert parse_policy(FILE.replace(b"\r\n", b"\n") + b"future: thing\nmode: none\n") == policy


@pytest.mark.parametrize(
    "octets",
    [
        FILE.replace(b"STSv1", b"STSv2"),
        FILE.replace(b"enforce", b"enforced"),
        FILE.replace(b"604800", b"31557601"),
        FILE.replace(b"604800", b"-1"),
        FILE.replace(b"*.Example.net", b"mail.*.net"),
        FILE.replace(b"mx", b"nx"),
        FILE + b"no colon\r\n",
        FILE + b"mx: a.example\n" * 300,
        FILE + b"x: " + b"x" * MAX_POLICY,
        b"\xff" + FILE,
    ],
)
def test_what_is_no_policy_is_malformed(octets: bytes) -> None:
    """A wrong version, mode, age or pattern, no mx, a line that is no pair, and a file that is too large."""
    with pytest.raises(Malformed):
        parse_policy(octets)


def test_a_star_stands_for_one_label() -> None:
    """§4.1: *.example.net names mx.example.net, and neither example.net nor a.mx.example.net."""
    policy = parse_policy(FILE)
    assert policy.allows("MAIL.example.com.")
    assert policy.allows("mx.example.net")
    assert not any(map(policy.allows, ("example.net", "a.mx.example.net", "x.mail.example.com", "example.com", "")))
