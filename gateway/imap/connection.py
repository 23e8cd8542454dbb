"""The shell around one session: reads commands in order, runs each to its tagged response, and says goodbye.

Commands wait for the one before, so pipelining needs no rules of its own; what a client sends meanwhile is held back
above INPUT_HIGH_WATER. Whatever is queued for the client leaves before the next wait for it. A command ends in OK,
or in the error that it raised; only Bye, a lost connection and patience running out end the connection.
"""

import asyncio
import ssl
from itertools import count
from pathlib import Path
from typing import assert_never

import structlog

from gateway.imap import literals, params, responses
from gateway.imap.errors import Bad, Bye, ImapError
from gateway.imap.execution import execute
from gateway.imap.session import Session, Then
from gateway.imap.state import State
from gateway.imap.stream import Stream
from gateway.imap.surroundings import Doorkeeper
from gateway.imap.wire import CommandReader, LiteralChunk, LiteralOffered, RawCommand, Rejected
from gateway.mailbox.errors import MailboxError
from gateway.mailbox.store import MailStore

_log = structlog.get_logger("imap")


class Connection:
    """One client. `run` is its whole life; it raises nothing but CancelledError."""

    def __init__(
        self,
        stream: Stream,
        doorkeeper: Doorkeeper,
        *,
        tls: ssl.SSLContext | None,
        spool_directory: Path | None,
    ) -> None:
        self._stream = stream
        self._tls = tls
        self._spool_directory = spool_directory
        self._reader = CommandReader()
        self._session = Session(self, doorkeeper)
        self._queue: list[bytes] = []
        self._queued = 0
        self._deadline = asyncio.get_running_loop().time() + doorkeeper.limits.login_timeout
        self._refusal: ImapError | None = None
        self._bad = 0
        self._waiting = False
        self._parting: Bye | None = None  # said after the command under way
        self._interrupted = False  # while nothing was being said, so that BYE cannot fall into a literal
        self._task: asyncio.Task[None] | None = None

    # ---- Channel: the connection as commands see it

    @property
    def tls(self) -> bool:
        return self._stream.tls

    @property
    def peer(self) -> str:
        return self._stream.peer

    def write(self, data: bytes) -> None:
        self._queue.append(data)
        self._queued += len(data)

    async def flush(self, above: int = 0) -> None:
        if self._queued > above:
            data = b"".join(self._queue)
            self._queue.clear()
            self._queued = 0
            self._stream.write(data)
            await self._stream.drain()
            if above:
                await asyncio.sleep(0)  # amid a long answer: others have their turn too

    async def read_line(self) -> bytes:
        while (line := self._reader.next_line()) is None:
            await self._receive()
        return line

    async def pause(self, seconds: float) -> None:
        self._waiting = True
        try:
            await asyncio.sleep(seconds)
        finally:
            self._waiting = False

    def abort(self) -> None:
        self._stream.abort()

    # ---- the life of a connection

    async def run(self) -> None:
        """Serve the client until one of us ends it."""
        self._task = asyncio.current_task()
        try:
            await self._serve()
        except asyncio.CancelledError:
            if not self._interrupted:
                raise
            assert self._parting is not None
            await self._say_bye(self._parting)
        except Bye as bye:
            await self._say_bye(bye)
        except OSError as error:
            _log.debug("imap connection lost", peer=self.peer, error=str(error))
        except Exception:  # noqa: BLE001 (a fault of ours ends this connection, never the server)
            _log.exception("imap connection failed", peer=self.peer)
            await self._say_bye(Bye("internal error", "SERVERBUG"))
        finally:
            await self._end()

    def serves(self, store: MailStore) -> bool:
        """Return whether somebody is logged in to the account of `store` here."""
        return self._session.account is not None and self._session.account.store is store

    def stop(self, bye: Bye) -> None:
        """Say `bye` after the command under way, or now if there is none."""
        self._parting = bye
        if self._waiting and self._task is not None:
            self._interrupted = True
            self._task.cancel()

    async def _say_bye(self, bye: Bye) -> None:
        self.write(responses.status("*", b"BYE", bye.text, bye.code))
        try:
            await self.flush()
        except OSError:
            _log.debug("imap client gone before BYE", peer=self.peer)

    async def _end(self) -> None:
        literals.drop_spools(self._session)
        try:
            await self._session.end()
        except MailboxError as error:
            _log.warning("imap session could not be ended in order", peer=self.peer, error=str(error))
        finally:
            await self._stream.close()

    async def _serve(self) -> None:
        self.write(responses.status("*", b"OK", "p2pmail IMAP", f"CAPABILITY {self._session.capabilities()}"))
        for number in count():
            if number % params.COMMANDS_IN_A_ROW == 0:
                await asyncio.sleep(0)  # who sends many at once lets others have their turn
            command = await self._next_command()
            then = await self._execute(command)
            literals.drop_spools(self._session)
            match then:
                case Then.CONTINUE:
                    if self._parting is not None:
                        raise self._parting
                case Then.START_TLS:
                    await self.flush()
                    await self._start_tls()
                case Then.CLOSE:
                    await self.flush()
                    return
                case _:
                    assert_never(then)

    async def _start_tls(self) -> None:
        assert self._tls is not None
        async with asyncio.timeout_at(self._deadline):
            await self._stream.start_tls(self._tls)
        # RFC 3501 §6.2.1: what was learnt in clear is forgotten
        self._reader = CommandReader()
        self._session.enabled.clear()

    # ---- input

    async def _receive(self) -> None:
        """Wait for octets from the client, as long as the state allows. Raises Bye, ConnectionResetError."""
        await self.flush()
        loop = asyncio.get_running_loop()
        before_login = self._session.state is State.NOT_AUTHENTICATED
        limit = self._deadline if before_login else loop.time() + self._session.limits.autologout
        self._waiting = True
        try:
            data = await self._stream.read(limit)
        except TimeoutError:
            raise Bye("no login in time" if before_login else "autologout; idle for too long") from None
        finally:
            self._waiting = False
        if not data:
            raise ConnectionResetError("the client closed the connection")
        self._reader.feed(data)

    async def _next_command(self) -> RawCommand:
        while True:
            event = self._reader.next_event()
            match event:
                case None:
                    await self._receive()
                case LiteralOffered():
                    await self._answer_literal(event)
                case LiteralChunk(data):
                    if self._refusal is None:
                        self._refusal = await literals.spool(self._session, data)
                case Rejected(tag, reason):
                    refusal, self._refusal = self._refusal, None
                    self._refuse(tag, refusal or Bad(reason))
                case RawCommand(tag):
                    refusal, self._refusal = self._refusal, None
                    if refusal is None:
                        return event
                    self._refuse(tag, refusal)
                case _:
                    assert_never(event)

    async def _answer_literal(self, offered: LiteralOffered) -> None:
        spool, refusal = await literals.admit(self._session, offered, self._spool_directory)
        if refusal is None:
            if offered.synchronising:
                self.write(b"+ go ahead\r\n")
            self._reader.accept_literal(spool=spool)
        elif offered.synchronising:
            self._reader.refuse_literal(skip=False)  # the client has sent nothing, and now will not
            self._refuse(offered.tag, refusal)
        elif self._session.account is None or offered.size > params.DISCARD_LIMIT:
            raise Bye(refusal.text, refusal.code)  # RFC 7888 §4
        else:
            self._refusal = refusal
            self._reader.refuse_literal(skip=True)

    # ---- one command

    async def _execute(self, command: RawCommand) -> Then:
        """Run a command and queue its tagged response. Raises Bye and what ends a connection."""
        name, outcome = await execute(self._session, command)
        if isinstance(outcome, ImapError):
            self._refuse(command.tag, outcome, name)
            return Then.CONTINUE
        if outcome.then is Then.START_TLS:
            self._require_silence(command.tag)
        self._bad = 0
        self.write(responses.status(command.tag, b"OK", outcome.text or f"{name} completed", outcome.code))
        return outcome.then

    def _refuse(self, tag: str, error: ImapError, name: str = "") -> None:
        text = f"{name}: {error.text}" if name else error.text
        self.write(responses.status(tag, error.status, text, error.code))
        literals.drop_spools(self._session)
        if isinstance(error, Bad):
            self._bad += 1
            if self._bad >= params.MAX_BAD:
                raise Bye("too many commands that are not IMAP")

    def _require_silence(self, tag: str) -> None:
        """Let nothing that came in clear be taken for something that came under TLS (command injection)."""
        self._stream.hold()
        if self._reader.buffered or self._stream.pending:
            self.write(responses.status(tag, b"BAD", "STARTTLS: nothing may follow it before TLS"))
            raise Bye("commands were sent in clear behind STARTTLS")
