"""What our users submit goes out by MX to a real Postfix; what it stored, and what it refused, is looked at."""

import subprocess
import sys
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage, Message
from itertools import count

import dkim
import pytest

from tests.interop import postfix
from tests.interop.mailbox import Mailbox, compose, with_text
from tests.interop.mta import REFUSED, Storing
from tests.interop.name_server import NameServer
from tests.interop.postfix import Postfix
from tests.interop.server import DOMAIN, HOST, Server, User, own_address, submit
from tests.interop.waiting import wait_for

pytestmark = pytest.mark.interop

_numbers = count(1)


class Partner:
    """Another mail domain, whose one MX host is not up yet."""

    def __init__(self, world: NameServer, server: Server) -> None:
        number = next(_numbers)
        self.domain = f"partner{number}.example"
        self.endpoint = own_address(200 + number), server.mx_port
        self.storing = Storing(self.domain, ("anna", "ben"))
        world.add(f"{self.domain}. MX 10 mx.{self.domain}.\nmx.{self.domain}. A {self.endpoint[0]}")
        world.add(f'{self.domain}. TXT "v=spf1 ip4:{HOST} -all"')

    def address(self, local_part: str) -> str:
        return f"{local_part}@{self.domain}"


@pytest.fixture
def partner(world: NameServer, server: Server) -> Partner:
    return Partner(world, server)


@pytest.fixture
def mta(partner: Partner) -> Iterator[Postfix]:
    """The partner's MX host, up."""
    with postfix.running(listen=partner.endpoint, storing=partner.storing) as mta:
        yield mta


def letter(user: User, to: str, subject: str, text: str, identifier: str) -> bytes:
    """A mail by `user`, its text as it is."""
    mail = compose(subject, "", identifier, to)
    mail.replace_header("From", f"Zoë Inside <{user.address}>")
    return with_text(mail, text)


def of_identifier(contents: list[bytes], identifier: str) -> bytes:
    (content,) = [each for each in contents if f"<{identifier}>".encode() in each]
    return content


def fields_before(content: bytes, sent: bytes) -> EmailMessage:
    """Return the fields that stand before the octets `sent`."""
    assert content.endswith(sent)
    return message_from_bytes(content.removesuffix(sent) + b"\r\n", policy=policy.default)


def report_in(mailbox: Mailbox) -> EmailMessage:
    """Wait for the one report in INBOX and return it."""
    mailbox.wait_for(1)
    (content,) = mailbox.messages("INBOX")
    return message_from_bytes(content, policy=policy.default)


def recipients_in(report: EmailMessage) -> list[Message]:
    """Return the fields of each recipient whom a report is about (RFC 3464 §2.3)."""
    assert report.get_content_type() == "multipart/report"
    _, status, _ = report.iter_parts()
    assert status.get_content_type() == "message/delivery-status"
    blocks = status.get_payload()
    assert isinstance(blocks, list)
    return [block for block in blocks[1:] if isinstance(block, Message)]


def wait_until_gone(server: Server, user: User) -> None:
    """Wait until the gateway's queue has nothing of hers any more."""
    gone = {"delivered", "failed"}

    def is_gone() -> bool:
        states = [
            (each["where"], recipient["state"]) for each in server.outgoing(user) for recipient in each["recipients"]
        ]
        return all(where != "queue" and state in gone for where, state in states)

    wait_for(is_gone, f"nothing of {user.address} is on its way: {server.log()[-2000:]}")


