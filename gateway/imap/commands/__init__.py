"""The commands: one file each, with its grammar (`parse`) and what it does (`run`); this table names them all.

A new command is a file here, a row below and a row in state.py.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from gateway.imap.commands.append import Append
from gateway.imap.commands.authenticate import Authenticate
from gateway.imap.commands.capability import Capability
from gateway.imap.commands.close import Close, Unselect
from gateway.imap.commands.copy import Copy, UidCopy
from gateway.imap.commands.create import Create
from gateway.imap.commands.delete import Delete
from gateway.imap.commands.enable import Enable
from gateway.imap.commands.expunge import Expunge, UidExpunge
from gateway.imap.commands.fetch import Fetch, UidFetch
from gateway.imap.commands.identification import Identification
from gateway.imap.commands.idle import Idle
from gateway.imap.commands.list import List
from gateway.imap.commands.login import Login
from gateway.imap.commands.logout import Logout
from gateway.imap.commands.lsub import Lsub
from gateway.imap.commands.move import Move, UidMove
from gateway.imap.commands.namespace import Namespace
from gateway.imap.commands.noop import Noop
from gateway.imap.commands.rename import Rename
from gateway.imap.commands.search import Search, UidSearch
from gateway.imap.commands.select import Examine, Select
from gateway.imap.commands.starttls import StartTls
from gateway.imap.commands.status import Status
from gateway.imap.commands.store import Store, UidStore
from gateway.imap.commands.subscribe import Subscribe, Unsubscribe
from gateway.imap.errors import Bad
from gateway.imap.lexer import Lexer
from gateway.imap.session import Request
from gateway.imap.wire import RawCommand

COMMANDS: Mapping[str, Callable[[Lexer], Request]] = MappingProxyType(
    {
        "APPEND": Append.parse,
        "AUTHENTICATE": Authenticate.parse,
        "CAPABILITY": Capability.parse,
        "CHECK": Noop.parse,
        "CLOSE": Close.parse,
        "COPY": Copy.parse,
        "CREATE": Create.parse,
        "DELETE": Delete.parse,
        "ENABLE": Enable.parse,
        "EXAMINE": Examine.parse,
        "EXPUNGE": Expunge.parse,
        "FETCH": Fetch.parse,
        "ID": Identification.parse,
        "IDLE": Idle.parse,
        "LIST": List.parse,
        "LOGIN": Login.parse,
        "LOGOUT": Logout.parse,
        "LSUB": Lsub.parse,
        "MOVE": Move.parse,
        "NAMESPACE": Namespace.parse,
        "NOOP": Noop.parse,
        "RENAME": Rename.parse,
        "SEARCH": Search.parse,
        "SELECT": Select.parse,
        "STARTTLS": StartTls.parse,
        "STATUS": Status.parse,
        "STORE": Store.parse,
        "SUBSCRIBE": Subscribe.parse,
        "UID COPY": UidCopy.parse,
        "UID EXPUNGE": UidExpunge.parse,
        "UID FETCH": UidFetch.parse,
        "UID MOVE": UidMove.parse,
        "UID SEARCH": UidSearch.parse,
        "UID STORE": UidStore.parse,
        "UNSELECT": Unselect.parse,
        "UNSUBSCRIBE": Unsubscribe.parse,
    }
)


def command_name(lexer: Lexer) -> str:
    """Take the command's name, "UID FETCH" for a UID command. Raises Bad for one that is not known."""
    name = lexer.word("a command")
    if name == "UID":
        lexer.space()
        name = f"UID {lexer.word('FETCH, STORE, SEARCH, COPY, MOVE or EXPUNGE')}"
    if name not in COMMANDS:
        raise Bad(f"the command {name} is not known")
    return name


def lexer_of(command: RawCommand, *, utf8: bool = False) -> Lexer:
    """A lexer placed behind the command's tag. Raises Bad if there is nothing there."""
    lexer = Lexer(command.fragments, utf8=utf8)
    lexer.expect(command.tag.upper().encode("ascii"))
    lexer.space()
    return lexer


def parse_command(command: RawCommand) -> tuple[str, Request]:
    """A whole command's name and request. Raises Bad or No, nothing else."""
    lexer = lexer_of(command)
    name = command_name(lexer)
    request = COMMANDS[name](lexer)
    lexer.end()
    return name, request
