"""FETCH responses made at one go of what is at hand: rows, what was made when a message was stored, octets read before.

Whatever else a response needs, fetch_response.py reads.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from types import MappingProxyType

from gateway.imap import responses
from gateway.imap.fetch_items import FetchItem, Item, Section
from gateway.imap.view import View
from gateway.mail.chosen_fields import are_all_usual, choose_fields
from gateway.mailbox.errors import NoSuchMessage
from gateway.mailbox.model import MessageRow, Precomputed

Value = Callable[[View, MessageRow, Precomputed | None], bytes]
Response = Callable[[View, int, MessageRow, Precomputed | None], bytes | None]
Column = Callable[[View, Sequence[MessageRow]], Sequence[object]]

NEEDS_PRECOMPUTED = frozenset({Item.ENVELOPE, Item.BODY, Item.BODYSTRUCTURE})

_FLAGS, _UID, _SIZE, _MODSEQ = (attrgetter(name) for name in ("flags", "uid", "size", "modseq"))


class _NotAtHand(Exception):
    """Octets must be read for this response."""


def there(structure: Precomputed | None) -> Precomputed:
    """Raise NoSuchMessage for a message that is gone."""
    if structure is None:
        raise NoSuchMessage("the message is gone")
    return structure


VALUES: Mapping[Item, Value] = MappingProxyType(
    {
        Item.UID: lambda view, row, structure: b"%d" % row.uid,
        Item.FLAGS: lambda view, row, structure: responses.flags(row.flags, row.uid in view.recent),
        Item.INTERNALDATE: lambda view, row, structure: responses.internal_date(row),
        Item.SIZE: lambda view, row, structure: b"%d" % row.size,
        Item.MODSEQ: lambda view, row, structure: b"(%d)" % row.modseq,
        Item.ENVELOPE: lambda view, row, structure: there(structure).envelope,
        Item.BODY: lambda view, row, structure: there(structure).body,
        Item.BODYSTRUCTURE: lambda view, row, structure: there(structure).bodystructure,
    }
)


def _flags_column(view: View, rows: Sequence[MessageRow]) -> Sequence[bytes]:
    if view.recent:
        return [responses.flags(row.flags, row.uid in view.recent) for row in rows]
    return list(map(responses.flags, map(_FLAGS, rows)))


# How an item's value is written, and the values of many rows: those that a row has by itself.
_COLUMNS: Mapping[Item, tuple[bytes, Column]] = MappingProxyType(
    {
        Item.UID: (b"%d", lambda view, rows: list(map(_UID, rows))),
        Item.FLAGS: (b"%b", _flags_column),
        Item.INTERNALDATE: (b"%b", lambda view, rows: list(map(responses.internal_date, rows))),
        Item.SIZE: (b"%d", lambda view, rows: list(map(_SIZE, rows))),
        Item.MODSEQ: (b"(%d)", lambda view, rows: list(map(_MODSEQ, rows))),
    }
)


def response_of(items: Sequence[FetchItem]) -> Response:
    """What makes a message's response (RFC 3501 §7.4.2), or None where octets must be read; it raises NoSuchMessage.

    They must where some item is of a part: where that lies in the message is known to the structure only.
    """
    values = list[Value]()
    for item in items:
        if isinstance(item, Item):
            values.append(VALUES[item])
        elif isinstance(item, Section) and not item.part and item.text != "TEXT":
            values.append(_section_value(item))
        else:
            return _nothing
    template = _template((item, b"%b") for item in items)

    def response(view: View, seq: int, row: MessageRow, structure: Precomputed | None) -> bytes | None:
        try:
            return template % (seq, *[value(view, row, structure) for value in values])
        except _NotAtHand:
            return None

    return response


def responses_of_rows(items: Sequence[FetchItem], view: View, numbered: Sequence[tuple[int, MessageRow]]) -> bytes:
    """The responses of many messages at once where the items are values of their rows: a third of a µs each."""
    if not numbered:
        return b""
    seqs, rows = zip(*numbered, strict=True)
    chosen = [(item, *_COLUMNS[item]) for item in items if isinstance(item, Item)]
    template = _template((item, form) for item, form, _ in chosen)
    columns = [column(view, rows) for _, _, column in chosen]
    return template * len(rows) % tuple(chain.from_iterable(zip(seqs, *columns, strict=True)))


def _template(items: Iterable[tuple[FetchItem, bytes]]) -> bytes:
    """A response with its items' names, and a place for the number and for each value, in the form given."""
    named = ((item.value if isinstance(item, Item) else item.label, form) for item, form in items)
    return b"* %d FETCH (" + b" ".join(name.replace(b"%", b"%%") + b" " + form for name, form in named) + b")\r\n"


def _nothing(view: View, seq: int, row: MessageRow, structure: Precomputed | None) -> None:
    """For items that are never at hand."""


def _section_value(section: Section) -> Value:
    """The whole message, its header, or fields of that."""
    exclude = section.text == "HEADER.FIELDS.NOT"
    all_usual = section.text == "HEADER.FIELDS" and are_all_usual(section.fields)

    def value(view: View, row: MessageRow, structure: Precomputed | None) -> bytes:
        message = there(structure)
        length = message.header_size if section.text else message.size
        data = message.octets(0, length)
        if data is None or len(data) != length:
            raise _NotAtHand
        if section.fields and not (all_usual and message.usual):
            data = choose_fields(data, section.fields, exclude=exclude)
        data = partial(sendable(data), section)
        return b"{%d}\r\n%b" % (len(data), data)

    return value


def partial(data: bytes, section: Section) -> bytes:
    """The octets that a partial FETCH asks for."""
    if section.partial is None:
        return data
    first, length = section.partial
    return data[first : first + length]


def sendable(data: bytes) -> bytes:
    """RFC 9051 §4.3.1: a literal has no NUL; 0x80 stands where the message has one."""
    return data.replace(b"\0", b"\x80") if b"\0" in data else data
