"""autoconfig: what a mail reader is told of the servers, and the HTTP that tells it."""

import asyncio
from collections.abc import AsyncIterator
from xml.etree import ElementTree

import pytest

from gateway.autoconfig import PATHS, AutoconfigServer, Offer, document, offers
from gateway.config import Config, check
from gateway.main import running
from gateway.site import Site

AGENT = {"domain": {"name": "example.org", "roles": ["agent"]}, "node": {"bootstrap": ["192.0.2.1:4466"]}}


def config_of(**sections: dict[str, object]) -> Config:
    return check({**AGENT, **sections}, "test")


def test_an_agents_own_servers() -> None:
    """Those that it listens on, with the security that each has."""
    config = config_of(imap={"listen": ["127.0.0.1:1143", "192.0.2.7:143"]}, submissions={"listen": []})
    assert offers(config) == (
        Offer("imap", "127.0.0.1", 1143, "plain"),
        Offer("imap", "192.0.2.7", 143, "STARTTLS"),
        Offer("imap", "127.0.0.1", 1993, "SSL"),
        Offer("smtp", "127.0.0.1", 1587, "plain"),
    )


def test_a_gateway_tells_of_agents_beside_their_readers() -> None:
    """Without an agent here, the servers are those of an agent as it comes, on the reader's own machine."""
    config = config_of(domain={"name": "example.org", "roles": ["gateway"]}, smtp={"hostname": "mx.example.org"})
    assert offers(config) == (
        Offer("imap", "127.0.0.1", 1143, "plain"),
        Offer("smtp", "127.0.0.1", 1587, "plain"),
    )


def test_what_the_configuration_says() -> None:
    """Endpoints named there take the place of others; the ports of implicit TLS are known, and any host is ours."""
    config = config_of(
        smtp={"hostname": "mail.example.org"},
        autoconfig={"imap": ["imap.example.org:993", "0.0.0.0:143"], "submission": ["smtp.example.org:587"]},
    )
    assert offers(config) == (
        Offer("imap", "imap.example.org", 993, "SSL"),
        Offer("imap", "mail.example.org", 143, "STARTTLS"),
        Offer("smtp", "smtp.example.org", 587, "STARTTLS"),
    )


def test_document() -> None:
    """Well-formed XML whatever the names are, in which the reader puts the address in itself."""
    text = document("a&<b>.example", [Offer("imap", 'x"&<', 1, "plain"), Offer("smtp", "y", 2, "SSL")])
    provider = ElementTree.fromstring(text.encode()).find("emailProvider")
    assert provider is not None
    assert provider.findtext("domain") == "a&<b>.example"
    told = {
        server.get("type"): [server.findtext(name) for name in ("hostname", "port", "socketType", "username")]
        for server in (*provider.iter("incomingServer"), *provider.iter("outgoingServer"))
    }
    assert told == {
        "imap": ['x"&<', "1", "plain", "%EMAILADDRESS%"],
        "smtp": ["y", "2", "SSL", "%EMAILADDRESS%"],
    }


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = AutoconfigServer(config_of(autoconfig={"listen": ["127.0.0.1:0"]}))
    (port,) = await server.start()
    yield port
    await server.stop()


async def said(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.parametrize("path", PATHS)
async def test_both_paths(port: int, path: str) -> None:
    """Either is answered with the document, whoever's address is asked for."""
    answer = await said(port, f"GET {path}?emailaddress=nobody%40example.org HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"Content-Type: application/xml; charset=utf-8" in head
    assert body.decode() == document("example.org", offers(config_of()))


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
        (b"GET /mail/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
        (b"POST /mail/config-v1.1.xml HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", b"405"),
        (b"rubbish\r\n\r\n", b"400"),
        (b"GET /mail/config-v1.1.xml HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 9_000 + b"\r\n\r\n", b"400"),
    ],
)
async def test_anything_else(port: int, request_: bytes, status: bytes) -> None:
    """Is refused, and the next is answered."""
    assert b" " + status + b" " in (await said(port, request_)).partition(b"\r\n")[0]
    assert b" 200 " in await said(port, b"GET /mail/config-v1.1.xml HTTP/1.1\r\nHost: x\r\n\r\n")


async def test_a_running_site_answers(site: Site) -> None:
    """`autoconfig.listen` is all that it takes."""
    port = site.config.imap.listen[0].port  # free, since this site has no agent
    told = Site.open(
        site.config_file, ('domain.roles=["directory", "node", "gateway"]', f'autoconfig.listen=["127.0.0.1:{port}"]')
    )
    with told.locked():
        async with running(told):
            answer = await said(port, b"GET /mail/config-v1.1.xml HTTP/1.0\r\n\r\n")
    assert b"<hostname>127.0.0.1</hostname>" in answer
