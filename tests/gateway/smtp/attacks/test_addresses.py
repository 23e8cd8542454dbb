"""What strangers write into commands stays one word of one line wherever it is written next: trace, log, DSN, disk."""

import contextlib
import io
import re
from email import message_from_bytes, policy
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway import logs
from gateway.mail.dsn import RecipientStatus, Report, build
from gateway.maillog import MailLog
from tests.gateway.smtp.attacks.roles import HEADER, MX, RELAY, ROLES, SUBMISSION, Role
from tests.gateway.smtp.attacks.wire import on_virtual_time
from tests.gateway.smtp.submission_world import People
from tests.gateway.smtp.world import DOMAIN

EVIL_PATHS = (
    b'"x; dkim=pass header.d=bank.example"@example.net',
    b'"(comment)"@example.net',
    b'"\\"@bank.example>, <a"@example.net',
    b'"a b\\\\"@example.net',
    b"'or'1'='1@example.net",
    b"../../../etc/passwd%00@example.net",
    b"$(reboot)@example.net",
    b"`id`@example.net",
    b"|sh@example.net",
    b"{{7*7}}@example.net",
    b"%s%n%d@example.net",
    b"=?utf-8?q?=0d=0aBcc:_a?=@example.net",
)
CONTROLS = tuple(bytes([octet]) for octet in (*range(0x20), 0x7F)) + tuple(
    chr(code).encode() for code in (*range(0x80, 0xA0), 0x2028, 0x2029)
)
_LINE = re.compile(rb"(?:[!-9;-~]+:|[ \t]).*\Z", re.DOTALL)  # RFC 5322 §2.2: a field or its continuation


def tell(role: Role, people: People, directory: Path, story: Any, **settings: Any) -> Any:
    return on_virtual_time(lambda: role.make(people, directory, **settings), story)


def fields(trace: bytes) -> list[bytes]:
    """The names of a trace block's fields; every octet of it belongs to one."""
    assert trace.endswith(b"\r\n")
    lines = trace.removesuffix(b"\r\n").split(b"\r\n")
    for line in lines:
        assert _LINE.match(line), line
        assert not re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", line)
        assert len(line) <= 998  # RFC 5322 §2.1.1
    return [line.partition(b":")[0] for line in lines if line[:1] not in (b" ", b"\t")]


@pytest.mark.parametrize("path", EVIL_PATHS)
def test_a_sender_stays_in_its_field(path: bytes, people: People, tmp_path: Path) -> None:
    """Whatever a valid reverse-path holds, the trace has its three fields, and no verdict but ours."""

    async def story(world: Any) -> None:
        world.names.aliases["postmaster"] = ("alice",)
        wire = MX.wire(world)
        said = await wire.send(b"EHLO [a;dkim=pass(b]\r\nMAIL FROM:<" + path + b">\r\n")
        if not said.endswith(b"250 2.1.0 sender ok\r\n"):
            assert said.endswith(b"501 5.1.7 sender address does not parse\r\n")
            wire.vanish()
            return
        assert (await wire.send(b"RCPT TO:<alice@example.org>\r\nDATA\r\n", HEADER + b".\r\n")).count(b"\r\n250 ") == 1
        wire.vanish()
        (message,) = world.network.messages
        trace = message.notifications[f"alice@{DOMAIN}"].trace
        assert fields(trace) == [b"Return-Path", b"Authentication-Results", b"Received"]
        assert trace.startswith(b"Return-Path: <" + path + b">\r\n")
        parsed = message_from_bytes(trace + message.content, policy=policy.default)
        assert len(parsed.get_all("Return-Path", [])) == len(parsed.get_all("Received", [])) == 1
        (results,) = parsed.get_all("Authentication-Results", [])
        unquoted = re.sub(r'"(?:[^"\\]|\\.)*"', "", str(results))
        assert "dkim=pass" not in unquoted

    tell(MX, people, tmp_path, story)
    assert list(tmp_path.iterdir()) == []


