"""ENVELOPE, BODY and BODYSTRUCTURE against values derived by hand from RFC 3501, and against arbitrary bytes."""

import importlib.util
import mmap
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mail.structure import (
    MAX_ADDRESSES,
    MAX_DEPTH,
    MAX_PARTS,
    Part,
    pack_part,
    parse,
    unpack_part,
)


def samples() -> list[Path]:
    """The messages that come with CPython's own tests; distributions may leave them out."""
    try:
        found = importlib.util.find_spec("test.test_email")
    except ModuleNotFoundError:
        found = None
    directories = [] if found is None else found.submodule_search_locations or []
    return sorted(path for directory in directories for path in (Path(directory) / "data").glob("msg_*.txt"))


SAMPLES = samples()
needs_samples = pytest.mark.skipif(not SAMPLES, reason="this Python has no test.test_email data")


def crlf(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


def lined(octets: int, lines: int) -> bytes:
    """A body of so many octets with so many CRLFs."""
    return b"\r\n" * lines + b"x" * (octets - 2 * lines)


def body_of(message: bytes, part: Part) -> bytes:
    return message[part.body_offset : part.body_offset + part.body_length]


# A reader of IMAP's parenthesised form, strict: it raises where a client would give up.

_ATOM = re.compile(rb"NIL|\d+")
_QUOTED = re.compile(rb'"((?:[^"\\\r\n\x00\x80-\xff]|\\["\\])*)"')
_LITERAL = re.compile(rb"\{(\d+)\}\r\n")


def read_form(wire: bytes, at: int = 0) -> tuple[object, int]:
    if wire[at : at + 1] == b"(":
        items: list[object] = []
        at += 1
        while wire[at : at + 1] != b")":
            if wire[at : at + 1] == b" ":
                at += 1
            item, at = read_form(wire, at)
            items.append(item)
        return items, at + 1
    if match := _ATOM.match(wire, at):
        return match[0], match.end()
    if match := _QUOTED.match(wire, at):
        return match[1], match.end()
    match = _LITERAL.match(wire, at)
    assert match, wire[at : at + 40]
    end = match.end() + int(match[1])
    assert end <= len(wire)
    assert b"\0" not in wire[match.end() : end]
    return wire[match.end() : end], end


def read_whole(wire: bytes) -> object:
    form, end = read_form(wire)
    assert end == len(wire)
    return form


class TestExamples:
    """Values that stand in RFC 3501, or follow from it by counting."""

    def test_section_8(self) -> None:
        """The sample connection of RFC 3501 §8: ENVELOPE and BODY of one text message."""
        header = crlf(
            "Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\n"
            "From: Terry Gray <gray@cac.washington.edu>\n"
            "Subject: IMAP4rev1 WG mtg summary and minutes\n"
            "To: imap@cac.washington.edu\n"
            "cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>\n"
            "Message-Id: <B27397-0100000@cac.washington.edu>\n"
            "MIME-Version: 1.0\n"
            "Content-Type: TEXT/PLAIN; CHARSET=US-ASCII\n"
            "\n"
        )
        found = parse(header + lined(3028, 92))
        gray = b'(("Terry Gray" NIL "gray" "cac.washington.edu")) '
        assert found.header_size == 342  # §8: BODY[HEADER] {342}
        assert found.envelope == (
            b'("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)" "IMAP4rev1 WG mtg summary and minutes" '
            + gray * 3
            + b'((NIL NIL "imap" "cac.washington.edu")) ((NIL NIL "minutes" "CNRI.Reston.VA.US")'
            b'("John Klensin" NIL "KLENSIN" "MIT.EDU")) NIL NIL "<B27397-0100000@cac.washington.edu>")'
        )
        assert found.body == b'("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 3028 92)'
        assert found.bodystructure == found.body[:-1] + b" NIL NIL NIL NIL)"

    def test_section_7_4_2(self) -> None:
        """The two-part example of RFC 3501 §7.4.2; its base64 part shows that only line ends count as lines."""
        message = (
            crlf('Content-Type: multipart/mixed; boundary="b"\n\nPreamble\n--b\n')
            + crlf("Content-Type: text/plain; charset=US-ASCII\n\n")
            + lined(1152, 23)
            + crlf('\n--b\nContent-Type: TEXT/PLAIN; CHARSET=US-ASCII; NAME="cc.diff"\n')
            + crlf("Content-ID: <960723163407.20117h@cac.washington.edu>\nContent-Description: Compiler diff\n")
            + crlf("Content-Transfer-Encoding: base64\n\n")
            + crlf(("x" * 60 + "\n") * 73 + "x" * 28)
            + crlf("\n--b--\nEpilogue\n")
        )
        assert parse(message).body == (
            b'(("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 1152 23)'
            b'("TEXT" "PLAIN" ("CHARSET" "US-ASCII" "NAME" "cc.diff") '
            b'"<960723163407.20117h@cac.washington.edu>" "Compiler diff" "BASE64" 4554 73) "MIXED")'
        )

    def test_extension_data(self) -> None:
        """BODYSTRUCTURE adds parameters, disposition, language and location (RFC 3501 §7.4.2)."""
        message = crlf(
            "Content-Type: multipart/alternative; boundary=b\nContent-Language: en, de\n\n"
            "--b\nContent-Type: application/pdf\nContent-MD5: Q2hlY2s=\nContent-Language: fr\n"
            'Content-Disposition: attachment; filename="a \\"b\\".pdf"; size=3\nContent-Location: http://x/\n\n'
            "abc\n--b--\n"
        )
        assert parse(message).bodystructure == (
            b'(("APPLICATION" "PDF" NIL NIL NIL "7BIT" 3 "Q2hlY2s=" '
            b'("ATTACHMENT" ("FILENAME" "a \\"b\\".pdf" "SIZE" "3")) "fr" "http://x/") '
            b'"ALTERNATIVE" ("BOUNDARY" "b") NIL ("en" "de") NIL)'
        )

    def test_nested_message(self) -> None:
        """message/rfc822 carries size, envelope, structure and lines of what it holds (RFC 3501 §7.4.2)."""
        inner = "From: a@b.example\nSubject: inner\n\nline one\nline two\n"
        message = crlf("Content-Type: message/rfc822\n\n" + inner)
        octets, address = len(crlf(inner)), b'((NIL NIL "a" "b.example"))'
        assert octets == 19 + 16 + 2 + 10 + 10
        assert parse(message).body == (
            b'("MESSAGE" "RFC822" NIL NIL NIL "7BIT" 57 (NIL "inner" %b %b %b NIL NIL NIL NIL NIL) '
            b'("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 20 2) 5)' % (address, address, address)
        )

    def test_nested_internationalised_message(self) -> None:
        """message/global is a message as message/rfc822 is (RFC 9051 §9 media-message, RFC 6532 §3.7)."""
        message = b"Content-Type: message/global\r\n\r\nSubject: Gr\xc3\xbc\xc3\x9fe\r\n\r\nx\r\n"
        assert parse(message).body == (
            b'("MESSAGE" "GLOBAL" NIL NIL NIL "7BIT" 23 (NIL {7}\r\nGr\xc3\xbc\xc3\x9fe'
            b" NIL NIL NIL NIL NIL NIL NIL NIL) "
            b'("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 3 1) 3)'
        )

    def test_digest_parts_are_messages(self) -> None:
        """In multipart/digest a part without a type is a message (RFC 2046 §5.1.5)."""
        message = crlf("Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: one\n\nx\n--b--\n")
        (child,) = parse(message).root.children
        assert (child.type, child.subtype) == ("message", "rfc822")
        assert child.envelope == b'(NIL "one" NIL NIL NIL NIL NIL NIL NIL NIL)'
        assert body_of(message, child.children[0]) == b"x"


class TestEnvelope:
    """RFC 9051 §7.5.2: absent, empty and defaulted members."""

    def test_absent_and_empty(self) -> None:
        """An absent Subject is NIL, an empty one the empty string; an empty To is NIL."""
        assert parse(b"Subject:\r\nTo: \r\n\r\n").envelope == b'(NIL "" NIL NIL NIL NIL NIL NIL NIL NIL)'

    def test_sender_and_reply_to_default_to_from(self) -> None:
        """Absent or empty, they are the From member."""
        one = b'((NIL NIL "a" "b"))'
        wire = parse(b"From: a@b\r\nSender:\r\n\r\n").envelope
        assert wire == b"(NIL NIL %b %b %b NIL NIL NIL NIL NIL)" % (one, one, one)

    def test_folding_and_first_field_wins(self) -> None:
        """Folded values are unfolded; of a repeated field the first is reported."""
        wire = parse(b"Subject: a\r\n b\r\n\tc\r\nsubject: d\r\n\r\n").envelope
        assert wire.startswith(b'(NIL "a b\tc" NIL')

    def test_eight_bit_is_a_literal(self) -> None:
        """Octets that a quoted string cannot hold travel in a literal; NUL travels nowhere (RFC 3501 §4.3)."""
        assert parse(b"Subject: J\xc3\xbcr\0gen\r\n\r\n").envelope.startswith(b"(NIL {7}\r\nJ\xc3\xbcrgen NIL")

    def test_encoded_words_stay(self) -> None:
        """RFC 2047 text is the client's to decode."""
        assert b'"=?utf-8?q?J=C3=BC?="' in parse(b"Subject: =?utf-8?q?J=C3=BC?=\r\n\r\n").envelope


class TestBoundaries:
    """RFC 2046 §5.1.1, and what real mail makes of it."""

    @pytest.mark.parametrize("end", [b"\r\n", b"\n"])
    def test_line_ends_belong_to_the_delimiter(self, end: bytes) -> None:
        """The line end before a delimiter is not the part's; a part may be empty."""
        lines = [b"Content-Type: multipart/mixed; boundary=b", b"", b"pre", b"--b", b"", b"one", b"", b"--b"]
        message = end.join([*lines, b"", b"--b \t", b"", b"two", b"--b--", b"--b", b"epilogue"])
        assert [body_of(message, part) for part in parse(message).root.children] == [b"one" + end, b"", b"two"]

    def test_missing_close_delimiter(self) -> None:
        """The last part runs to the end."""
        message = crlf("Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\n\ntwo\n")
        assert [body_of(message, part) for part in parse(message).root.children] == [b"one", b"two\r\n"]

    def test_outer_delimiter_ends_inner_multipart(self) -> None:
        """An inner multipart without its close delimiter ends where the outer one goes on."""
        message = crlf(
            "Content-Type: multipart/mixed; boundary=out\n\n--out\nContent-Type: multipart/mixed; boundary=outer\n\n"
            "--outer\n\ninner\n--out\n\nlast\n--out--\n"
        )
        first, last = parse(message).root.children
        assert [body_of(message, part) for part in first.children] == [b"inner"]
        assert body_of(message, last) == b"last"

    def test_delimiter_must_fill_its_line(self) -> None:
        """A boundary that is the beginning of another line's text does not delimit."""
        message = crlf("Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--bc\n--b--x\n -- b\n--b--\n")
        (child,) = parse(message).root.children
        assert body_of(message, child) == b"one\r\n--bc\r\n--b--x\r\n -- b"

    def test_delimiter_right_behind_the_header(self) -> None:
        """No preamble, no part header, no content: still a part."""
        assert parse(crlf("Content-Type: multipart/mixed; boundary=b\n\n--b\n--b--")).root.children[0].body_length == 0

    def test_multipart_without_parts_is_text(self) -> None:
        """BODY's grammar wants a part; without any delimiter, or a boundary, the body is one text."""
        plain = b'("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 3 0)'
        assert parse(b"Content-Type: multipart/mixed; boundary=b\r\n\r\nabc").body == plain
        assert parse(b"Content-Type: multipart/mixed\r\n\r\nabc").body == plain

    def test_boundary_in_pieces(self) -> None:
        """RFC 2231 §3 lets a long boundary be sent in pieces."""
        message = crlf('Content-Type: multipart/mixed; boundary*0="ab"; boundary*1=cd\n\n--abcd\n\nx\n--abcd--\n')
        assert len(parse(message).root.children) == 1

    def test_encoded_nested_message_is_opaque(self) -> None:
        """base64 is not allowed on message/rfc822 (RFC 2046 §5.2.1): such a part is octets."""
        found = parse(b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nQQ==").body
        assert found == b'("APPLICATION" "OCTET-STREAM" NIL NIL NIL "BASE64" 4)'


class TestLimits:
    """A hostile message costs bounded work and still has a structure."""

    def test_depth(self) -> None:
        """Nesting stops at MAX_DEPTH with an opaque leaf."""
        part = parse(b"Content-Type: message/rfc822\r\n\r\n" * 500 + b"x").root
        depth = 0
        while part.children:
            (part,) = part.children
            depth += 1
        assert depth == MAX_DEPTH
        assert (part.type, part.subtype) == ("application", "octet-stream")

    def test_parts(self) -> None:
        """No more than MAX_PARTS; the last one holds what follows."""
        message = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 3000
        found = parse(message)
        assert len(found.root.children) <= MAX_PARTS
        last = found.root.children[-1]
        assert last.body_offset + last.body_length == len(message)
        assert len(found.bodystructure) < 200_000

    def test_false_delimiters(self) -> None:
        """Lines that only begin like a delimiter are given up on in the end, without harm."""
        message = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + b"--bx\r\n" * 100_000 + b"--b--"
        assert len(parse(message).root.children) == 1

    def test_address_fields_of_any_kind(self) -> None:
        """They take time in proportion to their length: with its square, it would be many minutes at every start."""
        names = (b"From", b"Sender", b"Reply-To", b"To", b"Cc")
        header = b"".join(b"%b: <%b\r\n" % (name, b"@a," * 15_000) for name in names)
        form = read_whole(parse(header + b"\r\n").envelope)
        assert isinstance(form, list)
        assert [len(addresses) for addresses in form[2:7]] == [1] * 5

    def test_addresses(self) -> None:
        """Two octets of a field become sixty of ENVELOPE: of the message and of all those inside, so many are shown."""
        field = b"From: " + b"a," * 32_000 + b"\r\n\r\n"
        found = parse((b"Content-Type: message/rfc822\r\n" + field) * 15 + b"x")
        for wire in (found.envelope, found.bodystructure):
            read_whole(wire)
            assert wire.count(b'(NIL NIL "a" "")') == 3 * MAX_ADDRESSES

    def test_header_without_end(self) -> None:
        """A message that is all header has an empty body."""
        message = b"Subject: x\r\n" + b"X: y\r\n" * 100_000
        found = parse(message)
        assert (found.header_size, found.root.body_length) == (len(message), 0)


class TestRealMessages:
    """CPython's sample messages."""

    @pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
    def test_sample(self, sample: Path, tmp_path: Path) -> None:
        """Every sample has a well-formed structure, the same mapped as in memory, and with trace fields before it."""
        message = sample.read_bytes()
        found = parse(message)
        read_whole(found.envelope)
        read_whole(found.bodystructure)
        with sample.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            assert parse(mapped) == found
            assert parse(mapped, b"Return-Path: <>\r\n") == parse(b"Return-Path: <>\r\n" + message)

    @needs_samples
    def test_leaves_of_a_sample(self) -> None:
        """msg_07: text and a GIF of known base64 size."""
        message = (SAMPLES[0].parent / "msg_07.txt").read_bytes()
        text, image = parse(message).root.children
        assert body_of(message, text) == b"Hi there,\n\nThis is the dingus fish.\n"
        assert body_of(message, image).startswith(b"R0lGODdhAAEAAfAAAP")


_FRAGMENTS = st.sampled_from(
    [
        *[b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"--b\r\n", b"\r\n--b", b"--b--\r\n", b"--c\r\n", b" ", b"\0", b"\xff"],
        *[b"Content-Type: multipart/mixed; boundary=b\r\n", b'Content-Type: multipart/digest; boundary="c"\r\n'],
        *[b"Content-Type: message/rfc822\r\n", b"Content-Type: text", b'Content-Type: text/html; charset="\r\n'],
        *[b"Content-Disposition: ", b"attachment; filename*0*=", b"'", b'"', b"(", b")", b"\\", b"From: ", b"To: "],
        *[b"<a@b>", b",", b":", b";", b"@", b"=?utf-8?q?=", b"Subject: ", b"Date: ", b"Content-Language: a, b\r\n"],
    ]
)
_MESSAGES = st.one_of(st.binary(max_size=400), st.lists(_FRAGMENTS | st.binary(max_size=4), max_size=40).map(b"".join))


def check_part(part: Part, start: int, end: int) -> None:
    assert start <= part.header_offset
    assert part.header_offset + part.header_length == part.body_offset
    assert part.body_offset + part.body_length <= end
    for child in part.children:
        check_part(child, part.body_offset, part.body_offset + part.body_length)


@given(_MESSAGES)
def test_any_bytes(message: bytes) -> None:
    """Whatever the bytes: no exception, well-formed wire forms, parts inside their parents."""
    found = parse(message)
    envelope = read_whole(found.envelope)
    assert isinstance(envelope, list)
    assert len(envelope) == 10
    read_whole(found.body)
    read_whole(found.bodystructure)
    check_part(found.root, 0, len(message))
    assert found.root.body_offset + found.root.body_length == len(message)
    assert unpack_part(pack_part(found.root)) == found.root


@given(_MESSAGES)
def test_prefix(message: bytes) -> None:
    """Trace fields given apart make the same structure as trace and content in one piece."""
    trace = b"Received: from a\r\n by b\r\n"
    assert parse(message, trace) == parse(trace + message)
