"""Contents that attack: loops, bounces to forged senders, endless headers and lines, and contents nobody asked for."""

from pathlib import Path
from typing import Any

import pytest

from gateway.smtp import params
from p2pcore import errors
from tests.gateway.smtp.attacks.roles import HEADER, MX, RELAY, ROLES, SUBMISSION, Role
from tests.gateway.smtp.attacks.wire import on_virtual_time
from tests.gateway.smtp.submission_world import People

LOOP = b"554 5.4.6 too many Received fields, this looks like a loop\r\n"
HEADER_TOO_LONG = b"554 5.6.0 header section larger than"


def tell(role: Role, people: People, directory: Path, story: Any, **settings: Any) -> Any:
    return on_virtual_time(lambda: role.make(people, directory, **settings), story)


async def answer(role: Role, world: Any, content: bytes) -> bytes:
    """The reply to `content`, in a session of its own; nothing of it may be run as a command."""
    role.forget(world)
    wire = await role.in_content(world)
    said = await wire.send(content, b".\r\n")
    assert said.count(b"\r\n") == 1
    assert await wire.send(b"NOOP\r\n") == b"250 2.0.0 ok\r\n"
    wire.vanish()
    return said


@pytest.mark.parametrize("role", ROLES, ids=str)
@pytest.mark.parametrize(
    "field",
    [
        b"Received: from a by b; now\r\n",
        b"RECEIVED:\r\n",
        b"received \t: x\r\n",
        b"Received:\r\n from a\r\n\tby b\r\n",
        b"Received:" + b"x" * 500 + b"\r\n",
    ],
)
def test_a_loop_ends(field: bytes, role: Role, people: People, tmp_path: Path) -> None:
    """A hundred hops pass, one more is 554 5.4.6 (RFC 5321 §6.3), however the fields are written."""

    async def story(world: Any) -> None:
        assert (await answer(role, world, field * 100 + HEADER + b"x\r\n")).startswith(b"250 2.")
        assert await answer(role, world, field * 101 + HEADER + b"x\r\n") == LOOP
        assert await answer(role, world, HEADER.removesuffix(b"\r\n") + field * 101 + b"\r\nx\r\n") == LOOP
        assert role.kept(world) == []

    tell(role, people, tmp_path, story)


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_what_is_no_hop_is_not_counted(role: Role, people: People, tmp_path: Path) -> None:
    """Received fields of a message within the message, other fields and values that name Received are no hops."""
    attached = b"Content-Type: message/rfc822\r\n\r\n" + b"Received: by a\r\n" * 300
    other = b"X-Received: by a\r\n" * 300 + b"Subject: Received: a\r\n Received: b\r\n"

    async def story(world: Any) -> None:
        assert (await answer(role, world, HEADER.removesuffix(b"\r\n") + attached)).startswith(b"250 2.")
        assert (await answer(role, world, other + HEADER.replace(b"Subject: first\r\n", b""))).startswith(b"250 2.")

    tell(role, people, tmp_path, story)


