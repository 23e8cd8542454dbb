"""Delivery status notifications, read back with the standard library's parser."""

import email
import email.policy
from dataclasses import replace
from email.message import EmailMessage
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.mail.dsn import (
    MAX_HEADER,
    MAX_RETURNED,
    Action,
    RecipientStatus,
    Report,
    build,
    header_section,
    wanted,
)

TIME = 1_790_000_000_000
CONTENT = b"From: a@example.org\r\nSubject: hello\r\n\r\nbody\r\n"
FAILED = RecipientStatus(
    "x@remote.example",
    "failed",
    "5.1.1",
    "550 5.1.1 no such user",
    "mx.remote.example",
    "rfc822;X@remote.example",
    last_attempt=TIME - 1_000,
)


def report(*recipients: RecipientStatus, content: bytes = CONTENT, full: bool = False, envelope: str = "") -> Report:
    return Report(
        reporting_mta="mx.example.org",
        sender="mailer-daemon@example.org",
        to="a@example.org",
        message_id="<1@mx.example.org>",
        time=TIME,
        arrival=TIME - 60_000,
        recipients=recipients or (FAILED,),
        content=content,
        full=full,
        envelope_id=envelope,
    )


def parsed(octets: bytes) -> EmailMessage:
    return email.message_from_bytes(octets, policy=email.policy.default)


def blocks(message: EmailMessage) -> list[dict[str, str]]:
    """Return the field groups of the message/delivery-status part."""
    part = cast(list[EmailMessage], message.get_payload())[1]
    groups = cast(list[EmailMessage], part.get_payload())
    return [dict(group.items()) for group in groups if group.items()]


def test_a_failure_is_a_multipart_report_that_programs_understand() -> None:
    """Three parts: words for people, RFC 3464 fields, and the header of the message reported on."""
    message = parsed(build(report(envelope="QQ314159")))
    assert message.get_content_type() == "multipart/report"
    assert message["Content-Type"].params["report-type"] == "delivery-status"
    assert [part.get_content_type() for part in message.iter_parts()] == [
        "text/plain",
        "message/delivery-status",
        "text/rfc822-headers",
    ]
    about, recipient = blocks(message)
    assert about == {
        "Original-Envelope-Id": "QQ314159",
        "Reporting-MTA": "dns; mx.example.org",
        "Arrival-Date": "Mon, 21 Sep 2026 14:12:20 +0000",
    }
    assert recipient == {
        "Original-Recipient": "rfc822; X@remote.example",
        "Final-Recipient": "rfc822; x@remote.example",
        "Action": "failed",
        "Status": "5.1.1",
        "Remote-MTA": "dns; mx.remote.example",
        "Diagnostic-Code": "smtp; 550 5.1.1 no such user",
        "Last-Attempt-Date": "Mon, 21 Sep 2026 14:13:19 +0000",
    }
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["From"].addresses[0].addr_spec == "mailer-daemon@example.org"
    assert message["To"] == "a@example.org"


def test_a_delay_says_how_long_trying_goes_on() -> None:
    """A delayed recipient carries Will-Retry-Until and the words say that nothing need be sent again."""
    delayed = RecipientStatus("x@remote.example", "delayed", "4.4.1", "no answer", retry_until=TIME + 432_000_000)
    message = parsed(build(report(delayed)))
    recipient = blocks(message)[1]
    assert recipient["Action"] == "delayed"
    assert recipient["Will-Retry-Until"] == "Sat, 26 Sep 2026 14:13:20 +0000"
    assert recipient["Diagnostic-Code"] == "x-p2pmail; no answer"
    text = next(iter(message.iter_parts())).get_content()
    assert "need not send it again" in text


def test_the_gravest_outcome_is_the_subject_and_every_recipient_is_listed() -> None:
    """Several recipients with several outcomes share one report."""
    relayed = RecipientStatus("y@remote.example", "relayed", "2.0.0")
    message = parsed(build(report(relayed, FAILED)))
    assert message["Subject"] == "Mail could not be delivered"
    assert [block["Action"] for block in blocks(message)[1:]] == ["relayed", "failed"]


