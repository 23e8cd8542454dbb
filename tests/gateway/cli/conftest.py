"""The command line called as `main` calls it, in this process, and as a real process."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.cli import app


@dataclass(frozen=True)
class Ended:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Ended]


@pytest.fixture
def p2pmail(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Call one command in this process."""

    def call(*arguments: object, stdin: bytes = b"") -> Ended:
        monkeypatch.setattr(sys, "argv", ["p2pmail", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        umask = os.umask(0o022)
        try:
            with pytest.raises(SystemExit) as ended:
                app.main()
        finally:
            os.umask(umask)
        printed = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Ended(code, printed.out, printed.err)

    return call


class Process:
    """`p2pmail` as a process of its own."""

    def __init__(self, *arguments: object) -> None:
        command = [sys.executable, "-m", "gateway", *map(str, arguments)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    @property
    def pid(self) -> int:
        return self._process.pid

    def until_up(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline().startswith(b"p2pmail is up: ")

    def until_logged(self, word: bytes) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if word in line:
                return
        raise AssertionError(f"{word!r} was never logged")

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self) -> Ended:
        out, err = self._process.communicate(timeout=60)
        return Ended(self._process.returncode, out.decode(), err.decode())

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    """Start processes that do not outlive the test."""
    with ExitStack() as stack:

        def begin(*arguments: object) -> Process:
            process = Process(*arguments)
            stack.callback(process.kill)
            return process

        yield begin


@contextmanager
def unchanged(directory: Path) -> Iterator[None]:
    """Nothing in `directory` comes, goes or changes within; the empty lock file aside."""
    before = _files(directory)
    yield
    assert _files(directory) == before


def _files(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file() and path.name != "lock"}
