"""Framing of commands: lines, literals, limits."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.imap import params
from gateway.imap.commands import parse_command
from gateway.imap.errors import ImapError
from gateway.imap.state import RULES
from gateway.imap.wire import CommandReader, Event, Literal, LiteralChunk, LiteralOffered, RawCommand, Rejected


def events_of(chunks: list[bytes], *, refuse_above: int = 1_000, spool_above: int = 500) -> list[Event]:
    """All events of a stream; literals are taken, spooled or refused by size. Chunks of a spool are joined."""
    reader = CommandReader()
    events: list[Event] = []
    for chunk in chunks:
        reader.feed(chunk)
        while (event := reader.next_event()) is not None:
            if isinstance(event, LiteralChunk) and events and isinstance(events[-1], LiteralChunk):
                events[-1] = LiteralChunk(events[-1].data + event.data)
                continue
            events.append(event)
            if isinstance(event, LiteralOffered):
                if event.size > refuse_above:
                    reader.refuse_literal(skip=not event.synchronising)
                else:
                    reader.accept_literal(spool=event.size > spool_above)
    return events


def commands_of(data: bytes) -> list[RawCommand]:
    return [event for event in events_of([data]) if isinstance(event, RawCommand)]


def test_line_is_a_command() -> None:
    """A line is a command; CRLF ends it, and a bare LF from a person's hands does too."""
    assert commands_of(b"a NOOP\r\nb NOOP\n") == [RawCommand("a", (b"a NOOP",)), RawCommand("b", (b"b NOOP",))]


def test_literal_is_octets() -> None:
    """A literal's octets are taken as they are, line ends and all (RFC 3501 §4.3)."""
    (command,) = commands_of(b"a LOGIN {4}\r\na\r\nb {2+}\r\n\r\n tail\r\n")
    assert command.fragments == (b"a LOGIN ", Literal(4, b"a\r\nb"), b" ", Literal(2, b"\r\n"), b" tail")


def test_literal_is_offered_before_it_is_taken() -> None:
    """Its owner hears tag, command, size and kind before an octet of it is taken."""
    assert events_of([b"a uid append {7}\r\n"]) == [LiteralOffered("a", "APPEND", 7, 0, synchronising=True)]
    assert events_of([b"a LOGIN {7+}\r\n"]) == [LiteralOffered("a", "LOGIN", 7, 0, synchronising=False)]


def test_spooled_literal_comes_out_in_chunks() -> None:
    """A spooled literal's octets leave as they come; the command keeps its size only."""
    events = events_of([b"a APPEND x {600+}\r\n" + b"x" * 300, b"y" * 300 + b"\r\n"])
    assert events[1:] == [
        LiteralChunk(b"x" * 300 + b"y" * 300),
        RawCommand("a", (b"a APPEND x ", Literal(600, None), b"")),
    ]


def test_refused_synchronising_literal_ends_the_command() -> None:
    """After a refusal the client sends its next command, not the literal (RFC 3501 §7.5)."""
    assert events_of([b"a LOGIN {5000}\r\nb NOOP\r\n"])[1:] == [RawCommand("b", (b"b NOOP",))]


def test_refused_non_synchronising_literal_is_read_past() -> None:
    """What was sent without asking is dropped, literal marks in it included, to the command's end."""
    data = b"a LOGIN {5000+}\r\n" + b"x NOOP\r\n" * 625 + b" {3+}\r\nabc tail\r\nb NOOP\r\n"
    assert events_of([data])[1:] == [Rejected("a", "literal refused"), RawCommand("b", (b"b NOOP",))]


def test_refused_command_ends_at_a_literal_that_waits() -> None:
    """A client that waits for "+" gets the refusal instead."""
    data = b"a LOGIN {2000+}\r\n" + b"x" * 2000 + b" {3}\r\nb NOOP\r\n"
    assert events_of([data])[1:] == [Rejected("a", "literal refused"), RawCommand("b", (b"b NOOP",))]


@pytest.mark.parametrize("whole", [True, False])
def test_long_line_is_dropped_and_named(whole: bool) -> None:
    """A line above the limit is a Rejected with its tag, whether it comes at once or in pieces; the next is well."""
    data = b"a SEARCH TEXT " + b"x" * (params.MAX_LINE + 10) + b"\r\nb NOOP\r\n"
    chunks = [data] if whole else [data[start : start + 1_000] for start in range(0, len(data), 1_000)]
    rejected, command = events_of(chunks)
    assert rejected == Rejected("a", f"the command is longer than {params.MAX_LINE} octets")
    assert command == RawCommand("b", (b"b NOOP",))


def test_endless_line_takes_no_memory() -> None:
    """A line without an end is not kept."""
    reader = CommandReader()
    for _ in range(200):
        reader.feed(b"x" * 10_000)
        assert reader.next_event() is None
    assert reader.buffered <= params.MAX_LINE


