"""DMARC records, alignment and what a failing message gets (RFC 7489)."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mail.address import domain_in_dns
from gateway.smtp.dmarc import (
    MAX_FROM,
    MAX_FROM_DOMAINS,
    Checked,
    Policy,
    author_domains,
    disposition,
    is_aligned,
    is_record,
    parse_policy,
)
from gateway.smtp.replies import Refusal
from p2pcore.errors import Malformed


def organisation(domain: str) -> str:
    return ".".join(domain.split(".")[-2:])


@given(st.binary(max_size=60))
def test_any_record_is_a_policy_or_none(tail: bytes) -> None:
    """Invariant: no record raises, and a policy's percentage is from 0 to 100."""
    for record in (tail, b"v=DMARC1; p=reject; " + tail):
        policy = parse_policy(record)
        assert policy is None or (is_record(record) and 0 <= policy.percent <= 100)


@pytest.mark.parametrize(
    ("record", "policy"),
    [
        (b"v=DMARC1; p=reject", Policy("reject", "reject")),
        (b"v=DMARC1;p=none;sp=quarantine;", Policy("none", "quarantine")),
        (b"v = DMARC1 ; p = Reject ; adkim=s; aspf=s; pct=20", Policy("reject", "reject", True, True, 20)),
        (b"v=DMARC1; p=reject; unknown=x; rua=mailto:a@b.example", Policy("reject", "reject")),
        (b"v=DMARC1; rua=mailto:a@b.example", Policy("none", "none")),
        (b"v=DMARC1; p=reject; pct=1000", Policy("reject", "reject")),
        (b"v=DMARC1; p=reject; pct=" + b"1" * 5_000, Policy("reject", "reject")),
        # §6.4: blanks around the commas of a list
        (b"v=DMARC1; p=reject; rua=mailto:a@b.example, mailto:c@d.example", Policy("reject", "reject")),
        (b"v=DMARC1; p=reject; rua=mailto:a@b.example ,mailto:c@d.example; sp=none", Policy("reject", "none")),
        # §6.3: what is not known or cannot be read is ignored
        (b"v=DMARC1; p=reject; x_y=1; x2=1; note=two words; \xff=\xff", Policy("reject", "reject")),
        (b"v=DMARC1; p=reject; garbage; sp; =; ;; adkim = x y", Policy("reject", "reject")),
        # §6.6.3 step 6: an sp= that is none
        (b"v=DMARC1; p=reject; sp=bogus", None),
        (b"v=DMARC1; p=reject; sp=bogus; rua=mailto:a@b.example", Policy("none", "none")),
        (b"v=DMARC1; p=bogus; sp=reject; rua=mailto:a@b.example", Policy("none", "none")),
        (b"garbage; v=DMARC1; p=reject", None),
        (b"v=DMARC1", None),
        (b"p=reject; v=DMARC1", None),
        (b"v=dmarc1; p=reject", None),
        (b"v=spf1 -all", None),
        (b"", None),
    ],
)
def test_records(record: bytes, policy: Policy | None) -> None:
    """§6.3 and §6.6.3."""
    assert parse_policy(record) == policy


@pytest.mark.parametrize(
    "tail", [b"x=" + b" " * 4_000_000 + b"\x01", b" " * 4_000_000 + b"\x01", b"x" * 4_000_000, b" ;" * 500_000]
)
def test_a_records_time_is_linear_in_its_length(tail: bytes) -> None:
    """Where it grew with the square of its blanks, this would take hours."""
    assert parse_policy(b"v=DMARC1; p=reject; " + tail) == Policy("reject", "reject")


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (b"v=DMARC1", True),
        (b" v = DMARC1 ; p=bogus", True),
        (b"v=DMARC1x; p=reject", False),
        (b"v=DMARC2; p=reject", False),
        (b"; v=DMARC1; p=reject", False),
        (b"DMARC1", False),
        (b"", False),
    ],
)
def test_which_texts_are_records(record: bytes, expected: bool) -> None:
    """Their first tag says so, whatever is wrong with the others (§6.6.3 step 2)."""
    assert is_record(record) == expected


