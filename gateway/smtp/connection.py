"""One SMTP connection: its command loop, replies, time limits and end, on aiosmtpd's protocol class.

aiosmtpd's SMTP inspects itself and its handler for every connection; here that happens once (`Template`), and each
connection starts from a copy. Replies wait until no whole command is left in the buffer, so that a pipelined group is
answered in one packet (RFC 2920 §3.2).
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from aiosmtpd.smtp import SMTP

from gateway.maillog import MailLog
from gateway.smtp import params, replies
from gateway.smtp.limits import Client, ClientTable, ConnectionLimits
from gateway.smtp.reader import ClientGone, ClientInput, LineTooLong
from gateway.smtp.replies import Refusal, Reply
from gateway.smtp.settings import ListenerSettings

Command = Callable[[Any, str], Awaitable[None]]
# A web page can make its reader's browser send such a request to any port, with commands of ours in its body
_OF_HTTP = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})


def cipher_of(transport: asyncio.BaseTransport) -> tuple[str, str] | None:
    """Return the TLS version and the cipher suite of a connection, None in clear."""
    cipher = transport.get_extra_info("cipher")
    return None if cipher is None else (str(cipher[1]), str(cipher[0]))


@dataclass(frozen=True, slots=True)
class Shared:
    """What all connections of a server share."""

    settings: ListenerSettings
    clients: ClientTable
    limits: ConnectionLimits
    tls: ssl.SSLContext | None
    log: MailLog
    connections: "set[SmtpConnection]"


class Template:
    """What aiosmtpd's constructor finds out, which is the same for every connection."""

    def __init__(self, settings: ListenerSettings, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        model = SMTP(
            None,
            hostname=settings.hostname,
            ident="ESMTP p2pmail",
            enable_SMTPUTF8=True,
            data_size_limit=settings.max_message_size,
            loop=loop,
        )
        # bound to the model, and not used: SmtpConnection.COMMANDS says what there is
        of_the_model = {"_smtp_methods", "_auth_methods", "_handle_hooks"}
        of_the_stream = set(vars(asyncio.StreamReaderProtocol(asyncio.StreamReader(loop=loop), loop=loop)))
        self.attributes = {
            name: value for name, value in vars(model).items() if name not in of_the_model | of_the_stream
        }


class SmtpConnection(SMTP):
    """The part of a session that is the same for every role; `COMMANDS` is what the role understands."""

    COMMANDS: ClassVar[Mapping[str, Command]] = {}

    def __init__(self, template: Template, shared: Shared) -> None:
        # instead of SMTP.__init__, whose work the template holds
        vars(self).update(template.attributes)
        self._input = ClientInput(template.loop, params.COMMAND_BUFFER)
        self._writable = asyncio.Event()
        self._writable.set()
        self._handle_hooks: dict[str, Any] = {}
        self._shared = shared
        self._replies = bytearray()
        self._errors = 0
        self._ending = False
        self._is_waiting = False
        self._stopping = False
        self._run_in_a_row = 0
        self._deadline: float | None = None  # the loop's time
        self._fruitful = 0.0  # the loop's time of the beginning, or of the last mail kept
        self.client: Client = shared.clients.client(None)
        self.cipher: tuple[str, str] | None = None  # TLS version and cipher suite

    # --- life ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the session; aiosmtpd's own way makes a session and an envelope that nobody would look at."""
        self.client = self._shared.clients.client(transport.get_extra_info("peername"))
        self.cipher = cipher_of(transport)
        self.transport = transport
        self._input.set_transport(transport)
        self._fruitful = self.loop.time()
        self.arm(self._shared.settings.limits.command_timeout)
        self._handler_coroutine = self.loop.create_task(self._handle_client(), name="smtp session")
        self._shared.connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._input.feed_data(data)

    def connection_lost(self, error: Exception | None) -> None:
        """Note the end. The task goes on: what it has begun to store does not depend on the client any more."""
        self._deadline = None
        self._set_timer()
        self._input.feed_eof()
        self._writable.set()
        self.transport = None

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def eof_received(self) -> bool:
        """A client that has sent all it wants may still read the replies, but not over TLS (asyncio cannot)."""
        self._input.feed_eof()
        return self.cipher is None

    @property
    def task(self) -> "asyncio.Task[None]":
        """The session's task."""
        assert self._handler_coroutine is not None
        return self._handler_coroutine

    @property
    def in_transaction(self) -> bool:
        """Whether a mail transaction is open."""
        return False

    def forget_transaction(self) -> None:
        """Drop the open transaction, if any, and free what it holds (RFC 5321 §4.1.1.5)."""

    def patience(self) -> int:
        """Return how long the next command may take, in ms."""
        return self._shared.settings.limits.command_timeout

    def end_soon(self) -> None:
        """End when the transaction that is open now is over; at once where there is none."""
        self._stopping = True
        if self._is_waiting and not self.in_transaction:
            self._say_goodbye(replies.SHUTTING_DOWN)

    async def _handle_client(self) -> None:
        try:
            with self._shared.limits.connection(self.client):
                self.reply(Reply(220, "", f"{self._shared.settings.hostname} ESMTP p2pmail"))
                while not self._ending:
                    await self._next_command()
        except Refusal as refusal:  # of the connection itself
            self._shared.log.refused(reply=str(refusal.reply), client=self.client.address)
            self.reply(refusal.reply)
        except (ClientGone, ConnectionError):
            self.unfinished("client gone")
        except Exception as error:  # noqa: BLE001 - the last resort of this task; what happened is logged
            self._shared.log.failed("smtp connection", error, client=self.client.address)
            self.reply(Reply(421, "4.3.0", "local error, try again later"))
        finally:
            self.disarm()
            self.forget_transaction()
            self._shared.connections.discard(self)
            self._close()

    def unfinished(self, reason: str) -> None:
        """Log what the connection's end cuts off, if anything; the role knows."""

    # --- replies ---

    def reply(self, reply: Reply, *, counted: bool = True) -> None:
        """Queue a one-line reply; an error is `counted` against the client."""
        self._replies += f"{reply}\r\n".encode()
        if counted and reply.is_error:
            self._errors += 1

    async def flush(self) -> None:
        """Send the queued replies. Raises ConnectionError."""
        if not self._replies:
            return
        if self.transport is None or self.transport.is_closing():
            raise ConnectionResetError("client gone")
        cast(asyncio.WriteTransport, self.transport).write(bytes(self._replies))
        self._replies.clear()
        await self._writable.wait()

    def _say_goodbye(self, reply: Reply) -> None:
        """Send `reply` and close, without waiting for the client."""
        self._ending = True
        self.reply(reply)
        self._close()

    def _close(self) -> None:
        if self.transport is None:
            return
        transport = cast(asyncio.WriteTransport, self.transport)
        if not transport.is_closing():
            transport.write(bytes(self._replies))
            self._replies.clear()
            transport.close()
        if transport.get_write_buffer_size():
            # a client that reads nothing would keep the closing connection for ever
            self.loop.call_later(params.GOODBYE_TIMEOUT / 1_000, transport.abort)

    # --- time ---

    def arm(self, milliseconds: int) -> None:
        """Say 421 and close unless armed again or disarmed within `milliseconds`."""
        self._deadline = self.loop.time() + milliseconds / 1_000
        if self._timeout_handle is None or self._timeout_handle.when() > self._deadline:
            self._set_timer()

    def disarm(self) -> None:
        """Let what is going on take its time."""
        self._deadline = None

    def note_mail(self) -> None:
        """A mail was kept: the session has been of use."""
        self._fruitful = self.loop.time()

    def _arm_for_command(self) -> None:
        left = self._fruitful + self._shared.settings.limits.fruitless_timeout / 1_000 - self.loop.time()
        self.arm(max(1, min(self.patience(), int(left * 1_000))))

    def _set_timer(self) -> None:
        # one timer per connection, moved on when it fires early: making one per command was 10 % of a session
        if self._timeout_handle is not None:
            self._timeout_handle.cancel()
        self._timeout_handle = None
        if self._deadline is not None:
            self._timeout_handle = self.loop.call_at(self._deadline, self._timeout_cb)

    def _timeout_cb(self) -> None:
        self._timeout_handle = None
        if self._deadline is None or self.transport is None:
            return
        if self.loop.time() < self._deadline:
            self._set_timer()
            return
        self.unfinished("timeout")
        self._say_goodbye(replies.TIMED_OUT)

    # --- commands ---

    async def _next_command(self) -> None:
        self._run_in_a_row += 1
        self._arm_for_command()  # before the replies leave: who reads none holds the session no longer
        if not self._input.has_line():
            await self.flush()
            self._run_in_a_row = 0
        elif self._run_in_a_row >= params.COMMANDS_IN_A_ROW:
            await self.flush()
            self._run_in_a_row = 0
            await asyncio.sleep(0)  # a buffer full of commands must not keep the loop from everybody else
        if self._stopping and not self.in_transaction:
            self.end_with(replies.SHUTTING_DOWN)
            return
        self._is_waiting = True
        try:
            line = await self._input.line(params.MAX_COMMAND_LINE)
        except LineTooLong:
            self.reply(replies.LINE_TOO_LONG)
        else:
            self._is_waiting = False
            await self._run(line)
        finally:
            self._is_waiting = False
        if self._errors > self._shared.settings.limits.errors and not self._ending:
            self._shared.log.refused(reply=str(replies.TOO_MANY_ERRORS), client=self.client.address)
            self.end_with(replies.TOO_MANY_ERRORS)

    async def _run(self, line: bytes) -> None:
        """Run one command; whatever goes wrong in it, its reply is not a success."""
        if not line.endswith(b"\r\n") or b"\r" in line[:-2] or b"\0" in line:
            self.reply(replies.BAD_LINE_END)  # RFC 5321 §2.3.8; reading on would be the smugglers' second opinion
            return
        try:
            text = line[:-2].decode()
        except UnicodeDecodeError:
            self.reply(replies.BAD_SYNTAX)
            return
        verb, _, argument = text.partition(" ")
        command = self.COMMANDS.get(verb.upper())
        if verb in _OF_HTTP:
            self._shared.log.refused(reply=str(replies.NOT_SMTP), client=self.client.address, detail=verb)
            self.end_with(replies.NOT_SMTP)
            return
        if command is None:
            self.reply(replies.BAD_SYNTAX)
            return
        try:
            await command(self, argument.strip(" "))
        except Refusal as refusal:
            self.refuse(refusal)
        except (ClientGone, ConnectionError):
            raise
        except Exception as error:  # noqa: BLE001 - 451 4.3.0, with its text in the log only
            self._shared.log.failed(f"smtp {verb.upper()[:16]}", error, client=self.client.address)
            self.reply(replies.INTERNAL)

    def refuse(self, refusal: Refusal) -> None:
        """Answer a command that is not taken."""
        self.reply(refusal.reply)

    def end_with(self, reply: Reply) -> None:
        """Make `reply` the last one."""
        self.reply(reply)
        self._ending = True
