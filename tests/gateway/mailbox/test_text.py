"""Text as SEARCH sees it."""

import base64
import codecs
import encodings
import quopri

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mail.structure import parse
from gateway.mailbox import text as text_module
from gateway.mailbox.text import body_texts, folded, header_block, header_text, part_text, windows


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"plain", "plain"),
        (b"=?iso-8859-1?Q?a_b=E9?= c", "a bé c"),
        (b"=?utf-8?b?w7w=?= =?utf-8?B?w7w=?=", "üü"),
        (b"=?utf-8?q?=C3?= =?utf-8?q?=BC?= x", "ü x"),
        (b"a =?utf-8?q?b?= =?iso-8859-1?q?=E9?= c", "a bé c"),
        (b"=?us-ascii*en?q?a?=", "a"),
        (b"=?x-unknown?q?=C3=BC?=", "ü"),
        (b"=?zip?b?AAAA?= =?punycode?q?x?=", "\0\0\0x"),
        (b"=?utf-8?b?w?= =?utf-8?q?open", " =?utf-8?q?open"),
        (b"J\xc3\xbcrgen", "Jürgen"),
        (b"J\xfcrgen", "Jürgen"),
    ],
)
def test_header_text(value: bytes, expected: str) -> None:
    """RFC 2047 §6.2, and what stands in real headers."""
    assert header_text(value) == expected


def test_folded() -> None:
    """Case and compatibility forms do not matter; accents do."""
    assert folded("STRASSE") == folded("straße")
    assert folded("Ju\u0308RGEN") == folded("jürgen")
    assert folded("ﬁle") == folded("FILE")
    assert folded("Jurgen") != folded("Jürgen")


def test_folding_is_linear() -> None:
    """Marks that are to be sorted, as many as a header may have: in the square of that they are never done."""
    assert len(folded("\u0301" * 500_000 + "\u0327" * 500_000)) == 1_000_000
    assert folded("Grüße " * 5_000) == "grüsse " * 5_000


def message(encoding: str, charset: str, body: bytes) -> bytes:
    head = f"Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    return head.encode() + body


def decoded(whole: bytes) -> str:
    return "".join(part_text(parse(whole).root, lambda offset, length: whole[offset : offset + length]))


@pytest.mark.parametrize(
    ("encoding", "charset", "body", "expected"),
    [
        ("7bit", "us-ascii", b"abc", "abc"),
        ("8bit", "us-ascii", b"J\xc3\xbc", "Jü"),
        ("8bit", "us-ascii", b"J\xfc", "Jü"),
        ("8bit", "utf-8", b"J\xfc", "J\ufffd"),
        ("8bit", "koi8-r", "привет".encode("koi8-r"), "привет"),
        ("base64", "utf-16le", base64.encodebytes("Grüße".encode("utf-16le")), "Grüße"),
        ("base64", "utf-8", b"YWJ!j\r\nZG", "abcd"),
        ("quoted-printable", "iso-8859-1", b"a=\r\nb =E9 =zz=", "ab é =zz"),
        ("8bit", "no-such-charset", b"x\xc3\xbc", "xü"),
        ("8bit", "zlib", b"x", "x"),
        ("8bit", "idna", b"x\xff", "xÿ"),
        ("x-uuencode", "utf-8", b"begin", "begin"),
    ],
)
def test_part_text(encoding: str, charset: str, body: bytes, expected: str) -> None:
    """Transfer encoding and charset removed; what cannot be decoded is not lost and harms nothing."""
    assert decoded(message(encoding, charset, body)) == expected


@given(st.text(max_size=300), st.sampled_from(["base64", "quoted-printable", "8bit"]), st.integers(1, 9))
def test_pieces(text: str, encoding: str, chunk: int) -> None:
    """However small the pieces: the decoded text is the text, and is found in them."""
    octets = text.encode()
    if encoding == "base64":
        body = base64.encodebytes(octets)
    else:
        body = quopri.encodestring(octets) if encoding == "quoted-printable" else octets
    whole = message(encoding, "utf-8", body)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_module, "SEARCH_CHUNK", chunk)
        assert decoded(whole) == text
        part = parse(whole).root
        pieces = part_text(part, lambda offset, length: whole[offset : offset + length])
        needle = folded(text[len(text) // 3 :])
        assert any(needle in window for window in windows(pieces, len(needle)))


def test_an_open_run_is_not_read_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """UTF-7 gives nothing of a shifted run before its end: one that never ends is read twice, and found."""
    read = 0

    def counted(octets: bytes, errors: str, final: bool) -> tuple[str, int]:
        nonlocal read
        read += len(octets)
        return codecs.utf_7_decode(octets, errors, final)

    monkeypatch.setattr("encodings.utf_7.IncrementalDecoder._buffer_decode", staticmethod(counted))
    monkeypatch.setattr(text_module, "SEARCH_CHUNK", 64)
    monkeypatch.setattr(text_module, "SEARCH_HELD", 63)
    body = b"+" + base64.b64encode("日本語".encode("utf-16be")) * 2_000
    assert "日本語" * 5 in decoded(message("7bit", "utf-7", body))
    assert read < 3 * len(body)


def test_labels_leave_nothing_behind() -> None:
    """Python remembers every label that it is asked for, known or not: a stranger's words would fill the memory."""
    header_text(b"=?utf8?q?a?= =?utf-8?q?a?=")
    before = len(encodings._cache)
    words = [
        b"=?%b?q?=C3=BC?= " % label for number in range(9) for label in (b"x%d" % number, b"utf%b8" % (b"-" * number))
    ]
    assert header_text(b"".join(words)).strip() == "ü" * len(words)
    assert len(encodings._cache) == before


@given(st.binary(max_size=100), st.sampled_from(["base64", "quoted-printable"]), st.text(max_size=8))
def test_any_bytes(octets: bytes, encoding: str, charset: str) -> None:
    """Whatever the bytes and labels: no exception."""
    decoded(message(encoding, charset.encode("ascii", "ignore").decode(), octets))
    header_text(b"=?" + octets)
    header_text(b"=?utf-8?b?" + octets + b"?=")
    header_block(octets)


def test_body_texts() -> None:
    """Text parts and the headers of parts and nested messages, not the message's own, nor what is no text."""
    whole = (
        b"Subject: outer\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n--b\r\n\r\nfirst\r\n"
        b'--b\r\nContent-Type: image/gif; name="picture.gif"\r\n\r\nGIF\r\n'
        b"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: =?utf-8?q?inn=65r?=\r\n\r\nsecond\r\n--b--\r\n"
    )
    pieces = body_texts(parse(whole).root, lambda offset, length: whole[offset : offset + length])
    found = "".join("".join(piece) for piece in pieces)
    for expected in ("first", "picture.gif", "Subject: inner", "second"):
        assert expected in found
    for absent in ("outer", "GIF", "preamble"):
        assert absent not in found
