"""Nothing lost, nothing twice: real processes, killed with SIGKILL."""

import smtplib
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.harness.conftest import Harness
from tests.harness.killer import kill_in_turn
from tests.harness.machines import begin_with
from tests.harness.mail import Reader, message, new_token, send, send_somewhere
from tests.harness.network import held, wait_until_holding


def test_mail_waits_for_the_agent_and_one_dead_holder_of_each_object_does_not_matter(harness: Harness) -> None:
    """Mail through each gateway, the agent off: w to k nodes hold it; a holder dies; the agent finds everything."""
    before = held(harness.nodes)
    tokens = [new_token() for _ in range(6)]
    for number, token in enumerate(tokens):
        assert "stored on" in send(harness.gateways[number % 2], message(token), harness.address)
    after = held(harness.nodes)
    inbox = [node for node in harness.nodes if after[node].entries > before[node].entries]
    assert 2 <= len(inbox) <= 3
    copies = sum(after[node].objects - before[node].objects for node in harness.nodes)
    assert 2 * len(tokens) <= copies <= 3 * len(tokens)
    inbox[0].kill()
    harness.agent.start()
    with Reader(harness.agent, harness.address) as reader:
        reader.wait_for(len(tokens))
        assert reader.tokens() == Counter(dict.fromkeys(tokens, 1))


def test_a_machine_begins_with_the_nodes_that_the_record_lists_where_its_own_are_gone(harness: Harness) -> None:
    """Of an agent that has never been started the one bootstrap node answers no more: its mail comes all the same."""
    token = new_token()
    send(harness.gateways[0], message(token), harness.address)
    begin_with(harness.agent, "127.0.0.1:9")
    harness.agent.start()
    with Reader(harness.agent, harness.address) as reader:
        reader.wait_for(1)
        assert reader.tokens() == Counter({token: 1})


def test_what_was_read_is_gone_from_every_node(harness: Harness) -> None:
    """The agent acknowledges and deletes on all k nodes what it has filed."""
    before = held(harness.nodes)
    send(harness.gateways[0], message(new_token()), harness.address)
    assert held(harness.nodes) != before
    harness.agent.start()
    wait_until_holding(before)


def test_kills_during_traffic_lose_and_double_nothing(harness: Harness) -> None:
    """Nodes, gateways and the agent are killed in turn while mail flows; every accepted mail is seen exactly once."""
    harness.agent.start()
    tokens = [new_token() for _ in range(60)]
    stop = threading.Event()
    victims = [harness.nodes[1], harness.gateways[0], harness.agent, harness.nodes[2], harness.gateways[1]]
    killer = threading.Thread(target=kill_in_turn, args=(victims, stop))
    killer.start()
    try:
        with ThreadPoolExecutor(4) as senders:
            accepted = list(
                senders.map(
                    lambda token: send_somewhere(harness.gateways, message(token), harness.address, tries=900), tokens
                )
            )
    finally:
        stop.set()
        killer.join()
    assert all(accepted)
    with Reader(harness.agent, harness.address) as reader:
        reader.wait_for(len(tokens))
        assert reader.tokens() == Counter(dict.fromkeys(tokens, 1))


def test_a_gateway_killed_between_quorum_and_250_doubles_nothing(harness: Harness) -> None:
    """The sender hears no 250 and repeats the message at the other gateway; the reader sees it once."""
    token = new_token()
    content = message(token)
    harness.gateways[0].kill()
    harness.gateways[0].launch(("-m", "tests.harness.fault_after_quorum"))
    harness.gateways[0].wait_until_up()
    with pytest.raises((OSError, smtplib.SMTPException)):
        send(harness.gateways[0], content, harness.address)
    assert harness.gateways[0].wait_for_exit() < 0
    send(harness.gateways[1], content, harness.address)
    last = new_token()
    send(harness.gateways[1], message(last), harness.address)
    harness.agent.start()
    with Reader(harness.agent, harness.address) as reader:
        reader.wait_for(2)
        assert reader.tokens() == Counter({token: 1, last: 1})


def test_the_same_octets_without_a_message_id_are_two_messages(harness: Harness) -> None:
    """What has no Message-ID is never collapsed: an alert that repeats is not a duplicate."""
    token = new_token()
    content = message(token, message_id=False)
    for gateway in harness.gateways:
        send(gateway, content, harness.address)
    harness.agent.start()
    with Reader(harness.agent, harness.address) as reader:
        reader.wait_for(2)
        assert reader.tokens() == Counter({token: 2})


def test_too_few_nodes_are_a_temporary_failure(harness: Harness) -> None:
    """With fewer than w nodes reachable nothing is said to be stored."""
    for node in harness.nodes[1:]:
        node.kill()
    with pytest.raises((smtplib.SMTPDataError, smtplib.SMTPRecipientsRefused)) as refused:
        send(harness.gateways[0], message(new_token()), harness.address)
    assert b" 451" in repr(refused.value).encode() or "451" in str(refused.value)
