"""The Marionette protocol, as far as running scripts in an application's own context needs it.

A packet is its length in ASCII digits, a colon and that many octets of JSON: `[0, id, command, parameters]` to the
application, `[1, id, error, result]` back. On connecting the application sends one object that names the protocol.
"""

import json
import socket
from typing import Any, Self

_RECEIVE = 1 << 16


class ScriptFailed(Exception):
    """The application's answer was an error."""


class Marionette:
    """One session. `run` runs asynchronous scripts with the application's full privileges."""

    def __init__(self, port: int, timeout: float) -> None:
        """Connect to a port of 127.0.0.1. `timeout`: seconds that one script may take."""
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=timeout + 10)
        self._buffer = bytearray()
        self._last = 0
        greeting = self._packet()
        assert greeting["marionetteProtocol"] == 3, greeting
        self.command("WebDriver:NewSession", {})
        self.command("Marionette:SetContext", {"value": "chrome"})
        self._timeout = timeout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def run(self, script: str, *arguments: object) -> Any:
        """Run the body of an async function that sees `args`; return what it returns. Raises ScriptFailed."""
        wrapped = (
            "const resolve = arguments[arguments.length - 1]; const args = [...arguments].slice(0, -1);"
            f"(async () => {{ {script} }})().then("
            "value => resolve([true, value === undefined ? null : value]),"
            "error => resolve([false, `${error}\\n${error.stack || ''}`]));"
        )
        parameters = {"script": wrapped, "args": list(arguments), "newSandbox": False, "sandbox": "system"}
        succeeded, value = self.command(
            "WebDriver:ExecuteAsyncScript", {**parameters, "scriptTimeout": int(self._timeout * 1000)}
        )["value"]
        if not succeeded:
            raise ScriptFailed(value)
        return value

    def command(self, name: str, parameters: dict[str, object]) -> Any:
        """Send one command and return its result. Raises ScriptFailed."""
        self._last += 1
        data = json.dumps([0, self._last, name, parameters]).encode()
        self._socket.sendall(b"%d:%b" % (len(data), data))
        kind, number, error, result = self._packet()
        assert (kind, number) == (1, self._last)
        if error is not None:
            raise ScriptFailed(f"{name}: {error['error']}: {error['message']}")
        return result

    def _packet(self) -> Any:
        length, colon, _ = self._buffer.partition(b":")
        while not colon:
            self._fill()
            length, colon, _ = self._buffer.partition(b":")
        start, end = len(length) + 1, len(length) + 1 + int(length)
        while len(self._buffer) < end:
            self._fill()
        packet = bytes(self._buffer[start:end])
        del self._buffer[:end]
        return json.loads(packet)

    def _fill(self) -> None:
        data = self._socket.recv(_RECEIVE)
        if not data:
            raise ConnectionError("the application closed the Marionette connection")
        self._buffer += data
