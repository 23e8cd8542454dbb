"""Two domains at one gateway (smtp.also): one real process, killed among it, and an outside world for both."""

import os
import smtplib
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import dkim
import pytest

from gateway import config as configuration
from gateway.administration import administer
from gateway.founding import found_domain
from p2pcore.endpoint import Endpoint
from tests.harness.machines import (
    DNS_PORT,
    PASSWORD,
    SMTP_PORT,
    Machine,
    endpoints,
    p2pmail,
)
from tests.harness.mail import SENDER, Reader, message, new_token, send, wait_until_accepting
from tests.harness.outside import NULL, REMOTE, Outside
from tests.harness.sending import User, wait_until, wait_until_settled, waiting

ONE, TWO = "one.test", "two.test"
HOST = f"mx.{ONE}"


@dataclass
class Both:
    """`process` runs both domains; `sites` are their directories, whose control sockets answer for one each."""

    directory: Path
    network: str = field(default_factory=lambda: f"127.{1 + (os.getpid() >> 8) % 250}.{os.getpid() % 256}")
    gateways: list[Machine] = field(default_factory=list)  # what Outside would publish by itself

    def __post_init__(self) -> None:
        self.resolver = Endpoint(f"{self.network}.240", DNS_PORT)
        self.remote = Endpoint(f"{self.network}.241", SMTP_PORT)  # so that the listener is an MX host like it
        also = 'smtp.also=["two/p2pmail.toml"]'
        self.process = self._founded(ONE, self.directory / "one", f"{self.network}.231", also)
        further = self._founded(TWO, self.directory / "one" / "two", f"{self.network}.232")
        self.sites = {ONE: self.process, TWO: further}

    def _founded(self, domain: str, directory: Path, host: str, *overrides: str) -> Machine:
        settings = [*endpoints(host, self.resolver, SMTP_PORT), f'smtp.hostname="{HOST}"', *overrides]
        raw = configuration.with_overrides({"domain": {"name": domain}}, settings)
        machine = Machine(directory, host)
        found_domain(directory, configuration.check(raw, "harness"))
        alice, team = f"alice@{domain}", f"team-{domain.partition('.')[0]}@{domain}"
        administer(machine.site, "user-add", address=alice, password=PASSWORD)
        administer(machine.site, "alias-set", alias=team, targets=[alice])
        return machine

    def user(self, address: str) -> User:
        return User(address, self.sites[address.rpartition("@")[2]])

    def count(self, address: str, token: str) -> int:
        """How often mail with `token` is in this user's INBOX."""
        with Reader(self.user(address).agent, address) as reader:
            return sum(token.encode() in content for content in reader.messages("INBOX"))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    both = Both(tmp_path_factory.mktemp("domains"))
    try:
        both.process.start()
        for domain in (ONE, TWO):
            wait_until_accepting(both.process, f"alice@{domain}")
        yield both
    finally:
        both.process.kill()


@pytest.fixture(scope="module")
def outside(both: Both) -> Iterator[Outside]:
    outside = Outside(both)
    for domain, machine in both.sites.items():
        outside.publish(f"{domain}. MX 10 {HOST}.\n{p2pmail(machine, 'dkim')}")
    outside.publish(f"{HOST}. A {both.process.host}")
    outside.start()
    try:
        yield outside
    finally:
        outside.stop()


def _report(both: Both, address: str, token: str) -> tuple[Message, str]:
    with Reader(both.user(address).agent, address) as reader:
        report = message_from_bytes(reader.wait_for_token(token)[0])
    (status,) = (part for part in report.walk() if part.get_content_type() == "message/delivery-status")
    return report, status.as_string()


def test_mail_from_outside_comes_to_the_right_user(both: Both, outside: Outside) -> None:
    """Both domains have an alice: each gets what is hers, at the one address that both domains' MX name."""
    for domain, other in ((ONE, TWO), (TWO, ONE)):
        token = new_token()
        send(both.process, message(token), f"alice@{domain}")
        with Reader(both.sites[domain], f"alice@{domain}") as reader:
            received, _ = reader.wait_for_token(token)
        assert f"for <alice@{domain}>" in str(message_from_bytes(received)["Received"])
        assert both.count(f"alice@{other}", token) == 0


