"""From a mail reader into the network and out by MX: real processes, and an outside world that does what it is told."""

import asyncio
import json
import smtplib
import subprocess
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message

import dkim
import pytest

from gateway.outbound.mx import MailExchangers
from gateway.resolver import Resolver
from tests.harness.machines import DOMAIN, SMTP_PORT, Domain, Machine, p2pmail
from tests.harness.mail import SENDER, Reader, message, new_token, wait_until_accepting
from tests.harness.network import held, wait_until_holding
from tests.harness.outside import NULL, REMOTE, Outside
from tests.harness.sending import User, holder, wait_until, wait_until_settled, waiting

ALIAS = f"team@{DOMAIN}"
UNKNOWN = f"nobody@{DOMAIN}"


@pytest.fixture(scope="module")
def outside(domain: Domain) -> Iterator[Outside]:
    outside = Outside(domain)
    outside.start()
    try:
        yield outside
    finally:
        outside.stop()


@pytest.fixture(scope="module")
def users(domain: Domain) -> Iterator[tuple[User, User]]:
    """Alice and bob, each with an agent that runs; every gateway knows both, and an alias of bob."""
    users = [User(f"{name}@{DOMAIN}", domain.add_user(name)) for name in ("alice", "bob")]
    p2pmail(domain.founder, "alias", "set", ALIAS, users[1].address)
    for user in users:
        user.agent.launch()
    for user in users:
        user.agent.wait_until_up()
    for gateway in domain.gateways:
        for address in (users[0].address, users[1].address, ALIAS):
            wait_until_accepting(gateway, address)
    yield users[0], users[1]
    for user in users:
        user.agent.kill()


@pytest.fixture
def alice(users: tuple[User, User], outside: Outside) -> User:
    return users[0]


@pytest.fixture
def bob(users: tuple[User, User]) -> User:
    return users[1]


@pytest.fixture(autouse=True)
def _whole(domain: Domain, users: tuple[User, User], outside: Outside) -> Iterator[None]:
    """Every test ends with an obliging outside world, and with every machine up."""
    yield
    outside.mta.refusals.clear()
    outside.mta.once.clear()
    for machine in (*domain.gateways, *(user.agent for user in users)):
        if machine.process is None:
            machine.launch()
            machine.wait_until_up()


def _count(user: User, token: str) -> int:
    with Reader(user.agent, user.address) as reader:
        return sum(token.encode() in content for content in reader.messages("INBOX"))


def _report(user: User, token: str) -> tuple[Message, str]:
    """The DSN about the mail with `token`, when it has come: it, and its delivery status (RFC 3464 §2)."""
    with Reader(user.agent, user.address) as reader:
        content, _ = reader.wait_for_token(token)
    report = message_from_bytes(content)
    assert report.get_content_type() == "multipart/report"
    assert report["Return-Path"] == "<>"
    assert report["From"].endswith(f"<mailer-daemon@{DOMAIN}>") or report["From"] == f"mailer-daemon@{DOMAIN}"
    parts = list(report.walk())
    (status,) = (part for part in parts if part.get_content_type() == "message/delivery-status")
    return report, status.as_string()


def test_user_to_user_is_signed_by_the_sender(alice: User, bob: User) -> None:
    """No gateway sees it; bob's own agent says who signed it, and the content is hers octet for octet."""
    token = new_token()
    content = alice.message(token)
    alice.submit(content, bob.address)
    with Reader(bob.agent, bob.address) as reader:
        received, flags = reader.wait_for_token(token)
    assert "$P2PMailSigned" in flags
    assert received.endswith(content)
    trace = message_from_bytes(received.removesuffix(content) + b"\r\n")
    assert trace["Return-Path"] == f"<{alice.address}>"
    results = trace["Authentication-Results"]
    assert results.startswith(f"{DOMAIN};")
    assert "x-p2pmail=pass" in results
    assert alice.address in results
    assert "127." not in trace.as_string()


def test_what_a_mail_lacks_is_added_and_bcc_removed(alice: User, bob: User) -> None:
    """Date and Message-ID where there is none (RFC 6409 §8.2, §8.3)."""
    token = new_token()
    alice.submit(f"From: {alice.address}\r\nBcc: {bob.address}\r\nSubject: x\r\n\r\n{token}\r\n".encode(), bob.address)
    with Reader(bob.agent, bob.address) as reader:
        received = message_from_bytes(reader.wait_for_token(token)[0])
    assert received["Date"]
    assert received["Message-ID"].endswith(f"@{DOMAIN}>")
    assert received["Bcc"] is None


