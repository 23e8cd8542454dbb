"""Every limit is a temporary failure, and what it counted is given back."""

import asyncio

import pytest

from gateway.smtp import params, replies
from gateway.smtp.limits import Client, ClientTable, ConnectionLimits, MemoryBudget
from gateway.smtp.replies import Refusal
from gateway.smtp.settings import SmtpLimits
from tests.gateway.smtp.conftest import WorldMaker
from tests.gateway.smtp.world import SmtpClient
from tests.support.identities import ManualClock


def a_client(address: str = "192.0.2.1") -> Client:
    return Client(address, address, is_loopback=False, is_trusted=False, is_unlimited=False)


async def test_connections_of_one_client(new_world: WorldMaker) -> None:
    """The third of two is 421; when one ends there is room again."""
    async with new_world(limits={"connections_per_client": 2}, unlimited_clients=()) as world:
        first, second = await world.client(), await world.client()
        third = await SmtpClient.connect(world.server.ports[0])
        assert await third.reply() == "421 4.7.0 too many connections from your address"
        assert await third.reply() == ""
        assert (await first.command("QUIT")).startswith("221")
        assert await first.reply() == ""
        fourth = await world.client()
        for client in (second, third, fourth, first):
            client.close()


async def test_connections_of_all(new_world: WorldMaker) -> None:
    """The total holds for exempt clients too."""
    async with new_world(limits={"connections": 1}) as world:
        first = await world.client()
        second = await SmtpClient.connect(world.server.ports[0])
        assert await second.reply() == "421 4.3.2 too many connections, try again later"
        first.close()
        second.close()


async def test_memory_is_refused_and_given_back(new_world: WorldMaker) -> None:
    """A content over the budget is 452 at its end; a limiter that leaked would refuse the next one too."""
    async with new_world(limits={"memory": 1_000_000}) as world:
        client = await world.client()
        for _ in range(3):
            assert await client.deliver(b"x\r\n" * 400_000) == "452 4.3.1 no room for this message now"
            assert (await client.deliver(b"x\r\n" * 1_000)).startswith("250")
        assert world.server.memory.used == 0
        client.close()


async def test_no_room_at_all_is_said_before_the_content(new_world: WorldMaker) -> None:
    """DATA is answered 452 instead of 354, and the session goes on."""
    async with new_world(limits={"memory": 1_000}) as world:
        client = await world.client()
        for command in ("HELO client", "MAIL FROM:<>", "RCPT TO:<postmaster>"):
            assert (await client.command(command)).startswith("250")
        assert await client.command("DATA") == "452 4.3.1 no room for this message now"
        assert await client.command("NOOP") == "250 2.0.0 ok"
        client.close()


async def test_messages_of_one_client(new_world: WorldMaker) -> None:
    """Over the rate MAIL is 450."""
    async with new_world(limits={"messages_per_minute": 2}, unlimited_clients=()) as world:
        client = await world.client()
        assert (await client.deliver(b"x\r\n")).startswith("250")
        assert (await client.deliver(b"x\r\n")).startswith("250")
        assert await client.command("MAIL FROM:<a@example.net>") == (
            "450 4.7.1 too many messages from your address, slow down"
        )
        client.close()


def test_the_rate_recovers_with_time() -> None:
    """A minute's messages at once, then as many as the time since allows."""
    clock = ManualClock()
    limits = ConnectionLimits(SmtpLimits(messages_per_minute=60), clock)
    for _ in range(60):
        limits.message(a_client())
    with pytest.raises(Refusal):
        limits.message(a_client())
    limits.message(a_client("192.0.2.2"))
    clock.advance(1_000)
    limits.message(a_client())
    with pytest.raises(Refusal) as caught:
        limits.message(a_client())
    assert caught.value.reply == replies.TOO_MANY_MESSAGES


async def test_silence_is_ended(new_world: WorldMaker) -> None:
    """Who sends no command within the time limit gets 421 4.4.2 and is disconnected."""
    async with new_world(limits={"command_timeout": 50}) as world:
        client = await world.client()
        assert await client.reply() == "421 4.4.2 waited too long, closing the connection"
        assert await client.reply() == ""
        client.close()


