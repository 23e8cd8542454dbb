"""logs: one form of line for everything that is logged."""

import io
import logging
import re
import sys
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from gateway import logs

TIME = r"timestamp=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z"


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Leave logging as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    structlog.reset_defaults()
    root.handlers = handlers
    root.setLevel(level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    """timestamp, level, logger, event, then the fields: our own lines as well as the libraries'."""
    logs.configure("info")
    structlog.get_logger("mail").info("received", id="1", size=8, new=True, path="a b")
    logging.getLogger("library").warning("met %s", "trouble")
    ours, theirs = lines(capsys)
    assert re.fullmatch(TIME + r' level=info logger=mail event=received id=1 size=8 new=true path="a b"', ours)
    assert re.fullmatch(TIME + r' level=warning logger=library event="met trouble"', theirs)


@pytest.mark.parametrize(("level", "count"), [("debug", 8), ("info", 6), ("warning", 4), ("error", 2)])
def test_level(capsys: pytest.CaptureFixture[str], level: str, count: int) -> None:
    """What is below the level of the configuration is not written."""
    logs.configure(level)
    for log in (structlog.get_logger("mail"), logging.getLogger("library")):
        for method in (log.debug, log.info, log.warning, log.error):
            method("event")
    assert len(lines(capsys)) == count


def test_exception(capsys: pytest.CaptureFixture[str]) -> None:
    """An exception is one line too, with its traceback; what is logged cannot begin a line of its own."""
    logs.configure("info")
    nothing: dict[str, str] = {}
    try:
        nothing["lost"]
    except KeyError:
        structlog.get_logger("main").exception("failed", address="a\nlevel=error")
    (line,) = lines(capsys)
    assert "level=error logger=main event=failed" in line
    assert "KeyError: 'lost'" in line


def test_nowhere_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that cannot be written stops nothing."""
    closed = io.StringIO()
    monkeypatch.setattr(sys, "stderr", closed)
    logs.configure("info")
    closed.close()
    structlog.get_logger("main").info("event")
    assert closed.closed


@given(st.dictionaries(st.sampled_from("abcd"), st.none() | st.booleans() | st.integers() | st.text()))
def test_logfmt(fields: dict[str, object]) -> None:
    """Invariant: the fields of a line are written as structlog writes logfmt."""
    renderer = structlog.processors.LogfmtRenderer(bool_as_flag=False)
    expected = renderer(None, "info", {"event": "event", **fields})
    line = logs._line("mail", "info", {"event": "event", **fields})
    assert line.endswith(f" level=info logger=mail {expected}")
