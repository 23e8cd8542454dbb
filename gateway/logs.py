"""Where log lines go: standard error, one line each, the same form for our own and the libraries'.

Our own are written directly: through the standard library's logging a line costs several times as much, and there are
some per message. The libraries' come through it.
"""

import logging
import sys
from contextlib import suppress
from typing import Any, TextIO

import structlog

_RENDERER = structlog.processors.LogfmtRenderer(
    key_order=["timestamp", "level", "logger", "event"], drop_missing=True, bool_as_flag=False
)


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


def configure(level: str) -> None:
    """Send everything of `level` and above to standard error."""
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    file = sys.stderr

    def lines(*names: Any) -> _Lines:
        return _Lines(names[0] if names else "root", file)

    structlog.configure(
        processors=[*shared, _RENDERER],
        logger_factory=lines,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(file)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _RENDERER],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(number)
    for noisy in ("asyncio", "mail.log", "aiohttp.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
