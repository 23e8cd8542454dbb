"""Behind an existing MX: its mail was checked there, so it is taken as it is; a stranger's is checked here."""

from pathlib import Path
from typing import Any

import pytest

from tests.gateway.smtp.attacks.roles import HEADER, MX
from tests.gateway.smtp.attacks.wire import Wire, on_virtual_time, settled
from tests.gateway.smtp.submission_world import People
from tests.gateway.smtp.world import DOMAIN

GREETING = b"EHLO [192.0.2.15]\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n"  # nobody to ask SPF about
FORGED = HEADER.replace(b"alice@example.org", b"ceo@bank.example")
RELAYS = ("192.0.2.0/28", "2001:db8:1::/48")


@pytest.mark.parametrize(
    ("peer", "is_relay"),
    [
        ("192.0.2.15", True),
        ("::ffff:192.0.2.15", True),
        ("2001:db8:1:ffff::1", True),
        ("192.0.2.16", False),
        ("2001:db8:2::1", False),
        ("127.0.0.1", True),  # this machine itself
    ],
)
def test_whose_mail_is_checked(peer: str, is_relay: bool, people: People, tmp_path: Path) -> None:
    """A forged author: 550 5.7.1 from a stranger; from the relay it is stored, with no verdict (RFC 8601 §2.2)."""

    async def story(world: Any) -> None:
        world.dns.records["_dmarc.bank.example", "TXT"] = ((b"v=DMARC1; p=reject",),)
        wire = Wire(world.server, (peer, 40_000))
        await wire.send(GREETING)
        said = await wire.send(FORGED + b"x\r\n.\r\n")
        wire.vanish()
        if not is_relay:
            assert said == b"550 5.7.1 refused by the DMARC policy of the domain in From\r\n"
            assert world.network.messages == []
            return
        assert said.startswith(b"250 2.6.0 ")
        assert world.dns.asked == []
        (message,) = world.network.messages
        notification = message.notifications[f"bob@{DOMAIN}"]
        assert b"\r\nAuthentication-Results: mx.example.org;\r\n\tnone\r\nReceived: " in notification.trace
        verdicts = notification.verdicts
        assert (verdicts.spf, verdicts.dkim, verdicts.dmarc, verdicts.disposition) == ("", "", "", "deliver")

    on_virtual_time(lambda: MX.make(people, tmp_path, verify="auto", trusted_relays=RELAYS), story)


def test_a_relay_is_no_open_relay(people: People, tmp_path: Path) -> None:
    """What it sends goes to our users like anybody's, and nowhere else."""

    async def story(world: Any) -> None:
        wire = Wire(world.server, ("192.0.2.1", 40_000))
        await wire.send(MX.greeting, b"MAIL FROM:" + MX.mail + b"\r\n")
        assert await wire.send(b"RCPT TO:<x@elsewhere.example>\r\n") == b"550 5.7.1 not our domain\r\n"
        assert await wire.send(b"RCPT TO:<nobody@example.org>\r\n") == b"550 5.1.1 no such address\r\n"
        wire.vanish()

    on_virtual_time(lambda: MX.make(people, tmp_path, trusted_relays=RELAYS), story)


def test_a_relays_mail_is_everybodys(people: People, tmp_path: Path) -> None:
    """Its connections, its mails in a minute and its errors are not one client's; the connections in all still hold."""

    async def story(world: Any) -> None:
        wires = [Wire(world.server, ("192.0.2.1", 40_000 + number)) for number in range(3)]
        for wire in wires:
            await wire.send(MX.greeting)
            for _ in range(3):
                assert (await wire.send(b"RSET\r\nMAIL FROM:" + MX.mail + b"\r\n")).endswith(b"250 2.1.0 sender ok\r\n")
                assert await wire.send(b"RCPT TO:<nobody@example.org>\r\n") == b"550 5.1.1 no such address\r\n"
            assert (await wire.send(b"RCPT TO:<bob@example.org>\r\n")).startswith(b"250")
        refused = Wire(world.server, ("192.0.2.1", 40_003))
        await settled()
        assert bytes(refused.received) == b"421 4.3.2 too many connections, try again later\r\n"
        for wire in wires:
            wire.vanish()

    limits = {"connections": 3, "connections_per_client": 1, "messages_per_minute": 1, "errors": 1}
    on_virtual_time(lambda: MX.make(people, tmp_path, trusted_relays=RELAYS, limits=limits), story)
