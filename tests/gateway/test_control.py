"""The control socket: one JSON request, one JSON answer."""

import asyncio
import json
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.control import ControlServer, NotRunning, ask
from gateway.errors import ConfigurationError, OperatorError
from p2pcore.errors import NotOurDomain


class Commands:
    """Commands that answer, fail in each way, and wait until they are told to go on."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.begun = asyncio.Event()
        self.ended = 0

    async def echo(self, arguments: dict[str, Any]) -> Any:
        return arguments

    async def wait(self, arguments: dict[str, Any]) -> Any:
        self.begun.set()
        await self.go_on.wait()
        self.ended += 1

    async def refuse(self, arguments: dict[str, Any]) -> Any:
        raise ConfigurationError("node.listen: in use")

    async def fail(self, arguments: dict[str, Any]) -> Any:
        raise NotOurDomain("not here")

    async def crash(self, arguments: dict[str, Any]) -> Any:
        raise ZeroDivisionError("secret detail")

    @property
    def handlers(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("echo", "wait", "refuse", "fail", "crash")}


@pytest.fixture
def commands() -> Commands:
    return Commands()


@pytest.fixture
async def path(tmp_path: Path, commands: Commands) -> AsyncIterator[Path]:
    path = tmp_path / "control.sock"
    server = ControlServer(path, commands.handlers)
    await server.start()
    yield path
    commands.go_on.set()
    await server.stop()
    assert not path.exists()


async def asked(path: Path, command: str, **arguments: Any) -> Any:
    return await asyncio.to_thread(ask, path, command, arguments)


async def test_answer(path: Path) -> None:
    """Arguments arrive and results come back, beyond what one read of a socket takes."""
    big = "x" * 1_000_000
    assert await asked(path, "echo", a=1, b=[big]) == {"a": 1, "b": [big]}


async def test_socket_is_private(path: Path) -> None:
    """Nobody but the owner can connect."""
    status = await asyncio.to_thread(path.stat)
    assert stat.S_IMODE(status.st_mode) == 0o600


async def test_failures_keep_their_text_and_exit_code(path: Path) -> None:
    """A configuration error exits with 2, another failure with 1; a defect shows nothing of its inside."""
    for command, text, code in (("refuse", "node.listen: in use", 2), ("fail", "not here", 1), ("crash", "log", 1)):
        with pytest.raises(OperatorError, match=text) as caught:
            await asked(path, command)
        assert caught.value.exit_code == code
        assert "secret" not in str(caught.value)
    with pytest.raises(OperatorError, match="unknown command"):
        await asked(path, "nonsense")


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"1", b"[]", b'"command"', b'{"command": []}', b'{"command": "echo", "arguments": 3}', b"[" * 9999],
)
async def test_bad_requests(path: Path, line: bytes) -> None:
    """Whatever arrives is answered with an error, and the next request is served."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(line + b"\n")
    assert "error" in json.loads(await reader.readline())
    writer.close()
    assert await asked(path, "echo") == {}


async def test_begun_is_carried_to_its_end(path: Path, commands: Commands) -> None:
    """A command goes on when whoever asked is gone."""
    _, writer = await asyncio.open_unix_connection(path)
    writer.write(b'{"command": "wait"}\n')
    await commands.begun.wait()
    writer.close()
    commands.go_on.set()
    await asked(path, "wait")
    assert commands.ended == 2


async def test_stop_waits_for_commands_only(tmp_path: Path, commands: Commands) -> None:
    """A stop lets a command end, and does not wait for a connection that asks nothing."""
    server = ControlServer(tmp_path / "s", commands.handlers)
    await server.start()
    _, idle = await asyncio.open_unix_connection(tmp_path / "s")
    asking = asyncio.create_task(asked(tmp_path / "s", "wait"))
    await commands.begun.wait()
    stopping = asyncio.create_task(server.stop())
    await asyncio.sleep(0)  # up to where it waits
    assert not stopping.done()
    commands.go_on.set()
    await asking
    await stopping
    idle.close()


async def test_directory_deeper_than_a_socket_name(tmp_path: Path, commands: Commands) -> None:
    """A path longer than the 107 octets of a socket's name works."""
    path = tmp_path / ("d" * 120) / "control.sock"
    path.parent.mkdir()
    server = ControlServer(path, commands.handlers)
    await server.start()
    assert await asked(path, "echo") == {}
    await server.stop()


async def test_socket_of_a_killed_process(tmp_path: Path, commands: Commands) -> None:
    """A socket that a killed process left is "not running", and the next start takes its place."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(NotRunning, match="no p2pmail process answers here"):
        await asked(path, "echo")
    server = ControlServer(path, commands.handlers)
    await server.start()
    assert await asked(path, "echo") == {}
    await server.stop()


def test_nothing_there(tmp_path: Path) -> None:
    """No socket, or no directory: not running."""
    for path in (tmp_path / "s", tmp_path / "gone" / "s"):
        with pytest.raises(NotRunning):
            ask(path, "echo", {})


async def test_process_that_dies_while_asked(tmp_path: Path) -> None:
    """An answer that breaks off is said to be none."""

    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b'{"result": ')
        writer.close()

    server = await asyncio.start_unix_server(die, tmp_path / "s")
    with pytest.raises(OperatorError, match="ended before it answered"):
        await asked(tmp_path / "s", "echo")
    server.close()


@pytest.mark.parametrize("answer", [b"hello", b"[]", b"{}", b'{"error": "no"}', b"7"])
async def test_something_else_that_listens(tmp_path: Path, answer: bytes) -> None:
    """What is no answer of ours is said to be none."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer + b"\n")
        writer.close()

    server = await asyncio.start_unix_server(greet, tmp_path / "s")
    with pytest.raises(OperatorError, match="no p2pmail process of this version"):
        await asked(tmp_path / "s", "echo")
    server.close()
