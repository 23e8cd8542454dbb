"""Our Authentication-Results hold our results and no others, whatever name the client gives itself (RFC 8601 §2.2)."""

from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import authres
import pytest

from tests.gateway.smtp.attacks.roles import HEADER, MX
from tests.gateway.smtp.attacks.wire import Wire, on_virtual_time
from tests.gateway.smtp.submission_world import People
from tests.gateway.smtp.world import DOMAIN

FIELD = b"DKIM-Signature: v=1; a=rsa-sha256; d=%b; s=%b; h=from; bh=eA==; b=eA==\r\n"


async def results_of(world: Any, helo: bytes, content: bytes) -> Any:
    """What an independent parser reads in the trace of a mail with the null reverse-path."""
    wire = Wire(world.server, ("192.0.2.66", 40_000))
    said = await wire.send(b"EHLO " + helo + b"\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n")
    assert said.endswith(b"354 end data with <CR><LF>.<CR><LF>\r\n"), said
    assert (await wire.send(content + b".\r\n")).startswith(b"250 2.6.0 ")
    wire.vanish()
    trace = world.network.messages.pop().notifications[f"bob@{DOMAIN}"].trace
    (field,) = message_from_bytes(trace, policy=policy.default).get_all("Authentication-Results", [])
    return authres.AuthenticationResultsHeader.parse_value(str(field))


@pytest.mark.parametrize(
    "helo",
    [
        b"[192.0.2.66]",
        b"[a;dkim=pass]",
        b"[a;dkim=pass(b]",
        b'[a";dkim=pass;x="b]',
        b"[a=b;]",
        b"[(]",
        b"[IPv6:2001:db8::1]",
        b"localhost",
    ],
)
def test_a_greeting_is_one_value(helo: bytes, people: People, tmp_path: Path) -> None:
    """smtp.helo is the name as it was said, and nothing of it is a result."""

    async def story(world: Any) -> None:
        found = await results_of(world, helo, HEADER)
        assert found.authserv_id == "mx.example.org"
        assert [(one.method, one.result) for one in found.results] == [
            ("spf", "none"),
            ("dkim", "none"),
            ("dmarc", "none"),
            ("iprev", "fail"),
        ]
        (name,) = found.results[0].properties
        assert name.value.replace('\\"', '"') == helo.decode()  # this parser leaves what is quoted as it is

    on_virtual_time(lambda: MX.make(people, tmp_path, verify="on"), story)


@pytest.mark.parametrize(
    "name",
    [
        b"bank.example",
        b"a(b",
        b"a)b",
        b'a"b',
        b"x (pass) ",
        b"a, dkim=pass",
        b"a\tb",
        b"a\x0bb",
        b"a" * 900,
    ],
)
def test_a_signature_is_one_result(name: bytes, people: People, tmp_path: Path) -> None:
    """Whatever it names as its domain and its selector."""

    async def story(world: Any) -> None:
        found = await results_of(world, b"localhost", FIELD % (name, name) + HEADER)
        assert [one.method for one in found.results] == ["spf", "dkim", "dmarc", "iprev"]
        assert found.results[1].result in ("fail", "permerror")

    on_virtual_time(lambda: MX.make(people, tmp_path, verify="on"), story)
