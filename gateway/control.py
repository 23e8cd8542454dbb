"""The running process's control socket: one JSON request per connection, one JSON answer (mode 0600).

A command that was begun is carried to its end, also when whoever asked has gone; a stop waits for it.
"""

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog

from gateway.errors import OperatorError
from p2pcore.errors import Failure

LIMIT = 16 << 20  # octets of one request; a domain record in a join request's answer fits
REQUEST_TIME = 10  # seconds for a request to arrive, and for its answer to be taken
ANSWER_TIME = 120  # seconds that `ask` waits for an answer
STOP_GRACE = 30  # seconds that commands under way get at a stop

Handler = Callable[[dict[str, Any]], Awaitable[Any]]
log = structlog.get_logger("control")


class ControlServer:
    """Answers the commands in `handlers` (command name → coroutine function of its arguments)."""

    def __init__(self, path: Path, handlers: dict[str, Handler]) -> None:
        self._path = path
        self._handlers = handlers
        self._server: asyncio.Server | None = None
        self._reading: set[asyncio.Task[None]] = set()
        self._working: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen; the socket exists with mode 0600 from its first moment. The site's lock is held by the caller.

        Raises OSError.
        """
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            previous = os.umask(0o177)
            try:
                with _short(self._path) as name:
                    listener.bind(name)
            finally:
                os.umask(previous)
            self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=LIMIT)
        except BaseException:
            listener.close()
            raise

    async def stop(self) -> None:
        """Stop listening, remove the socket, let commands under way end within STOP_GRACE."""
        if self._server is None:
            return
        self._server.close()
        self._path.unlink(missing_ok=True)
        for task in self._reading:
            task.cancel()
        late: set[asyncio.Task[None]] = set()
        if self._working:
            _, late = await asyncio.wait(self._working, timeout=STOP_GRACE)
        for task in late:
            task.cancel()
        if ending := self._reading | late:
            await asyncio.wait(ending)
        self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            line = await self._request(task, reader)
            self._working.add(task)
            answer = await self._answer(line)
            async with asyncio.timeout(REQUEST_TIME):
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (TimeoutError, ConnectionError, ValueError) as error:
            log.warning("control connection failed", error=repr(error))
        finally:
            self._working.discard(task)
            writer.close()

    async def _request(self, task: asyncio.Task[None], reader: asyncio.StreamReader) -> bytes:
        self._reading.add(task)
        try:
            async with asyncio.timeout(REQUEST_TIME):
                return await reader.readline()
        finally:
            self._reading.discard(task)

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            handler = self._handlers[request["command"]]
            arguments = dict(request.get("arguments", {}))
        except (ValueError, KeyError, TypeError, RecursionError):
            return {"error": "unknown command; is the running process another version?", "exit_code": 1}
        try:
            return {"result": await handler(arguments)}
        except OperatorError as error:
            return {"error": str(error), "exit_code": error.exit_code}
        except Failure as error:
            return {"error": str(error) or type(error).__name__, "exit_code": 1}
        except Exception:
            log.exception("command failed", command=request["command"])
            return {"error": "internal error; the log of the running process has the details", "exit_code": 1}


def ask(path: Path, command: str, arguments: dict[str, Any]) -> Any:
    """Return the running process's answer to `command`. Raises OperatorError, NotRunning."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(ANSWER_TIME)
    with connection:
        try:
            with _short(path) as name:
                connection.connect(name)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            start = f"if it is not just starting, start it: p2pmail run -c {path.parent / 'p2pmail.toml'}"
            raise NotRunning(f"{path.parent}: no p2pmail process answers here; {start}") from error
        except PermissionError as error:
            raise OperatorError(f"{path}: permission denied; run this as the user who runs p2pmail") from error
        except OSError as error:
            raise OperatorError(f"{path}: {error.strerror}") from error
        try:
            connection.sendall(json.dumps({"command": command, "arguments": arguments}).encode() + b"\n")
            with connection.makefile("rb") as stream:
                line = stream.readline()
        except OSError as error:
            raise OperatorError(f"{path}: the running process gave no answer: {error}; see its log") from error
    if not line.endswith(b"\n"):
        raise OperatorError(f"{path}: the running process ended before it answered; see its log and ask again")
    try:
        answer = json.loads(line)
        if "error" not in answer:
            return answer["result"]
        failure = OperatorError(answer["error"])
        failure.exit_code = answer["exit_code"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise OperatorError(f"{path}: what answers here is no p2pmail process of this version") from error
    raise failure


class NotRunning(OperatorError):
    """Nothing listens on the control socket."""


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Give a name for `path` that fits a socket's 107 octets however deep the directory lies. Raises OSError."""
    descriptor = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)
