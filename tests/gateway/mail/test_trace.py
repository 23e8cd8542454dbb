"""The trace block holds Return-Path, Received and Authentication-Results, and nothing that a stranger could add."""

import email
import email.policy

import authres
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mail.envelope import Envelope
from gateway.mail.trace import Hop, MethodResult, protocol_name, trace_block

HOP = Hop(
    helo="client.example.net",
    client_name="out.example.net",
    client_address="192.0.2.1",
    host="mx.example.org",
    protocol="ESMTPS",
    identifier="0123456789abcdef0123",
    time=1_790_000_000_999,
    forward_path="alice@example.org",
    cipher="TLS_AES_256_GCM_SHA384",
)


def test_the_whole_block() -> None:
    """Fields, order, folding and date are exactly these (RFC 5321 §4.4, RFC 8601 §2.2, appendix B)."""
    results = [
        MethodResult("spf", "pass", (("smtp.mailfrom", "sender@example.net"),)),
        MethodResult("dkim", "fail", (("header.d", "example.net"), ("header.s", "s1")), "body hash (wrong)"),
    ]
    assert trace_block("sender@example.net", HOP, results).decode() == (
        "Return-Path: <sender@example.net>\r\n"
        "Authentication-Results: mx.example.org;\r\n"
        "\tspf=pass\r\n"
        "\t smtp.mailfrom=sender@example.net;\r\n"
        "\tdkim=fail (body hash wrong)\r\n"
        "\t header.d=example.net\r\n"
        "\t header.s=s1\r\n"
        "Received: from client.example.net (out.example.net [192.0.2.1])\r\n"
        "\tby mx.example.org with ESMTPS id 0123456789abcdef0123\r\n"
        "\ttls TLS_AES_256_GCM_SHA384\r\n"
        "\tfor <alice@example.org>;\r\n"
        "\tMon, 21 Sep 2026 14:13:20 +0000\r\n"
    )


def test_the_least_block() -> None:
    """Null reverse-path, unknown name, IPv6, several recipients, nothing checked."""
    hop = Hop("[IPv6:2001:db8::1]", "", "2001:db8::1", "mx.example.org", "SMTP", "x", 0)
    assert trace_block("", hop, []).decode() == (
        "Return-Path: <>\r\n"
        "Authentication-Results: mx.example.org;\r\n"
        "\tnone\r\n"
        "Received: from [IPv6:2001:db8::1] (unknown [IPv6:2001:db8::1])\r\n"
        "\tby mx.example.org with SMTP id x;\r\n"
        "\tThu, 1 Jan 1970 00:00:00 +0000\r\n"
    )


@given(st.text(max_size=400), st.text(max_size=400), st.text(max_size=400))
def test_nothing_foreign_becomes_a_line(helo: str, name: str, value: str) -> None:
    """Invariant: whatever strangers chose, the block is three fields of lines of at most 998 octets."""
    hop = Hop(helo, name, "192.0.2.1", "mx.example.org", "ESMTP", "x", 0, forward_path=value)
    block = trace_block(value, hop, [MethodResult("spf", "fail", (("smtp.helo", value),), helo)]).decode()
    lines = block.split("\r\n")
    assert lines.pop() == ""
    assert block.splitlines() == lines  # which knows every line separator that Unicode has
    assert all(len(line.encode()) <= 998 for line in lines)
    names = [line.split(":")[0] for line in lines if not line.startswith("\t")]
    assert names == ["Return-Path", "Authentication-Results", "Received"]
    assert "\0" not in block


def test_no_content_continues_our_verdicts() -> None:
    """Whatever follows the block, Authentication-Results ends within it: Received is the last of our fields."""
    block = trace_block("", HOP, [MethodResult("dmarc", "fail")])
    below = b"\t; dmarc=pass header.from=bank.example\r\nFrom: boss@bank.example\r\n\r\n"
    (results,) = email.message_from_bytes(block + below).get_all("Authentication-Results", [])
    assert "bank.example" not in results


@pytest.mark.parametrize("value", ["a@b.example", 'we"ird (x)@b.example', "plain"])
def test_authentication_results_parse(value: str) -> None:
    """A parser of RFC 8601 reads our field back."""
    block = trace_block("", HOP, [MethodResult("spf", "softfail", (("smtp.mailfrom", value),))])
    parsed = email.message_from_bytes(block, policy=email.policy.compat32)
    field = str(parsed["Authentication-Results"]).replace("\r\n", "")
    read = authres.AuthenticationResultsHeader.parse(f"Authentication-Results: {field}")
    assert read.authserv_id == "mx.example.org"
    assert (read.results[0].method, read.results[0].result) == ("spf", "softfail")


@pytest.mark.parametrize(
    ("extended", "tls", "authenticated", "smtputf8", "name"),
    [
        (False, False, False, False, "SMTP"),
        (True, False, False, False, "ESMTP"),
        (True, True, False, False, "ESMTPS"),
        (True, True, True, False, "ESMTPSA"),
        (True, False, False, True, "UTF8SMTP"),
        (True, True, False, True, "UTF8SMTPS"),
    ],
)
def test_protocol_names(extended: bool, tls: bool, authenticated: bool, smtputf8: bool, name: str) -> None:
    """RFC 3848 and RFC 6531 §4.3."""
    assert protocol_name(extended=extended, tls=tls, authenticated=authenticated, smtputf8=smtputf8) == name


def test_only_a_single_forward_path_is_shown() -> None:
    """With several, each recipient would learn of the others, Bcc included (RFC 5321 §7.2)."""
    assert Envelope("", ("a@b",)).single_forward_path == "a@b"
    assert Envelope("", ("a@b", "c@d")).single_forward_path is None
