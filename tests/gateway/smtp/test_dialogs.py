"""Every transcript in tests/dialogs/smtp holds, word for word, over a real connection."""

import asyncio
import ssl
from pathlib import Path

import pytest

from tests.dialogs.runner import Dialog, Peer
from tests.gateway.smtp.conftest import WorldMaker

DIALOGS = Path(__file__).parents[2] / "dialogs" / "smtp"
LIMITS = {
    "limits.txt": {"recipients": 3, "errors": 4},
    "size.txt": {},
}
SIZES = {"size.txt": 2_000, "bdat_size.txt": 2_000}


@pytest.mark.parametrize("name", sorted(path.name for path in DIALOGS.glob("*.txt")))
async def test_dialog(name: str, new_world: WorldMaker, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    """The server answers as the transcript says."""
    world = new_world(tls=server_tls, limits=LIMITS.get(name, {}), max_message_size=SIZES.get(name, 64 << 20))
    async with world:

        async def connect(_name: str) -> Peer:
            reader, writer = await asyncio.open_connection("127.0.0.1", world.server.ports[0])

            async def start_tls() -> None:
                await writer.start_tls(client_tls)
                reader._transport = writer.transport  # type: ignore[attr-defined]  # 3.11 forgets the reader

            return Peer(reader, writer, start_tls)

        await Dialog(DIALOGS / name, connect).run()
    assert world.files() == []
