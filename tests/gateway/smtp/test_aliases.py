"""An address may mean several users, several addresses the same one, all of them no more than a body has rights for."""

from pathlib import Path
from typing import Any

import pytest

from p2pcore import params as core_params
from tests.gateway.smtp.attacks.roles import HEADER, MX
from tests.gateway.smtp.attacks.wire import on_virtual_time
from tests.gateway.smtp.submission_world import People

OK = b"250 2.1.5 recipient ok\r\n"
TOO_MANY = b"452 4.5.3 too many recipients in one transaction\r\n"
TOO_MANY_USERS = b"550 5.5.3 the address leads to more users than one message can go to\r\n"


async def sent(world: Any, *recipients: tuple[bytes, bytes]) -> dict[str, str]:
    """Mail to `recipients`, each with the reply that it gets; whom it reached, by which forward-path."""
    wire = MX.wire(world)
    await wire.send(MX.greeting, b"MAIL FROM:" + MX.mail + b" SMTPUTF8\r\n")
    for recipient, reply in recipients:
        assert await wire.send(b"RCPT TO:<" + recipient + b">\r\n") == reply, recipient
    assert (await wire.send(b"DATA\r\n", HEADER + b".\r\n")).splitlines()[-1].startswith(b"250 2.6.0 ")
    wire.vanish()
    notifications = world.network.messages.pop().notifications
    return {address: notification.forward_path for address, notification in notifications.items()}


def test_each_user_once(people: People, tmp_path: Path) -> None:
    """By the first path that led to her, as it was written: spelling, tag and alias make no second copy."""

    async def story(world: Any) -> None:
        world.names.aliases["both"] = ("alice", "bob")
        reached = await sent(
            world,
            (b"ALICE+tag@Example.ORG", OK),
            (b"both@example.org", OK),
            (b'"alice"@example.org', OK),
            (b"alice@example.org.", OK),
            (b"bob@example.org", OK),
        )
        assert reached == {"alice@example.org": "ALICE+tag@Example.ORG", "bob@example.org": "both@example.org"}

    on_virtual_time(lambda: MX.make(people, tmp_path), story)


def test_more_users_than_a_body_has_rights_for(people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """452 4.5.3 for the address that would be one too many; the others get the mail, and it gets the next one.

    An alias that no message can go to is refused for good: the sender hears of it now, not when her queue gives up.
    """
    monkeypatch.setattr(core_params, "MAX_DELETE_RIGHTS", 1)

    async def story(world: Any) -> None:
        world.names.aliases["both"] = ("alice", "bob")
        first = (b"both@example.org", TOO_MANY_USERS), (b"alice@example.org", OK), (b"bob@example.org", TOO_MANY)
        assert (await sent(world, *first, (b"alice+tag@example.org", OK))).keys() == {"alice@example.org"}
        assert (await sent(world, (b"bob@example.org", OK))).keys() == {"bob@example.org"}

    on_virtual_time(lambda: MX.make(people, tmp_path), story)
