"""Where log lines go: standard error, one line each, the same form for our own and the libraries'.

Our own are written directly: through the standard library's logging a line costs several times as much, and there are
some per message. The libraries' come through it.
"""

import logging
import re
import sys
import time
from collections.abc import MutableMapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TextIO

import structlog

_PLAIN = re.compile(r'[^ ="\n]*\Z')


@lru_cache(1)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _line(logger: str, level: str, fields: MutableMapping[str, Any]) -> str:
    """Return one line in logfmt: time, level, logger and event, then the other fields in their order."""
    if "exc_info" in fields:
        fields = structlog.processors.format_exc_info(None, level, fields)
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    begin = f"timestamp={_second(seconds)}.{nanoseconds // 1_000:06}Z level={level} logger={logger}"
    event = _value(fields.pop("event"))
    return " ".join([f"{begin} event={event}", *[f"{key}={_value(value)}" for key, value in fields.items()]])


def _value(value: object) -> str:
    if type(value) is int:
        return str(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    if _PLAIN.match(text):
        return text
    if " " in text or "=" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
        text = f'"{text}"'
    return text.replace("\n", "\\n")


def _printable(line: str) -> str:
    """Return `line` with whatever would move a terminal's cursor, end a line or turn its direction escaped."""
    if line.isprintable():
        return line
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in line)


class _Lines:
    """Writes finished lines; `name` is the logger's."""

    def __init__(self, name: str, file: TextIO) -> None:
        self.name = name
        self._write = file.write

    def msg(self, line: str) -> None:
        """Write one line, in one piece, so that threads' lines do not mix."""
        with suppress(OSError, ValueError):  # nowhere to write to: mail goes on, as with the standard library's logging
            self._write(f"{_printable(line)}\n")

    debug = info = warning = error = critical = exception = msg


def _our_line(logger: _Lines, level: str, fields: MutableMapping[str, Any]) -> str:
    return _line(logger.name, level, fields)


def _their_line(_logger: None, level: str, fields: MutableMapping[str, Any]) -> str:
    """Return the line of a record that came through the standard library's logging."""
    del fields["_from_structlog"]
    return _line(fields.pop("_record").name, level, fields)


def configure(level: str) -> None:
    """Send everything of `level` and above to standard error."""
    number = logging.getLevelNamesMapping()[level.upper()]
    file = sys.stderr

    def lines(*names: Any) -> _Lines:
        return _Lines(names[0] if names else "root", file)

    structlog.configure(
        processors=[_our_line],
        logger_factory=lines,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(file)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=[_their_line]))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(number)
    for noisy in ("asyncio", "mail.log", "aiohttp.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
