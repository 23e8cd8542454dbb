"""Limits, patience, large messages and stopping, on real sockets."""

import asyncio
import base64
import os
import re
import socket
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest
from structlog.testing import capture_logs

from gateway.imap import params
from gateway.imap.params import ImapLimits
from gateway.imap.server import ImapServer
from gateway.login_delays import FREE_FAILURES
from gateway.mailbox import expunged, messages
from gateway.mailbox.contents import OpenContent
from gateway.mailbox.errors import StoreDamaged
from gateway.mailbox.model import DELETED, NewMessage
from gateway.mailbox.store import MailStore
from p2pcore.endpoint import Endpoint
from tests.gateway.imap.client import Client
from tests.gateway.imap.conftest import Site, SiteMaker
from tests.support.imap_accounts import PasswordsOnly

LARGE = b"Subject: large\r\n\r\n" + b"".join(b"%08d line of text\r\n" % number for number in range(40_000))


def open_files_below(directory: Path) -> list[str]:
    """This process's open files whose (deleted) name was in the directory."""
    targets: list[str] = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the descriptor that lists them
            targets.append(os.readlink(entry))
    return [target for target in targets if target.startswith(str(directory))]


async def test_large_append_and_fetch(site: Site) -> None:
    """A message far above every buffer arrives and leaves octet for octet, whole and in ranges."""
    client = await site.client(select="INBOX")
    assert await client.append("INBOX", LARGE) == 1
    (fetched,) = await client.ok("FETCH 1 (BODY.PEEK[] RFC822.SIZE)")
    start = fetched.index(b"}\r\n") + 3
    assert fetched[start : start + len(LARGE)] == LARGE
    assert fetched.endswith(b" RFC822.SIZE %d)" % len(LARGE))
    (part,) = await client.ok("FETCH 1 BODY.PEEK[TEXT]<500000.70000>")
    body = LARGE.partition(b"\r\n\r\n")[2]
    assert part.endswith(body[500_000:570_000] + b")")


async def test_large_append_leaves_no_file(start_site: SiteMaker, tmp_path: Path) -> None:
    """A spooled message has no name in the spool directory, and no descriptor stays open."""
    spool = tmp_path / "spool"
    spool.mkdir()
    site = await start_site(ImapLimits(), spool_directory=spool)
    client = await site.client()
    client.send(b"a APPEND INBOX {%d}\r\n" % len(LARGE))
    assert (await client.response()).startswith(b"+ ")
    client.send(LARGE[:200_000])
    await client.writer.drain()
    assert os.listdir(spool) == []
    client.send(LARGE[200_000:] + b"\r\n")
    await client.until(b"a")
    await client.ok("NOOP")
    assert not open_files_below(spool)


async def test_connection_lost_in_the_middle_of_append(site: Site) -> None:
    """A message that does not arrive whole is not stored."""
    client = await site.client()
    client.send(b"a APPEND INBOX {%d+}\r\n" % len(LARGE) + LARGE[:-1])
    client.close()
    other = await site.client()
    assert await other.ok("STATUS INBOX (MESSAGES)") == [b"* STATUS INBOX (MESSAGES 0)"]


async def test_message_above_the_limit(start_site: SiteMaker) -> None:
    """A message above the limit is refused: unasked where the client waits, read past where it does not."""
    site = await start_site(ImapLimits(message_size=100_000))
    client = await site.client()
    assert b"APPENDLIMIT=100000" in client.greeting
    _, tagged = await client.command("APPEND INBOX {100001}")
    assert tagged.startswith(b"NO [TOOBIG]")
    _, tagged = await client.command(b"APPEND INBOX {100001+}\r\n" + b"x" * 100_001)
    assert tagged.startswith(b"NO [TOOBIG]")
    await client.append("INBOX", b"x" * 100_000)


