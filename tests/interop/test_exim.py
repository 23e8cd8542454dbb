"""A real Exim sends to us in BDAT chunks, and takes what we send; both are looked at octet for octet."""

import re
import smtplib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from email import message_from_bytes, policy

import pytest

from gateway.doctor.zone import key_record
from p2pcore.crypto.dkim_keys import dkim_record, make_dkim_key
from tests.harness.mail import SENDER
from tests.interop import exim
from tests.interop.exim import Exim, Signing
from tests.interop.mailbox import Mailbox, compose, octets, trace_before, with_text
from tests.interop.mta import REFUSED
from tests.interop.name_server import NameServer
from tests.interop.server import DOMAIN, Server, User, submit
from tests.interop.test_mx import (
    Partner,
    fields_before,
    letter,
    of_identifier,
    recipients_in,
    report_in,
    wait_until_gone,
)
from tests.interop.waiting import wait_for

pytestmark = pytest.mark.interop

NOBODY = f"nobody@{DOMAIN}"
_LONG_FIELD = b"X-Long: " + b"\r\n ".join([b"0123456789" * 7] * 500) + b"\r\n"  # Exim's chunks have 8 KiB


def send(
    mta: Exim,
    content: bytes,
    *recipients: str,
    sender: str = SENDER,
    mail_options: Sequence[str] = (),
    rcpt_options: Sequence[str] = (),
) -> None:
    """Give the Exim a mail for us."""
    with smtplib.SMTP(*mta.smtp, local_hostname="client.sender.example", timeout=30) as client:
        client.sendmail(sender, recipients, content, ["BODY=8BITMIME", *mail_options], rcpt_options)


def chunks(mta: Exim) -> list[str]:
    """The BDAT commands that the Exim has sent; there was no DATA."""
    assert not re.search(r"SMTP.> DATA", mta.transcript())
    return re.findall(r"SMTP.> (BDAT .*)", mta.transcript())


def exchanges(mta: Exim) -> list[str]:
    """The commands that the Exim has sent and the codes of the replies, in their order, for each message."""
    return re.findall(r"cmdlog: '(.*)'", mta.transcript())


def outcomes(mta: Exim) -> list[str]:
    """The lines of Exim's log that say what became of a recipient of ours."""
    return [line for line in mta.log().splitlines() if re.search(rf" (=>|->|==|\*\*) \S+@{DOMAIN} ", line)]


@pytest.fixture
def mta(server: Server) -> Iterator[Exim]:
    """An Exim that sends to us."""
    with exim.running({DOMAIN: server.smtp}) as mta:
        yield mta


@pytest.fixture
def partner(world: NameServer, server: Server) -> Partner:
    return Partner(world, server)


@pytest.fixture
def host(partner: Partner, server: Server) -> Iterator[Exim]:
    """The partner's host: its MX, and what its users send to us goes through it."""
    with exim.running({DOMAIN: server.smtp}, listen=partner.endpoint, storing=partner.storing) as host:
        yield host


@pytest.mark.parametrize("tls", [True, False], ids=["STARTTLS", "clear"])
def test_chunks_arrive_octet_for_octet(server: Server, user: User, tls: bool) -> None:
    """Content of every kind comes in one, two or several chunks, and is in the mailbox as it was sent."""
    texts = {
        "eight-bit": "Übermorgen, naïve façade, 世界, €\n",
        "dots": ".\n..\n.hidden\n\n.\n",
        "blanks": "trailing \t \n\n\n",
        "empty": "",
        "large": ("0123456789abcdef" * 4 + "\n") * 80_000,  # five megabytes
    }
    mails = {}
    for name, text in texts.items():
        identifier = f"{name}@sender.example"
        mails[identifier] = with_text(compose(f"Grüße: {name}", "", identifier, user.address), text)
    header = compose("a long header", "x\n", "header@sender.example", user.address)
    mails["header@sender.example"] = _LONG_FIELD + octets(header)
    with exim.running({DOMAIN: server.smtp}, tls=tls) as mta:
        for content in mails.values():
            send(mta, content, user.address)
        mta.wait_until_sent()
        assert len(outcomes(mta)) == len(mails)
        assert all(' K C="250 2.6.0 stored on 1 of 1 nodes' in line for line in outcomes(mta))  # K: CHUNKING
        sizes = [command.split()[1:] for command in chunks(mta)]
        assert sum("LAST" in size for size in sizes) == len(mails)
        assert len(sizes) > len(mails) + 2
    with Mailbox(server, user) as mailbox:
        mailbox.wait_for(len(mails))
        for identifier, content in mails.items():
            trace = trace_before(mailbox.content("INBOX", identifier), content)
            assert (b" with ESMTPS " in trace) == tls


