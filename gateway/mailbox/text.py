"""Text as SEARCH compares it: header fields without RFC 2047 encoding, text parts without transfer encoding, folded.

Parts are decoded piece by piece, so a large one is never whole in memory.
"""

import binascii
import codecs
import encodings
import pkgutil
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from encodings.aliases import aliases
from typing import Final

from gateway.mail.mime_header import all_fields, parameter
from gateway.mail.structure import Part
from gateway.mailbox.params import FOLDED_RUN, SEARCH_CHUNK, SEARCH_HELD
from gateway.mailbox.transfer import Base64, Identity, transfer_decoder

ReadRange = Callable[[int, int], bytes]
"""(offset, length) → octets of the message."""

_ENCODED_WORDS = re.compile(rb"(?:=\?[^?\s]+\?[bBqQ]\?[^?\s]*\?=\s*)+")
_ENCODED_WORD = re.compile(rb"=\?([^?*\s]+)(?:\*[^?\s]*)?\?([bBqQ])\?([^?\s]*)\?=")
_CODECS: Final = frozenset(module.name for module in pkgutil.iter_modules(encodings.__path__)) | aliases.keys()
"""What Python is asked for. It remembers every name that it ever was, also those that it does not know."""

_NOT_CHARSETS: Final = frozenset({"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape"})
"""Codecs that Python calls text encodings and mail does not."""

_RAW: Final = "surrogateescape"
_LATIN_1: Final = {0xDC00 + octet: octet for octet in range(0x80, 0x100)}


def folded(text: str) -> str:
    """For comparison without case and compatibility differences (in the spirit of RFC 5051)."""
    if text.isascii():
        return text.lower()
    return _folded(text) if len(text) <= FOLDED_RUN else "".join(folded_pieces((text,)))


def _folded(text: str) -> str:
    """Fold what is not long: a run of combining marks is sorted in the square of its length."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKD", text).casefold())


def header_text(value: bytes) -> str:
    """An unfolded field body with its encoded words decoded (RFC 2047 §6.2); raw 8-bit as UTF-8, else Latin-1."""
    if b"=?" not in value:
        return _plain(value)
    pieces: list[str] = []
    position = 0
    for run in _ENCODED_WORDS.finditer(value):
        pieces.append(_plain(value[position : run.start()]))
        words = run[0]
        pieces.append(_words(words))
        pieces.append(_plain(words[len(words.rstrip()) :]))
        position = run.end()
    pieces.append(_plain(value[position:]))
    return "".join(pieces)


def header_block(header: bytes) -> str:
    """All fields of a header, decoded, a line each."""
    return "".join(f"{_plain(name)}: {header_text(value)}\n" for name, value in all_fields(header))


def body_texts(root: Part, read: ReadRange) -> Iterator[Iterable[str]]:
    """What Body looks into, in order: each part's own header (not the message's), and the decoded text parts."""
    waiting = [root]
    while waiting:
        part = waiting.pop()
        if part is not root:
            yield (header_block(read(part.header_offset, min(part.header_length, SEARCH_CHUNK))),)
        if part.type == "text" or (part.type == "message" and not part.children):
            yield part_text(part, read)
        waiting.extend(reversed(part.children))


def part_text(part: Part, read: ReadRange) -> Iterator[str]:
    """A leaf's text in pieces: transfer encoding and charset removed; undecodable octets do not stop it."""
    decoder = charset_decoder(parameter(part.params, "charset"))
    octets = _transfer_decoded(part.encoding, _chunks(part, read))
    for piece in octets:
        yield _decoded(decoder, piece, False)
        if len(decoder.getstate()[0]) > SEARCH_HELD:
            yield _decoded(decoder, b"", True)
    yield _decoded(decoder, b"", True)


def windows(pieces: Iterable[str], longest: int) -> Iterator[str]:
    """The pieces put together and folded, in windows: a folded needle of `longest` characters at most is in one."""
    tail = ""
    for piece in folded_pieces(pieces):
        window = tail + piece
        yield window
        tail = window[-longest + 1 :] if longest > 1 else ""


def folded_pieces(pieces: Iterable[str]) -> Iterator[str]:
    """The pieces put together and folded, again in pieces.

    Cut before an ASCII character, which combines with nothing before it, so that folding the parts is folding the
    whole; a run of FOLDED_RUN characters without one is cut all the same.
    """
    held = ""
    for part in (piece[start : start + FOLDED_RUN] for piece in pieces for start in range(0, len(piece), FOLDED_RUN)):
        text = held + part
        cut = 0 if len(text) < FOLDED_RUN else len(text)
        for place in range(len(text) - 1, max(len(text) - FOLDED_RUN, 0) - 1, -1):
            if text[place] < "\x80":
                cut = place
                break
        held = text[cut:]
        if cut:
            yield _folded(text[:cut])
    yield _folded(held)


def charset_decoder(label: bytes | None) -> codecs.IncrementalDecoder:
    """The decoder of a charset label; unknown ones and US-ASCII read as UTF-8, and octets that are none as Latin-1."""
    name = ""
    wanted = encodings.normalize_encoding((label or b"").decode("ascii", "replace").strip().lower())
    if wanted in _CODECS:
        try:
            found = codecs.lookup(wanted)
            b" ".decode(found.name, "ignore")  # LookupError where it is no text encoding ("zip")
            if found.name not in _NOT_CHARSETS and found.name != "ascii":
                name = found.name
        except (LookupError, ValueError):
            name = ""
    return codecs.getincrementaldecoder(name)("replace") if name else codecs.getincrementaldecoder("utf-8")(_RAW)


def _decoded(decoder: codecs.IncrementalDecoder, octets: bytes, final: bool) -> str:
    try:
        text = decoder.decode(octets, final)
        return text if decoder.errors != _RAW or text.isascii() else text.translate(_LATIN_1)
    except UnicodeError:  # a few codecs know no "replace"
        decoder.reset()
        return octets.decode("latin-1")


def _chunks(part: Part, read: ReadRange) -> Iterator[bytes]:
    end = part.body_offset + part.body_length
    for offset in range(part.body_offset, end, SEARCH_CHUNK):
        yield read(offset, min(SEARCH_CHUNK, end - offset))


def _transfer_decoded(encoding: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    decoder = transfer_decoder(encoding) or Identity()
    for chunk in chunks:
        yield decoder.feed(chunk)
    yield decoder.finish()


def _plain(octets: bytes) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def _words(run: bytes) -> str:
    """Adjacent encoded words: the space between them is no text, and a character may be split over two of them."""
    pieces: list[str] = []
    octets, charset = b"", b""
    for word in _ENCODED_WORD.finditer(run):
        if word[1].lower() != charset:
            pieces.append(_decoded(charset_decoder(charset or None), octets, True))
            octets, charset = b"", word[1].lower()
        if word[2] in b"bB":
            decoder = Base64()
            octets += decoder.feed(word[3]) + decoder.finish()
        else:
            octets += binascii.a2b_qp(word[3].replace(b"_", b" "))
    pieces.append(_decoded(charset_decoder(charset or None), octets, True))
    return "".join(pieces)
