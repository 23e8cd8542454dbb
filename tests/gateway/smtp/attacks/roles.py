"""The three listeners, each with what it takes to get to 354 there and to see what it has kept."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.gateway.smtp.attacks.wire import STRANGER, Wire
from tests.gateway.smtp.attacks.wire import ShownCertificate as Shown
from tests.gateway.smtp.submission_world import (
    ALICE,
    People,
    RelayWorld,
    SubmissionWorld,
    make_relay,
    make_submission,
)
from tests.gateway.smtp.world import World, make_world

HEADER = b"From: alice@example.org\r\nSubject: first\r\nDate: today\r\nMessage-ID: <first@example.org>\r\n\r\n"


@dataclass(frozen=True)
class Role:
    """`greeting` opens a session in which MAIL is taken; `mail` follows MAIL FROM:; `kept` returns the contents that
    the place has, and `forget` empties it.
    """

    name: str
    make: Callable[..., Any]
    wire: Callable[[Any], Wire]
    greeting: bytes
    mail: bytes
    kept: Callable[[Any], list[bytes]]
    forget: Callable[[Any], None]

    @property
    def to_data(self) -> bytes:
        """The commands from MAIL to DATA."""
        return b"MAIL FROM:" + self.mail + b"\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n"

    async def in_content(self, world: Any) -> Wire:
        """Return a wire whose server waits for content."""
        wire = self.wire(world)
        said = await wire.send(self.greeting, self.to_data)
        assert said.endswith(b"354 end data with <CR><LF>.<CR><LF>\r\n"), said
        return wire

    def __str__(self) -> str:
        return self.name


def _mx(people: People, directory: Path, **settings: Any) -> World:
    return make_world(people.users, directory, **{"verify": "off", **settings})


def _submission(people: People, directory: Path, **settings: Any) -> SubmissionWorld:
    return make_submission(people, **settings)


def _relay(people: People, directory: Path, **settings: Any) -> RelayWorld:
    return make_relay(people, directory, **settings)


MX = Role(
    "mx",
    _mx,
    lambda world: Wire(world.server, STRANGER),
    b"EHLO client.example.net\r\n",
    b"<sender@example.net>",
    lambda world: [message.content for message in world.network.messages],
    lambda world: world.network.messages.clear(),
)
SUBMISSION = Role(
    "submission",
    _submission,
    lambda world: Wire(world.server, ("127.0.0.1", 40_000)),
    b"EHLO [127.0.0.1]\r\nAUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n",
    f"<{ALICE}>".encode(),
    lambda world: [submission.content for submission in world.outbox.kept],
    lambda world: world.outbox.kept.clear(),
)
RELAY = Role(
    "relay",
    _relay,
    lambda world: Wire(world.server, STRANGER, **Shown.of(world.people.alice)),
    b"EHLO agent.example.org\r\nAUTH EXTERNAL =\r\n",
    f"<{ALICE}> ENVID=one".encode(),
    lambda world: [content for _item, content in world.queue.kept],
    lambda world: world.queue.kept.clear(),
)
ROLES = (MX, SUBMISSION, RELAY)
