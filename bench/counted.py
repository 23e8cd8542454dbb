"""Runs `p2pmail` and notes every HTTP request that it makes: one line "host:port" each, in the file BENCH_REQUESTS."""

import functools
import os
from types import SimpleNamespace
from typing import Any

import aiohttp

from gateway.cli import main


def note_requests(path: str) -> None:
    """Give every client session from now on a trace that writes the addressed endpoint to `path`."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    trace = aiohttp.TraceConfig()

    async def started(_session: object, _context: SimpleNamespace, request: aiohttp.TraceRequestStartParams) -> None:
        os.write(descriptor, f"{request.url.host}:{request.url.port}\n".encode())

    trace.on_request_start.append(started)
    plain = aiohttp.ClientSession.__init__

    @functools.wraps(plain)
    def traced(session: aiohttp.ClientSession, *arguments: Any, **options: Any) -> None:
        plain(session, *arguments, **{"trace_configs": [trace], **options})

    setattr(aiohttp.ClientSession, "__init__", traced)  # noqa: B010 - no assignment of this type satisfies mypy


if __name__ == "__main__":
    note_requests(os.environ["BENCH_REQUESTS"])
    main()