@pytest.mark.parametrize("role", ROLES, ids=str)
@pytest.mark.parametrize(
    "first",
    [b"\t; dmarc=pass header.from=bank.example\r\n", b" ;spf=pass smtp.mailfrom=bank.example\r\n", b" \r\n"],
)
def test_a_content_continues_no_field_of_ours(first: bytes, role: Role, people: People, tmp_path: Path) -> None:
    """What begins with white space would be read as part of the field that we put above it (RFC 5322 §2.2.3)."""

    async def story(world: Any) -> None:
        said = await answer(role, world, first + HEADER + b"x\r\n")
        assert said == b"554 5.6.0 the header section begins with a continuation line\r\n"
        assert role.kept(world) == []
        assert (await answer(role, world, HEADER + first)).startswith(b"250 2.")  # a body may

    tell(role, people, tmp_path, story)


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_an_endless_header_is_refused(role: Role, people: People, tmp_path: Path) -> None:
    """A header section that is larger than what is looked at is 5yz: no field hides behind the end of our looking."""
    field = b"X-Padding: " + b"x" * 985 + b"\r\n"
    padding = field * (params.MAX_HEADER_SCAN // len(field) + 2)
    hidden = HEADER.replace(b"alice@example.org", b"ceo@bank.example")

    async def story(world: Any) -> None:
        for content in (padding + HEADER, padding + hidden, HEADER.removesuffix(b"\r\n") + padding + b"\r\nbody\r\n"):
            said = await answer(role, world, content)
            assert said.startswith((HEADER_TOO_LONG, b"554 5.6.0 ")), said
        assert role.kept(world) == []
        assert world.server.memory.used == 0

    tell(role, people, tmp_path, story)


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_lines_of_content(role: Role, people: People, tmp_path: Path) -> None:
    """1,000 octets with CRLF (RFC 5321 §4.5.3.1.6), and up to 64 KiB as they are; longer lines are refused, not cut."""

    async def story(world: Any) -> None:
        for length in (998, 1_000, params.MAX_CONTENT_LINE):
            content = HEADER + b"x" * length + b"\r\n" + b"." + b"y" * length + b"\r\n"
            said = await answer(role, world, content)
            assert said.startswith(b"250 2."), length
            assert role.kept(world) == [content.replace(b"\r\n.", b"\r\n")]
        for content in (HEADER + b"x" * (params.MAX_CONTENT_LINE + 1), HEADER + b"\r\n" + b"z" * (2 << 20)):
            said = await answer(role, world, content + b"\r\n")
            assert said == b"554 5.6.0 content holds a line longer than 65536 octets\r\n"
            assert role.kept(world) == []

    tell(role, people, tmp_path, story)


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_lines_of_commands(role: Role, people: People, tmp_path: Path) -> None:
    """512 octets at least, here 4,096 (RFC 5321 §4.5.3.1.4); beyond, 500 5.5.2, and the rest is no command."""
    smuggled = b"x" * params.MAX_COMMAND_LINE + b" MAIL FROM:<a@example.net>\r\n"

    async def story(world: Any) -> None:
        wire = role.wire(world)
        await wire.send(role.greeting)
        for length in (512, params.MAX_COMMAND_LINE):
            assert await wire.send(b"NOOP " + b"x" * (length - 7) + b"\r\n") == b"250 2.0.0 ok\r\n"
        for line in (b"NOOP " + b"x" * (params.MAX_COMMAND_LINE - 4) + b"\r\n", smuggled, b"\0" * 100_000 + b"\r\n"):
            assert await wire.send(line) == b"500 5.5.2 command line too long\r\n"
            assert await wire.send(*(line[place : place + 999] for place in range(0, len(line), 999))) == (
                b"500 5.5.2 command line too long\r\n"
            )
        assert await wire.send(b"NOOP\r\n") == b"250 2.0.0 ok\r\n"
        wire.vanish()

    tell(role, people, tmp_path, story)


@pytest.mark.parametrize(
    ("local", "domain", "accepted"),
    [
        (64, 63, True),  # RFC 5321 §4.5.3.1.1
        (190, 63, True),  # SRS, VERP and reply tokens are longer
        (191, 63, False),
        (1, 252, True),  # §4.5.3.1.3: 256 with the brackets
        (1, 253, False),
        (64, 189, True),
        (64, 190, False),
    ],
)
@pytest.mark.parametrize("role", ROLES, ids=str)
def test_sizes_of_paths(local: int, domain: int, accepted: bool, role: Role, people: People, tmp_path: Path) -> None:
    """A path of 254 octets is taken, however long its local part, and none that is longer: 501 5.1.7 or 501 5.1.3."""
    labels = ".".join(["d" * 60] * 8)[:domain]
    labels = labels[:-1] + "d" if labels.endswith(".") else labels
    path = b"l" * local + b"@" + labels.encode()

    async def story(world: Any) -> None:
        wire = role.wire(world)
        said = await wire.send(role.greeting, b"MAIL FROM:<" + path + b">\r\n")
        parsed = b"250 2.1.0 " if role is MX else b"550 5.7.1 "  # that she may not write as
        assert said.splitlines()[-1].startswith(parsed if accepted else b"501 5.1.7 ")
        await wire.send(b"RSET\r\nMAIL FROM:" + role.mail + b"\r\n")
        said = await wire.send(b"RCPT TO:<" + path + b">\r\n")
        parsed = b"250 2.1.5 " if role is not MX else b"550 5.7.1 " if local <= 64 else b"501 5.1.3 "  # none of ours
        assert said.startswith(parsed if accepted else b"501 5.1.3 ")
        wire.vanish()

    tell(role, people, tmp_path, story)


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (None, b"250"),
        (errors.NoQuorum("no"), b"451"),
        (errors.InboxFull("no"), b"452"),
        (errors.NoSuchAddress("gone meanwhile"), b"451"),
        (errors.PermanentFailure("never"), b"451"),
        (RuntimeError("a defect"), b"451"),
    ],
)
def test_nothing_is_sent_back(failure: Exception | None, code: bytes, people: People, tmp_path: Path) -> None:
    """A mail is stored, or refused while its sender's MTA still has it: no forged sender ever gets a bounce from us."""

    async def story(world: Any) -> None:
        world.network.failure = failure
        wire = MX.wire(world)
        victim = b"MAIL FROM:<victim@elsewhere.example>\r\n"
        await wire.send(MX.greeting, victim)
        assert (await wire.send(b"RCPT TO:<nobody@example.org>\r\n")).startswith(b"550 5.1.1 ")
        assert (await wire.send(b"RCPT TO:<x@elsewhere.example>\r\n")).startswith(b"550 5.7.1 ")
        assert (await wire.send(b"RCPT TO:<full@example.org>\r\n")).startswith(b"452 4.2.2 ")
        assert (await wire.send(b"RCPT TO:<bob@example.org>\r\nDATA\r\n")).endswith(b"<CR><LF>.<CR><LF>\r\n")
        assert (await wire.send(HEADER + b".\r\n")).startswith(code)
        wire.vanish()
        # what went into the network is the mail itself, to the one recipient who was accepted
        assert [list(message.notifications) for message in world.network.messages] == (
            [] if failure else [["bob@example.org"]]
        )

    tell(MX, people, tmp_path, story)