def with_control(control: bytes) -> list[bytes]:
    """Commands that would put `control` into a name, a path or a parameter."""
    return [
        b"EHLO a" + control + b"b",
        b"EHLO [a" + control + b"b]",
        b"MAIL FROM:<a" + control + b"b@example.net> SMTPUTF8",
        b'MAIL FROM:<"a' + control + b'b"@example.net> SMTPUTF8',
        b'MAIL FROM:<"a\\' + control + b'b"@example.net> SMTPUTF8',
        b"MAIL FROM:<a@exa" + control + b"mple.net> SMTPUTF8",
        b"MAIL FROM:<a@[192.0.2." + control + b"1]> SMTPUTF8",
        b"MAIL FROM:<@r" + control + b":a@example.net> SMTPUTF8",
        b"MAIL FROM:<a@example.net>" + control + b"SMTPUTF8",
        b"MAIL FROM:<a@example.net> SIZE=1" + control + b"0",
        b"MAIL FROM:<a@example.net> BODY=7BIT" + control + b"SIZE=1",
        b"MAIL FROM:<a@example.net> ENVID=a" + control + b"b",
        b"MAIL" + control + b"FROM:<a@example.net>",
    ]


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_no_control_character_gets_in(role: Role, people: People, tmp_path: Path) -> None:
    """In EHLO, in MAIL and in RCPT, in plain and quoted local parts, domains, routes and parameters: refused with 5yz.

    A line feed ends a line, so what is behind it is another one; the first is refused for its end all the same.
    """

    async def story(world: Any) -> None:
        wire = role.wire(world)
        await wire.send(role.greeting)
        for control in CONTROLS:
            for line in with_control(control):
                said = (await wire.send(line + b"\r\n")).splitlines()
                assert all(reply.startswith(b"5") for reply in said), (line, said)
            await wire.send(b"RSET\r\nMAIL FROM:" + role.mail + b"\r\n")
            for local in (b"a" + control + b"b", b'"a' + control + b'b"', b'"a\\' + control + b'b"'):
                said = (await wire.send(b"RCPT TO:<" + local + b"@example.org>\r\n")).splitlines()
                assert all(reply.startswith(b"5") for reply in said), (local, said)
            await wire.send(b"RSET\r\n")
        wire.vanish()

    tell(role, people, tmp_path, story, limits={"errors": 10_000})


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_malformed_utf8(role: Role, people: People, tmp_path: Path) -> None:
    """Overlong forms, surrogates, lone and missing continuations, code points past the last: 500, in every command."""
    malformed = (
        b"\xc0\xaf",  # overlong "/"
        b"\xc0\x8d\xc0\x8a",  # overlong CR LF
        b"\xe0\x80\xaf",
        b"\xf0\x80\x80\xaf",
        b"\xed\xa0\x80",  # a surrogate
        b"\xed\xa0\xbd\xed\xb8\x80",  # CESU-8
        b"\xf4\x90\x80\x80",  # past U+10FFFF
        b"\xf8\x88\x80\x80\x80",
        b"\x80",
        b"\xc3",
        b"\xfe\xff",
        b"\xff",
    )

    async def story(world: Any) -> None:
        wire = role.wire(world)
        await wire.send(role.greeting)
        for octets in malformed:
            for line in (
                b"EHLO " + octets,
                b"MAIL FROM:<a" + octets + b"@example.net> SMTPUTF8",
                b"MAIL FROM:<a@example" + octets + b".net> SMTPUTF8",
                b"RCPT TO:<" + octets + b"@example.org>",
                b"NOOP " + octets,
                octets,
            ):
                assert (await wire.send(line + b"\r\n")).startswith(b"500 5.5.2 ")
        wire.vanish()

    tell(role, people, tmp_path, story, limits={"errors": 100})


def test_overlong_utf8_in_content_is_content(people: People, tmp_path: Path) -> None:
    """Octets that some decoder would make CR, LF or a dot of are none: they arrive as they were."""
    content = HEADER + b"\xc0\x8d\xc0\x8a.\xc0\x8d\xc0\x8a\r\n\xe0\x80\xae\r\n\xef\xbb\xbf.\r\n"

    async def story(world: Any) -> None:
        wire = await MX.in_content(world)
        assert (await wire.send(content + b".\r\n")).startswith(b"250 2.6.0 ")
        assert MX.kept(world) == [content]
        wire.vanish()

    tell(MX, people, tmp_path, story)


