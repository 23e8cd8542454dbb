"""The standard library's client, over TCP, STARTTLS and implicit TLS."""

import asyncio
import imaplib
import ssl
from collections.abc import Callable

import pytest

from tests.gateway.imap.conftest import Site

MESSAGE = b"From: a@example.org\r\nSubject: from imaplib\r\n\r\nbody\r\n"
Connect = Callable[[Site], imaplib.IMAP4]


def plain(site: Site) -> imaplib.IMAP4:
    return imaplib.IMAP4("localhost", site.port, timeout=20)


def starttls(site: Site) -> imaplib.IMAP4:
    client = imaplib.IMAP4("localhost", site.port, timeout=20)
    client.starttls(site.certificate.client)
    return client


def implicit_tls(site: Site) -> imaplib.IMAP4:
    return imaplib.IMAP4_SSL("localhost", site.tls_port, ssl_context=site.certificate.client, timeout=20)


def everyday(client: imaplib.IMAP4) -> None:
    """A session as a script would have it."""
    assert client.login("alice", "secret")[0] == "OK"
    assert client.create("Work")[0] == "OK"
    assert b'(\\HasNoChildren) "/" Work' in client.list()[1]
    for number in range(3):
        flags = "(\\Seen)" if number == 0 else ""
        status, (answer,) = client.append("Work", flags, imaplib.Time2Internaldate(1_700_000_000), MESSAGE)
        assert status == "OK"
        assert b"APPENDUID" in answer
    assert client.select("Work") == ("OK", [b"3"])
    assert client.search(None, "UNSEEN", "SUBJECT", '"from imaplib"') == ("OK", [b"2 3"])
    _, fetched = client.fetch("1", "(RFC822)")
    assert isinstance(fetched[0], tuple)
    assert fetched[0][1] == MESSAGE
    assert client.store("2", "+FLAGS", "(\\Flagged $Label1)")[1] == [b"2 (FLAGS (\\Recent \\Flagged $Label1))"]
    status, _ = client.uid("COPY", "1:2", "Archive")
    assert status == "OK"
    assert client.store("3", "+FLAGS.SILENT", "(\\Deleted)")[0] == "OK"
    assert client.expunge() == ("OK", [b"3"])
    assert client.uid("MOVE", "1", "Trash")[0] == "OK"
    assert client.status("Archive", "(MESSAGES UNSEEN)")[1] == [b"Archive (MESSAGES 2 UNSEEN 1)"]
    assert client.close()[0] == "OK"
    assert client.rename("Work", "Play")[0] == "OK"
    assert client.delete("Play")[0] == "OK"
    assert client.namespace()[1] == [b'(("" "/")) NIL NIL']
    assert client.logout()[0] == "BYE"


@pytest.mark.parametrize("connect", [plain, starttls, implicit_tls])
async def test_everyday_session(site: Site, connect: Connect) -> None:
    """imaplib does everyday work."""
    await asyncio.to_thread(lambda: everyday(connect(site)))


async def test_authenticate(site: Site) -> None:
    """SASL PLAIN as imaplib sends it, with the server's challenge first."""

    def session() -> str:
        client = plain(site)
        status, _ = client.authenticate("PLAIN", lambda challenge: b"\0alice\0secret")
        client.logout()
        return status

    assert await asyncio.to_thread(session) == "OK"


async def test_certificate_is_checked(site: Site) -> None:
    """A client that does not know the certificate is not fooled, and the server survives it."""

    def session() -> None:
        imaplib.IMAP4_SSL("localhost", site.tls_port, ssl_context=ssl.create_default_context(), timeout=20)

    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.to_thread(session)
    await asyncio.to_thread(lambda: everyday(implicit_tls(site)))


async def test_large_message_over_tls(site: Site) -> None:
    """Octet for octet through TLS in both directions."""
    message = b"Subject: large\r\n\r\n" + bytes(range(1, 256)).replace(b"\r", b"").replace(b"\n", b"") * 8_000 + b"\r\n"

    def session() -> object:
        client = implicit_tls(site)
        client.login("alice", "secret")
        client.append("INBOX", "", "", message)
        client.select()
        _, fetched = client.fetch("1", "(BODY.PEEK[])")
        client.logout()
        assert isinstance(fetched[0], tuple)
        return fetched[0][1]

    assert await asyncio.to_thread(session) == message
