"""One SMTP connection: its beginning and end, its replies, its time limits; `command_loop` runs the commands."""

import asyncio
import ssl
from abc import abstractmethod
from dataclasses import dataclass
from typing import cast

from gateway.maillog import MailLog
from gateway.smtp import params, replies
from gateway.smtp.limits import Client, ClientTable, ConnectionLimits
from gateway.smtp.reader import ClientInput
from gateway.smtp.replies import Refusal, Reply
from gateway.smtp.settings import ListenerSettings


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


class SmtpConnection(asyncio.Protocol):
    """The part of a session that has to do with its connection."""

    def __init__(self, shared: Shared) -> None:
        self.loop = asyncio.get_running_loop()
        self.client: Client = shared.clients.client(None)
        self.cipher: tuple[str, str] | None = None  # TLS version and cipher suite
        self.transport: asyncio.Transport | None = None
        self._shared = shared
        self._input = ClientInput(self.loop, params.COMMAND_BUFFER)
        self._replies = bytearray()
        self._departure: asyncio.Handle | None = None  # when they leave
        self._errors = 0
        self._deferrals = 0  # temporary refusals since a mail was kept
        self._work: asyncio.Task[None] | None = None  # what a command has left to do
        self._turn: asyncio.Handle | None = None  # other sessions run before the next command
        self._in_a_row = 0  # commands run since the replies were sent
        self._is_full = False  # the client reads too slowly: nothing more is written
        self._written: asyncio.Future[None] | None = None  # somebody waits until that is over
        self._ending = False  # the last reply has been given
        self._stopping = False
        self._is_counted = False
        self._is_closing = False  # once the replies have left
        self._is_over = False
        self._over: asyncio.Future[None] | None = None  # somebody waits for that
        self._deadline: float | None = None  # the loop's time
        self._timer: asyncio.TimerHandle | None = None
        self._fruitless = 0.0  # the loop's time at which a session that keeps no mail ends

    # --- life ---

    def admit(self, peer: object) -> None:
        """Count the connection that came from `peer`, until it is gone and the session over.

        Raises Refusal, which is logged.
        """
        self.client = self._shared.clients.client(peer)
        try:
            self._shared.limits.connect(self.client)
        except Refusal as refusal:
            self._shared.log.refused(reply=str(refusal.reply), client=self.client.address)
            raise
        self._is_counted = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the client, or refuse the connection if it has not been admitted before."""
        self.transport = cast(asyncio.Transport, transport)
        self.cipher = cipher_of(transport)
        self._input.set_transport(transport)
        self._shared.connections.add(self)
        try:
            if not self._is_counted:
                self.admit(transport.get_extra_info("peername"))
        except Refusal as refusal:
            self._say_goodbye(refusal.reply)
            return
        self.note_mail()
        self.reply(replies.greeting(self._shared.settings.hostname))
        self._go_on()

    def data_received(self, data: bytes) -> None:
        self._input.feed(data)
        self._look()

    def eof_received(self) -> bool:
        """A client that has sent all it wants may still read the replies."""
        self._input.end()
        self._look()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """Note the end. What has begun goes on: what it stores does not depend on the client any more."""
        self.transport = None
        self._deadline = None
        self._set_timer()
        self._input.end()
        self.resume_writing()
        if self._is_over:
            self._give_back()

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        if self._written is not None and not self._written.done():
            self._written.set_result(None)
        self._look()

    def _look(self) -> None:
        """Go on, unless what is under way does so when it is done."""
        if self._work is None and self._turn is None:
            self._go_on()

    @abstractmethod
    def _go_on(self) -> None:
        """Run the commands that are here, as far as nothing holds them up; end where nothing can follow."""

    @property
    def in_transaction(self) -> bool:
        """Whether a mail transaction is open."""
        return False

    def forget_transaction(self) -> None:
        """Drop the open transaction, if any, and free what it holds (RFC 5321 §4.1.1.5)."""

    def unfinished(self, reason: str) -> None:
        """Log what the connection's end cuts off, if anything; the role knows."""

    def end_soon(self) -> None:
        """End when the transaction that is open now is over; at once where there is none."""
        self._stopping = True
        if self._work is None and not self.in_transaction:
            self._say_goodbye(replies.SHUTTING_DOWN)

    def cut_off(self) -> None:
        """End now, whatever is under way."""
        if self._work is None:
            self._end()
        else:
            self._work.cancel()
            self._work.add_done_callback(lambda _work: self._end())

    def over(self) -> "asyncio.Future[None]":
        """Return what is done when the session has ended and nothing of it runs any more."""
        if self._over is None:
            self._over = self.loop.create_future()
            if self._is_over:
                self._over.set_result(None)
        return self._over

    def _say_goodbye(self, reply: Reply) -> None:
        """Send `reply` and close, without waiting for the client."""
        self.end_with(reply)
        if self._work is None:
            self._end()
        else:
            self._close()

    def _end(self) -> None:
        """Free what the session holds, and close when the last reply has left."""
        if self._is_over:
            return
        self._is_over = self._ending = True
        self._deadline = None
        self._set_timer()
        if self._turn is not None:
            self._turn.cancel()
        self.forget_transaction()
        self._shared.connections.discard(self)
        if self.transport is None:
            self._give_back()
        self._close()

    def _give_back(self) -> None:
        """Count the connection no more."""
        if self._is_counted:
            self._is_counted = False
            self._shared.limits.disconnect(self.client)

    def _close(self) -> None:
        self._is_closing = True
        self._depart_soon()

    # --- replies ---

    def reply(self, reply: Reply, *, counted: bool = True) -> None:
        """Queue a reply; a refusal is `counted` against the client."""
        self._replies += reply.octets
        if counted and reply.code >= 400:
            self._count(reply)

    def _count(self, reply: Reply) -> None:
        """Count a refusal: a permanent one is an error, a temporary one only where there were too many."""
        if not reply.is_error:
            self._deferrals += 1
        if reply.is_error or self._deferrals > params.DEFERRALS:
            self._errors += 1

    def end_with(self, reply: Reply) -> None:
        """Make `reply` the last one."""
        self.reply(reply)
        self._ending = True

    def refuse(self, refusal: Refusal) -> None:
        """Answer a command that is not taken."""
        self.reply(refusal.reply)

    async def flush(self) -> None:
        """Let the queued replies leave, and wait while the client reads too slowly. Raises ConnectionError."""
        if not self._replies:
            return
        if self.transport is None or self.transport.is_closing():
            raise ConnectionResetError("client gone")
        self._depart_soon()
        if self._is_full:
            self._written = self.loop.create_future()
            await self._written

    def _depart_soon(self) -> None:
        """Let the queued replies leave, if there are any, when the loop has taken what came on all connections.

        A client that is woken for a reply sleeps again before the next one is written, unless both leave together.
        Written one by one, some tenth fewer small messages came in.
        """
        if self._departure is None and (self._replies or self._is_closing):
            self._departure = self.loop.call_soon(self._depart)

    def _depart(self) -> None:
        self._departure = None
        self.write_replies()
        if self._is_closing and self.transport is not None and not self.transport.is_closing():
            self.transport.close()
            if self.transport.get_write_buffer_size():
                # a client that reads nothing would keep the closing connection for ever
                self.loop.call_later(params.GOODBYE_TIMEOUT / 1_000, self.transport.abort)
        if self._is_over and self._over is not None and not self._over.done():
            self._over.set_result(None)

    def write_replies(self) -> None:
        """Give the queued replies to the transport, if there are any and it takes them."""
        if self._replies and self.transport is not None and not self.transport.is_closing():
            self.transport.write(bytes(self._replies))
            self._replies.clear()

    # --- time ---

    def patience(self) -> int:
        """Return how long the next command may take, in ms; no longer than a session that keeps no mail may go on."""
        left = int((self._fruitless - self.loop.time()) * 1_000)
        return max(1, min(self._shared.settings.limits.command_timeout, left))

    def arm(self, milliseconds: int) -> None:
        """Say 421 and close unless armed again or disarmed within `milliseconds`."""
        self._deadline = self.loop.time() + milliseconds / 1_000
        if self._timer is None or self._timer.when() > self._deadline:
            self._set_timer()

    def disarm(self) -> None:
        """Let what is going on take its time."""
        self._deadline = None

    def note_mail(self) -> None:
        """A mail was kept, or may be yet: the session has been of use."""
        self._deferrals = 0
        self._fruitless = self.loop.time() + self._shared.settings.limits.fruitless_timeout / 1_000

    def _arm_for_command(self) -> None:
        self.arm(self.patience())

    def _set_timer(self) -> None:
        # one timer per connection, moved on when it fires early: making one per command was 10 % of a session
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if self._deadline is not None:
            self._timer = self.loop.call_at(self._deadline, self._time_passed)

    def _time_passed(self) -> None:
        self._timer = None
        if self._deadline is None or self.transport is None:
            return
        if self.loop.time() < self._deadline:
            self._set_timer()
            return
        self.unfinished("timeout")
        self._say_goodbye(replies.TIMED_OUT)
