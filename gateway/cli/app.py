"""The `p2pmail` command: gathers the subcommands and turns failures into one line and an exit code."""

import errno
import os
import sys

import apsw
import typer
from rich.console import Console
from rich.markup import escape

from gateway.cli import demo, directory, dns, doctor, init, join, keys, machine, mailbox, plan, queue, run, status, user
from gateway.cli.options import plain
from gateway.errors import OperatorError
from p2pcore.errors import Failure

_MOST = 1_000  # characters of an error: what is wrong stands at its ends

app = typer.Typer(
    name="p2pmail",
    help="Mail without a mail server: sealed on arrival, replicated on a Kademlia network, read over IMAP.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for module in (init, run, status, plan, user, mailbox, keys, queue, directory, machine, join, dns, doctor, demo):
    module.register(app)


def main() -> None:
    """Run the command line; exit 0 on success, 2 where no start can succeed until something is put right, else 1."""
    os.umask(0o077)  # keys, databases, sockets: everything that is made here is its owner's alone
    try:
        try:
            app(standalone_mode=True)
        finally:
            sys.stdout.flush()  # here, where a reader that has gone is no error
    except OperatorError as error:
        fail(str(error), _exit_code(error))
    except Failure as error:
        fail(str(error), 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader (head, less) has seen enough
        sys.exit(1)
    except OSError as error:
        fail(f"{error.filename or 'system'}: {error.strerror or error}", 1)


def _exit_code(error: OperatorError) -> int:
    """Return the code of `error`; 1 if a full or failing disk caused it: no setting helps, so systemd tries again."""
    cause = error.__cause__
    while cause is not None:
        if isinstance(cause, apsw.FullError | apsw.IOError):
            return 1
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            return 1
        cause = cause.__cause__
    return error.exit_code


def fail(message: str, exit_code: int) -> None:
    """Print `message` as an error, in one line, and exit."""
    if len(message) > _MOST:
        message = f"{message[: _MOST // 2]} … {message[-_MOST // 2 :]}"
    console = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
    console.print(f"[bold red]error:[/] {escape(plain(message))}")
    sys.exit(exit_code)
