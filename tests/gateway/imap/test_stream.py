"""gateway/imap/stream.py, connection.py: reads with a deadline, and turns."""

import asyncio

import pytest

from gateway.imap.stream import Stream
from tests.gateway.imap.conftest import Site


async def test_a_deadline_that_passes() -> None:
    """A read ends with TimeoutError at its deadline, and the next one hears what comes."""
    stream = Stream(lambda _: None)
    now = asyncio.get_running_loop().time
    with pytest.raises(TimeoutError):
        await stream.read(now())
    reading = asyncio.create_task(stream.read(now() + 3_600))
    await asyncio.sleep(0)
    stream.data_received(b"a")
    assert await reading == b"a"
    stream.connection_lost(None)


async def test_the_alarm_follows_the_deadline() -> None:
    """One timer serves reads whose deadlines move on; one that rings early is set anew, an earlier deadline at once."""
    stream = Stream(lambda _: None)
    now = asyncio.get_running_loop().time
    first = asyncio.create_task(stream.read(now() + 1_000))
    await asyncio.sleep(0)
    alarm = stream._alarm
    stream.data_received(b"a")
    assert await first == b"a"
    second = asyncio.create_task(stream.read(now() + 3_600))
    await asyncio.sleep(0)
    assert stream._alarm is alarm
    stream._ring()  # as at the first deadline
    await asyncio.sleep(0)
    assert not second.done()
    assert stream._alarm not in (None, alarm)
    stream.data_received(b"b")
    assert await second == b"b"
    with pytest.raises(TimeoutError):
        await stream.read(now())
    stream.connection_lost(None)
    assert stream._alarm is None


async def test_one_who_sends_many_commands_leaves_the_others_a_turn(site: Site) -> None:
    """Amid thousands of pipelined commands, which are answered together, another session is answered."""
    busy, other = await site.client(select="INBOX"), await site.client(select="INBOX")
    busy.send(b"".join(b"x%d NOOP\r\n" % number for number in range(5_000)))
    answered = asyncio.create_task(busy.until(b"x0"))
    await other.ok("NOOP")
    assert not answered.done()
    await answered
    await busy.until(b"x4999")
