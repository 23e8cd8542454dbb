"""What FETCH's items come to: worked out once for all messages, and kept for the next command that asks the same."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from gateway.imap import params
from gateway.imap.errors import Bad
from gateway.imap.fetch_items import Binary, FetchItem, Item, Section, parse_fetch_items
from gateway.imap.fetch_values import NEEDS_PRECOMPUTED, Response, response_of
from gateway.imap.lexer import Lexer
from gateway.mail.chosen_fields import are_usual
from gateway.mailbox.model import Octets


@dataclass(frozen=True, slots=True)
class Plan:
    """`octets`: how much of each message the items are made of; `response` makes what is at hand."""

    items: tuple[FetchItem, ...]
    needs_store: bool
    octets: Octets
    reads_body: bool  # which sets \\Seen
    response: Response

    @classmethod
    def of(cls, items: tuple[FetchItem, ...]) -> Self:
        sections = [item for item in items if isinstance(item, Section | Binary)]
        return cls(
            items,
            needs_store=bool(sections) or not NEEDS_PRECOMPUTED.isdisjoint(items),
            octets=_octets(items, sections),
            reads_body=any(not section.peek for section in sections),
            response=response_of(items),
        )

    def telling(self, told: Iterable[Item]) -> "Plan":
        """The same with these items, where they are not among its own."""
        return Plan.of((*self.items, *(item for item in told if item not in self.items)))


@dataclass(frozen=True, slots=True)
class FetchArguments:
    """What follows the set of messages in FETCH."""

    plan: Plan
    changed_since: int | None
    vanished: bool

    @classmethod
    def parse(cls, lexer: Lexer, *, by_uid: bool) -> "FetchArguments":
        """Take the rest of the command. Raises Bad."""
        rest = lexer.rest()
        if rest is None or len(rest) > params.FETCH_REMEMBERED:
            return cls._parsed(lexer, by_uid=by_uid)
        arguments = _remembered(rest, by_uid)
        lexer.skip_rest()
        return arguments

    @classmethod
    def _parsed(cls, lexer: Lexer, *, by_uid: bool) -> "FetchArguments":
        items = parse_fetch_items(lexer)
        modifiers = _Modifiers()
        if lexer.skip(b" "):
            lexer.parenthesised(lambda: modifiers.take(lexer))
        if modifiers.vanished and (not by_uid or modifiers.changed_since is None):
            raise Bad("VANISHED belongs to UID FETCH with CHANGEDSINCE")  # RFC 7162 §3.2.6
        if modifiers.changed_since is not None and Item.MODSEQ not in items:
            items = (*items, Item.MODSEQ)  # RFC 7162 §3.1.4.1: CHANGEDSINCE asks for it
        if by_uid and Item.UID not in items:
            items = (Item.UID, *items)  # RFC 3501 §6.4.8: UID is in every response to a UID command
        lexer.end()
        return cls(Plan.of(items), modifiers.changed_since, modifiers.vanished)


@lru_cache(params.FETCH_PLANS)
def _remembered(text: bytes, by_uid: bool) -> FetchArguments:
    return FetchArguments._parsed(Lexer((text,)), by_uid=by_uid)


def _octets(items: tuple[FetchItem, ...], sections: list[Section | Binary]) -> Octets:
    if not sections:
        return "none"
    if NEEDS_PRECOMPUTED.isdisjoint(items) and all(map(_is_of_usual_fields, sections)):
        return "usual"
    header = all(isinstance(item, Section) and not item.part and item.text.startswith("HEADER") for item in sections)
    return "header" if header else "all"


def _is_of_usual_fields(item: Section | Binary) -> bool:
    if not isinstance(item, Section) or item.part or item.text != "HEADER.FIELDS":
        return False
    return are_usual(item.fields)


class _Modifiers:
    """FETCH's modifiers as they are read."""

    def __init__(self) -> None:
        self.changed_since: int | None = None
        self.vanished = False

    def take(self, lexer: Lexer) -> None:
        modifier = lexer.word("a fetch modifier")
        if modifier == "CHANGEDSINCE":
            lexer.space()
            self.changed_since = lexer.number64()
        elif modifier == "VANISHED":
            self.vanished = True
        else:
            raise Bad(f"FETCH has no modifier {modifier}")
