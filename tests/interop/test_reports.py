"""A real MTA asks for a report on what it delivers to us, and gets it."""

import smtplib
from collections.abc import Iterator
from email import message_from_bytes, policy

import pytest

from tests.interop import postfix
from tests.interop.mailbox import Mailbox, compose, octets
from tests.interop.name_server import NameServer
from tests.interop.postfix import Postfix
from tests.interop.server import DOMAIN, Server, User
from tests.interop.test_mx import Partner, recipients_in
from tests.interop.waiting import wait_for

pytestmark = pytest.mark.interop


@pytest.fixture
def partner(world: NameServer, server: Server) -> Partner:
    return Partner(world, server)


@pytest.fixture
def mta(partner: Partner, server: Server) -> Iterator[Postfix]:
    """The partner's host: its MX, and what its users send to us goes through it."""
    with postfix.running({DOMAIN: server.smtp}, listen=partner.endpoint, storing=partner.storing) as mta:
        yield mta


def test_a_postfix_user_is_told_that_her_mail_is_stored(
    server: Server, user: User, partner: Partner, mta: Postfix
) -> None:
    """NOTIFY, ENVID and ORCPT go through her Postfix to us; our report, signed, comes back by MX into her mailbox."""
    sent = octets(compose("asked for", "text\n", "asked@partner.example", user.address))
    with smtplib.SMTP(*mta.smtp, local_hostname="desk.partner.example", timeout=30) as client:
        client.sendmail(
            partner.address("anna"), [user.address], sent, ["ENVID=of-anna", "RET=HDRS"], ["NOTIFY=SUCCESS,FAILURE"]
        )
    with Mailbox(server, user) as mailbox:
        mailbox.wait_for(1)
    wait_for(lambda: bool(mta.stored("anna")), f"the report: {server.log()[-2000:]}")
    (content,) = mta.stored("anna")
    assert b"Return-Path: <>\r\n" in content
    report = message_from_bytes(content, policy=policy.default)
    (told,) = recipients_in(report)
    assert told["Action"] == "relayed"
    assert told["Final-Recipient"] == f"rfc822; {user.address}"
    assert told["Original-Recipient"] == f"rfc822;{user.address}".replace(";", "; ")
    assert "stored on 1 of 1 nodes" in told["Diagnostic-Code"]
    assert "of-anna" in content.decode()
    assert report["DKIM-Signature"]


def test_a_postfix_that_does_not_ask_hears_nothing(server: Server, user: User, partner: Partner, mta: Postfix) -> None:
    """The default is to be told of failures only."""
    sent = octets(compose("not asked for", "text\n", "quiet@partner.example", user.address))
    with smtplib.SMTP(*mta.smtp, local_hostname="desk.partner.example", timeout=30) as client:
        client.sendmail(partner.address("anna"), [user.address], sent)
    with Mailbox(server, user) as mailbox:
        mailbox.wait_for(1)
    assert [each for each in server.ask("queue-list") if each["where"] == "queue"] == []
    assert mta.stored("anna") == []