async def test_connections_of_the_server_are_limited(start_site: SiteMaker) -> None:
    """Above the limit a connection hears BYE; when one ends there is room again."""
    site = await start_site(ImapLimits(connections=2))
    first, _second = await site.client(), await site.client()
    task = next(iter(site.server._connections))
    refused = await site.client(login=False)
    assert refused.greeting.startswith(b"* BYE [UNAVAILABLE]")
    assert await refused.response() == b""
    await first.ok("LOGOUT")
    assert await first.response() == b""
    await asyncio.wait([task])
    await site.client()


async def test_connections_of_an_account_are_limited(start_site: SiteMaker) -> None:
    """One account's connections do not take another's."""
    site = await start_site(ImapLimits(connections_per_account=1))
    first = await site.client()
    task = next(iter(site.server._connections))
    second = await site.client(login=False)
    _, tagged = await second.command("LOGIN alice secret")
    assert tagged.startswith(b"NO [LIMIT]")
    await second.ok("LOGIN bob hunter2")
    await first.ok("LOGOUT")
    assert await first.response() == b""
    await asyncio.wait([task])
    await site.client()


async def test_login_has_a_time_limit(start_site: SiteMaker) -> None:
    """Whoever does not log in in time hears BYE, even while sending commands; in TLS as in clear."""
    site = await start_site(ImapLimits(login_timeout=0.2))
    client = await site.client(login=False)
    assert (await client.response()) == b"* BYE no login in time"
    assert await client.response() == b""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.tls_port)
    assert await reader.read() == b""
    writer.close()


async def test_autologout(start_site: SiteMaker) -> None:
    """An idle session ends with BYE, in IDLE too (RFC 3501 §5.4)."""
    site = await start_site(ImapLimits(autologout=0.2))
    client, idling = await site.client(), await site.client(select="INBOX")
    idling.send(b"i IDLE\r\n")
    assert await idling.response() == b"+ idling"
    assert (await idling.response()).startswith(b"* BYE autologout")
    assert (await client.response()).startswith(b"* BYE autologout")


async def test_failed_login_delays_nobody_else(start_site: SiteMaker) -> None:
    """While a wrong password waits for its answer, others log in."""
    site = await start_site(ImapLimits(failed_login_delay=3_600.0))
    guesser = await site.client(login=False)
    guesser.send(b"a LOGIN alice wrong\r\n")
    client = await site.client()
    await client.ok("NOOP")
    guesser.close()


async def test_a_new_connection_starts_nothing_anew(start_site: SiteMaker) -> None:
    """An account that was guessed at over other connections is waited for by the next one, whatever its password."""
    site = await start_site()
    for number in range(FREE_FAILURES):
        guesser = await Client.connect(site.port)
        _, tagged = await guesser.command(f"LOGIN {('alice', 'alice@example.org')[number % 2]} wrong{number}")
        assert tagged.startswith(b"NO [AUTHENTICATIONFAILED]")
        guesser.close()
    assert site.server.login_delays._failures["account", "alice@example.org"][0] == FREE_FAILURES
    client = await Client.connect(site.port)
    await client.ok("LOGIN alice secret")
    client.close()
    assert site.server.login_delays.wait("127.0.0.1", "alice") == 0


async def test_stop_says_bye(site: Site) -> None:
    """Stopping ends waiting and idling sessions with BYE and leaves nothing behind."""
    waiting, idling = await site.client(), await site.client(select="INBOX")
    idling.send(b"i IDLE\r\n")
    assert await idling.response() == b"+ idling"
    await site.server.stop()
    for client in (waiting, idling):
        assert await client.response() == b"* BYE [UNAVAILABLE] the server is stopping"
        assert await client.response() == b""
    assert site.server.sessions == 0