def test_an_alias_is_expanded_by_a_gateway(alice: User, bob: User) -> None:
    """It has no certificate; the gateway that takes it vouches for its sender, so nothing is marked as false."""
    token = new_token()
    alice.submit(alice.message(token), ALIAS)
    with Reader(bob.agent, bob.address) as reader:
        received, flags = reader.wait_for_token(token)
    assert not {"$P2PMailSigned", "$P2PMailUnverified"} & flags
    results = message_from_bytes(received).get_all("Authentication-Results")
    assert results is not None
    assert any(f"smtp.auth={alice.address}" in result for result in results)


def test_mail_to_outside_goes_by_mx_with_a_dkim_signature(alice: User, outside: Outside) -> None:
    """A verifier that asks DNS for the key finds the signature good, and bad once an octet is changed."""
    token = new_token()
    content = alice.message(token)
    alice.submit(content, f"one@{REMOTE}", f"two@{REMOTE}")
    wait_until(lambda: bool(outside.taken(token)))
    (taken,) = outside.taken(token)
    assert taken.reverse_path == alice.address
    assert sorted(taken.forward_paths) == [f"one@{REMOTE}", f"two@{REMOTE}"]
    assert taken.content.endswith(content)
    assert f"d={DOMAIN};".encode() in taken.content.replace(b" ", b"")
    assert dkim.verify(taken.content, dnsfunc=outside.text)
    assert not dkim.verify(taken.content.replace(token.encode(), token[::-1].encode()), dnsfunc=outside.text)


def test_nobody_writes_as_somebody_else(alice: User, bob: User) -> None:
    """MAIL FROM and From are among her own addresses; a tag behind them is hers too."""
    token = new_token()
    with alice.session() as smtp:
        assert smtp.mail(bob.address)[0] == 550
        smtp.mail(alice.address)
        smtp.rcpt(bob.address)
        assert smtp.data(alice.message(token, author=bob.address))[0] == 550
    local_part, _, domain = alice.address.partition("@")
    tagged = f"{local_part}+tag@{domain}"
    alice.submit(alice.message(token, author=tagged), bob.address, reverse_path=tagged)
    with Reader(bob.agent, bob.address) as reader:
        reader.wait_for_token(token)
        assert reader.tokens()[token] == 1


def test_nobody_submits_without_a_password(alice: User, bob: User) -> None:
    """MAIL before AUTH, and AUTH with another password."""
    with smtplib.SMTP(*alice.agent.submission, local_hostname="reader.invalid", timeout=90) as smtp:
        smtp.ehlo()
        assert smtp.mail(alice.address)[0] == 530
        with pytest.raises(smtplib.SMTPAuthenticationError):
            smtp.login(alice.address, "wrong")


def test_an_unknown_address_of_the_domain_is_refused_at_rcpt(alice: User) -> None:
    """The agent asks a gateway, and passes its refusal on."""
    with alice.session() as smtp:
        smtp.mail(alice.address)
        code, text = smtp.rcpt(UNKNOWN)
    assert (code, text[:6]) == (550, b"5.1.1 ")


def test_without_a_gateway_mail_waits_and_users_still_reach_each_other(
    alice: User, bob: User, outside: Outside, domain: Domain
) -> None:
    """What needs a gateway is kept in the outbox, is seen there, can be removed, and goes when a gateway is back."""
    for gateway in domain.gateways:
        gateway.kill()
    token, dropped = new_token(), new_token()
    recipient = f"later@{REMOTE}"
    alice.submit(alice.message(token), bob.address, recipient, UNKNOWN)
    alice.submit(alice.message(dropped), f"never@{REMOTE}")
    with Reader(bob.agent, bob.address) as reader:
        reader.wait_for_token(token)
    wait_until(lambda: all(each["attempts"] for item in waiting(alice.agent) for each in item["recipients"]))
    listed = json.loads(p2pmail(alice.agent, "queue", "list", "--json"))
    by_recipient = {each["to"]: (item, each) for item in listed for each in item["recipients"]}
    assert by_recipient[bob.address][1]["state"] == "delivered"
    assert by_recipient[recipient][1]["state"] == "pending"
    kept, unwanted = by_recipient[recipient][0]["id"], by_recipient[f"never@{REMOTE}"][0]["id"]
    assert recipient in p2pmail(alice.agent, "queue", "show", kept)
    p2pmail(alice.agent, "queue", "remove", unwanted)
    assert "1 to be tried" in p2pmail(alice.agent, "queue", "retry", kept)
    domain.gateways[1].start()
    p2pmail(alice.agent, "queue", "retry")
    _, status = _report(alice, UNKNOWN)  # nobody could say so at RCPT
    assert "Status: 5.1.1" in status
    wait_until(lambda: bool(outside.taken(token)))
    wait_until_settled(alice.agent, domain.gateways[1])
    assert len(outside.taken(token)) == 1
    assert not outside.taken(dropped)
    assert _count(bob, token) == 1