def test_nobodys_address_is_refused(both: Both, outside: Outside) -> None:
    """An address of the one domain is none of the other; a third domain is relayed by nobody; a mix is told apart."""
    with smtplib.SMTP(*both.process.smtp, local_hostname="mta.sender.example", timeout=90) as smtp:
        smtp.ehlo()
        smtp.mail(SENDER)
        assert smtp.rcpt(f"team-two@{ONE}")[0] == 550
        assert smtp.rcpt(f"alice@{REMOTE}")[0] == 550
        assert smtp.rcpt(f"team-one@{ONE}")[0] == 250
        assert smtp.rcpt(f"team-two@{TWO}")[0] == 452  # the sender repeats the message for her
        smtp.rset()
        smtp.mail(SENDER)
        assert smtp.rcpt(f"team-one@{TWO}")[0] == 550
        assert smtp.rcpt(f"team-two@{TWO}")[0] == 250


@pytest.mark.parametrize("domain", [ONE, TWO])
def test_mail_to_outside_is_signed_by_its_own_domain(both: Both, outside: Outside, domain: str) -> None:
    """One signature of each key, of the sender's domain alone, and a verifier that asks DNS finds them good."""
    token = new_token()
    alice = both.user(f"alice@{domain}")
    alice.submit(alice.message(token), f"x@{REMOTE}")
    wait_until(lambda: bool(outside.taken(token)))
    (taken,) = outside.taken(token)
    assert taken.reverse_path == alice.address
    fields = message_from_bytes(taken.content).get_all("DKIM-Signature")
    assert fields is not None
    assert [f"d={domain};" in field.replace(" ", "") for field in fields] == [True, True]
    for index in range(2):
        assert dkim.DKIM(taken.content).verify(idx=index, dnsfunc=outside.text)


@pytest.mark.parametrize(("domain", "other"), [(ONE, TWO), (TWO, ONE)])
def test_a_report_comes_from_her_own_domain(both: Both, outside: Outside, domain: str, other: str) -> None:
    """The failure of her mail is told to her, by the mailer-daemon of her domain, and to no namesake elsewhere."""
    token = new_token()
    alice = both.user(f"alice@{domain}")
    alice.submit(alice.message(token), f"x@{NULL}")
    report, status = _report(both, alice.address, token)
    assert report["From"].endswith(f"<mailer-daemon@{domain}>")
    assert (report["Return-Path"], report["To"]) == ("<>", f"<{alice.address}>")
    assert f"Reporting-MTA: dns; {HOST}" in status
    assert "Status: 5.1.10" in status
    assert both.count(f"alice@{other}", token) == 0


@pytest.mark.parametrize(("domain", "other"), [(ONE, TWO), (TWO, ONE)])
def test_from_one_domain_to_the_other(both: Both, outside: Outside, domain: str, other: str) -> None:
    """Namesakes mail each other as strangers do: by MX, which is this very host, and signed."""
    token = new_token()
    alice = both.user(f"alice@{domain}")
    alice.submit(alice.message(token), f"alice@{other}")
    with Reader(both.sites[other], f"alice@{other}") as reader:
        received, flags = reader.wait_for_token(token)
    assert f"d={domain};" in str(message_from_bytes(received)["DKIM-Signature"]).replace(" ", "")
    assert dkim.DKIM(received).verify(dnsfunc=outside.text)
    assert f"Return-Path: <{alice.address}>".encode() in received
    assert not {"$P2PMailSigned", "$P2PMailUnverified"} & flags


def test_a_killed_process_goes_on_with_both_queues(both: Both, outside: Outside) -> None:
    """What each domain had queued is sent after the start, once, in its own name."""
    tokens = {domain: new_token() for domain in (ONE, TWO)}
    outside.mta.refusals["MAIL"] = "451 4.3.0 not now"
    for domain, token in tokens.items():
        alice = both.user(f"alice@{domain}")
        alice.submit(alice.message(token), f"x@{REMOTE}")
    for machine in both.sites.values():
        wait_until(lambda: any(item["where"] == "queue" for item in waiting(machine)))  # noqa: B023
    both.process.kill()
    outside.mta.refusals.clear()
    both.process.start()
    wait_until_settled(*both.sites.values(), hurry=True)
    for domain, token in tokens.items():
        (taken,) = outside.taken(token)
        assert taken.reverse_path == f"alice@{domain}"
        assert f"d={domain};".encode() in taken.content.replace(b" ", b"")