@pytest.mark.parametrize("limit", ["data_timeout", "content_timeout"])
async def test_silence_in_content_is_ended(limit: str, new_world: WorldMaker) -> None:
    """Between two blocks, and for the whole of a content."""
    async with new_world(limits={limit: 50}) as world:
        client = await world.client()
        await client.open_transaction()
        client.send(b"half\r\n")
        assert await client.reply() == "421 4.4.2 waited too long, closing the connection"
        assert await client.reply() == ""
        client.close()
    assert world.network.messages == []
    (line,) = world.log.named("unfinished")
    assert line["reason"] == "timeout"


async def test_an_idle_session_ends_when_the_server_stops(new_world: WorldMaker) -> None:
    """It is told so; a transaction that is being stored gets its answer first."""
    world = new_world()
    await world.server.start()
    world.network.gate = asyncio.Event()
    idle, busy = await world.client(), await world.client()
    await busy.open_transaction()
    busy.send(b"x\r\n.\r\n")
    await world.network.entered.wait()
    stopping = asyncio.create_task(world.server.stop())
    assert await idle.reply() == "421 4.3.2 shutting down, try again later"
    assert await idle.reply() == ""
    world.network.gate.set()
    assert (await busy.reply()).startswith("250 2.6.0 ")
    assert await busy.reply() == "421 4.3.2 shutting down, try again later"
    await stopping
    idle.close()
    busy.close()
    assert world.log.named("stopped") == [{"role": "smtp", "cut_off": 0}]


async def test_stopping_is_bounded(new_world: WorldMaker) -> None:
    """A transaction that does not end in time is cut off without an answer."""
    world = new_world(limits={"stop_grace": 50})
    await world.server.start()
    client = await world.client()
    await client.open_transaction()
    await world.server.stop()
    assert await client.reply() == ""
    client.close()
    assert world.log.named("stopped") == [{"role": "smtp", "cut_off": 1}]
    assert world.server.memory.used == 0


async def test_long_command_lines(new_world: WorldMaker) -> None:
    """A line over the limit is skipped to its end, however it arrives."""
    async with new_world() as world:
        client = await world.client()
        for size in (params.MAX_COMMAND_LINE, 200_000):
            assert await client.command("NOOP " + "x" * size) == "500 5.5.2 command line too long"
            assert await client.command("NOOP") == "250 2.0.0 ok"
        assert (await client.command("NOOP " + "x" * (params.MAX_COMMAND_LINE - 7))).startswith("250")
        client.close()


def test_clients_are_grouped(new_world: WorldMaker) -> None:
    """IPv4 in IPv6 is IPv4; an IPv6 client counts with its /64; networks come from the settings."""
    world = new_world(trusted_relays=("192.0.2.0/24",))
    table = ClientTable(world.server._settings)
    assert table.client(("::ffff:192.0.2.7", 1, 0, 0)).address == "192.0.2.7"
    assert table.client(("192.0.2.7", 1)).is_trusted
    assert not table.client(("198.51.100.1", 1)).is_trusted
    six = table.client(("2001:db8::1:2:3:4%eth0", 1, 0, 0))
    assert (six.address, six.group) == ("2001:db8::1:2:3:4", "2001:db8::/64")
    assert table.client(("127.0.0.1", 1)).is_loopback
    assert table.client(("::1", 1)).is_unlimited
    with pytest.raises(ValueError, match="nonsense"):
        new_world(trusted_relays=("nonsense",))


def test_what_waits_to_be_sealed_counts() -> None:
    """Of a content 256 KiB may be here unread, of a large one 1 MiB where there is room; all of it is held."""
    budget = MemoryBudget(params.CONTENT_CHUNK + params.CONTENT_BUFFER)
    first, second, third = budget.share(), budget.share(), budget.share()
    first.open_buffer()
    assert first.buffer(params.CONTENT_CHUNK) == budget.used == params.CONTENT_CHUNK
    assert first.buffer(params.CONTENT_CHUNK + 1) == budget.used == params.CONTENT_BUFFER
    assert first.buffer(params.CONTENT_BUFFER) == budget.used == params.CONTENT_BUFFER
    second.open_buffer()
    assert second.buffer(params.CONTENT_BUFFER) == params.CONTENT_CHUNK
    with pytest.raises(Refusal):
        third.open_buffer()
    first.close()
    assert second.buffer(params.CONTENT_BUFFER) == budget.used == params.CONTENT_BUFFER
    second.close()
    assert budget.used == 0
