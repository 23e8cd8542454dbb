"""Thunderbird writes and answers; what the recipients have, and what is in Sent, is what it sent."""

from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest

from tests.harness.mail import send
from tests.interop import postfix
from tests.interop.mailbox import Mailbox, compose, octets, trace_before
from tests.interop.mta import Storing
from tests.interop.name_server import NameServer
from tests.interop.server import DOMAIN, Server, User, own_address, submit
from tests.interop.thunderbird import PLAIN, STARTTLS, TLS, Account, Thunderbird
from tests.interop.waiting import wait_for

pytestmark = pytest.mark.interop


@pytest.fixture
def friend(server: Server) -> User:
    """Another user of the same domain."""
    return server.new_user()


@pytest.fixture
def account(thunderbird: Thunderbird, user: User) -> Account:
    """The user's account in Thunderbird, which can send without TLS, as on loopback."""
    account = thunderbird.add_account(user)
    thunderbird.add_sender(user)
    return account


@pytest.fixture
def mailbox(server: Server, user: User) -> Iterator[Mailbox]:
    """The user's account over imaplib."""
    with Mailbox(server, user) as mailbox:
        yield mailbox


@pytest.fixture
def friends(server: Server, friend: User) -> Iterator[Mailbox]:
    """The friend's account over imaplib."""
    with Mailbox(server, friend) as mailbox:
        yield mailbox


def parsed(content: bytes) -> EmailMessage:
    return message_from_bytes(content, policy=policy.default)


@pytest.mark.parametrize("security", [PLAIN, STARTTLS, TLS], ids=["plain", "STARTTLS", "TLS"])
def test_new_message_reaches_the_friend(
    thunderbird: Thunderbird, user: User, friend: User, mailbox: Mailbox, friends: Mailbox, security: int
) -> None:
    """The friend has the very octets of the copy in Sent, marked as signed by the user who wrote them."""
    account = thunderbird.add_account(user)
    thunderbird.add_sender(user, security)
    text = "Grüße aus Zürich – 世界\n\n.\n..dots\n"
    identifier = account("sendNew", friend.address, "Schöne Grüße", text)
    friends.wait_for_ids("INBOX", identifier)
    mailbox.wait_for_ids("Sent", identifier)
    arrived, copy = friends.content("INBOX", identifier), mailbox.content("Sent", identifier)
    assert f"Return-Path: <{user.address}>".encode() in trace_before(arrived, copy)
    assert friends.flags("INBOX", identifier) == {"$P2PMailSigned"}
    mail = parsed(arrived)
    assert (mail["Subject"], mail["To"]) == ("Schöne Grüße", friend.address)
    assert mail.get_content().replace("\r\n", "\n").strip() == text.strip()


def test_conversation_within_the_domain(
    thunderbird: Thunderbird, account: Account, user: User, friend: User, mailbox: Mailbox, friends: Mailbox
) -> None:
    """Two users of one Thunderbird write to each other: each hears of mail by IDLE, and the answers form a thread."""
    other = thunderbird.add_account(friend)
    thunderbird.add_sender(friend)
    question = account("sendNew", friend.address, "Lunch?", "At noon, in the park?\n")
    other("downloaded", "Inbox", question)
    answer = other("sendReply", "Inbox", question, "Gladly.\n")
    friends.wait_for_flags("INBOX", question, "\\Answered", "$P2PMailSigned")
    account("downloaded", "Inbox", answer)
    thanks = account("sendReply", "Inbox", answer, "See you there.\n")
    friends.wait_for_ids("INBOX", question, thanks)
    first, second = parsed(mailbox.content("INBOX", answer)), parsed(friends.content("INBOX", thanks))
    assert (first["Subject"], first["In-Reply-To"], first["References"]) == (
        "Re: Lunch?",
        f"<{question}>",
        f"<{question}>",
    )
    assert second["In-Reply-To"] == f"<{answer}>"
    assert second["References"].split() == [f"<{question}>", f"<{answer}>"]
    assert "> At noon, in the park?" in first.get_content()
    assert first.get_content().rstrip().endswith("Gladly.")
    mailbox.wait_for_ids("Sent", question, thanks)
    friends.wait_for_ids("Sent", answer)