def test_each_recipient_is_told_whose_words_they_are() -> None:
    """RFC 3464 §2.3.5, §2.3.6: Remote-MTA and "smtp" only where a host has said it, and so does the text."""
    ours = RecipientStatus("y@none.example", "failed", "5.1.10", "domain none.example takes no mail (null MX)")
    late = RecipientStatus("z@late.example", "delayed", "4.4.1", "450 4.2.0 later", "mx.late.example")
    silent = RecipientStatus("w@remote.example", "failed", "5.4.7")
    message = parsed(build(report(FAILED, ours, late, silent)))
    told = [(each.get("Remote-MTA"), each.get("Diagnostic-Code")) for each in blocks(message)[1:]]
    assert told == [
        ("dns; mx.remote.example", "smtp; 550 5.1.1 no such user"),
        (None, "x-p2pmail; domain none.example takes no mail (null MX)"),
        ("dns; mx.late.example", "smtp; 450 4.2.0 later"),
        (None, None),
    ]
    text = next(iter(message.iter_parts())).get_content()
    assert [line.strip() for line in text.splitlines() if line.startswith("  ")] == [
        "<x@remote.example>",
        "mx.remote.example said: 550 5.1.1 no such user",
        "<y@none.example>",
        "domain none.example takes no mail (null MX)",
        "<w@remote.example>",
        "the time for trying is over",
        "<z@late.example>",
        "mx.late.example said: 450 4.2.0 later",
    ]


@pytest.mark.parametrize(
    ("content", "full", "action", "described"),
    [
        (CONTENT, True, "failed", "Your message"),
        (CONTENT, False, "failed", "Header of your message"),
        ("Subject: Grüße\r\n\r\n".encode(), True, "failed", "Your message"),
        ("Subject: Grüße\r\n\r\n".encode(), True, "delayed", "Header of your message"),
        (CONTENT, True, "relayed", "Header of your message"),
        (CONTENT, True, "delivered", "Header of your message"),
    ],
)
def test_the_returned_part_is_called_what_it_is(content: bytes, full: bool, action: Action, described: str) -> None:
    """Content-Description speaks of a message or its header, and not of a failure where there was none."""
    message = parsed(build(report(replace(FAILED, action=action), content=content, full=full)))
    assert list(message.iter_parts())[2]["Content-Description"] == described


@pytest.mark.parametrize(
    ("action", "full", "size", "kind"),
    [
        ("failed", True, 100, "message/rfc822"),
        ("failed", False, 100, "text/rfc822-headers"),
        ("delayed", True, 100, "text/rfc822-headers"),
        ("failed", True, MAX_RETURNED, "text/rfc822-headers"),
    ],
)
def test_the_content_is_returned_only_when_asked_for_and_failed(
    action: Action, full: bool, size: int, kind: str
) -> None:
    """RET=FULL returns the message of a failure, unless it is large; everything else returns its header."""
    content = CONTENT + b"x" * size + b"\r\n"
    message = parsed(build(report(RecipientStatus("x@y.example", action, "5.0.0"), content=content, full=full)))
    returned = list(message.iter_parts())[2]
    assert returned.get_content_type() == kind
    assert b"Subject: hello" in returned.as_bytes()
    assert (b"body" in returned.as_bytes()) == (kind == "message/rfc822")


@pytest.mark.parametrize(
    ("content", "full", "kind"),
    [
        ("Subject: Grüße\r\n\r\nbody\r\n".encode(), False, b"message/global-headers"),
        ("Subject: Grüße\r\n\r\nbody\r\n".encode(), True, b"message/global"),
        (b"Subject: \xff\r\n\r\nbody\r\n", False, b"text/rfc822-headers"),
        ("Subject: x\r\n\r\nüber\r\n".encode(), True, b"message/rfc822"),
    ],
)
def test_internationalised_messages_are_returned_under_their_own_types(content: bytes, full: bool, kind: bytes) -> None:
    """RFC 6533 §4: a header in UTF-8 makes the returned part a message/global or message/global-headers."""
    assert b"Content-Type: " + kind + b"\r\n" in build(report(content=content, full=full))


