"""Step 3: one body for all recipients goes to the k closest nodes."""

from p2pcore.names import key_of
from tests.flow import mta
from tests.flow.conftest import Network, Several
from tests.flow.disk import wait_until
from tests.flow.mta import message


def test_fresh_identifier(network: Network) -> None:
    """A body's key is the hash of an identifier made for it alone, never of the sender's Message-ID."""
    content = message(message_id="chosen@sender.example")
    network.send(content, "waiting")
    network.send(content, "waiting")
    first, second = network.waiting.received()
    keys = {received.object.object_key for received in (first, second)}
    assert keys == {key_of(received.notification.body_identifier) for received in (first, second)}
    assert len(keys) == 2
    assert not keys & {key_of("<chosen@sender.example>"), key_of("chosen@sender.example")}


def test_one_body(network: Network) -> None:
    """An alias of two users means one body with two delete rights, and an entry in each inbox."""
    network.send(message(), "absent")
    (first,), (second,) = network.waiting.received(), network.other.received()
    assert first.body == second.body
    assert network.disk.bodies_of(first.object.digest) == 1
    assert len(set(first.object.delete_rights)) == 2
    assert first.notification.delete_secret != second.notification.delete_secret
    assert first.statement.inbox_key != second.statement.inbox_key


def test_named_twice(network: Network) -> None:
    """A user who is named twice, by an alias or another spelling, gets one entry."""
    network.send(message(), "waiting", "absent", "Waiting", "waiting+tag")
    (received,) = network.waiting.received()
    assert len(received.object.delete_rights) == 2
    assert len(network.other.received()) == 1


def test_all_nodes(several: Several) -> None:
    """With k = 3 the body and the entry come to be on all three nodes."""
    assert mta.send(several.smtp, message(), several.address).startswith("250")
    wait_until(several.is_everywhere)