def test_postfix_stores_octet_for_octet_what_was_submitted(
    server: Server, user: User, world: NameServer, partner: Partner, mta: Postfix
) -> None:
    """Text of every kind arrives as it was submitted, under TLS, with a DKIM signature by the key that we publish."""
    texts = {
        "eight-bit": "Übermorgen, naïve façade, 世界, €\n",
        "dots": ".\n..\n.hidden\n\n.\n",
        "from": "From here on it is text\n>From there too\n",
        "long": "x" * 900 + "\n" + "y" * 990 + "\n",
        "blanks": "trailing \t \n\n\n",
        "large": ("0123456789abcdef" * 4 + "\n") * 30_000,
    }
    sent = {}
    for name, text in texts.items():
        identifier = f"{name}@{partner.domain}"
        sent[identifier] = letter(user, partner.address("anna"), f"Grüße: {name}", text, identifier)
        submit(server, user, sent[identifier], partner.address("anna"))
    wait_for(lambda: len(mta.stored("anna")) == len(sent), f"all are stored: {mta.log()[-2000:]}")
    command = [sys.executable, "-m", "gateway", "dkim", "-c", str(server.config_file)]
    world.add(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    stored = mta.stored("anna")
    for identifier, content in sent.items():
        arrived = of_identifier(stored, identifier)
        fields = fields_before(arrived, content)
        assert set(fields.keys()) <= {"Return-Path", "X-Original-To", "Delivered-To", "Received", "DKIM-Signature"}
        assert fields["Return-Path"] == f"<{user.address}>"
        assert "using TLSv1.3" in fields["Received"]
        assert "home.example" not in str(fields)  # where she wrote it is nobody's business
        assert f"d={DOMAIN};" in fields["DKIM-Signature"]
        assert dkim.verify(arrived, dnsfunc=world.text)
        assert not dkim.verify(arrived.replace(b"\nSubject:", b"\nSubject: [changed]", 1), dnsfunc=world.text)
    wait_until_gone(server, user)


def test_one_refused_recipient_is_reported(server: Server, user: User, partner: Partner, mta: Postfix) -> None:
    """Of two recipients one gets the mail; on the other, refused at RCPT, there is one report that quotes the reply."""
    identifier = f"two@{partner.domain}"
    sent = letter(user, partner.address("anna"), "Two", "x\n", identifier)
    submit(server, user, sent, partner.address("anna"), partner.address("nobody"))
    with Mailbox(server, user) as mailbox:
        report = report_in(mailbox)
        (fields,) = recipients_in(report)
        assert fields["Final-Recipient"] == f"rfc822; {partner.address('nobody')}"
        assert (fields["Action"], fields["Status"]) == ("failed", "5.1.1")
        assert fields["Remote-MTA"] == f"dns; mx.{partner.domain}"
        assert fields["Diagnostic-Code"].startswith("smtp; 550 5.1.1")
        assert "User unknown" in fields["Diagnostic-Code"]
        explanation, _, returned = report.iter_parts()
        assert partner.address("nobody") in explanation.get_content()
        assert partner.address("anna") not in explanation.get_content()
        assert f"Message-ID: <{identifier}>" in returned.get_content()
        assert report["Return-Path"] == "<>"
        assert mailbox.flags("INBOX", report["Message-ID"].strip("<>")) == set()
        wait_until_gone(server, user)
        assert len(mailbox.messages("INBOX")) == 1
    assert fields_before(of_identifier(mta.stored("anna"), identifier), sent)["Return-Path"] == f"<{user.address}>"


def test_content_refused_after_the_dot_is_reported(server: Server, user: User, partner: Partner, mta: Postfix) -> None:
    """A 5yz after the final dot is final for all recipients, and one report names them all."""
    to = [partner.address(each) for each in ("anna", "ben")]
    submit(server, user, letter(user, to[0], REFUSED, "x\n", f"refused@{partner.domain}"), *to)
    with Mailbox(server, user) as mailbox:
        report = report_in(mailbox)
    recipients = recipients_in(report)
    assert [each["Final-Recipient"] for each in recipients] == [f"rfc822; {address}" for address in to]
    assert all("550 5.7.1 not in this house" in each["Diagnostic-Code"] for each in recipients)
    wait_until_gone(server, user)
    assert mta.stored("anna") == mta.stored("ben") == []


def test_next_host_is_tried_where_the_first_is_dead(
    server: Server, user: User, world: NameServer, partner: Partner, mta: Postfix
) -> None:
    """Where nobody listens at the preferred MX host, the mail goes to the next one in the same attempt."""
    world.add(f"{partner.domain}. MX 1 dead.{partner.domain}.\ndead.{partner.domain}. A {own_address(250)}")
    identifier = f"next@{partner.domain}"
    submit(server, user, letter(user, partner.address("ben"), "Next", "x\n", identifier), partner.address("ben"))
    wait_until_gone(server, user)
    of_identifier(mta.stored("ben"), identifier)


def test_mail_waits_for_a_host_that_is_down(server: Server, user: User, partner: Partner) -> None:
    """While a destination is down its mail is in the queue, also over a restart of ours; then it is there once."""
    identifier = f"later@{partner.domain}"
    submit(server, user, letter(user, partner.address("anna"), "Later", "x\n", identifier), partner.address("anna"))

    def reply() -> str:
        waiting = [each for each in server.outgoing(user) if each["where"] == "queue"]
        return str(waiting[0]["recipients"][0]["reply"]) if waiting else ""

    wait_for(reply, "the first attempt has failed")
    assert f"mx.{partner.domain}" in reply()
    server.kill()
    server.start()
    with postfix.running(listen=partner.endpoint, storing=partner.storing) as mta:
        server.ask("queue-retry", id="")
        wait_until_gone(server, user)
        of_identifier(mta.stored("anna"), identifier)
    with Mailbox(server, user) as mailbox:
        assert mailbox.messages("INBOX") == []


def test_domain_that_does_not_exist_is_reported(server: Server, user: User) -> None:
    """A recipient whose domain is not in DNS is reported on at once."""
    to = "somebody@nowhere.example"
    submit(server, user, letter(user, to, "Nowhere", "x\n", "nowhere@here.example"), to)
    with Mailbox(server, user) as mailbox:
        (fields,) = recipients_in(report_in(mailbox))
    assert (fields["Final-Recipient"], fields["Status"]) == (f"rfc822; {to}", "5.1.2")
