"""Two domains in one gateway's process, one of them internationalised: what strangers, users and administrators see."""

import asyncio
import smtplib
import socket
import unicodedata
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from pathlib import Path

import pytest

from gateway import config as configuration
from gateway import control
from gateway.administration import administer
from gateway.doctor.examination import examine
from gateway.errors import ConfigurationError
from gateway.founding import found_domain
from gateway.further import further_sites
from gateway.main import running
from gateway.site import CONFIG_NAME, Site
from p2pcore.clock import system_clock
from tests.gateway.sites import DOMAIN, PASSWORD, endpoints
from tests.support.fake_dns import FakeDns

OTHER, OTHER_UNICODE = "xn--bcher-kva.example", "bücher.example"
HOST = f"mx.{DOMAIN}"
ALICE = f"alice@{DOMAIN}"
ANNA = f"anna@{OTHER}"
JUERGEN = f"jürgen@{OTHER_UNICODE}"
PATIENCE = 30


@dataclass(frozen=True)
class World:
    """Alice is a user of the first domain; anna and jürgen are of the other, whose site lies in its directory."""

    site: Site
    other: Site

    async def say(self, *commands: str) -> list[str]:
        """Return the last line of each reply of the one listener; a command may hold several lines."""
        smtp = self.site.config.smtp.listen[0]
        reader, writer = await asyncio.open_connection(smtp.host, smtp.port)
        replies = [await _reply(reader)]
        for command in ("EHLO sender.example", *commands):
            writer.write(f"{command}\r\n".encode())
            replies.append(await _reply(reader))
        writer.close()
        return replies[2:]

    async def inbox(self, site: Site, user: str, subject: str) -> bytes:
        """Return the message of this subject when it has come to `user`."""
        return await asyncio.to_thread(_fetched, site, user, subject)


async def _reply(reader: asyncio.StreamReader) -> str:
    async with asyncio.timeout(PATIENCE):
        while (line := (await reader.readline()).decode())[3:4] == "-":
            pass
    return line.rstrip("\r\n")


def _fetched(site: Site, user: str, subject: str) -> bytes:
    """Wait in IDLE for the first message, and return it; its subject must be this one."""
    imap, octets = site.config.imap.listen[0], user.encode()
    with (
        socket.create_connection((imap.host, imap.port), timeout=PATIENCE) as connection,
        connection.makefile("rb") as ours,
    ):

        def until(*beginnings: bytes) -> bytes:
            while not (line := ours.readline()).startswith(beginnings):
                assert line, "closed"
            return line

        connection.sendall(b'a LOGIN {%d+}\r\n%s "%s"\r\n' % (len(octets), octets, PASSWORD.encode()))
        assert until(b"a ").startswith(b"a OK")
        connection.sendall(b"b EXAMINE INBOX\r\n")
        if until(b"* 0 EXISTS", b"* 1 EXISTS").startswith(b"* 0"):
            until(b"b OK")
            connection.sendall(b"c IDLE\r\n")
            until(b"* 1 EXISTS")
            connection.sendall(b"DONE\r\n")
        connection.sendall(b"d FETCH 1 BODY.PEEK[]\r\n")
        size = int(until(b"* 1 FETCH").rpartition(b"{")[2].rstrip(b"}\r\n"))
        content = ours.read(size)
    assert f"Subject: {subject}\r\n".encode() in content
    return content


def _submit(site: Site, sender: str, recipient: str, message: EmailMessage) -> None:
    submission = site.config.submission.listen[0]
    with smtplib.SMTP(submission.host, submission.port, timeout=PATIENCE) as client:
        client.ehlo()
        plain = b64encode(f"\0{sender}\0{PASSWORD}".encode()).decode()
        assert client.docmd("AUTH", f"PLAIN {plain}")[0] == 235
        international = () if sender.isascii() else ("SMTPUTF8", "BODY=8BITMIME")
        policy = SMTP if sender.isascii() else SMTPUTF8
        client.sendmail(sender, [recipient], message.as_bytes(policy=policy), mail_options=international)