@pytest.mark.parametrize(
    ("header", "domains"),
    [
        (b"From: a@example.net\r\n\r\n", ("example.net",)),
        (b'To: x@y\r\nFROM: "b@other.example" <a@Example.NET>\r\n\r\n', ("example.net",)),
        (b"From: Name\r\n <a@example.net>\r\n\r\n", ("example.net",)),
        (b"From: a@one.example, b@two.example\r\n\r\n", ("one.example", "two.example")),
        (b"From: a@one.example\r\nfrom : b@two.example\r\n\r\n", ("one.example", "two.example")),
        ("From: a@exämple.net\r\n\r\n".encode(), ("xn--exmple-cua.net",)),
        # names that DNS has and IDNA has not
        (b"From: a@Foo_Bar.example.net\r\n\r\n", ("foo_bar.example.net",)),
        (b"From: a@ab--cd.example.net.\r\n\r\n", ("ab--cd.example.net",)),
    ],
)
def test_authors(header: bytes, domains: tuple[str, ...]) -> None:
    """All From fields count, display names do not."""
    assert author_domains(header) == domains


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"Subject: x\r\n\r\n",
        b"From: nobody\r\n\r\n",
        b"From: MAILER DAEMON <>\r\n\r\n",
        b"X-From: a@example.net\r\n\r\n",
    ],
)
def test_no_author(header: bytes) -> None:
    """Where From shows no domain nobody's policy is asked for."""
    assert author_domains(header) == ()


@pytest.mark.parametrize("value", [b"a@\xff", b"a@-", b"a@[192.0.2.1]", b'a@"b c"', b'"boss@bank.example" <>', b"@"])
def test_no_readable_author(value: bytes) -> None:
    """What shows something like an address has a usable domain, or is none that can be judged."""
    with pytest.raises(Malformed):
        author_domains(b"From: " + value + b"\r\n\r\n")


def test_too_many_authors() -> None:
    """Each domain costs lookups, so their number is bounded."""
    with pytest.raises(Refusal, match=rf"554 5\.6\.0 more than {MAX_FROM_DOMAINS} domains"):
        author_domains(b"From: " + b",".join(b"a@d%d.example" % n for n in range(MAX_FROM_DOMAINS + 1)) + b"\r\n\r\n")


@pytest.mark.parametrize("unit", [b"a@b.example,", b"a ", b"@a,", b"\r\n ", b"x\r\nFrom: ", b"\r\nFrom:"])
def test_from_is_bounded(unit: bytes) -> None:
    """Longer ones are not read, however harmless they are: that would keep the event loop from everybody else."""
    assert "b.example" in author_domains(b"From: a@b.example," + unit * 100 + b"\r\n\r\n")
    with pytest.raises(Refusal, match=rf"554 5\.6\.0 .* {MAX_FROM} octets"):
        author_domains(b"From: a@b.example," + unit * MAX_FROM + b"\r\n\r\n")


def test_domains_that_are_none_are_bounded_as_well() -> None:
    """Some cost as much as those that are one, and none is worth the time of the rest."""
    with pytest.raises(Refusal, match="domains"):
        author_domains(b"From: a@b.example" + b"".join(b",a@\xff%d" % n for n in range(MAX_FROM_DOMAINS)) + b"\r\n\r\n")


@given(st.binary(max_size=100))
def test_any_header_has_authors_or_is_malformed(octets: bytes) -> None:
    """Invariant: nothing but Malformed and Refusal comes out of a From field."""
    with contextlib.suppress(Malformed, Refusal):
        domains = author_domains(b"From: " + octets + b"\r\n\r\n")
        assert [domain_in_dns(domain) for domain in domains] == list(domains)


@pytest.mark.parametrize(
    ("spf", "dkim", "strict", "aligned"),
    [
        (Checked("pass", "example.net"), [], True, True),
        (Checked("pass", "mail.example.net"), [], False, True),
        (Checked("pass", "mail.example.net"), [], True, False),
        (Checked("pass", "other.net"), [], False, False),
        (Checked("softfail", "example.net"), [], False, False),
        (None, [Checked("pass", "other.net"), Checked("pass", "sub.example.net")], False, True),
        (None, [Checked("pass", "sub.example.net")], True, False),
        (None, [Checked("fail", "example.net")], False, False),
        (None, [], False, False),
    ],
)
def test_alignment(spf: Checked | None, dkim: list[Checked], strict: bool, aligned: bool) -> None:
    """Relaxed: the same organisational domain; strict: the same domain (§3.1)."""
    policy = Policy("reject", "reject", strict, strict)
    assert is_aligned(policy, "example.net", spf, dkim, organisation) == aligned


@pytest.mark.parametrize(
    ("policy", "inherited", "draw", "outcome"),
    [
        (Policy("none", "reject"), False, 0, "deliver"),
        (Policy("none", "reject"), True, 0, "reject"),
        (Policy("quarantine", "none"), False, 0, "quarantine"),
        (Policy("reject", "reject", percent=20), False, 19, "reject"),
        (Policy("reject", "reject", percent=20), False, 20, "quarantine"),
        (Policy("quarantine", "none", percent=0), False, 0, "deliver"),
    ],
)
def test_disposition(policy: Policy, inherited: bool, draw: int, outcome: str) -> None:
    """pct= weakens by one step for those not drawn (§6.6.4)."""
    assert disposition(policy, inherited=inherited, draw=draw) == outcome
