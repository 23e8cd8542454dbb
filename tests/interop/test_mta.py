"""Real MTAs and senders deliver to us; what they sent is read back octet for octet."""

import re
import smtplib
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness.mail import SENDER
from tests.interop import postfix
from tests.interop.mailbox import Mailbox, compose, octets, trace_before, with_text
from tests.interop.programs import program, swaks
from tests.interop.server import DOMAIN, HOST, Server, User, free_ports
from tests.interop.waiting import wait_for

pytestmark = pytest.mark.interop

_WITNESS = "witness.example"  # mail for it goes to smtp-sink, which writes down what it gets


@contextmanager
def sink(directory: Path) -> Iterator[tuple[str, int]]:
    """Run Postfix's smtp-sink, which writes each message into `directory` with its own fields in front."""
    (port,) = free_ports(1)
    process = subprocess.Popen(
        [program("smtp-sink", "postfix"), "-u", "root", "-d", f"{directory}/%M.", f"{HOST}:{port}", "100"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        wait_for(lambda: _accepts((HOST, port)), "smtp-sink listens")
        yield HOST, port
    finally:
        process.terminate()
        process.communicate()


def _accepts(endpoint: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(endpoint) == 0


@pytest.mark.parametrize("options", [[], ["--tls"], ["--pipeline"]], ids=["plain", "STARTTLS", "PIPELINING"])
def test_swaks_delivers(server: Server, user: User, tmp_path: Path, options: list[str]) -> None:
    """swaks sends a file of its own; the reader gets these octets behind the trace fields."""
    text = "Zeile mit Umlauten äöü\n.\n..\nEnde\n"
    sent = octets(compose("Grüße von swaks", text, "swaks@sender.example", user.address))
    # swaks: Unix line ends, and it puts the last one itself
    (tmp_path / "mail").write_bytes(sent.replace(b"\r\n", b"\n").removesuffix(b"\n"))
    endpoint = f"{server.smtp[0]}:{server.smtp[1]}"
    command = [swaks(), "--server", endpoint, "--from", SENDER, "--to", user.address, *options]
    command += ["--data", f"@{tmp_path / 'mail'}"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "250 2.6.0 stored on 1 of 1 nodes" in ended.stdout
    with Mailbox(server, user) as mailbox:
        mailbox.wait_for(1)
        (content,) = mailbox.messages("INBOX")
    trace = trace_before(content, sent)
    assert f"Return-Path: <{SENDER}>".encode() in trace
    assert (b" with ESMTPS " in trace) == (options == ["--tls"])


def test_swaks_is_told_that_there_is_no_such_address(server: Server, user: User) -> None:
    """RCPT for an unknown address is refused for good, and nothing is stored for the known one in its place."""
    endpoint = f"{server.smtp[0]}:{server.smtp[1]}"
    command = [swaks(), "--server", endpoint, "--from", SENDER, "--to"]
    for recipient, reply in ((f"nobody@{DOMAIN}", "550 5.1.1"), ("somebody@elsewhere.example", "550 5.7.1")):
        ended = subprocess.run([*command, recipient], capture_output=True, text=True, check=False)
        assert ended.returncode == 24, ended.stdout  # no recipients
        assert reply in ended.stdout
    with Mailbox(server, user) as mailbox:
        assert mailbox.messages("INBOX") == []


def test_smtp_source_delivers_in_parallel_sessions(server: Server, user: User) -> None:
    """Postfix's load generator has every one of its messages taken, and each is there once."""
    endpoint = f"{server.smtp[0]}:{server.smtp[1]}"
    command = [program("smtp-source", "postfix"), "-s", "8", "-m", "80", "-l", "8192", "-f", SENDER, "-t", user.address]
    subprocess.run([*command, "-M", "mta.sender.example", endpoint], check=True, capture_output=True)
    server.wait_until_filed()
    with Mailbox(server, user) as mailbox:
        identifiers = mailbox.ids("INBOX")
    assert len(set(identifiers)) == len(identifiers) == 80


def _mails(user: User) -> dict[str, bytes]:
    """Mails of different kinds by their Message-ID."""
    texts = {
        "eight-bit": "Übermorgen, naïve façade, 世界, €\n",
        "dots": ".\n..\n.hidden\n\n.\n",
        "long": "x" * 900 + "\n" + "y" * 990 + "\n",
        "blanks": "trailing \t \n\n\n",
        "large": "0123456789abcdef" * 4 + "\n",
    }
    mails = {}
    for name, text in texts.items():
        mail = compose(f"Postfix: {name}", "", f"{name}@sender.example", user.address)
        mails[f"{name}@sender.example"] = with_text(mail, text * (30_000 if name == "large" else 1))
    return mails


def test_postfix_relays_octet_for_octet(server: Server, user: User, tmp_path: Path) -> None:
    """One queue file of a Postfix goes to us and to its own smtp-sink; both have the same content."""
    mails = _mails(user)
    witnessed = tmp_path / "witness"
    witnessed.mkdir()
    with sink(witnessed) as witness, postfix.running({DOMAIN: server.smtp, _WITNESS: witness}) as mta:
        with smtplib.SMTP(*mta.smtp, local_hostname="client.sender.example", timeout=30) as client:
            for content in mails.values():
                client.sendmail(SENDER, [user.address, f"copy@{_WITNESS}"], content, ["BODY=8BITMIME"])
        mta.wait_until_sent()
        assert "status=bounced" not in mta.log()
    copies = [path.read_bytes() for path in witnessed.iterdir()]
    with Mailbox(server, user) as mailbox:
        mailbox.wait_for(len(mails))
        for identifier in mails:
            content = mailbox.content("INBOX", identifier)
            (copy,) = [each for each in copies if f"<{identifier}>".encode() in each]
            # smtp-sink: its own fields, the content with Unix line ends, an empty line
            start = copy.index(b"Received: from client.sender.example")
            relayed = copy[start:].removesuffix(b"\n").replace(b"\n", b"\r\n")
            assert b" with ESMTPS " in trace_before(content, relayed)
            assert relayed.endswith(mails[identifier])


def test_postfix_bounces_what_we_refuse(server: Server) -> None:
    """A Postfix takes our 550 for what it is: final, with our text in its log."""
    with postfix.running({DOMAIN: server.smtp}) as mta:
        with smtplib.SMTP(*mta.smtp, local_hostname="client.sender.example", timeout=30) as client:
            client.sendmail("<>", [f"nobody@{DOMAIN}"], b"Subject: x\r\n\r\nx\r\n")
        mta.wait_until_sent()
        outcome = re.search(r"dsn=(\S+), status=(\w+) \((.*)\)", mta.log())
    assert outcome is not None
    assert outcome.group(1, 2) == ("5.1.1", "bounced")
    assert "550 5.1.1" in outcome.group(3)


def test_postfix_retries_what_a_power_cut_interrupted(server: Server, user: User) -> None:
    """We are killed while a Postfix delivers 60 messages and start again; it delivers the rest, each is seen once."""

    def arrived(at_least: int) -> bool:
        accounts = server.status()["accounts"]
        return any(each["address"] == user.address and each["messages"] >= at_least for each in accounts)

    with postfix.running({DOMAIN: server.smtp}) as mta:
        endpoint = f"{mta.smtp[0]}:{mta.smtp[1]}"
        command = [program("smtp-source", "postfix"), "-s", "6", "-m", "60", "-f", SENDER, "-t", user.address, endpoint]
        with subprocess.Popen(command) as source:
            wait_for(lambda: arrived(5), "some messages are there")
            server.kill()
            source.wait()
        server.start()
        mta.wait_until_sent()
        assert "status=bounced" not in mta.log()
    server.wait_until_filed()
    with Mailbox(server, user) as mailbox:
        seen = Counter(mailbox.ids("INBOX"))
    assert len(seen) == 60
    assert set(seen.values()) == {1}