@pytest.mark.parametrize(
    "path",
    [
        b"../../../../etc/passwd",
        b"..",
        b".",
        b"/etc/passwd",
        b"alice/../bob",
        b"~root",
        b'"../../../tmp/x"',
        b'".."',
        b'"/dev/null"',
        b"con:",
        b"alice%2f..%2fbob",
        b"alice\\bob",
        b"%2e%2e%2f",
    ],
)
@pytest.mark.parametrize("role", ROLES, ids=str)
def test_no_path_names_a_file(path: bytes, role: Role, people: People, tmp_path: Path) -> None:
    """Local parts that look like file names reach nobody here, and nothing is made under any name."""
    directory = tmp_path / "temporary"
    directory.mkdir()

    async def story(world: Any) -> None:
        wire = role.wire(world)
        said = await wire.send(
            role.greeting, b"MAIL FROM:" + role.mail + b"\r\nRCPT TO:<" + path + b"@example.org>\r\n"
        )
        if role is not SUBMISSION or not said.endswith(
            b"250 2.1.5 recipient ok\r\n"
        ):  # an outbox asks the network later
            assert said.splitlines()[-1].startswith((b"550 5.1.1 ", b"501 5.1.3 "))
        wire.vanish()

    tell(role, people, directory, story)
    assert [one.name for one in tmp_path.iterdir()] == ["temporary"]
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_no_route_but_ours(role: Role, people: People, tmp_path: Path) -> None:
    """Source routes are read and forgotten; percent hacks and bang paths are local parts like any other (§3.6.1)."""
    outside = b"250" if role is not MX else b"550"

    async def story(world: Any) -> None:
        wire = role.wire(world)
        await wire.send(role.greeting, b"MAIL FROM:" + role.mail + b"\r\n")
        for path, code in (
            (b"@victim.example:bob@example.org", b"250"),
            (b"@victim.example,@example.org:bob@example.org", b"250"),
            (b"@example.org:someone@victim.example", outside),
            (b"bob%example.org@victim.example", outside),
            (b"victim.example!bob@victim.example", outside),
            (b"@:bob@example.org", b"501"),
            (b"@a,b:bob@example.org", b"501"),
            (b"@a:@b:bob@example.org", b"501"),
            (b"@" + b"a," * 600 + b"@a:bob@example.org", b"501"),
        ):
            assert (await wire.send(b"RCPT TO:<" + path + b">\r\n"))[:3] == code, path
        if role is not SUBMISSION:  # an agent's outbox finds out later
            for path in (b"someone%victim.example", b"victim.example!someone", b'"someone@victim.example"'):
                assert (await wire.send(b"RCPT TO:<" + path + b"@example.org>\r\n")).startswith(b"550 5.1.1 ")
        wire.vanish()

    tell(role, people, tmp_path, story)


@pytest.mark.parametrize("role", [SUBMISSION, RELAY], ids=str)
def test_a_source_route_is_not_passed_on(role: Role, people: People, tmp_path: Path) -> None:
    """What is queued is the mailbox alone: nobody is made to route for a stranger."""

    async def story(world: Any) -> None:
        wire = role.wire(world)
        await wire.send(
            role.greeting, b"MAIL FROM:" + role.mail + b"\r\nRCPT TO:<@a.example,@b.example:x@example.com>\r\n"
        )
        assert (await wire.send(b"DATA\r\n", HEADER + b".\r\n")).splitlines()[-1].startswith(b"250")
        wire.vanish()
        kept = world.outbox.kept[0] if role is SUBMISSION else world.queue.kept[0][0]
        assert [recipient.forward_path for recipient in kept.recipients] == ["x@example.com"]

    tell(role, people, tmp_path, story)


def test_the_log_has_one_line_for_each_event(people: People, tmp_path: Path) -> None:
    """Nothing that a stranger writes ends a line of the log, moves a terminal's cursor or forges a field."""
    file = io.StringIO()
    with contextlib.redirect_stderr(file):
        structlog.reset_defaults()
        logs.configure("info")
        try:
            log = MailLog(structlog.get_logger("mail"))
            for detail in ("\x1b[2J\x1b[H", "a\x0bb\x0cc", "\x85received id=forged", "\u2028received", "\u202egnp.exe"):
                log.refused(reply="501 5.5.4 no", client="192.0.2.1", detail=detail)
            log.refused(reply="501 5.5.4 no", client="192.0.2.1", detail='x" reply="250', reverse_path='"a" b=c@d')
        finally:
            structlog.reset_defaults()
    text = file.getvalue()
    lines = text.removesuffix("\n").split("\n")
    assert len(lines) == 6
    for line in lines:
        assert line.isprintable(), line
        assert len(line.splitlines()) == 1
        assert "rejected" in line


@pytest.mark.parametrize(
    "evil", ["a@b\r\nFinal-Recipient: rfc822;x@y", "a\0b@c", "a\x85b@c", "x\r\n\r\nbody", "\u2028"]
)
def test_no_report_holds_a_field_of_the_strangers(evil: str) -> None:
    """Addresses, replies, host names and IDs that got past every check still fill one line of a DSN."""
    status = RecipientStatus(evil, "failed", "5.1.1", evil, evil, f"rfc822;{evil}", 1, 0)
    report = Report(
        reporting_mta="mx.example.org",
        sender="mailer-daemon@example.org",
        to="alice@example.org",
        message_id="<one@example.org>",
        time=0,
        arrival=0,
        recipients=(status,),
        content=b"Subject: x\r\n\r\nx\r\n",
        full=False,
        envelope_id=evil,
    )
    parsed = message_from_bytes(build(report), policy=policy.default)
    groups = [part for part in parsed.walk() if part.get_content_type() == "message/delivery-status"]
    (delivery,) = groups
    blocks = delivery.get_payload()
    assert isinstance(blocks, list)
    ours, hers = blocks
    assert isinstance(ours, Message)
    assert isinstance(hers, Message)
    assert len(hers.get_all("Final-Recipient", [])) == len(ours.get_all("Reporting-MTA", [])) == 1
    assert b"\0" not in build(report)