def _mail(sender: str, subject: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["Subject"] = sender, subject
    message.set_content("hello")
    return message


def _found(directory: Path, domain: str, *overrides: str) -> Site:
    raw = configuration.with_overrides({"domain": {"name": domain}}, [*endpoints(), *overrides])
    return found_domain(directory, configuration.check(raw, "test"))


@pytest.fixture
async def world(tmp_path: Path, weak_passphrases: None) -> AsyncIterator[World]:
    dns = FakeDns()
    await dns.start()
    outgoing = [f'outbound.resolvers=["{dns.endpoint}"]', "outbound.port=2525", f'smtp.hostname="{HOST}"']
    first = _found(tmp_path / "one", DOMAIN, *outgoing, 'smtp.also=["two/p2pmail.toml"]')
    other = _found(tmp_path / "one" / "two", OTHER_UNICODE, *outgoing)
    address, relays = first.config.smtp.listen[0].host, [each.config.relay.listen[0] for each in (first, other)]
    for each, relay in zip((first, other), relays, strict=True):
        each.config_file.write_text(
            configuration.render(configuration.load(each.config_file, [f'relay.advertise="{relay}"']))
        )
    dns.add(
        f"""
        {DOMAIN}. MX 10 {HOST}.
        {OTHER}. MX 10 {HOST}.
        {HOST}. A {address}
        """
    )
    world = World(Site.open(first.config_file), Site.open(other.config_file))
    add = lambda site, user: administer(site, "user-add", address=user, password=PASSWORD)  # noqa: E731
    for site, user in ((world.site, ALICE), (world.other, ANNA), (world.other, JUERGEN)):
        await asyncio.to_thread(add, site, user)
    with world.site.locked():
        async with running(world.site):
            yield world
    await dns.stop()


async def test_two_domains_on_one_listener(world: World) -> None:
    """Mail for each domain comes in at one port, in either form of its name, and what is nobody's is refused."""
    replies = await world.say(
        "MAIL FROM:<a@sender.example> SMTPUTF8",
        f"RCPT TO:<{ANNA}>",
        f"RCPT TO:<anna@{OTHER_UNICODE}>",
        f"RCPT TO:<nobody@{OTHER}>",
        "RCPT TO:<a@elsewhere.example>",
        f"RCPT TO:<{ALICE}>",
        f"RCPT TO:<nobody@{DOMAIN}>",
        "RCPT TO:<postmaster>",
        "RSET",
        "MAIL FROM:<a@sender.example>",
        f"RCPT TO:<{ALICE}>",
        "DATA",
        "Subject: to alice\r\n\r\n.",
        "MAIL FROM:<a@sender.example>",
        f"RCPT TO:<{ANNA}>",
        "DATA",
        "Subject: to anna\r\n\r\n.",
    )
    assert [reply[:9] for reply in replies] == [
        "250 2.1.0",
        "250 2.1.5",
        "250 2.1.5",
        "550 5.1.1",
        "550 5.7.1",
        "452 4.5.3",  # one domain in a transaction (RFC 5321 §4.5.3.1.10: the sender repeats for the rest)
        "452 4.5.3",
        "250 2.1.5",
        "250 2.0.0",
        "250 2.1.0",
        "250 2.1.5",
        "354 end d",
        "250 2.6.0",
        "250 2.1.0",
        "250 2.1.5",
        "354 end d",
        "250 2.6.0",
    ]
    assert b"Subject: to alice" in await world.inbox(world.site, ALICE, "to alice")
    assert b"Subject: to anna" in await world.inbox(world.other, ANNA, "to anna")


async def test_users_of_the_two_domains_mail_each_other_as_strangers_do(world: World) -> None:
    """By MX, which is this very host: signed with the sender's domain's key, and taken at the one listener."""
    await asyncio.to_thread(_submit, world.site, ALICE, ANNA, _mail(ALICE, "across"))
    received = await world.inbox(world.other, ANNA, "across")
    assert f"d={DOMAIN}".encode() in received
    await asyncio.to_thread(_submit, world.other, ANNA, ALICE, _mail(ANNA, "and back"))
    received = await world.inbox(world.site, ALICE, "and back")
    assert f"d={OTHER}".encode() in received


async def test_an_internationalised_user(world: World) -> None:
    """She gets mail with SMTPUTF8 in any normal form and case, is refused without it, logs in and sends."""
    spelt_apart = unicodedata.normalize("NFD", JUERGEN)
    replies = await world.say(
        "MAIL FROM:<a@sender.example>",
        f"RCPT TO:<{JUERGEN}>",
        "RSET",
        "MAIL FROM:<a@sender.example> SMTPUTF8",
        f"RCPT TO:<{spelt_apart}>",
        f"RCPT TO:<JÜRGEN+tag@{OTHER.upper()}>",
        "DATA",
        f"Subject: hers\r\nTo: {JUERGEN}\r\n\r\n.",
    )
    assert [reply[:9] for reply in replies] == [
        "250 2.1.0",
        "553 5.6.7",  # RFC 6531 §3.5
        "250 2.0.0",
        "250 2.1.0",
        "250 2.1.5",
        "250 2.1.5",
        "354 end d",
        "250 2.6.0",
    ]
    received = await world.inbox(world.other, spelt_apart, "hers")
    assert f"To: {JUERGEN}".encode() in received  # the content is as it came
    await asyncio.to_thread(_submit, world.other, JUERGEN, ANNA, _mail(JUERGEN, "from her"))
    assert f"Return-Path: <{JUERGEN}>".encode() in await world.inbox(world.other, ANNA, "from her")


async def test_each_domain_is_administered_in_its_directory(world: World) -> None:
    """Both have a status of their own; the first one's names the other and tells its warnings."""
    first = await asyncio.to_thread(control.ask, world.site.control_socket, "status", {})
    other = await asyncio.to_thread(control.ask, world.other.control_socket, "status", {})
    assert (first["domain"], first["also"]) == (DOMAIN, [OTHER])
    assert (other["domain"], other["also"]) == (OTHER, [])
    assert [f"{OTHER}: {warning}" for warning in other["warnings"]] == first["warnings"][-len(other["warnings"]) :]


async def test_postmaster_of_a_further_domain(world: World) -> None:
    """Bare postmaster in a transaction of the other domain is that domain's."""
    replies = await world.say(
        "MAIL FROM:<>",
        f"RCPT TO:<postmaster@{OTHER}>",
        "RCPT TO:<Postmaster>",
        "DATA",
        "Subject: report\r\n\r\n.",
    )
    assert replies[-1].startswith("250 2.6.0 ")
    assert b"Subject: report" in await world.inbox(world.other, ANNA, "report")


async def test_doctor_looks_at_each_domain(world: World) -> None:
    """One examination tells of both, and of the listener that both have."""
    smtp = world.site.config.smtp.listen[0]
    found = await examine(world.site, system_clock, "nowhere.example", port=smtp.port)
    told = {(each.check, each.subject): each.level for each in found}
    for domain in (DOMAIN, OTHER):
        assert told["MX", domain] == "ok"
        assert told["authority", domain] == "ok"
    assert told["port 25 in", f"{smtp}"] == "ok"


@pytest.mark.parametrize(
    ("also", "roles", "complaint"),
    [
        ('["missing/p2pmail.toml"]', '["gateway"]', "does not exist"),
        ('["two/p2pmail.toml"]', '["node"]', "is no gateway"),
        ('["p2pmail.toml"]', '["gateway"]', "smtp.also of its own"),
        ('["two/p2pmail.toml", "two/p2pmail.toml"]', '["gateway"]', "lies beside"),
        ('["same/p2pmail.toml"]', '["gateway"]', "already"),
    ],
)
def test_what_cannot_run_together_is_named(tmp_path: Path, also: str, roles: str, complaint: str) -> None:
    """A further site that is missing, no gateway, this one, or of a domain that is there already ends the start."""

    def write(directory: Path, domain: str, *overrides: str) -> Path:
        directory.mkdir()
        raw = configuration.with_overrides({"domain": {"name": domain}}, [*endpoints(), *overrides])
        (directory / CONFIG_NAME).write_text(configuration.render(configuration.check(raw, "test")))
        return directory / CONFIG_NAME

    first = write(tmp_path / "one", DOMAIN, f"smtp.also={also}")
    write(tmp_path / "one" / "two", OTHER, f"domain.roles={roles}")
    write(tmp_path / "one" / "same", DOMAIN)
    with pytest.raises(ConfigurationError, match=complaint):
        further_sites(Site.open(first))
