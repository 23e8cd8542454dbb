"""Only the network's confirmation becomes a 250; whatever else happens is a temporary failure or a clear refusal."""

import asyncio
from pathlib import Path

import pytest

from gateway.smtp import params
from gateway.smtp.acceptance import Acceptor
from p2pcore import errors
from tests.gateway.smtp.conftest import WorldMaker
from tests.gateway.smtp.world import DOMAIN, World

ALICE = f"alice@{DOMAIN}"


@pytest.mark.parametrize(
    ("failure", "reply"),
    [
        (errors.NoQuorum("secret"), "451 4.4.0 not enough storage nodes answered, try again later"),
        (errors.Unreachable("secret"), "451 4.4.1 the storage nodes do not answer, try again later"),
        (errors.InboxFull("secret"), "452 4.2.2 a recipient's inbox is full"),
        (errors.NodeFull("secret"), "452 4.3.1 the storage nodes are full"),
        (errors.RateLimited("secret"), "451 4.3.2 the storage nodes are busy, try again later"),
        (errors.ClockSkew("secret"), "451 4.3.5 local error, try again later"),
        (errors.CannotKnow("secret"), "451 4.4.3 a recipient cannot be looked up now"),
        (errors.NotAuthorised("secret"), "451 4.3.0 local error, try again later"),
        (errors.TooLarge("secret"), "451 4.3.0 local error, try again later"),
        (RuntimeError("secret"), "451 4.3.0 local error, try again later"),
        (OSError("secret"), "452 4.3.1 no room for this message now"),
        (TimeoutError("secret"), "451 4.4.2 storing the message took too long, try again later"),
    ],
)
async def test_a_failed_store_is_temporary(failure: BaseException, reply: str, new_world: WorldMaker) -> None:
    """Each failure has its 4yz with a generic text; the session goes on and the next message is stored."""
    async with new_world() as world:
        world.network.failure = failure
        client = await world.client()
        assert await client.deliver(b"x\r\n") == reply
        assert world.network.messages == []
        world.network.failure = None
        assert (await client.deliver(b"y\r\n")).startswith("250 2.6.0 ")
        assert world.server.memory.used == 0
        client.close()
    assert len(world.log.named("received")) == 1


async def test_the_deadline_is_temporary(new_world: WorldMaker) -> None:
    """A network that never answers is a 451, and its late answer is nobody's success."""
    async with new_world(limits={"transaction_deadline": 50}) as world:
        world.network.gate = asyncio.Event()
        client = await world.client()
        assert await client.deliver(b"x\r\n") == "451 4.4.2 storing the message took too long, try again later"
        world.network.gate.set()
        client.close()
    assert world.network.messages == []


async def test_an_unexpected_exception_says_nothing(new_world: WorldMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """451 4.3.0; its text is in the log only."""

    async def broken(*_: object) -> None:
        raise ValueError("the secret reason")

    monkeypatch.setattr(Acceptor, "accept", broken)
    async with new_world() as world:
        client = await world.client()
        assert await client.deliver(b"x\r\n") == "451 4.3.0 local error, try again later"
        client.close()
    (line,) = world.log.named("failed")
    assert "the secret reason" in line["error"]


async def test_who_leaves_before_the_reply_changes_nothing(new_world: WorldMaker) -> None:
    """After the dot the message is stored whether or not the client still listens."""
    async with new_world() as world:
        world.network.gate = asyncio.Event()
        client = await world.client()
        await client.open_transaction()
        client.send(b"x\r\n.\r\n")
        await world.network.entered.wait()
        client.writer.transport.abort()
        world.network.gate.set()
        await sessions_end(world)
    assert len(world.network.messages) == 1
    assert len(world.log.named("received")) == 1


async def test_who_leaves_before_the_dot_stores_nothing(new_world: WorldMaker) -> None:
    """Half a content is no message; the log says what was cut off and the memory is free again."""
    async with new_world() as world:
        client = await world.client()
        await client.open_transaction()
        client.send(b"x\r\n" * 100_000 + b".")
        client.close()
        await sessions_end(world)
        assert world.server.memory.used == 0
    assert world.network.messages == []
    (line,) = world.log.named("unfinished")
    assert line["reason"] == "client gone"


async def test_a_closed_sending_side_still_gets_replies(new_world: WorldMaker) -> None:
    """A client that sends everything and shuts down its side is answered."""
    async with new_world() as world:
        client = await world.client()
        await client.open_transaction()
        client.send(b"x\r\n.\r\n")
        client.writer.write_eof()
        assert (await client.reply()).startswith("250 2.6.0 ")
        assert await client.reply() == ""
        client.close()


async def test_a_broken_disk_refuses_after_the_whole_content(new_world: WorldMaker, tmp_path: Path) -> None:
    """Where the temporary directory fails, the content is read to its end first: none of it becomes a command."""
    async with new_world() as world:
        settings = world.server._transactions
        object.__setattr__(settings, "temporary_directory", tmp_path / "missing")
        client = await world.client()
        await client.open_transaction()
        client.send(b"RSET\r\n" * 600_000 + b".\r\n")
        assert await client.reply() == "452 4.3.1 no room for this message now"
        assert await client.command("NOOP") == "250 2.0.0 ok"
        client.close()
    assert world.network.messages == []


async def test_a_defect_while_receiving_refuses_after_the_whole_content(
    new_world: WorldMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception in the middle of a content is a 451 at its end."""

    def broken(*_: object) -> None:
        raise ValueError("defect")

    monkeypatch.setattr("gateway.smtp.data.HeaderScanner.feed", broken)
    async with new_world() as world:
        client = await world.client()
        assert await client.deliver(b"QUIT\r\n") == "451 4.3.0 local error, try again later"
        assert await client.command("NOOP") == "250 2.0.0 ok"
        client.close()


async def test_a_defect_in_finding_the_end_closes_the_session(
    new_world: WorldMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the end of the content is not known, nothing after it may be read as a command."""

    def broken(*_: object) -> None:
        raise ValueError("defect")

    monkeypatch.setattr("gateway.smtp.data.ContentScanner.feed", broken)
    async with new_world() as world:
        client = await world.client()
        assert await client.deliver(b"NOOP\r\n") == "451 4.3.0 local error, try again later"
        assert await client.reply() == ""
        client.close()


async def test_no_quorum_for_one_recipient_fails_the_transaction(new_world: WorldMaker) -> None:
    """One answer after the dot stands for all recipients, so one failure is the answer."""
    async with new_world() as world:
        world.network.failure = errors.NoQuorum("bob's inbox")
        client = await world.client()
        reply = await client.deliver(b"x\r\n", ALICE, f"bob@{DOMAIN}")
        assert reply.startswith("451 4.4.0 ")
        client.close()
    (line,) = world.log.named("deferred")
    assert line["recipients"] == 2
    assert line["detail"] == "NoQuorum: bob's inbox"


def test_the_deadline_leaves_the_client_time() -> None:
    """RFC 5321 §4.5.3.2.6: clients wait 10 minutes after the dot."""
    assert params.TRANSACTION_DEADLINE <= 5 * params.MINUTE


async def sessions_end(world: World) -> None:
    """Wait until no session is left."""
    while world.server._listeners.connections:
        await asyncio.wait([connection.over() for connection in world.server._listeners.connections], timeout=20)