async def test_slow_reader_holds_back_only_itself(site: Site) -> None:
    """A client that reads nothing makes the server wait for it, in bounded memory; others are served meanwhile."""
    slow = await site.client(select="INBOX")
    await slow.append("INBOX", LARGE)
    transport = cast(asyncio.Transport, slow.writer.transport)
    transport.pause_reading()
    slow.send(b"".join(b"s%d FETCH 1 BODY.PEEK[]\r\n" % number for number in range(30)))
    other = await site.client(select="INBOX")
    for _ in range(40):  # as much work as the slow one's: without back-pressure its answers would all be queued now
        await other.ok("FETCH 1 BODY.PEEK[]")
    connection = next(
        connection for connection in site.server._connections.values() if connection._stream._transport is not None
    )
    held = connection._stream._transport
    assert held is not None
    assert held.get_write_buffer_size() < 4 * params.BODY_PIECE
    transport.resume_reading()
    for number in range(30):
        untagged, tagged = await slow.until(b"s%d" % number)
        assert tagged.startswith(b"OK")
        assert LARGE in untagged[0]


async def test_many_small_responses_are_flushed_on_the_way(site: Site) -> None:
    """A long FETCH comes whole and in order."""
    client = await site.client()
    for number in range(60):
        await client.append("INBOX", b"Subject: %d\r\n\r\n" % number + b"x" * 3_000)
    await client.ok("SELECT INBOX")
    answers = await client.ok("UID FETCH 1:* (FLAGS ENVELOPE BODY.PEEK[HEADER.FIELDS (SUBJECT)] BODY.PEEK[])")
    assert [int(answer.split()[1]) for answer in answers] == list(range(1, 61))
    assert all(b"Subject: %d\r\n" % number in answer for number, answer in enumerate(answers))


async def test_news_from_the_network_reaches_idle(site: Site) -> None:
    """What the store takes by itself is announced to a session in IDLE."""
    client = await site.client(select="INBOX")
    client.send(b"i IDLE\r\n")
    assert await client.response() == b"+ idling"
    await site.alice.append("INBOX", b"Subject: x\r\n\r\n", frozenset(), 0, 0)
    assert await client.response() == b"* 1 EXISTS"
    assert await client.response() == b"* 1 RECENT"
    client.send(b"DONE\r\n")
    assert (await client.until(b"i"))[1] == b"OK IDLE completed"


async def test_overflowed_watch(site: Site) -> None:
    """A session that missed too many changes learns the difference all the same, under a mailbox's new name too."""
    client = await site.client()
    await client.ok("CREATE Busy")
    await client.append("Busy", b"x: 1\r\n\r\n")
    await client.append("Busy", b"x: 2\r\n\r\n")
    await client.ok("SELECT Busy")
    busy = await site.alice.mailbox("Busy")
    await site.alice.rename("Busy", "Calm")
    (watch,) = site.alice.tracker._watches[busy.id]
    watch.overflowed = True
    await site.alice.store_flags(busy.id, [1], "add", frozenset({"\\Deleted"}))
    await site.alice.expunge(busy.id, None)
    assert await client.ok("NOOP") == [b"* 1 EXPUNGE"]


async def test_recent_is_told_to_one_session(site: Site) -> None:
    """A message is \\Recent in the first session that hears of it, and after EXAMINE still (RFC 3501 §2.3.2)."""
    client = await site.client()
    await client.append("INBOX", b"x: 1\r\n\r\n")
    assert b"* 1 RECENT" in await client.ok("EXAMINE INBOX")
    assert b"* 1 RECENT" in await client.ok("SELECT INBOX")
    assert await client.ok("SEARCH RECENT") == [b"* SEARCH 1"]
    other = await site.client()
    assert b"* 0 RECENT" in await other.ok("SELECT INBOX")
    await client.ok("LOGOUT")
    await other.ok("LOGOUT")
    third = await site.client()
    assert await third.ok("STATUS INBOX (RECENT)") == [b"* STATUS INBOX (RECENT 0)"]


async def test_too_many_bad_commands(site: Site) -> None:
    """Who does not speak IMAP is sent away."""
    client = await site.client(login=False)
    client.send(b"GET / HTTP/1.1\r\n" * (params.MAX_BAD + 5))
    answers = [await client.response() for _ in range(params.MAX_BAD + 1)]
    assert answers[0].startswith(b"GET BAD ")
    assert answers[-1].startswith(b"* BYE ")


