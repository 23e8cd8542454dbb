"""Step 1: an outside MTA connects, and RCPT is answered."""

import unicodedata
from typing import Literal

import pytest

from tests.flow.conftest import Network, Several
from tests.flow.machines import MAX_MESSAGE_SIZE
from tests.flow.mta import HELO, SENDER, Mta, message, rcpt
from tests.flow.reader import Reader


def test_greeting(network: Network) -> None:
    """The gateway greets with 220 and the name that it is configured with."""
    with Mta(network.smtp) as mta:
        assert mta.greeting == f"220 {network.hostname} ESMTP p2pmail"


def test_extensions(network: Network) -> None:
    """EHLO offers SIZE, 8BITMIME, SMTPUTF8, PIPELINING, STARTTLS, ENHANCEDSTATUSCODES, DSN and CHUNKING, and nothing
    else.
    """
    with Mta(network.smtp) as mta:
        first, *keywords = mta.say(f"EHLO {HELO}").splitlines()
    assert first == f"250-{network.hostname}"
    assert {keyword[4:] for keyword in keywords} == {
        f"SIZE {MAX_MESSAGE_SIZE}",
        "8BITMIME",
        "SMTPUTF8",
        "PIPELINING",
        "STARTTLS",
        "ENHANCEDSTATUSCODES",
        "DSN",
        "CHUNKING",
    }


def test_user(network: Network) -> None:
    """RCPT for a user is answered 250."""
    assert rcpt(network.smtp, network.address("alice")) == "250 2.1.5 recipient ok"


def test_unknown(network: Network) -> None:
    """RCPT for an address that the domain does not have is answered 550 5.1.1."""
    assert rcpt(network.smtp, network.address("nobody")).startswith("550 5.1.1 ")


@pytest.mark.parametrize("address", ["alice@elsewhere.example", "alice@sub.flow.test", "alice@[127.0.0.1]"])
def test_relay(network: Network, address: str) -> None:
    """RCPT for an address of another domain is answered 550 5.7.1: the gateway is no relay."""
    assert rcpt(network.smtp, address).startswith("550 5.7.1 ")


def test_cannot_know(several: Several) -> None:
    """RCPT is answered 451 4.4.3 while no node can be asked whether the user has a certificate."""
    several.machines.stop(*several.nodes)
    several.machines.start(several.idle_gateway)
    assert rcpt(several.idle_gateway.config.smtp.listen[0], several.address).startswith("451 4.4.3 ")


def test_cannot_know_better(several: Several) -> None:
    """RCPT for an address unknown to the gateway is answered 451 4.4.3 while no node can be asked for news of it."""
    several.machines.stop(*several.nodes)
    several.machines.start(several.idle_gateway)
    unheard_of = several.address.replace("user", "newcomer")
    assert rcpt(several.idle_gateway.config.smtp.listen[0], unheard_of).startswith("451 4.4.3 ")


@pytest.mark.parametrize("address", ["ALICE@flow.test", "Alice@FLOW.TEST", '"alice"@flow.test', "alice@flow.test."])
def test_spellings(network: Network, alice: Reader, address: str) -> None:
    """Upper case, needless quotes and the root's dot in an address lead to the same user."""
    content = message()
    with Mta(network.smtp) as mta:
        mta.begin([address])
        assert mta.content(content).startswith("250")
    alice.wait_for(content)


def test_plus_tag(network: Network) -> None:
    """A plus-tag leads to the same user and stays in her forward-path."""
    tagged = network.waiting.address.replace("@", "+shopping@")
    with Mta(network.smtp) as mta:
        mta.begin([tagged])
        assert mta.content(message()).startswith("250")
    (received,) = network.waiting.received()
    assert received.notification.forward_path == tagged


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_internationalised(network: Network, form: Literal["NFC", "NFD"]) -> None:
    """RCPT for an address that is not ASCII is answered 250 where MAIL had SMTPUTF8, in any normal form, and 553 5.6.7
    where it had not.
    """
    command = f"RCPT TO:<{unicodedata.normalize(form, network.address('BÜRO'))}>"
    with Mta(network.smtp) as mta:
        mta.say(f"EHLO {HELO}")
        mta.say(f"MAIL FROM:<{SENDER}>")
        assert mta.say(command).startswith("553 5.6.7 ")
        mta.say("RSET")
        mta.say(f"MAIL FROM:<{SENDER}> SMTPUTF8")
        assert mta.say(command) == "250 2.1.5 recipient ok"


@pytest.mark.parametrize("address", ["postmaster", "PostMaster", "postmaster@flow.test"])
def test_postmaster(network: Network, alice: Reader, address: str) -> None:
    """Postmaster is always accepted, with and without a domain, and means a user."""
    content = message()
    with Mta(network.smtp) as mta:
        mta.begin([address])
        assert mta.content(content).startswith("250")
    alice.wait_for(content)


def test_no_recipient(network: Network) -> None:
    """DATA is answered 503 where no recipient was accepted."""
    with Mta(network.smtp) as mta:
        mta.say(f"EHLO {HELO}")
        mta.say(f"MAIL FROM:<{SENDER}>")
        assert mta.say(f"RCPT TO:<{network.address('nobody')}>").startswith("550")
        assert mta.say("DATA").startswith("503 ")
