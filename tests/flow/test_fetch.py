"""Step 7: the body comes from any good replica."""

import pytest

from tests.flow.conftest import Several
from tests.flow.disk import wait_until
from tests.flow.mta import message, send


@pytest.mark.parametrize("size", [0, 200 << 10, 2 << 20])
def test_tampered_replica(several_agent: Several, size: int) -> None:
    """A replica that does not match its digest is passed over, and the next one gives the message."""
    content = message() + b"0123456789abcd\r\n" * (size >> 4)
    _send_to_all_nodes(several_agent, content)
    good, *bad = several_agent.disks
    good.forget_entries()  # so that a bad one reports the entry and is asked first
    assert all(disk.flip_bodies() for disk in bad)
    several_agent.machines.start(several_agent.agent)
    with several_agent.reader() as reader:
        reader.wait_for(content)


def test_body_later(several_agent: Several) -> None:
    """A body that no replica gives now holds up no other message, and its message is shown once one gives it."""
    first, second = message(), message()
    _send_to_all_nodes(several_agent, first)
    for disk in several_agent.disks:
        assert disk.flip_bodies()
    send(several_agent.smtp, second, several_agent.address)
    several_agent.machines.start(several_agent.agent)
    with several_agent.reader() as reader:
        reader.wait_for(second)
        assert reader.count() == 1
        for disk in several_agent.disks:
            disk.flip_bodies()
        reader.wait_for(first)


def _send_to_all_nodes(several: Several, content: bytes) -> None:
    """Send a mail and wait until the nodes past the quorum have it, too."""
    send(several.smtp, content, several.address)
    wait_until(several.is_everywhere)