def test_answer_to_the_outside_leaves_by_mx(
    world: NameServer, server: Server, account: Account, user: User, mailbox: Mailbox
) -> None:
    """A message from outside is answered in Thunderbird; a real Postfix stores the answer, which refers to it."""
    endpoint = own_address(230), server.mx_port
    # nobody has asked for this domain before: that there is no such would be remembered
    world.add(f"customer.example. MX 10 mx.customer.example.\nmx.customer.example. A {endpoint[0]}")
    identifier = "question@customer.example"
    question = compose("Angebot?", "Was kostet es?\n", identifier, user.address)
    question.replace_header("From", "Zoë Outside <outside@customer.example>")
    with postfix.running(listen=endpoint, storing=Storing("customer.example", ("outside",))) as mta:
        send(server, octets(question), user.address)
        account("downloaded", "Inbox", identifier)
        answer = account("sendReply", "Inbox", identifier, "Zehn €.\n")
        wait_for(lambda: mta.stored("outside"), f"the answer is stored: {mta.log()[-2000:]}")
        (stored,) = mta.stored("outside")
    mailbox.wait_for_ids("Sent", answer)
    assert stored.endswith(mailbox.content("Sent", answer))
    mail = parsed(stored)
    assert (mail["Message-ID"], mail["In-Reply-To"]) == (f"<{answer}>", f"<{identifier}>")
    assert mail["To"] == "Zoë Outside <outside@customer.example>"
    assert mail.get_content().rstrip().endswith("Zehn €.")


def test_report_is_shown_to_the_sender(account: Account, mailbox: Mailbox) -> None:
    """Mail to a domain that does not exist is sent and comes back as a report that Thunderbird shows by itself."""
    sent = account("sendNew", "somebody@missing.example", "Lost", "x\n")
    (shown,) = wait_for(lambda: account("messages", "Inbox"), "the report is in Thunderbird")
    assert shown["subject"] == "Mail could not be delivered"
    body = account("read", "Inbox", shown["id"])["body"]
    assert "somebody@missing.example" in body
    mailbox.wait_for_ids("Sent", sent)


def test_refused_recipient_is_told_in_the_window(
    server: Server, account: Account, user: User, mailbox: Mailbox
) -> None:
    """An address of our domain that does not exist is refused at once: Thunderbird says so, and nothing was sent."""
    alert = account("sendRefused", f"nobody@{DOMAIN}", "Nobody", "x\n")
    assert f"nobody@{DOMAIN}" in alert
    assert "The mail server responded:\nno such address" in alert
    assert mailbox.ids("Sent") == []
    assert server.outgoing(user) == []


def test_draft_that_is_sent_is_gone(account: Account, friend: User, mailbox: Mailbox, friends: Mailbox) -> None:
    """A draft is opened again and sent: the friend has it, Sent has it, Drafts has it no more."""
    account("saveDraft", friend.address, "Draft", "Now it is ready.\n")
    (identifier,) = mailbox.ids("Drafts")
    account("update", "Drafts")
    sent = account("sendDraft", "Drafts", identifier)
    friends.wait_for_ids("INBOX", sent)
    mailbox.wait_for_ids("Sent", sent)
    mailbox.wait_for_ids("Drafts")


def test_sent_has_one_copy(server: Server, account: Account, user: User, friend: User, mailbox: Mailbox) -> None:
    """Thunderbird files its own copy and the agent none; where a program files none, the agent does."""
    own = account("sendNew", friend.address, "With a copy", "x\n")
    mail = octets(compose("Without a copy", "x\n", "program@interop.test", friend.address))
    submit(server, user, mail.replace(b"outside@sender.example", user.address.encode()), friend.address)
    mailbox.wait_for_ids("Sent", own)
    # the outbox gives the mail reader a minute to file its own; the first message's is over by then, too
    wait_for(lambda: "program@interop.test" in mailbox.ids("Sent"), "the agent's copy is filed", 90)
    assert sorted(mailbox.ids("Sent")) == sorted([own, "program@interop.test"])
    assert "\\Seen" in mailbox.flags("Sent", "program@interop.test")
