"""LIST (RFC 3501 §6.3.8), with selection and return options (RFC 5258, RFC 5819, RFC 6154)."""

from dataclasses import dataclass

from gateway.imap import params
from gateway.imap.errors import Bad
from gateway.imap.lexer import Lexer
from gateway.imap.listing import Selection, list_entries
from gateway.imap.session import Done, Session
from gateway.imap.status_items import parse_status_items, status_line

_MAX_PATTERNS = 100


@dataclass(frozen=True, slots=True)
class List:
    reference: str
    patterns: tuple[str, ...]
    selection: Selection
    show_subscribed: bool
    status_items: tuple[str, ...]
    extended: bool

    @classmethod
    def parse(cls, lexer: Lexer) -> "List":
        lexer.space()
        options: list[str] = []
        extended = lexer.peek(b"(")
        if extended:
            options = lexer.parenthesised(lambda: lexer.word("a selection option"), empty=True)
            lexer.space()
        reference = lexer.list_mailbox()
        lexer.space()
        if lexer.peek(b"("):
            extended = True
            patterns = lexer.parenthesised(lexer.list_mailbox)
        else:
            patterns = [lexer.list_mailbox()]
        if len(patterns) > _MAX_PATTERNS:
            raise Bad(f"LIST takes at most {_MAX_PATTERNS} patterns")
        returns = _Returns()
        if lexer.skip(b" RETURN "):
            extended = True
            lexer.parenthesised(lambda: returns.take(lexer), empty=True)
        selection = _selection(options)
        return cls(reference, tuple(patterns), selection, returns.subscribed, returns.status, extended)

    async def run(self, session: Session) -> Done:
        if self.patterns == ("",) and not self.extended:
            # RFC 3501 §6.3.8: an empty name asks for the delimiter and the root of the reference
            session.list_line(b"LIST", ("\\Noselect",), "")
            return Done()
        entries = list_entries(
            await session.store.mailboxes(),
            await session.store.subscriptions(),
            [self.reference + pattern for pattern in self.patterns],
            self.selection,
            show_subscribed=self.show_subscribed,
        )
        for entry in entries:
            extended = b""
            if entry.child_info:
                options = " ".join(f'"{option}"' for option in entry.child_info)
                extended = f' ("CHILDINFO" ({options}))'.encode("ascii")
            session.list_line(b"LIST", entry.attributes, entry.name, extended)
            if self.status_items and entry.mailbox is not None:
                # RFC 5819 §2: not for names that cannot be selected
                session.channel.write(await status_line(session, entry.mailbox, self.status_items))
            await session.channel.flush(params.FLUSH_ABOVE)
        return Done()


def _selection(options: list[str]) -> Selection:
    for option in options:
        # RFC 5258 §3.1: REMOTE may show more, never less, and there is nothing remote
        if option not in ("SUBSCRIBED", "SPECIAL-USE", "RECURSIVEMATCH", "REMOTE"):
            raise Bad(f"LIST has no selection option {option}")
    selection = Selection(
        subscribed="SUBSCRIBED" in options,
        special_use="SPECIAL-USE" in options,
        recursive="RECURSIVEMATCH" in options,
    )
    if selection.recursive and not (selection.subscribed or selection.special_use):
        raise Bad("RECURSIVEMATCH needs another selection option")  # RFC 5258 §3.1
    return selection


class _Returns:
    """RETURN's options as they are read. CHILDREN and SPECIAL-USE are in every answer anyway."""

    def __init__(self) -> None:
        self.subscribed = False
        self.status: tuple[str, ...] = ()

    def take(self, lexer: Lexer) -> None:
        option = lexer.word("a return option")
        if option == "STATUS":
            lexer.space()
            self.status = parse_status_items(lexer)
        elif option == "SUBSCRIBED":
            self.subscribed = True
        elif option not in ("CHILDREN", "SPECIAL-USE"):
            raise Bad(f"LIST has no return option {option}")
