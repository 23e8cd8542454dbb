"""A session that is put off again and again ends, and what it asks for over and over is one line of the log."""

from pathlib import Path
from typing import Any

import pytest

from gateway.smtp import params
from tests.gateway.smtp.attacks.roles import HEADER, MX, RELAY, ROLES, SUBMISSION, Role
from tests.gateway.smtp.attacks.wire import on_virtual_time
from tests.gateway.smtp.submission_world import People

ERRORS = 4
TOO_MANY = b"421 4.7.0 too many errors\r\n"
TOO_MANY_RECIPIENTS = b"452 4.5.3 too many recipients in one transaction\r\n"
ANOTHER = b"RCPT TO:<bob@example.org>\r\n"


def tell(role: Role, people: People, directory: Path, story: Any, **limits: int) -> None:
    on_virtual_time(lambda: role.make(people, directory, limits={"errors": ERRORS, **limits}), story)


def replies(world: Any) -> list[str]:
    """The replies that were logged."""
    return [line["reply"][:9] for line in world.log.named("deferred")]


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_recipients_without_end(role: Role, people: People, tmp_path: Path) -> None:
    """A thousand too many are 452 each, as RFC 5321 §4.5.3.1.10 lets a client send them; the rest are errors."""

    async def story(world: Any) -> None:
        wire = role.wire(world)
        await wire.send(role.greeting, b"MAIL FROM:" + role.mail + b"\r\nRCPT TO:<alice@example.org>\r\n")
        said = await wire.send(ANOTHER * 10_000)
        assert said == TOO_MANY_RECIPIENTS * (params.DEFERRALS + ERRORS + 1) + TOO_MANY
        assert wire.closed
        assert replies(world) == ["452 4.5.3", "421 4.7.0"]

    tell(role, people, tmp_path, story, recipients=1)


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_some_recipients_too_many(role: Role, people: People, tmp_path: Path) -> None:
    """Who sends them, and then the content, goes on with the next transaction: as often as there is mail."""

    async def story(world: Any) -> None:
        wire = role.wire(world)
        await wire.send(role.greeting)
        for number in range(1, 4):
            mail = role.mail.replace(b"ENVID=one", b"ENVID=%d" % number)
            await wire.send(b"MAIL FROM:" + mail + b"\r\nRCPT TO:<alice@example.org>\r\n", ANOTHER * params.DEFERRALS)
            assert (await wire.send(b"DATA\r\n", HEADER + b".\r\n")).splitlines()[-1].startswith(b"250 2.")
            assert replies(world) == ["452 4.5.3"] * number
        wire.vanish()

    tell(role, people, tmp_path, story, recipients=1)


@pytest.mark.parametrize("between", [b"", b"RSET\r\n"])
def test_mails_without_end(between: bytes, people: People, tmp_path: Path) -> None:
    """The same for MAIL above the rate."""

    async def story(world: Any) -> None:
        wire = MX.wire(world)
        await wire.send(MX.greeting, b"MAIL FROM:<>\r\nRSET\r\n")
        said = await wire.send((b"MAIL FROM:<>\r\n" + between) * 10_000)
        assert said.count(b"450 4.7.1 ") == params.DEFERRALS + ERRORS + 1
        assert said.endswith(TOO_MANY)
        assert replies(world) == ["450 4.7.1", "421 4.7.0"]

    tell(MX, people, tmp_path, story, messages_per_minute=1)


def test_guesses_without_end(people: People, tmp_path: Path) -> None:
    """The same for recipients after too many unknown ones."""

    async def story(world: Any) -> None:
        wire = MX.wire(world)
        await wire.send(MX.greeting, b"MAIL FROM:<>\r\nRCPT TO:<nobody@example.org>\r\n")
        said = await wire.send(ANOTHER * 10_000)
        assert said.count(b"450 4.7.1 ") == params.DEFERRALS + ERRORS
        assert said.endswith(TOO_MANY)
        assert replies(world) == ["450 4.7.1", "421 4.7.0"]

    tell(MX, people, tmp_path, story, unknown_recipients=1)


def test_recipients_that_are_put_off(people: People, tmp_path: Path) -> None:
    """Each has its line, as the administrator looks for it; their number is bounded like that of others."""

    async def story(world: Any) -> None:
        wire = MX.wire(world)
        await wire.send(MX.greeting, b"MAIL FROM:<>\r\n")
        said = await wire.send(b"RCPT TO:<full@example.org>\r\nRCPT TO:<dormant@example.org>\r\n" * 10_000)
        assert said.endswith(TOO_MANY)
        put_off = ["452 4.2.2", "450 4.2.1"] * params.DEFERRALS
        assert replies(world) == [*put_off[: params.DEFERRALS + ERRORS + 1], "421 4.7.0"]

    tell(MX, people, tmp_path, story)


@pytest.mark.parametrize("role", [MX, SUBMISSION], ids=str)
def test_starttls_without_end(role: Role, people: People, tmp_path: Path) -> None:
    """The same for STARTTLS where there is no TLS (454, RFC 3207 §4)."""

    async def story(world: Any) -> None:
        wire = role.wire(world)
        await wire.send(role.greeting)
        said = await wire.send(b"STARTTLS\r\n" * 10_000)
        assert said.endswith(TOO_MANY)
        assert replies(world) == ["454 4.7.0", "421 4.7.0"]

    tell(role, people, tmp_path, story)


def test_logins_without_end(people: People, tmp_path: Path) -> None:
    """The same for AUTH after too many failures."""

    async def story(world: Any) -> None:
        wire = RELAY.wire(world)
        await wire.send(b"EHLO x\r\n", b"AUTH EXTERNAL Ym9iQGV4YW1wbGUub3Jn\r\n")
        said = await wire.send(b"AUTH EXTERNAL =\r\n" * 10_000)
        assert said.endswith(TOO_MANY)
        assert replies(world) == ["454 4.7.0", "421 4.7.0"]

    tell(RELAY, people, tmp_path, story, failed_logins=1)