def test_one_refused_recipient(server: Server, user: User, mta: Exim) -> None:
    """MAIL, two RCPT, BDAT and QUIT come at once: the recipient who exists gets the mail, the other a 550."""
    sent = octets(compose("two", "text\n", "two@sender.example", user.address))
    send(mta, sent, user.address, NOBODY)
    mta.wait_until_sent()
    assert exchanges(mta)[0].endswith(":MAIL|:RCPT|:RCPT|:BDAT:QUIT:250:250:550:250:221")
    taken, refused = sorted(outcomes(mta), key=lambda line: " ** " in line)
    assert f" => {user.address} " in taken
    assert f" ** {NOBODY} " in refused
    assert "550 5.1.1" in refused
    with Mailbox(server, user) as mailbox:
        mailbox.wait_for(1)
        trace_before(mailbox.content("INBOX", "two@sender.example"), sent)


@pytest.mark.parametrize(
    ("header", "exchange"),
    [(b"", ":MAIL|:RCPT|:BDAT:QUIT:250:550:503:221"), (_LONG_FIELD, ":MAIL|:RCPT|:BDAT:250:550:503:QUIT:221")],
    ids=["one chunk", "several chunks"],
)
def test_chunk_without_recipients(mta: Exim, header: bytes, exchange: str) -> None:
    """A chunk that came in one go with a recipient who is refused is read and refused, and nothing in it is obeyed."""
    send(mta, header + octets(compose("nobody", "NOOP\n", "nobody@sender.example", NOBODY)), NOBODY)
    mta.wait_until_sent()
    (refused,) = outcomes(mta)
    assert "550 5.1.1" in refused
    assert exchanges(mta)[0].endswith(exchange)


@pytest.mark.parametrize("tls", [True, False], ids=["STARTTLS", "clear"])
def test_messages_over_one_connection(server: Server, user: User, tls: bool) -> None:
    """Of messages one behind the other each has its own outcome, and none is put off and sent again.

    Over TLS Exim ends its sending side with the last of them, and is answered all the same.
    """
    mails = {}
    for number in range(4):
        identifier = f"{number}@sender.example"
        header = _LONG_FIELD if number % 2 else b""
        mails[identifier] = header + octets(compose("one of many", f"{number}\n", identifier, user.address))
    with exim.running({DOMAIN: server.smtp}, tls=tls, together=True) as mta:
        for content in mails.values():
            send(mta, content, user.address)
        send(mta, octets(compose("nobody", "x\n", "nobody@sender.example", NOBODY)), NOBODY)
        mta.wait_until_sent()
        delivered = [line for line in outcomes(mta) if " => " in line]
        assert len(delivered) == len(mails)
        assert not [line for line in outcomes(mta) if " == " in line and "first-pass only" not in line]
        assert any("[127.0.0.1]*" in line for line in outcomes(mta))  # not the first over its connection
        assert [line.split()[4] for line in outcomes(mta) if " ** " in line] == [NOBODY]
    server.wait_until_filed()
    with Mailbox(server, user) as mailbox:
        assert sorted(mailbox.ids("INBOX")) == sorted(mails)
        for identifier, content in mails.items():
            trace_before(mailbox.content("INBOX", identifier), content)


def test_null_reverse_path(server: Server, user: User, mta: Exim) -> None:
    """A report from Exim, which has no reverse-path, keeps it so."""
    sent = octets(compose("report", "text\n", "report@sender.example", user.address))
    send(mta, sent, user.address, sender="<>")
    with Mailbox(server, user) as mailbox:
        mailbox.wait_for(1)
        assert trace_before(mailbox.content("INBOX", "report@sender.example"), sent).startswith(b"Return-Path: <>\r\n")


