"""Every transcript in tests/dialogs/imap against a fresh server."""

import asyncio
from pathlib import Path

import pytest

from tests.dialogs.runner import Dialog, Peer
from tests.gateway.imap.conftest import Site

TRANSCRIPTS = sorted((Path(__file__).parents[2] / "dialogs" / "imap").glob("*.txt"))


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
async def test_server_answers_as_written(path: Path, site: Site) -> None:
    """The server says what the transcript says, line by line."""

    async def connect(name: str) -> Peer:
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)

        async def start_tls() -> None:
            await writer.start_tls(site.certificate.client, server_hostname="localhost")

        return Peer(reader, writer, start_tls)

    await Dialog(path, connect).run()