def test_lines_of_one_command_count_together() -> None:
    """Many literals cannot make a command longer than the limit."""
    piece = b"x" * (params.MAX_LINE // 4)
    data = b"a " + b"".join(piece + b" {1+}\r\ny" for _ in range(5)) + b"\r\n"
    assert events_of([data])[-1] == Rejected("a", f"the command is longer than {params.MAX_LINE} octets")


def test_too_many_literals() -> None:
    """The number of literals is bounded."""
    data = b"a X" + b" {1+}\r\ny" * (params.MAX_LITERALS + 1) + b"\r\n"
    assert events_of([data])[-1] == Rejected("a", f"more than {params.MAX_LITERALS} literals")


def test_nul_in_literal() -> None:
    """NUL is no CHAR8 (RFC 3501 §9): the command is refused after its end, wherever the NUL is."""
    for size in (3, 600):
        data = b"a APPEND x {%d+}\r\n" % size + b"\0" + b"y" * (size - 1) + b"\r\nb NOOP\r\n"
        assert events_of([data])[-2:] == [Rejected("a", "a literal contains NUL"), RawCommand("b", (b"b NOOP",))]


def test_next_line_leaves_the_rest() -> None:
    """AUTHENTICATE's answers and IDLE's DONE are lines of their own; a command behind one is untouched."""
    reader = CommandReader()
    reader.feed(b"DO")
    assert reader.next_line() is None
    reader.feed(b"NE {3}\r\na NOOP\r\n")
    assert reader.next_line() == b"DONE {3}"
    assert reader.next_event() == RawCommand("a", (b"a NOOP",))


_PIECES = st.sampled_from(
    [
        b"a NOOP\r\n",
        b"b LOGIN x {3}\r\nabc\r\n",
        b"c APPEND y (\\Seen) {700+}\r\n" + b"z" * 700 + b"\r\n",
        b"d APPEND y {2000+}\r\n" + b"z" * 2000 + b"\r\n",
        b"e FETCH 1:* (FLAGS BODY[HEADER.FIELDS (DATE)]<0.5>)\r\n",
        b"\r\n",
        b"{3}\r\n",
        b'f SEARCH OR (TEXT "a\\"b") NOT UID 1,2:* {1+}\r\n\0\r\n',
        b'g LIST (SUBSCRIBED) "" (% *) RETURN (STATUS (MESSAGES))\r\n',
        b"+ ",
        b'"',
        b"\\",
        b"{99999999999999999999}\r\n",
    ]
)


@given(st.lists(_PIECES | st.binary(max_size=20), max_size=12).map(b"".join), st.lists(st.integers(1, 40), max_size=60))
def test_events_do_not_depend_on_how_octets_arrive(data: bytes, sizes: list[int]) -> None:
    """However a stream is cut, its events are the same."""
    chunks: list[bytes] = []
    rest = data
    for size in sizes:
        chunks.append(rest[:size])
        rest = rest[size:]
    assert events_of([*chunks, rest]) == events_of([data])


_TOKENS = st.sampled_from(
    b"FETCH STORE SEARCH UID COPY APPEND LIST LSUB LOGIN SELECT STATUS CREATE ENABLE ID NIL AUTHENTICATE PLAIN "
    b"1:* 2,4:7 0 * ALL FULL ( ) (( )) BODY[ BODY.PEEK[1.2.HEADER.FIELDS ] <0.9> +FLAGS -FLAGS.SILENT \\Seen \\Recent "
    b"$x UNSEEN NOT OR KEYWORD HEADER BEFORE 1-Feb-1994 MODSEQ UNCHANGEDSINCE CHANGEDSINCE CHARSET UTF-8 RETURN STATUS "
    b"RETURN (MIN SAVE) $ OLDER 5 QRESYNC (1 2 3:4 (1 2)) VANISHED BINARY[1]<0.5> BINARY.SIZE[ UTF8 ~{3} RENAME "
    b'MESSAGES "x" "" "\\\\" INBOX &AOk- &bad % {3}'.split()
)


@given(st.lists(_TOKENS | st.binary(max_size=6), max_size=14).map(b" ".join))
def test_parsing_raises_only_imap_errors(arguments: bytes) -> None:
    """Whatever the arguments, parsing gives a request or an ImapError, and nothing else."""
    line = b"a " + arguments.replace(b"\n", b" ")
    for command in (RawCommand("a", (line,)), RawCommand("a", (line, Literal(3, b"abc"), b""))):
        with suppress(ImapError):
            name, request = parse_command(command)
            assert name in RULES
            assert request is not None


@given(st.lists(_PIECES | st.binary(max_size=30), max_size=12).map(b"".join))
def test_any_stream_gives_commands_or_errors(data: bytes) -> None:
    """Whatever is sent, every event is a command that parses or is refused with an ImapError."""
    for event in events_of([data]):
        if isinstance(event, RawCommand):
            with suppress(ImapError):
                assert parse_command(event)[0] in RULES
