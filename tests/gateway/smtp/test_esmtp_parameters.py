"""The parameters of DSN and AUTH are understood or refused."""

from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mail.outgoing import NewRecipient
from gateway.smtp.commands import MailCommand, parse_mail, parse_rcpt, parse_submitted_rcpt
from gateway.smtp.replies import Refusal

T = TypeVar("T")

KEYWORDS = ("RET=", "ENVID=", "NOTIFY=", "ORCPT=", "AUTH=", "SMTPUTF8", " ", ",")
VALUES = (
    "FULL",
    "NEVER",
    "SUCCESS",
    "DELAY",
    "rfc822;",
    "utf-8;",
    "a",
    "@b",
    "+2B",
    "+",
    "+0A",
    "<>",
    "=",
    "é",
    "\\x{e9}",
)
WORDS = st.sampled_from(KEYWORDS + VALUES)


@given(st.lists(WORDS, max_size=8).map("".join))
def test_any_parameter_is_understood_or_refused(text: str) -> None:
    """Invariant: nothing but a 5yz Refusal comes out, and what is understood is printable on one line."""
    mail = outcome(lambda: parse_mail(f"FROM:<a@b> {text}", extended=True, submitted=True))
    assert isinstance(mail, int) or (mail.envelope_id.isprintable() and mail.envelope_id.isascii())
    rcpt = outcome(lambda: parse_submitted_rcpt(f"TO:<a@b> {text}", extended=True, smtputf8=True, domain="c"))
    if not isinstance(rcpt, int):
        assert rcpt.original.isprintable()
        assert set(rcpt.notify.split(",")) <= {"", "NEVER", "SUCCESS", "FAILURE", "DELAY"}
    assert all(500 <= code <= 559 for code in (mail, rcpt) if isinstance(code, int))


def outcome(parse: Callable[[], T]) -> T | int:
    """What is parsed, or the code of its refusal."""
    try:
        return parse()
    except Refusal as refusal:
        return refusal.reply.code


def test_xenvid_is_for_agents() -> None:
    """On the relay port it is the user's ENVID; on every other it is unknown."""
    agent = parse_mail("FROM:<a@b> ENVID=1 XENVID=x+20y", extended=True, submitted=True, relayed=True)
    assert (agent.envelope_id, agent.original_envelope_id) == ("1", "x y")
    assert outcome(lambda: parse_mail("FROM:<a@b> XENVID=x", extended=True, submitted=True)) == 555


def test_mail() -> None:
    """Keywords and RET in any case, ENVID with its xtext undone, AUTH forgotten."""
    command = parse_mail("FROM:<a@b> ret=full AUTH=a+2Bx@b EnvId=x+3Dy+20z", extended=True, submitted=True)
    assert command == MailCommand("a@b", 0, "7BIT", False, "FULL", "x=y z")


@pytest.mark.parametrize(
    ("argument", "recipient"),
    [
        ("TO:<a@b>", NewRecipient("a@b")),
        ("TO:<POSTMASTER> NOTIFY=never", NewRecipient("postmaster@c", "NEVER")),
        ("TO:<a@b> notify=DELAY,failure,DELAY", NewRecipient("a@b", "FAILURE,DELAY")),
        ("TO:<a@b> ORCPT=RFC822;a+2Bx@b", NewRecipient("a@b", "", "rfc822;a+x@b")),
        ("TO:<a@b> ORCPT=utf-8;\\x{E9}@b", NewRecipient("a@b", "", "utf-8;\\x{E9}@b")),
        ("TO:<a@b> ORCPT=UTF-8;é@b", NewRecipient("a@b", "", "utf-8;é@b")),
    ],
)
def test_rcpt(argument: str, recipient: NewRecipient) -> None:
    """What is asked for is normalised and decoded."""
    assert parse_submitted_rcpt(argument, extended=True, smtputf8=False, domain="c").recipient == recipient


@pytest.mark.parametrize(
    "parameter",
    [
        f"ENVID={'x' * 101}",
        "ENVID=a+2b",
        "ENVID=é",
        "RET=FULL,HDRS",
        "AUTH",
        "AUTH=a@b+0D",
        "AUTH=<a@b>",
    ],
)
def test_malformed_mail_parameters(parameter: str) -> None:
    """501 5.5.4 (RFC 3461 §4, RFC 4954 §5)."""
    with pytest.raises(Refusal, match=r"501 5\.5\.4"):
        parse_mail(f"FROM:<a@b> {parameter}", extended=True, submitted=True)


@pytest.mark.parametrize(
    "parameter",
    [
        "NOTIFY",
        "NOTIFY=NEVER,DELAY",
        "NOTIFY=ALWAYS",
        "ORCPT=;x",
        "ORCPT=x y;z",
        f"ORCPT=rfc822;{'x' * 500}",
        "ORCPT=a_b;c",
    ],
)
def test_malformed_rcpt_parameters(parameter: str) -> None:
    """501 5.5.4, or 555 where the rest is another parameter."""
    with pytest.raises(Refusal, match=r"501 5\.5\.4|555 5\.5\.4"):
        parse_submitted_rcpt(f"TO:<a@b> {parameter}", extended=True, smtputf8=False, domain="c")


def test_an_original_recipient_is_counted_in_octets() -> None:
    """500 as sent (RFC 3461 §4.2), in UTF-8 too: it becomes a line of the header, which may have 998."""
    longest = "utf-8;" + "é" * 247
    command = parse_rcpt(f"TO:<a@b> ORCPT={longest}", extended=True, smtputf8=True, domain="c")
    assert command.original == longest
    with pytest.raises(Refusal, match=r"501 5\.5\.4"):
        parse_rcpt(f"TO:<a@b> ORCPT={longest}x", extended=True, smtputf8=True, domain="c")


def test_reports_may_be_asked_for_from_outside_and_no_more() -> None:
    """RFC 3461's parameters are for everybody; who wrote first is known of our own users only."""
    command = parse_mail("FROM:<a@b> RET=FULL ENVID=x+3Dy", extended=True)
    assert (command.ret, command.envelope_id) == ("FULL", "x=y")
    rcpt = parse_rcpt("TO:<a@b> NOTIFY=SUCCESS ORCPT=rfc822;c@d", extended=True, smtputf8=False, domain="c")
    assert rcpt.recipient == NewRecipient("a@b", "SUCCESS", "rfc822;c@d")
    for parameter in ("AUTH=<>", "XENVID=x"):
        with pytest.raises(Refusal, match="555"):
            parse_mail(f"FROM:<a@b> {parameter}", extended=True)
