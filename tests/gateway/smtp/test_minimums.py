"""What a server takes at least (RFC 5321 §4.5.3): with the default settings, from a stranger."""

from pathlib import Path
from typing import Any

from gateway.smtp import params
from gateway.smtp.settings import SmtpLimits
from tests.gateway.smtp.attacks.roles import HEADER, MX
from tests.gateway.smtp.attacks.wire import on_virtual_time
from tests.gateway.smtp.submission_world import People


def test_a_hundred_recipients(people: People, tmp_path: Path) -> None:
    """§4.5.3.1.8: accepted in one transaction, each by the address that she has."""
    names = [f"bob+{number}" for number in range(100)]

    async def story(world: Any) -> None:
        wire = MX.wire(world)
        await wire.send(MX.greeting, b"MAIL FROM:" + MX.mail + b"\r\n")
        for name in names:
            assert await wire.send(b"RCPT TO:<%b@example.org>\r\n" % name.encode()) == b"250 2.1.5 recipient ok\r\n"
        assert (await wire.send(b"DATA\r\n", HEADER + b".\r\n")).splitlines()[-1].startswith(b"250 2.6.0 ")
        wire.vanish()

    on_virtual_time(lambda: MX.make(people, tmp_path), story)


def test_64_kibioctets(people: People, tmp_path: Path) -> None:
    """§4.5.3.1.7: of content, in lines of 1,000 octets (§4.5.3.1.6)."""
    content = HEADER + (b"x" * 998 + b"\r\n") * 66

    async def story(world: Any) -> None:
        wire = await MX.in_content(world)
        assert (await wire.send(content + b".\r\n")).startswith(b"250 2.6.0 ")
        assert MX.kept(world) == [content]
        wire.vanish()

    on_virtual_time(lambda: MX.make(people, tmp_path), story)


def test_patience() -> None:
    """§4.5.3.2: a command may take five minutes, a block of content three; the reply to a content comes within ten."""
    limits = SmtpLimits()
    assert limits.command_timeout >= 5 * params.MINUTE
    assert limits.data_timeout >= 3 * params.MINUTE
    assert limits.transaction_deadline + limits.verify_deadline < 10 * params.MINUTE


def test_loops_and_lines() -> None:
    """§6.3 asks for a hundred Received fields at least, §4.5.3.1.4 and §4.5.3.1.6 for lines of 512 and 1,000 octets."""
    assert params.MAX_RECEIVED_FIELDS >= 100
    assert params.MAX_COMMAND_LINE >= 512
    assert params.MAX_CONTENT_LINE >= 1_000