def test_internationalised_sender(server: Server, user: User, mta: Exim) -> None:
    """A reverse-path and a header in UTF-8 come with SMTPUTF8, and stay so."""
    sent = "From: zoë@sender.example\r\nMessage-ID: <utf8@sender.example>\r\nSubject: Grüße\r\n\r\nx\r\n".encode()
    send(mta, sent, user.address, sender="zoë@sender.example", mail_options=["SMTPUTF8"])
    with Mailbox(server, user) as mailbox:
        mailbox.wait_for(1)
        trace = trace_before(mailbox.content("INBOX", "utf8@sender.example"), sent)
    assert "Return-Path: <zoë@sender.example>".encode() in trace
    assert b" with UTF8SMTPS " in trace
    assert re.search(r"MAIL FROM:<zoë@sender.example> .*SMTPUTF8", mta.transcript())


def test_content_refused_after_the_last_chunk(server: Server, user: User, mta: Exim) -> None:
    """A line over 64 KiB in the second of two chunks: Exim takes the 554 for final, and nothing is stored."""
    send(mta, with_text(compose("long", "", "long@sender.example", user.address), "x" * 70_000 + "\n"), user.address)
    mta.wait_until_sent()
    (refused,) = outcomes(mta)
    assert " ** " in refused
    assert "554 5.6.0" in refused
    assert len(chunks(mta)) == 2
    with Mailbox(server, user) as mailbox:
        assert mailbox.messages("INBOX") == []


def test_signed_by_exim(server: Server, user: User, world: NameServer) -> None:
    """Its DKIM signature passes here, and its domain's DMARC policy with it; without one the policy is obeyed."""
    signing = Signing("signed.example", "exim", make_dkim_key())
    world.add(f"{key_record(signing.domain, signing.selector, dkim_record(signing.key))}")
    world.add(f'_dmarc.{signing.domain}. TXT "v=DMARC1; p=reject"')
    mails = {}
    for name, text in (("small", ".\nGrüße \t \n\n\n"), ("large", ("0123456789abcdef" * 4 + "\n") * 20_000)):
        identifier = f"{name}@{signing.domain}"
        mail = compose("Signed", "", identifier, user.address)
        mail.replace_header("From", f"author@{signing.domain}")
        mails[identifier] = with_text(mail, text)
    with exim.running({DOMAIN: server.smtp}, signing=signing) as mta:
        for content in mails.values():
            send(mta, content, user.address)
        mta.wait_until_sent()
        assert len(chunks(mta)) > len(mails)
    with Mailbox(server, user) as mailbox:
        mailbox.wait_for(len(mails))
        for identifier, sent in mails.items():
            content = mailbox.content("INBOX", identifier)
            assert content.endswith(sent)
            results = " ".join(message_from_bytes(content, policy=policy.default)["Authentication-Results"].split())
            assert f"dkim=pass header.d={signing.domain}" in results
            assert f"dmarc=pass (p=reject) header.from={signing.domain}" in results
    with exim.running({DOMAIN: server.smtp}) as mta:
        send(mta, mails[f"small@{signing.domain}"], user.address)
        mta.wait_until_sent()
        (refused,) = outcomes(mta)
        assert "550 5.7.1" in refused


def test_an_exim_user_is_told_that_her_mail_is_stored(server: Server, user: User, partner: Partner, host: Exim) -> None:
    """NOTIFY and ENVID go through her Exim to us; our report comes back by MX into her mailbox."""
    sent = octets(compose("asked for", "text\n", f"asked@{partner.domain}", user.address))
    options = {"mail_options": ["ENVID=of-anna", "RET=HDRS"], "rcpt_options": ["NOTIFY=SUCCESS,FAILURE"]}
    send(host, sent, user.address, sender=partner.address("anna"), **options)
    wait_for(lambda: bool(host.stored("anna")), f"the report: {server.log()[-2000:]}")
    (content,) = host.stored("anna")
    report = message_from_bytes(content, policy=policy.default)
    (told,) = recipients_in(report)
    assert told["Action"] == "relayed"
    assert told["Final-Recipient"] == f"rfc822; {user.address}"
    assert "of-anna" in content.decode()
    assert report["Return-path"] == "<>"


