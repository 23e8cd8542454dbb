"""imaplib does everyday work against the running program, over TLS from the start and over STARTTLS."""

import imaplib
import secrets
import ssl
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy

import pytest

from tests.harness.mail import Reader, send
from tests.interop.mailbox import compose, octets, trace_before
from tests.interop.server import Server, User

pytestmark = pytest.mark.interop

Connect = Callable[[Server], imaplib.IMAP4]


def _trusting(server: Server) -> ssl.SSLContext:
    """Who has accepted this one certificate checks it, and the name, like any other."""
    return ssl.create_default_context(cafile=str(server.certificate))


def implicit_tls(server: Server) -> imaplib.IMAP4:
    return imaplib.IMAP4_SSL("localhost", server.imaps[1], ssl_context=_trusting(server), timeout=30)


def starttls(server: Server) -> imaplib.IMAP4:
    client = imaplib.IMAP4("localhost", server.imap[1], timeout=30)
    client.starttls(_trusting(server))
    return client


@pytest.fixture(params=[implicit_tls, starttls])
def client(request: pytest.FixtureRequest, server: Server, user: User) -> Iterator[imaplib.IMAP4]:
    """A session of the user, logged in under TLS."""
    connect: Connect = request.param
    with connect(server) as client:
        client.login(user.address, user.password)
        yield client


def octets_of(client: imaplib.IMAP4, number: str, item: str = "BODY.PEEK[]") -> bytes:
    """What FETCH gives for one item of one message."""
    _, parts = client.fetch(number, f"({item})")
    (content,) = [part[1] for part in parts if isinstance(part, tuple)]
    return content


def test_mail_from_outside_is_read_and_sorted(server: Server, user: User, client: imaplib.IMAP4) -> None:
    """A message arrives, is searched, read part by part, flagged, filed in a new folder, and deleted."""
    mail = compose("Angebot für Übermorgen", "Preis: 10 €\n", "offer@sender.example", user.address)
    attached = secrets.token_bytes(100_000)
    mail.add_attachment(attached, maintype="application", subtype="zip", filename="Anhang ü.zip")
    send(server, octets(mail), user.address)
    with Reader(server, user.address) as told:
        told.wait_for(1)
    assert client.select("INBOX") == ("OK", [b"1"])
    assert client.search(None, "UNSEEN", "FROM", "outside@sender.example") == ("OK", [b"1"])
    setattr(client, "literal", "Übermorgen".encode())  # noqa: B010 (its type is said wrongly)
    assert client.search("UTF-8", "SUBJECT") == ("OK", [b"1"])
    assert client.search(None, "SUBJECT", "Gestern") == ("OK", [b""])
    content = octets_of(client, "1")
    trace_before(content, octets(mail))
    assert octets_of(client, "1", "BODY.PEEK[HEADER]") + octets_of(client, "1", "BODY.PEEK[TEXT]") == content
    parsed = message_from_bytes(content, policy=policy.default)
    assert octets_of(client, "1", "BODY.PEEK[1]") == b"Preis: 10 \xe2\x82\xac\r\n"
    (attachment,) = parsed.iter_attachments()
    assert attachment.get_content() == attached
    assert client.store("1", "+FLAGS", "(\\Seen \\Flagged rechnung)")[0] == "OK"
    assert client.create("Belege/2026")[0] == "OK"
    assert client.uid("MOVE", "1", "Belege/2026")[0] == "OK"
    assert client.select("Belege/2026") == ("OK", [b"1"])
    assert client.search(None, "KEYWORD", "rechnung", "SEEN", "FLAGGED") == ("OK", [b"1"])
    assert octets_of(client, "1") == content
    client.store("1", "+FLAGS", "(\\Deleted)")
    assert client.expunge() == ("OK", [b"1"])
    client.close()
    assert client.delete("Belege/2026")[0] == "OK"


def test_large_message_goes_both_ways(client: imaplib.IMAP4) -> None:
    """Twenty MiB with every octet but NUL, CR and LF go up and come down unchanged, whole and in pieces."""
    line = bytes(octet for octet in range(1, 256) if octet not in b"\r\n") + b"\r\n"
    content = b"Subject: large\r\nMessage-ID: <large@local.example>\r\n\r\n" + line * (20 * 2**20 // len(line))
    assert client.append("Drafts", "(\\Draft)", imaplib.Time2Internaldate(1_795_000_000), content)[0] == "OK"
    assert client.select("Drafts", readonly=True) == ("OK", [b"1"])
    assert octets_of(client, "1") == content
    assert octets_of(client, "1", "BODY.PEEK[]<10000000.65536>") == content[10_000_000:10_065_536]


def test_two_sessions_agree(server: Server, user: User, client: imaplib.IMAP4) -> None:
    """What one session does, the other is told with its next command."""
    for number in range(3):
        client.append("INBOX", "", "", octets(compose(f"{number}", "x\n", f"{number}@local.example", user.address)))
    with Reader(server, user.address) as reader:
        other = reader.imap
        assert other.select("INBOX") == ("OK", [b"3"])
        other.response("EXISTS")  # forgotten, so that the next one is seen
        client.select("INBOX")
        client.store("2", "+FLAGS", "(\\Answered $forwarded)")
        client.store("1", "+FLAGS", "(\\Deleted)")
        client.expunge()
        other.noop()
        assert other.response("EXPUNGE") == ("EXPUNGE", [b"1"])
        line = other.fetch("1", "(FLAGS)")[1][-1]  # NOOP's are in front
        assert isinstance(line, bytes)
        assert {b"\\Answered", b"$forwarded"} <= set(imaplib.ParseFlags(line))
        client.append("INBOX", "", "", octets(compose("new", "x\n", "new@local.example", user.address)))
        other.noop()
        assert other.response("EXISTS") == ("EXISTS", [b"3"])


def test_wrong_password_is_refused(server: Server, user: User) -> None:
    """A wrong password and an unknown user get the same answer; the connection stays usable."""
    with starttls(server) as client:
        answers = set()
        for name, password in ((user.address, "wrong"), ("nobody@interop.test", user.password)):
            with pytest.raises(imaplib.IMAP4.error) as refused:
                client.login(name, password)
            answers.add(str(refused.value))
        assert len(answers) == 1
        assert "AUTHENTICATIONFAILED" in answers.pop()
        assert client.login(user.address, user.password)[0] == "OK"


def test_certificate_must_be_accepted_first(server: Server) -> None:
    """A client that was not told to trust the certificate does not log in."""
    with pytest.raises(ssl.SSLCertVerificationError):
        imaplib.IMAP4_SSL("localhost", server.imaps[1], ssl_context=ssl.create_default_context(), timeout=30)
