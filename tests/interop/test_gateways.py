"""A real Postfix sends to a domain of two gateways by MX, and one of them is dead: the other takes the mail."""

import re
import smtplib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.harness.machines import DOMAIN, SMTP_PORT, Domain, Machine
from tests.harness.mail import SENDER, Reader, message, new_token, wait_until_accepting
from tests.interop import postfix
from tests.interop.name_server import NameServer
from tests.interop.postfix import Postfix
from tests.interop.waiting import wait_for

pytestmark = pytest.mark.interop

ADDRESS = f"user@{DOMAIN}"


@dataclass(frozen=True)
class TwoGateways:
    """A domain of a node, two gateways and an agent, each a process; the first gateway has the preferred MX record."""

    preferred: Machine
    other: Machine
    agent: Machine
    mta: Postfix

    def send(self, *tokens: str) -> None:
        """Give the Postfix a mail with each token."""
        with smtplib.SMTP(*self.mta.smtp, local_hostname="client.sender.example", timeout=30) as client:
            for token in tokens:
                client.sendmail(SENDER, [ADDRESS], message(token))

    def hosts_of(self, tokens: int) -> Counter[str]:
        """Return which hosts took the last mails, when the queue is empty."""
        self.mta.wait_until_sent()
        return Counter(re.findall(r"relay=([^\[]+)\[.*status=sent", self.mta.log())[-tokens:])

    def wait_until_read(self, *tokens: str) -> None:
        """Wait until each of these mails is in INBOX, once."""
        with Reader(self.agent, ADDRESS) as reader:
            wait_for(lambda: set(reader.tokens()) >= set(tokens), "all mails are read")
            assert set(reader.tokens().values()) == {1}


@pytest.fixture(scope="module")
def _gateways(tmp_path_factory: pytest.TempPathFactory, name_server: NameServer) -> Iterator[TwoGateways]:
    with postfix.running(resolver=name_server.endpoint.host, mx_port=SMTP_PORT) as mta:
        domain = Domain(tmp_path_factory.mktemp("gateways"), k=1, w=1)
        try:
            preferred, other = domain.add_gateway(), domain.add_gateway()
            agent = domain.add_user("user")
            for preference, gateway in ((10, preferred), (20, other)):
                name = f"mx{preference}.{DOMAIN}."
                name_server.add(f"{DOMAIN}. MX {preference} {name}\n{name} A {gateway.host}")
            for machine in domain.machines:
                machine.launch()
            for machine in domain.machines:
                machine.wait_until_up()
            for gateway in (preferred, other):
                wait_until_accepting(gateway, ADDRESS)
            yield TwoGateways(preferred, other, agent, mta)
        finally:
            domain.kill_all()


@pytest.fixture
def gateways(_gateways: TwoGateways) -> Iterator[TwoGateways]:
    """All of it, up."""
    yield _gateways
    for gateway in (_gateways.preferred, _gateways.other):
        if gateway.process is None:
            gateway.start()


def test_preferred_gateway_takes_the_mail(gateways: TwoGateways) -> None:
    """With both up, all mail goes to the one that DNS prefers."""
    tokens = [new_token() for _ in range(3)]
    gateways.send(*tokens)
    assert gateways.hosts_of(len(tokens)) == {f"mx10.{DOMAIN}": 3}
    gateways.wait_until_read(*tokens)


def test_other_gateway_takes_the_mail_when_one_is_dead(gateways: TwoGateways) -> None:
    """The preferred gateway is killed: Postfix delivers at the other one, with nothing deferred."""
    tokens = [new_token() for _ in range(5)]
    gateways.preferred.kill()
    gateways.send(*tokens)
    assert gateways.hosts_of(len(tokens)) == {f"mx20.{DOMAIN}": 5}
    assert "status=deferred" not in gateways.mta.log()
    gateways.wait_until_read(*tokens)


def test_mail_waits_while_both_are_dead(gateways: TwoGateways) -> None:
    """With both dead Postfix keeps the mail; the one that comes back takes it, and it is there once."""
    tokens = [new_token() for _ in range(5)]
    gateways.preferred.kill()
    gateways.other.kill()
    gateways.send(*tokens)
    wait_for(lambda: gateways.mta.log().count("status=deferred") >= len(tokens), "all are deferred")
    gateways.other.start()
    assert gateways.hosts_of(len(tokens)) == {f"mx20.{DOMAIN}": 5}
    gateways.wait_until_read(*tokens)