def test_a_gateway_killed_with_mail_in_its_queue_delivers_it_after_its_restart(
    alice: User, outside: Outside, domain: Domain
) -> None:
    """It had said 250 and was put off by the remote; once, whoever looks."""
    token, recipient = new_token(), f"put-off@{REMOTE}"
    outside.mta.refusals[recipient] = "451 4.3.2 not now"
    alice.submit(alice.message(token), recipient)
    gateway = holder(domain.gateways, recipient)
    gateway.kill()
    outside.mta.refusals.clear()
    gateway.start()
    wait_until(lambda: bool(outside.taken(token)))
    wait_until_settled(alice.agent, *domain.gateways)
    assert len(outside.taken(token)) == 1


def test_an_agent_killed_right_after_its_250_delivers_once(
    alice: User, bob: User, outside: Outside, domain: Domain
) -> None:
    """By both routes, whatever it had done by then."""
    token = new_token()
    alice.submit(alice.message(token), bob.address, f"somebody@{REMOTE}")
    alice.agent.kill()
    alice.agent.start()
    with Reader(bob.agent, bob.address) as reader:
        reader.wait_for_token(token)
    wait_until(lambda: bool(outside.taken(token)))
    wait_until_settled(alice.agent, *domain.gateways)
    assert len(outside.taken(token)) == 1
    assert _count(bob, token) == 1


def test_a_gateway_killed_between_the_dot_and_250_is_asked_again_and_delivers_once(
    alice: User, outside: Outside, domain: Domain
) -> None:
    """It has queued the mail and nobody knows: the agent goes back to it, not to the other one."""
    for gateway in domain.gateways:
        gateway.kill()
        gateway.launch(("-m", "tests.harness.fault_after_queue"))
    for gateway in domain.gateways:
        gateway.wait_until_up()
    token = new_token()
    alice.submit(alice.message(token), f"once@{REMOTE}")
    dead: list[Machine] = []

    def is_one_dead() -> bool:
        dead[:] = [gateway for gateway in domain.gateways if gateway.process and gateway.process.poll() is not None]
        return bool(dead)

    wait_until(is_one_dead, "no gateway was given the mail")
    (first,) = dead
    first.wait_for_exit()
    p2pmail(alice.agent, "queue", "retry")
    wait_until(lambda: any(each["attempts"] > 1 for item in waiting(alice.agent) for each in item["recipients"]))
    first.start()
    p2pmail(alice.agent, "queue", "retry")
    wait_until_settled(alice.agent, first)
    assert len(outside.taken(token)) == 1
    (other,) = (gateway for gateway in domain.gateways if gateway is not first)
    assert other.process is not None
    assert other.process.poll() is None  # it was given nothing, or it had died of it
    other.kill()


def test_kills_while_mail_goes_out_lose_nothing_and_double_no_report(
    alice: User, bob: User, outside: Outside, domain: Domain
) -> None:
    """Each mail has one recipient by each way; after every few, a gateway or the agent dies in the middle of them.

    Bob has each twice, signed by alice and by the alias; of each there is one report; outside has each at least once
    (a remote's 250 that its reader did not live to write down is SMTP's own window).
    """
    before = held(domain.nodes)
    outside.mta.refusals[f"gone@{REMOTE}"] = "550 5.1.1 no such mailbox here"
    tokens = []
    first, second = domain.gateways
    for victim in (first, alice.agent, second, alice.agent):
        for _ in range(3):
            tokens.append(new_token())
            alice.submit(alice.message(tokens[-1]), bob.address, ALIAS, f"there@{REMOTE}", f"gone@{REMOTE}")
        victim.kill()
        victim.start()
    wait_until_settled(alice.agent, first, second, hurry=True)
    wait_until_holding(before)
    for user, times in ((bob, 2), (alice, 1)):
        with Reader(user.agent, user.address) as reader:
            found = reader.messages("INBOX")
        assert [sum(token.encode() in each for each in found) for token in tokens] == [times] * len(tokens)
    assert all(outside.taken(token) for token in tokens)


def test_what_is_put_off_is_tried_again(alice: User, outside: Outside, domain: Domain) -> None:
    """Greylisting: 451 once, then it is taken; nobody is told anything."""
    token, recipient = new_token(), f"grey@{REMOTE}"
    outside.mta.once[recipient] = "451 4.7.1 greylisted"
    alice.submit(alice.message(token), recipient)
    wait_until(lambda: bool(outside.taken(token)))
    wait_until_settled(alice.agent, *domain.gateways)
    assert len(outside.taken(token)) == 1
    assert f"RCPT TO:<{recipient}>" in str(outside.mta.commands)
    assert _count(alice, token) == 0


