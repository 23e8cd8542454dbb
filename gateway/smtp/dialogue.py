"""The commands that every role has: greeting, STARTTLS, RSET, NOOP, QUIT, HELP, VRFY (RFC 5321 §4.1.1, RFC 3207)."""

import asyncio
from collections.abc import Mapping
from typing import ClassVar

from gateway.mail.address import is_helo_name
from gateway.smtp import params, replies
from gateway.smtp.command_loop import Command, CommandLoop
from gateway.smtp.connection import Shared, cipher_of
from gateway.smtp.replies import Refusal, Reply
from gateway.smtp.tls_layer import secure


class SmtpDialogue(CommandLoop):
    """A session that knows who greeted it and what it offers; roles add their commands."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self.helo = ""
        self.extended = False

    def do_ehlo(self, argument: str) -> None:
        self._set_helo(argument)
        self.extended = True
        self.reply(replies.ehlo(self._shared.settings.hostname, tuple(self.extensions())))

    def do_helo(self, argument: str) -> None:
        self._set_helo(argument)
        self.extended = False
        self.reply(replies.helo(self._shared.settings.hostname))

    def extensions(self) -> list[str]:
        """Return the EHLO keywords: only what is complete."""
        offered = [f"SIZE {self._shared.settings.max_message_size}", "8BITMIME", "SMTPUTF8", "PIPELINING"]
        if self._shared.tls is not None and self.cipher is None:
            offered.append("STARTTLS")
        return [*offered, "ENHANCEDSTATUSCODES"]

    async def do_starttls(self, argument: str) -> None:
        if argument:
            raise Refusal(replies.BAD_ARGUMENT)
        if self._shared.tls is None:
            raise Refusal(replies.TLS_UNAVAILABLE)
        if self.cipher is not None:
            raise Refusal(replies.TLS_ALREADY)
        await self.flush()
        if self._input.pending:
            self._shared.log.refused(reply=str(replies.PIPELINED_PAST_TLS), client=self.client.address)
            self.end_with(replies.PIPELINED_PAST_TLS)
            return
        # From the check above to set_protocol inside secure nothing yields to the loop, so no octet in clear can get
        # into the buffer unseen.
        transport = self.transport
        if transport is None:
            raise ConnectionResetError("client gone")
        self.reply(replies.READY_FOR_TLS)
        self.write_replies()
        self.disarm()
        try:
            secured = await secure(transport, self, self._shared.tls, params.TLS_TIMEOUT / 1_000)
        except OSError as error:  # ssl.SSLError is one
            self._shared.log.unfinished(client=self.client.address, reason=f"TLS: {type(error).__name__}")
            raise ConnectionResetError("no TLS") from error
        self._restart_on(secured)

    def _restart_on(self, transport: asyncio.Transport) -> None:
        """Begin anew over TLS: what was said before it counts no more (RFC 3207 §4.2)."""
        self.transport = transport
        self._input.set_transport(transport)
        self.cipher = cipher_of(transport) or ("", "")
        self.helo, self.extended = "", False
        self.forget_transaction()

    def do_rset(self, argument: str) -> None:
        if argument:
            raise Refusal(replies.BAD_ARGUMENT)
        self.forget_transaction()
        self.reply(replies.OK)

    def do_noop(self, argument: str) -> None:
        self.reply(replies.OK)

    def do_quit(self, argument: str) -> None:
        if argument:
            raise Refusal(replies.BAD_ARGUMENT)
        self.end_with(replies.goodbye(self._shared.settings.hostname))

    def do_help(self, argument: str) -> None:
        self.reply(Reply(214, "2.0.0", f"commands: {' '.join(self.COMMANDS)}"))

    def do_vrfy(self, argument: str) -> None:
        if not argument:
            raise Refusal(replies.BAD_ARGUMENT)
        self.reply(replies.CANNOT_VERIFY)

    def do_expn(self, argument: str) -> None:
        self.reply(replies.NOT_IMPLEMENTED)

    def _set_helo(self, argument: str) -> None:
        if not is_helo_name(argument):
            raise Refusal(replies.BAD_ARGUMENT)
        self.forget_transaction()  # RFC 5321 §4.1.4: EHLO is RSET as well
        self.helo = argument

    COMMANDS: ClassVar[Mapping[str, Command]] = {
        "EHLO": do_ehlo,
        "HELO": do_helo,
        "STARTTLS": do_starttls,
        "RSET": do_rset,
        "NOOP": do_noop,
        "QUIT": do_quit,
        "HELP": do_help,
        "VRFY": do_vrfy,
        "EXPN": do_expn,
    }
