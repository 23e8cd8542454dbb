"""An event loop for fault runs: virtual time, no threads, real sockets on loopback, and everything has an owner.

What is given to an executor is done in a later turn of the loop, so it can be lost like any other step. Time jumps to
the next timer where no socket has anything to say; loopback delivers within the sending call, so that is no guess but
for the rare packet that the kernel puts off, which then looks like a slow network.
"""

import asyncio
import selectors
import socket
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, TypeVar

from tests.faults.disk import limited
from tests.faults.process import OWNER, Process
from tests.faults.steps import Observed, Watcher

T = TypeVar("T")
_PUT_OFF = 0.001  # seconds that a packet in the kernel gets before time jumps

_BUFFER = 128 << 10  # octets in the kernel


class _Selector(selectors.DefaultSelector):
    passed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if ready or timeout == 0:
            return ready
        ready = super().select(_PUT_OFF)
        if not ready and timeout is None:
            raise RuntimeError("every task waits for something that no timer will bring")
        if not ready and timeout is not None:
            self.passed += max(0.0, timeout)
        return ready


class _Future(asyncio.Future[Any]):
    """Knows whose it is: it may fail, and be dropped, where nothing else tells."""

    owner: Process | None


class FaultLoop(asyncio.SelectorEventLoop):
    """`watcher` sees every step of a task that belongs to a process.

    `troubles`: what a process that lives left for the loop to report, until the run is over.
    """

    def __init__(self, watcher: Watcher) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)
        self._clock_resolution = 1e-6
        self.watcher = watcher
        self.observed: list[Observed[Any]] = []
        self.troubles: list[str] = []
        self._generators: dict[int, Process] = {}  # whose an unfinished asynchronous generator is, by its id
        self.set_task_factory(self._make_task)  # type: ignore[arg-type]  # generic in the result
        self.set_exception_handler(self._note)

    def time(self) -> float:
        return self._virtual.passed

    def create_future(self) -> "asyncio.Future[Any]":
        future = _Future(loop=self)
        future.owner = OWNER.get()
        return future

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., T], *args: Any
    ) -> "asyncio.Future[T]":
        future: asyncio.Future[T] = self.create_future()
        self.call_soon(self._execute, future, func, args)
        return future

    def _execute(self, future: "asyncio.Future[T]", func: Callable[..., T], args: tuple[Any, ...]) -> None:
        owner = OWNER.get()
        if owner is not None and not owner.alive:
            return
        try:
            with limited(owner):
                value = func(*args)
        except Exception as error:  # noqa: BLE001 - an executor hands on whatever is raised
            if not future.done():
                future.set_exception(error)
        else:
            if not future.done():
                future.set_result(value)

    def _asyncgen_firstiter_hook(self, generator: AsyncGenerator[Any, Any]) -> None:
        super()._asyncgen_firstiter_hook(generator)  # type: ignore[misc]  # of the base class, without a stub
        if (owner := OWNER.get()) is not None:
            self._generators[id(generator)] = owner

    def _asyncgen_finalizer_hook(self, generator: AsyncGenerator[Any, Any]) -> None:
        owner = self._generators.pop(id(generator), None)
        if owner is None or owner.alive:  # what a killed process was in the middle of, nobody ends
            super()._asyncgen_finalizer_hook(generator)  # type: ignore[misc]

    def free(self) -> None:
        """Let go of every task's coroutine; what their last lines do, nobody sees."""
        for observed in self.observed:
            observed.close()
        self.observed.clear()

    async def create_server(self, *args: Any, **kwargs: Any) -> asyncio.Server:
        server = await super().create_server(*args, **kwargs)
        if (owner := OWNER.get()) is not None:
            owner.servers.append(server)
        return server

    async def sock_accept(self, sock: socket.socket) -> tuple[socket.socket, Any]:
        if (owner := OWNER.get()) is not None:
            owner.listening.add(sock)
        return await super().sock_accept(sock)

    def _make_socket_transport(self, sock: socket.socket, *args: Any, **kwargs: Any) -> asyncio.Transport:
        _fix_buffers(sock)
        return self._owned(super()._make_socket_transport(sock, *args, **kwargs))  # type: ignore[misc]

    def _make_ssl_transport(self, sock: socket.socket, *args: Any, **kwargs: Any) -> asyncio.Transport:
        _fix_buffers(sock)
        return self._owned(super()._make_ssl_transport(sock, *args, **kwargs))  # type: ignore[misc]

    def _owned(self, transport: asyncio.Transport) -> asyncio.Transport:
        if (owner := OWNER.get()) is not None:
            owner.transports.append(transport)
            if not owner.alive:
                transport.abort()
        return transport

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T], **kwargs: Any
    ) -> "asyncio.Task[T]":
        context = kwargs.get("context")
        owner = context.get(OWNER) if context is not None else OWNER.get()
        if owner is None:
            return asyncio.Task(coroutine, loop=loop, **kwargs)
        observed = Observed(coroutine, owner, self.watcher, loop)
        self.observed.append(observed)
        return asyncio.Task(observed, loop=loop, **kwargs)

    def _note(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        owner = _owner_of(context)
        if not self.watcher.over and (owner is None or owner.alive):
            self.troubles.append(f"{context.get('message')}: {context.get('exception')!r}")


def _owner_of(context: dict[str, Any]) -> Process | None:
    """Return whose trouble `context` tells of; None where that cannot be said, or it is the test's own."""
    match context:
        case {"future": _Future(owner=owner)}:
            return owner
        case {"future": asyncio.Task() as task} | {"task": asyncio.Task() as task}:
            coroutine = task.get_coro()
            return coroutine.process if isinstance(coroutine, Observed) else None
        case {"handle": handle}:
            found: Process | None = handle._context.get(OWNER)
            return found
        case {"future": _}:
            return None
    return OWNER.get()


def _fix_buffers(sock: socket.socket) -> None:
    """Have the kernel take the same amount at once in every run, instead of what it learns from the others."""
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