def test_a_refusal_comes_back_as_one_report(alice: User, outside: Outside, domain: Domain) -> None:
    """RFC 3464, null reverse-path, the remote's own words; one recipient's success is not undone by it."""
    before = held(domain.nodes)
    token, recipient = new_token(), f"gone@{REMOTE}"
    outside.mta.refusals[recipient] = "550 5.1.1 no such mailbox here"
    alice.submit(alice.message(token), recipient, f"there@{REMOTE}")
    report, status = _report(alice, token)
    assert "Action: failed" in status
    assert "Status: 5.1.1" in status
    assert "no such mailbox here" in status
    assert f"there@{REMOTE}" not in status
    assert report["To"] == alice.address or alice.address in report["To"]
    wait_until_settled(alice.agent, *domain.gateways)
    wait_until_holding(before)  # nothing more is on its way to her
    assert _count(alice, token) == 1
    assert [taken.forward_paths for taken in outside.taken(token)] == [[f"there@{REMOTE}"]]


def test_a_domain_with_a_null_mx_is_reported_at_once(alice: User) -> None:
    """RFC 7505: it takes no mail, so trying for days helps nobody."""
    token = new_token()
    alice.submit(alice.message(token), f"anybody@{NULL}")
    _, status = _report(alice, token)
    assert "Status: 5.1.10" in status


def test_the_queue_commands(alice: User, outside: Outside, domain: Domain) -> None:
    """list, show, hold, retry, remove of a gateway's queue; what was removed is not reported."""
    token, dropped, recipient = new_token(), new_token(), f"held@{REMOTE}"
    unwanted = f"dropped@{REMOTE}"
    outside.mta.refusals |= {recipient: "451 4.2.1 not now", unwanted: "451 4.2.1 not now"}
    alice.submit(alice.message(token), recipient)
    alice.submit(alice.message(dropped), unwanted)
    gateway, other = holder(domain.gateways, recipient), holder(domain.gateways, unwanted)
    number, useless = _number(gateway, recipient), _number(other, unwanted)
    listing = p2pmail(gateway, "queue", "list")
    assert recipient in listing
    assert "451 4.2.1 not now" in listing
    assert json.loads(p2pmail(gateway, "queue", "show", "--json", number))["from"] == alice.address
    p2pmail(gateway, "queue", "hold", number)
    assert json.loads(p2pmail(gateway, "queue", "show", "--json", number))["recipients"][0]["state"] == "held"
    p2pmail(other, "queue", "remove", useless)
    outside.mta.refusals.clear()
    passing = new_token()
    alice.submit(alice.message(passing), f"passing@{REMOTE}")
    wait_until(lambda: bool(outside.taken(passing)))
    assert not outside.taken(token)
    assert "1 to be tried now" in p2pmail(gateway, "queue", "retry", number)
    wait_until(lambda: bool(outside.taken(token)))
    wait_until_settled(alice.agent, *domain.gateways)
    assert p2pmail(gateway, "queue", "list") == "Nothing waits.\n"
    assert len(outside.taken(token)) == 1
    assert not outside.taken(dropped)
    assert _count(alice, dropped) == 0
    with pytest.raises(subprocess.CalledProcessError) as refused:
        p2pmail(gateway, "queue", "show", number)
    assert "no such message" in refused.value.stderr


def _number(gateway: Machine, recipient: str) -> str:
    """The ID by which the commands know the item for `recipient`."""
    (item,) = (item for item in waiting(gateway) if item["recipients"][0]["to"] == recipient)
    return str(item["id"])


def test_the_second_mx_takes_mail_while_the_first_is_dead(bob: User, outside: Outside, domain: Domain) -> None:
    """A sending MTA that follows RFC 5321 §5.1 asks DNS, dials mx1 in vain, and hands the mail to mx2."""
    domain.gateways[0].kill()
    exchangers = MailExchangers(Resolver([outside.resolver]), port=SMTP_PORT)
    targets = asyncio.run(exchangers.targets(DOMAIN))
    assert [target.host for target in targets] == [f"mx1.{DOMAIN}", f"mx2.{DOMAIN}"]
    with pytest.raises(OSError, match="refused"):
        smtplib.SMTP(targets[0].address, targets[0].port, local_hostname="mta.sender.example")
    token = new_token()
    with smtplib.SMTP(targets[1].address, targets[1].port, local_hostname="mta.sender.example", timeout=90) as smtp:
        assert smtp.sendmail(SENDER, [bob.address], message(token)) == {}
    with Reader(bob.agent, bob.address) as reader:
        reader.wait_for_token(token)
        assert reader.tokens()[token] == 1