async def test_unexpected_failure_is_one_no(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours is one command's NO [SERVERBUG] without its text, and the session goes on."""

    def fails(*arguments: object) -> Awaitable[None]:
        raise ZeroDivisionError("secret detail")

    client = await site.client()
    monkeypatch.setattr(MailStore, "mailboxes", fails)
    _, tagged = await client.command('LIST "" *')
    assert tagged.startswith(b"NO [SERVERBUG]")
    assert b"secret" not in tagged
    await client.ok("NOOP")


async def test_message_expunged_while_it_is_sent(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another session expunges after a response was begun is sent to its end (RFC 9051 §7.5.1: it hears later)."""
    client = await site.client(select="INBOX")
    await client.append("INBOX", LARGE, "(\\Deleted)")
    read = OpenContent.read
    gone: list[int] = []

    def expunging(self: OpenContent, offset: int, length: int | None) -> bytes:
        if offset > 0 and not gone:  # on the store's thread, as another session's would be between two pieces
            with site.alice._database.transaction() as transaction:
                gone.extend(messages.expunge(transaction, 1, None))
            site.alice._worker._publish(transaction)
            assert not list(site.alice._database.files.path.iterdir())
        return read(self, offset, length)

    monkeypatch.setattr(OpenContent, "read", expunging)
    untagged, tagged = await client.command("FETCH 1 (BODY.PEEK[] BODY.PEEK[TEXT]<700000.5>)")
    assert gone == [1]
    assert untagged[0].partition(b"}\r\n")[2].startswith(LARGE + b" BODY[TEXT]<700000> {5}\r\n")
    assert tagged == b"OK FETCH completed"
    assert await client.ok("NOOP") == [b"* 1 EXPUNGE"]


async def test_message_damaged_in_the_middle(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A response that cannot be ended breaks the connection, as the log says; nothing else is said into a literal."""
    client = await site.client(select="INBOX")
    await client.append("INBOX", LARGE)
    read = OpenContent.read

    def once(self: OpenContent, offset: int, length: int | None) -> bytes:
        if offset > 600_000:
            raise StoreDamaged("a sealed file is damaged")
        return read(self, offset, length)

    monkeypatch.setattr(OpenContent, "read", once)
    with capture_logs() as logs:
        client.send(b"a FETCH 1 BODY[]\r\n")
        heard = b"}\r\n"
        with suppress(ConnectionResetError):
            heard = await client.reader.read(-1)
    assert LARGE.startswith(heard.partition(b"}\r\n")[2])
    (said,) = (log for log in logs if log["log_level"] == "error")
    assert said["error"] == "StoreDamaged: a sealed file is damaged"
    assert (said["mailbox"], said["uid"]) == ("INBOX", 1)


async def test_client_that_goes_in_the_middle(site: Site) -> None:
    """Who breaks a long response off is told from a message that cannot be read."""
    client = await site.client(select="INBOX")
    await client.append("INBOX", LARGE * 8)
    with capture_logs() as logs:
        client.send(b"a FETCH 1 BODY[]\r\n")
        await client.reader.readline()
        client.writer.transport.abort()
        while not any(log["event"] == "imap connection lost" for log in logs):  # noqa: ASYNC110 (nobody else is told)
            await asyncio.sleep(0)
    assert "the client has gone" in [log.get("error") for log in logs]
    assert not [log for log in logs if log["log_level"] == "error"]


async def test_password_is_not_taken_in_clear_from_elsewhere(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Off loopback and without TLS: LOGINDISABLED, PRIVACYREQUIRED (RFC 3501 §6.2.3, RFC 5530)."""
    monkeypatch.setattr("gateway.imap.session.is_loopback", lambda address: False)
    client = await site.client(login=False)
    assert b" LOGINDISABLED" in client.greeting
    assert b"AUTH=PLAIN" not in client.greeting
    for command in ("LOGIN alice secret", "AUTHENTICATE PLAIN AGFsaWNlAHNlY3JldA=="):
        _, tagged = await client.command(command)
        assert tagged.startswith(b"NO [PRIVACYREQUIRED]")
    await client.ok("STARTTLS")
    await client.writer.start_tls(site.certificate.client, server_hostname="localhost")
    await client.ok("LOGIN alice secret")


async def test_plain_text_on_the_tls_port(site: Site) -> None:
    """Whoever speaks in clear to the TLS port is cut off, and the server goes on."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.tls_port)
    writer.write(b"a LOGIN alice secret\r\n")
    heard = await reader.read()
    assert b"OK" not in heard
    writer.close()
    await site.client()


async def test_port_in_use(site: Site) -> None:
    """A port that is taken is an OSError, and nothing stays bound."""

    class Nobody(PasswordsOnly):
        async def authenticate(self, user: str, password: str) -> MailStore | None:
            return None

    server = ImapServer(Nobody(), None)
    with pytest.raises(OSError, match=r"(?i)address already in use"):
        await server.start([Endpoint("127.0.0.1", 0), Endpoint("127.0.0.1", site.port)], [])
    assert server.sockets == ()
    with pytest.raises(ValueError, match="certificate"):
        await server.start([], [Endpoint("127.0.0.1", 0)])


async def test_client_that_ends_its_side_is_still_answered(site: Site) -> None:
    """Commands sent before a half-close are carried out and answered."""
    client = await Client.connect(site.port)
    client.send(b"a LOGIN alice secret\r\nb CREATE Half\r\nc LOGOUT\r\n")
    client.writer.write_eof()
    answers = b"\n".join([await client.response() for _ in range(4)])
    assert re.search(rb"^b OK ", answers, re.MULTILINE)
    assert re.search(rb"^c OK ", answers, re.MULTILINE)
    client.close()


async def test_ipv6(start_site: SiteMaker, certificate: object) -> None:
    """::1 is loopback too, where the machine has it."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    site = await start_site()
    try:
        await site.server.start([Endpoint("::1", 0)], [])
    except OSError:
        pytest.skip("no IPv6 loopback")
    reader, writer = await asyncio.open_connection("::1", site.server.sockets[-1].getsockname()[1])
    assert b"AUTH=PLAIN" in await reader.readline()
    writer.close()


async def test_large_messages_of_one_append(start_site: SiteMaker, tmp_path: Path) -> None:
    """Large and small messages of one APPEND keep their places, and no file stays (RFC 3502)."""
    spool = tmp_path / "spool"
    spool.mkdir()
    site = await start_site(spool_directory=spool)
    client = await site.client()
    messages = [b"x: %d\r\n\r\n" % number + b"y" * size for number, size in enumerate((200_000, 5, 150_000, 7))]
    client.send(b"a APPEND INBOX" + b"".join(b" {%d+}\r\n" % len(one) + one for one in messages) + b"\r\n")
    _, tagged = await client.until(b"a")
    assert re.match(rb"OK \[APPENDUID \d+ 1:4\]", tagged)
    await client.ok("SELECT INBOX")
    for uid, message in enumerate(messages, start=1):
        (response,) = await client.ok(f"UID FETCH {uid} BODY.PEEK[]")
        assert response.endswith(b"{%d}\r\n" % len(message) + message + b")")
    assert not open_files_below(spool)


async def test_one_append_has_bounds(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spooled messages of one APPEND are bounded in number and size; what is too much is refused before it is sent."""
    monkeypatch.setattr(params, "MAX_SPOOLS", 2)
    client = await site.client()
    large = params.SPOOL_ABOVE + 1
    client.send((b"a APPEND INBOX" + (b" {%d+}\r\n" % large + b"x" * large) * 2) + b" {%d}\r\n" % large)
    assert (await client.until(b"a"))[1].startswith(b"NO [LIMIT] ")
    monkeypatch.setattr(params, "APPEND_TOTAL", large)
    client.send(b"b APPEND INBOX {%d+}\r\n" % large + b"x" * large + b" {%d}\r\n" % (64 << 20))
    assert (await client.until(b"b"))[1].startswith(b"NO [TOOBIG] ")
    assert await client.ok("STATUS INBOX (MESSAGES)") == [b"* STATUS INBOX (MESSAGES 0)"]


async def test_large_part_without_its_encoding(site: Site) -> None:
    """BINARY of a part larger than one piece is exact, whole and in part (RFC 3516 §4.2)."""
    octets = os.urandom(900_000)
    header = b"MIME-Version: 1.0\r\nContent-Type: application/x-data\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    client = await site.client()
    await client.append("INBOX", header + base64.encodebytes(octets).replace(b"\n", b"\r\n"))
    await client.ok("SELECT INBOX")
    assert await client.ok("FETCH 1 BINARY.SIZE[1]") == [b"* 1 FETCH (BINARY.SIZE[1] 900000)"]
    (whole,) = await client.ok("FETCH 1 BINARY.PEEK[1]")
    assert whole == b"* 1 FETCH (BINARY[1] ~{900000}\r\n" + octets + b")"
    (part,) = await client.ok("FETCH 1 BINARY.PEEK[1]<300001.500000>")
    assert part == b"* 1 FETCH (BINARY[1]<300001> ~{500000}\r\n" + octets[300_001:800_001] + b")"


async def test_nul_of_a_message_from_outside(site: Site) -> None:
    """A literal has no NUL (RFC 9051 §4.3.1): 0x80 stands where a message has one, and BINARY gives it as it is."""
    await site.alice.append("INBOX", b"x: 1\r\n\r\na\0b", frozenset(), 0, 0)
    client = await site.client(select="INBOX")
    assert await client.ok("FETCH 1 BODY.PEEK[TEXT]") == [b"* 1 FETCH (BODY[TEXT] {3}\r\na\x80b)"]
    assert await client.ok("FETCH 1 BINARY.PEEK[1]") == [b"* 1 FETCH (BINARY[1] ~{3}\r\na\0b)"]


async def test_many_search_results(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long SEARCH response leaves in pieces and is one line."""
    monkeypatch.setattr(params, "NUMBERS_AT_ONCE", 7)
    await site.alice.append_many("INBOX", [NewMessage(b"x: 1\r\n\r\n", frozenset(), 0, 0)] * 100)
    client = await site.client(select="INBOX")
    expected = b"* SEARCH " + b" ".join(b"%d" % number for number in range(1, 101))
    assert await client.ok("SEARCH ALL") == [expected]


async def test_forgotten_expunges(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where expunges are forgotten, whatever is not there is named, behind the last pair that holds (RFC 7162 §3.2)."""
    monkeypatch.setattr(expunged, "EXPUNGED_RUNS", 1)
    monkeypatch.setattr(expunged, "_KEPT", 0)
    _, uids = await site.alice.append_many("INBOX", [NewMessage(b"x: 1\r\n\r\n", frozenset({DELETED}), 0, 0)] * 9)
    mailbox = await site.alice.mailbox("INBOX")
    for uid in (2, 5, 8, 9):
        await site.alice.expunge(mailbox.id, [uid])
    client = await site.client()
    await client.ok("ENABLE QRESYNC")
    asked = f"SELECT INBOX (QRESYNC ({mailbox.uidvalidity} {mailbox.highest_modseq}"
    assert b"* VANISHED (EARLIER) 2,5,8:9" in await client.ok(f"{asked}))")
    assert b"* VANISHED (EARLIER) 5,8:9" in await client.ok(f"{asked} 1:{len(uids)} (1:2 1,3)))")
    assert b"* VANISHED (EARLIER) 8" in await client.ok(f"{asked} 6:8))")