def test_exim_stores_octet_for_octet_what_was_submitted(
    server: Server, user: User, name_server: NameServer, partner: Partner
) -> None:
    """Text of every kind arrives as it was submitted, under TLS, with DKIM signatures that Exim verifies."""
    command = [sys.executable, "-m", "gateway", "dkim", "-c", str(server.config_file)]
    name_server.add(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    texts = {
        "eight-bit": "Übermorgen, naïve façade, 世界, €\n",
        "dots": ".\n..\n.hidden\n\n.\n",
        "blanks": "trailing \t \n\n\n",
        "large": ("0123456789abcdef" * 4 + "\n") * 30_000,
    }
    sent = {}
    with exim.running(listen=partner.endpoint, storing=partner.storing, resolver=name_server.endpoint.host) as host:
        for name, text in texts.items():
            identifier = f"{name}@{partner.domain}"
            sent[identifier] = letter(user, partner.address("anna"), f"Grüße: {name}", text, identifier)
            submit(server, user, sent[identifier], partner.address("anna"))
        wait_until_gone(server, user)
        stored = host.stored("anna")
        verified = re.findall(rf"DKIM: d={DOMAIN} .* a=(\S+) .*\[verification succeeded\]", host.log())
    assert sorted(verified) == sorted(["rsa-sha256", "ed25519-sha256"] * len(sent))
    for identifier, content in sent.items():
        fields = fields_before(of_identifier(stored, identifier), content)
        assert {field.lower() for field in fields} == {"return-path", "received", "dkim-signature"}
        assert fields["Return-path"] == f"<{user.address}>"
        assert "with esmtps (TLS1.3)" in " ".join(fields["Received"].split())


def test_what_exim_refuses_is_reported(server: Server, user: User, partner: Partner, host: Exim) -> None:
    """One of two recipients refused at RCPT, and another mail after the dot: a report on each quotes the reply."""
    anna, nobody = partner.address("anna"), partner.address("nobody")
    sent = letter(user, anna, "Two", "x\n", f"two@{partner.domain}")
    submit(server, user, sent, anna, nobody)
    submit(server, user, letter(user, anna, REFUSED, "x\n", f"refused@{partner.domain}"), anna)
    with Mailbox(server, user) as mailbox:
        mailbox.wait_for(2)
        reports = [message_from_bytes(content, policy=policy.default) for content in mailbox.messages("INBOX")]
    told = {fields["Final-Recipient"]: fields for report in reports for fields in recipients_in(report)}
    assert told[f"rfc822; {nobody}"]["Diagnostic-Code"] == "smtp; 550 5.1.1 no such user here"
    assert told[f"rfc822; {anna}"]["Diagnostic-Code"] == "smtp; 550 5.7.1 not in this house"
    wait_until_gone(server, user)
    (content,) = host.stored("anna")
    fields_before(content, sent)


def test_mail_waits_while_exim_defers_it(server: Server, user: User, partner: Partner, host: Exim) -> None:
    """A 4yz to one of two recipients, and one to a content: both wait, and arrive once at the next attempt."""
    anna, ben = partner.address("anna"), partner.address("ben")
    host.defer("ben")
    submit(server, user, letter(user, anna, "Two", "x\n", f"two@{partner.domain}"), anna, ben)
    submit(server, user, letter(user, anna, exim.DEFERRED, "x\n", f"deferred@{partner.domain}"), anna)

    def waiting() -> dict[str, str]:
        items = [item["recipients"] for item in server.outgoing(user) if item["where"] == "queue"]
        return {each["to"]: each["reply"] for item in items for each in item if each["reply"].startswith("4")}

    wait_for(lambda: len(waiting()) == 2, f"both are deferred: {host.log()[-2000:]}")
    assert waiting() == {ben: "451 4.2.1 her mailbox is busy", anna: "451 4.3.1 not now"}
    host.defer()
    server.ask("queue-retry", id="")
    wait_until_gone(server, user)
    assert len(host.stored("anna")) == 2
    assert len(host.stored("ben")) == 1
    with Mailbox(server, user) as mailbox:
        assert mailbox.messages("INBOX") == []


def test_exim_reports_to_our_user(server: Server, user: User, partner: Partner, host: Exim) -> None:
    """NOTIFY and ENVID of a submission reach the partner's Exim, and its report on the delivery comes to her."""
    anna = partner.address("anna")
    sent = letter(user, anna, "asked for", "x\n", f"asked@{partner.domain}")
    submit(server, user, sent, anna, mail_options=["ENVID=of-user"], rcpt_options=["NOTIFY=SUCCESS"])
    with Mailbox(server, user) as mailbox:
        report = report_in(mailbox)
    (told,) = recipients_in(report)
    assert (told["Action"], told["Status"]) == ("delivered", "2.0.0")
    assert told["Final-Recipient"].replace(" ", "") == f"rfc822;{anna}"
    assert "of-user" in str(report)
    assert report["Return-Path"] == "<>"
    assert len(host.stored("anna")) == 1
