"""Step 5: what 250 promises."""

import re

import pytest

from tests.flow.conftest import Network, Several
from tests.flow.disk import wait_until
from tests.flow.mta import HELO, Mta, message, send
from tests.flow.reader import Reader


def test_text(network: Network) -> None:
    """The reply to the content is "250 2.6.0 stored on N of K nodes" with the transaction's identifier."""
    reply = network.send(message(), "waiting")
    match = re.fullmatch(r"250 2\.6\.0 stored on 1 of 1 nodes; id=<([0-9a-f]{20})>", reply)
    assert match is not None, reply
    assert f" id {match.group(1)}".encode() in network.waiting.received()[0].notification.trace


def test_on_disk(network: Network) -> None:
    """When 250 is said, the body and every recipient's entry are in the node's files."""
    mine, hers = network.waiting.certificate.inbox_key, network.other.certificate.inbox_key
    disk = network.disk
    objects, before = disk.objects(), (disk.entries_of(mine), disk.entries_of(hers))
    network.send(message(), "absent")
    assert disk.objects() == objects + 1
    assert (disk.entries_of(mine), disk.entries_of(hers)) == (before[0] + 1, before[1] + 1)


def test_report(network: Network, bob: Reader) -> None:
    """A sender whom SPF shows to be who she says gets the report that she asked for (NOTIFY=SUCCESS): stored on N of K
    nodes.
    """
    before, content = bob.count(), message()
    with Mta(network.smtp) as mta:
        mta.say(f"EHLO {HELO}")
        mta.say(f"MAIL FROM:<{network.address('bob')}> ENVID=flow-1")
        mta.say(f"RCPT TO:<{network.waiting.address}> NOTIFY=SUCCESS")
        mta.say("DATA")
        assert mta.content(content).startswith("250 2.6.0 ")
    bob.wait_until(before + 1)
    report = bob.message(max(bob.messages("*")))
    assert report.startswith(b"Return-Path: <>\r\n")
    for line in (
        b"Original-Envelope-Id: flow-1",
        f"Final-Recipient: rfc822; {network.waiting.address}".encode(),
        b"Action: relayed",
        b"Diagnostic-Code: x-p2pmail; stored on 1 of 1 nodes",
    ):
        assert b"\r\n" + line + b"\r\n" in report


def test_quorum(several: Several) -> None:
    """With k = 3 and w = 2 one node may be down: the reply says stored on 2 of 3 nodes."""
    several.machines.stop(several.nodes[2])
    assert send(several.smtp, message(), several.address).startswith("250 2.6.0 stored on 2 of 3 nodes; ")


@pytest.mark.parametrize("size", [0, 2 << 20])
def test_no_quorum(several_agent: Several, size: int) -> None:
    """Where fewer than w nodes answer, the reply is 451; the sender's repetition is taken when they are back, and is
    shown once.
    """
    content = message(message_id=f"patient{size}@sender.example") + b"0123456789abcd\r\n" * (size >> 4)
    with Mta(several_agent.smtp) as mta:
        mta.begin([several_agent.address])
        several_agent.machines.stop(*several_agent.nodes[1:])
        assert mta.content(content).startswith("451 4.4.")
    several_agent.machines.start(*several_agent.nodes[1:])
    wait_until(lambda: _taken(several_agent, content))
    last = message()
    assert _taken(several_agent, last)
    several_agent.machines.start(several_agent.agent)
    with several_agent.reader() as reader:
        reader.wait_for(last)
        reader.select("INBOX")
        assert reader.wait_for(content)
        assert reader.count() == 2


def _taken(several: Several, content: bytes) -> bool:
    """Try once, as a sender's queue does."""
    with Mta(several.smtp) as mta:
        mta.say("EHLO mta.sender.example")
        mta.say("MAIL FROM:<outside@sender.example>")
        if not mta.say(f"RCPT TO:<{several.address}>").startswith("250"):
            return False
        mta.say("DATA")
        return mta.content(content).startswith("250")