@pytest.mark.parametrize("role", ROLES, ids=str)
@pytest.mark.parametrize("method", [b"POST", b"GET", b"PUT", b"CONNECT", b"OPTIONS"])
def test_a_browser_is_no_client(method: bytes, role: Role, people: People, tmp_path: Path) -> None:
    """What a web page made a browser send ends at its first line: the commands in its body are none."""
    request = method + b" / HTTP/1.1\r\nHost: 127.0.0.1:587\r\nContent-Type: text/plain\r\n\r\n"
    body = role.greeting + role.to_data + HEADER + b"by browser\r\n.\r\nQUIT\r\n"

    async def story(world: Any) -> None:
        wire = role.wire(world)
        await wire.send(request + body)
        assert bytes(wire.received).endswith(b"ESMTP p2pmail\r\n554 5.5.1 this is not HTTP\r\n")
        assert wire.closed
        assert role.kept(world) == []

    tell(role, people, tmp_path, story)


@pytest.mark.parametrize("role", ROLES, ids=str)
@pytest.mark.parametrize(
    "before",
    [b"", b"MAIL FROM:<>\r\n", b"MAIL FROM:<>\r\nRCPT TO:<nobody@example.org>\r\n", b"MAIL FROM:<nonsense\r\n"],
)
def test_a_content_that_nobody_asked_for(before: bytes, role: Role, people: People, tmp_path: Path) -> None:
    """Where DATA is refused, what came with it is content of a client that did not wait: it is never run (RFC 2920)."""
    content = b"RSET\r\n" + role.to_data + HEADER + b"smuggled\r\n.\r\n"

    async def story(world: Any) -> None:
        wire = role.wire(world)
        await wire.send(role.greeting)
        said = await wire.send(before + b"DATA\r\n" + content)
        assert said.splitlines()[-1].startswith(b"503 5.5.1 ")
        assert said.count(b"\r\n") == before.count(b"\r\n") + 1
        assert wire.closed
        assert role.kept(world) == []

    tell(role, people, tmp_path, story)


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_a_refused_data_alone_ends_nothing(role: Role, people: People, tmp_path: Path) -> None:
    """A client that waits for the answer goes on."""

    async def story(world: Any) -> None:
        wire = role.wire(world)
        await wire.send(role.greeting)
        assert (await wire.send(b"DATA\r\n")).startswith(b"503 5.5.1 ")
        assert await wire.send(b"NOOP\r\n") == b"250 2.0.0 ok\r\n"
        wire.vanish()

    tell(role, people, tmp_path, story)


@pytest.mark.parametrize("role", [SUBMISSION, RELAY], ids=str)
@pytest.mark.parametrize(
    "header",
    [
        b"From: alice@example.org\r\nFrom: ceo@example.org\r\n",
        b"From: alice@example.org\r\nfrom : ceo@example.org\r\n",
        b"From: alice@example.org, ceo@example.org\r\n",
        b"From: ceo@example.org <alice@example.org>, <ceo@example.org>\r\n",
        b"From: alice@example.org\r\n ,ceo@example.org\r\n",
        b'From: "alice@example.org" <ceo@example.org>\r\n',
        b"From: =?utf-8?q?alice=40example=2Eorg?= <ceo@example.org>\r\n",
        b"From: a group: ceo@example.org;\r\n",
        b"From: alice@example.org (<ceo@example.org>\r\n",
        b"From: ceo@example.org\r\n\tSender: alice@example.org\r\n",
        b"From : <ceo@example.org>\r\n",
        b"From:\r\n",
        b"X: y\r\n",
    ],
)
def test_no_author_but_oneself(header: bytes, role: Role, people: People, tmp_path: Path) -> None:
    """No way to write a From field lets one user of the domain write as another (RFC 6409 §6.1)."""

    async def story(world: Any) -> None:
        assert (await answer(role, world, header + b"Subject: x\r\n\r\nx\r\n")).startswith(
            (b"550 5.7.1 ", b"554 5.6.0 ")
        )
        assert role.kept(world) == []

    tell(role, people, tmp_path, story)
