"""Every transcript in tests/dialogs/submission and tests/dialogs/relay holds, word for word, over a real connection."""

import asyncio
import ssl
from pathlib import Path

import pytest

from tests.dialogs.runner import Dialog, Peer
from tests.gateway.smtp.submission_world import People, make_relay, make_submission

SUBMISSION = Path(__file__).parents[2] / "dialogs" / "submission"
RELAY = Path(__file__).parents[2] / "dialogs" / "relay"
LIMITS = {"recipients.txt": {"recipients": 2}}
SIZES = {"size.txt": 2_000}


@pytest.mark.parametrize("name", sorted(path.name for path in SUBMISSION.glob("*.txt")))
async def test_submission(name: str, people: People, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    """The agent's listener answers as the transcript says."""
    world = make_submission(people, server_tls, limits=LIMITS.get(name, {}), max_message_size=SIZES.get(name, 64 << 20))
    async with world:

        async def connect(_name: str) -> Peer:
            reader, writer = await asyncio.open_connection("127.0.0.1", world.server.listeners[0].port)

            async def start_tls() -> None:
                await writer.start_tls(client_tls)
                reader._transport = writer.transport  # type: ignore[attr-defined]  # 3.11 forgets the reader

            return Peer(reader, writer, start_tls)

        await Dialog(SUBMISSION / name, connect).run()
    assert world.server.memory.used == 0


@pytest.mark.parametrize("name", sorted(path.name for path in RELAY.glob("*.txt")))
async def test_relay(name: str, people: People, client_tls: ssl.SSLContext, tmp_path: Path) -> None:
    """The gateway's listener answers so; "Cbob" dials with bob's certificate, "Cnobody" with none."""
    async with make_relay(people, tmp_path) as world:

        async def connect(name: str) -> Peer:
            tls = client_tls if name == "nobody" else world.dial(people.by_name[name])
            reader, writer = await asyncio.open_connection("127.0.0.1", world.port, ssl=tls, server_hostname="")

            async def start_tls() -> None:
                raise AssertionError("TLS is there already")

            return Peer(reader, writer, start_tls)

        await Dialog(RELAY / name, connect).run()
    assert world.server.memory.used == 0
    assert world.files() == []
