"""The commands of a session, one after the other (RFC 5321 §4.1, RFC 2920).

A command that waits for nothing is run as soon as its octets are here. What has to wait (for a lookup, a content, a TLS
handshake, a login) goes on in a task, and the next command waits for that. Replies are held until no whole command is
left in the buffer, so that a pipelined group is answered in one packet (RFC 2920 §3.2).
"""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, ClassVar

from gateway.smtp import params, replies
from gateway.smtp.connection import SmtpConnection
from gateway.smtp.keywords import keyword
from gateway.smtp.reader import ClientGone, LineTooLong
from gateway.smtp.replies import Refusal

Rest = Coroutine[Any, Any, None]
Command = Callable[[Any, str], Rest | None]
"""Runs a command with its argument. It has answered when it returns, or returns what is left of it, which waits."""

# A web page can make its reader's browser send such a request to any port, with commands of ours in its body
_OF_HTTP = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})


class CommandLoop(SmtpConnection):
    """A session that runs commands; `COMMANDS` is what its role understands."""

    COMMANDS: ClassVar[Mapping[str, Command]] = {}

    def _go_on(self) -> None:
        """Run the commands that are here, until one has to wait, the client is to send or to read, or others wait."""
        self._turn = None
        has_run = False
        while self._work is None and not (self._is_full or self._ending or self.transport is None):
            if self._stopping and not self.in_transaction:
                self.end_with(replies.SHUTTING_DOWN)
            elif self._in_a_row >= params.COMMANDS_IN_A_ROW:
                # a buffer full of commands must not keep the loop from everybody else, nor pile up replies
                self._in_a_row = 0
                self._depart_soon()
                self._turn = self.loop.call_soon(self._go_on)
                return
            elif not self._input.pending or not self._run_next():
                break
            else:
                has_run = True
                self._in_a_row += 1
        if self._work is not None:
            return
        if self._ending:
            self._end()
        elif self.transport is None or (self._input.has_ended and not self._is_full):
            self.unfinished("client gone")
            self._end()
        else:
            if has_run or self._deadline is None:  # octets that complete no command win no time
                self._arm_for_command()  # before the replies leave: who reads none holds the session no longer
            self._in_a_row = 0
            self._depart_soon()

    def _run_next(self) -> bool:
        """Run the next command; False: it is not here yet."""
        try:
            line = self._input.line(params.MAX_COMMAND_LINE)
        except LineTooLong:
            self.reply(replies.LINE_TOO_LONG)
        else:
            if line is None:
                return False
            self._run(line)
        if self._work is None:
            self._count_errors()
        return True

    def _run(self, line: bytes) -> None:
        """Run one command as far as it does not wait."""
        if not line.endswith(b"\r\n") or b"\r" in line[:-2] or b"\0" in line:
            self.reply(replies.BAD_LINE_END)  # RFC 5321 §2.3.8; reading on would be the smugglers' second opinion
            return
        try:
            text = line[:-2].decode()
        except UnicodeDecodeError:
            self.reply(replies.BAD_SYNTAX)
            return
        verb, _, argument = text.partition(" ")
        command = self.COMMANDS.get(keyword(verb))
        if command is not None:
            try:
                rest = command(self, argument.strip(" "))
            except Exception as error:  # noqa: BLE001 - answered like one in `_complete`
                self._answer_failure(verb, error)
            else:
                if rest is not None:
                    self._arm_for_command()
                    self._work = self.loop.create_task(self._complete(verb, rest), name="smtp session")
        elif verb in _OF_HTTP:
            self._shared.log.refused(reply=str(replies.NOT_SMTP), client=self.client.address, detail=verb)
            self.end_with(replies.NOT_SMTP)
        else:
            self.reply(replies.BAD_SYNTAX)

    async def _complete(self, verb: str, rest: Rest) -> None:
        """Run the part of a command that waits, then the commands behind it."""
        try:
            await rest
        except (ClientGone, ConnectionError):
            self.unfinished("client gone")
            self._ending = True
        except Exception as error:  # noqa: BLE001 - the last resort of this task
            self._answer_failure(verb, error)
        self._work = None
        self.disarm()
        self._count_errors()
        self._go_on()

    def _answer_failure(self, verb: str, error: Exception) -> None:
        """Answer a command that raised `error`: whatever went wrong in it, the reply is not a success."""
        if isinstance(error, Refusal):
            self.refuse(error)
            return
        # 451 4.3.0, with its text in the log only
        self._shared.log.failed(f"smtp {keyword(verb)[:16]}", error, client=self.client.address)
        self.reply(replies.INTERNAL)

    def _count_errors(self) -> None:
        if self._ending or self.client.is_trusted:  # whose errors are those of everybody behind it
            return
        if self._errors > self._shared.settings.limits.errors:
            self._shared.log.refused(reply=str(replies.TOO_MANY_ERRORS), client=self.client.address)
            self.end_with(replies.TOO_MANY_ERRORS)