def test_an_original_recipient_keeps_its_utf_8_form() -> None:
    """RFC 6533 §3: what was escaped stays so, what was not is; + and = are no characters of the 7-bit form."""
    status = replace(FAILED, original="utf-8;gr\\x{FC}ße+x@remote.example")
    assert b"Original-Recipient: utf-8; gr\\x{FC}\\x{DF}e\\x{2B}x@remote.example\r\n" in build(report(status))


def test_non_ascii_addresses_have_a_seven_bit_form() -> None:
    """RFC 6533 §3: the address type is utf-8 and what is not printable ASCII is escaped."""
    octets = build(report(RecipientStatus("grüße@müller.example", "failed", "5.6.7")))
    assert b"Final-Recipient: utf-8; gr\\x{FC}\\x{DF}e@m\\x{FC}ller.example\r\n" in octets
    assert "<grüße@müller.example>".encode() in octets


def test_a_report_names_somebody() -> None:
    """A report about nobody is a mistake of the caller."""
    with pytest.raises(ValueError, match="at least one"):
        build(Report("mx", "m@d", "a@d", "<1@d>", TIME, TIME, (), CONTENT))


def test_the_boundary_is_not_in_the_content() -> None:
    """A message that holds the first boundary that would be chosen gets another."""
    first = parsed(build(report())).get_boundary()
    assert first is not None
    content = CONTENT + f"--{first}--\r\n".encode()
    message = parsed(build(report(content=content, full=True)))
    assert message.get_boundary() != first
    assert len(list(message.iter_parts())) == 3


@settings(deadline=None)
@given(
    st.tuples(st.text(), st.text(), st.text(), st.text()),
    st.sampled_from(["failed", "delayed", "relayed", "delivered", "expanded"]),
    st.binary(max_size=300),
)
def test_what_strangers_chose_adds_no_line(texts: tuple[str, str, str, str], action: Action, content: bytes) -> None:
    """Invariant: fields and parts of a report are those that we wrote, whatever replies and addresses hold."""
    path, diagnostic, remote, original = texts
    each = RecipientStatus(path, action, "bad", diagnostic, remote, original, TIME, TIME)
    octets = build(report(each, content=content, full=True, envelope=diagnostic))
    header, _, body = octets.partition(b"\r\n\r\n")
    assert header.count(b"\r\n") == 8
    boundary = header.rpartition(b'boundary="')[2].rstrip(b'"')
    parts = body.split(b"--" + boundary)
    assert len(parts) == 5
    status = parts[2].partition(b"\r\n\r\n")[2]
    assert status.isascii()
    allowed = (b"Original-", b"Reporting-", b"Arrival-", b"Final-", b"Action:", b"Status:", b"Remote-", b"Diag")
    for line in status.split(b"\r\n"):
        assert not line or line.startswith((*allowed, b"Last-", b"Will-"))
        assert len(line) <= 998


@settings(deadline=None)
@given(st.binary(max_size=200) | st.just(b"X: y\r\n" * 20_000) | st.just(b"x" * 2 * MAX_HEADER))
def test_the_header_section_is_whole_lines_of_a_bounded_size(content: bytes) -> None:
    """Invariant: the header section is at most MAX_HEADER octets, a beginning of the content, and ends in CRLF."""
    header = header_section(content)
    assert len(header) <= MAX_HEADER + 2
    assert not header or header.endswith(b"\r\n")
    assert (content + b"\r\n").startswith(header)
    assert b"\r\n\r\n" not in header


@pytest.mark.parametrize(
    ("notify", "asked"),
    [
        ("", {"failed", "delayed"}),
        ("NEVER", set()),
        ("FAILURE", {"failed"}),
        ("success,delay", {"delayed", "relayed", "delivered", "expanded"}),
    ],
)
def test_notify_decides_which_reports_are_made(notify: str, asked: set[str]) -> None:
    """RFC 3461 §4.1; without NOTIFY= failures and delays are reported."""
    actions: tuple[Action, ...] = ("failed", "delayed", "relayed", "delivered", "expanded")
    assert {action for action in actions if wanted(action, notify)} == asked
