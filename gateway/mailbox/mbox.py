"""mbox files (RFC 4155, quoted as "mboxrd"): one per mailbox, lines end in LF.

Above each message's header stand Status, X-Status, X-Keywords (as mutt and Dovecot have them) and X-Internal-Date
("seconds minutes-east"), which reading takes off again where all stand there in this order. A line of the message that
begins with any number of ">" and "From " gets one ">" more. Ends of lines become LF, and CRLF when read; a last line
without an end gets one. A message begins at the file's first line, and at a line after an empty one that has "From "
with a mail address or a date: other programs do not quote every line.
"""

import re
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from time import asctime, gmtime
from typing import BinaryIO, Final

from gateway.mailbox.flags import canonical
from gateway.mailbox.model import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN, SYSTEM_FLAGS, shown_time
from gateway.mailbox.params import MAX_KEYWORD, MAX_KEYWORDS
from gateway.mailbox.portable import KEYWORD, MOST_MESSAGE, Outside

SUFFIX: Final = ".mbox"

_DATE = re.compile(rb"\s([A-Za-z]{3})\s+(\d{1,2})\s+(\d{1,2}:\d\d(?::\d\d)?)(?:\s+[A-Z+-][A-Z\d]{1,4})?\s+(\d{4})\b")
_SENDER = re.compile(rb"From \S+@\S+\s")
_MOST_SEPARATOR: Final = 1_000  # octets of a line in which its date is looked for
_TO_QUOTE = re.compile(rb"^(?=>*From )", re.MULTILINE)
_QUOTED = re.compile(rb">+From ")
_OURS = re.compile(
    rb"Status: ([RO]*)\r?\nX-Status: ([AFDT]*)\r?\nX-Keywords: ?([!-~ ]*)\r?\n"
    rb"X-Internal-Date: (-?\d{1,12}) (-?\d{1,4})\r?\n"
)
_THEIRS = re.compile(rb"^(X-Status|Status|X-Keywords):[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_LETTERS: Final = {"A": ANSWERED, "F": FLAGGED, "D": DELETED, "T": DRAFT}
_LINE: Final = 1 << 20  # octets read at a time; a longer line comes in pieces


def write(file: BinaryIO, message: Outside) -> None:
    """Append a message. Raises OSError."""
    flags = message.flags
    keywords = " ".join(sorted(flags - SYSTEM_FLAGS))
    file.write(f"From p2pmail@localhost {asctime(gmtime(message.internal_date))}\n".encode())
    file.write(f"Status: {'R' if SEEN in flags else ''}O\n".encode())
    file.write(f"X-Status: {''.join(letter for letter, flag in _LETTERS.items() if flag in flags)}\n".encode())
    file.write(f"X-Keywords: {keywords}\nX-Internal-Date: {message.internal_date} {message.zone}\n".encode())
    file.write(_TO_QUOTE.sub(b">", message.content.replace(b"\r\n", b"\n")))
    if not message.content.endswith(b"\n"):
        file.write(b"\n")
    file.write(b"\n")


def read(path: Path, skipped: list[str]) -> Iterator[tuple[Outside, int]]:
    """Every message with the octets of the file read so far; too large ones are named in `skipped`. Raises OSError."""
    with path.open("rb") as file:
        date, lines, size, position, number, starts, whole = 0, list[bytes](), 0, 0, 0, True, True
        while line := file.readline(_LINE):
            position += len(line)
            separates = starts and line.startswith(b"From ")
            dated = _DATE.search(line, 0, _MOST_SEPARATOR) if separates else None
            if separates and (dated or not number or _SENDER.match(line)):  # else it is text that was not quoted
                if number:
                    yield from _message(path, number, lines, size, date, position, skipped)
                number, date, lines, size, starts = number + 1, _date(dated), [], 0, False
                continue
            starts = whole and line in (b"\n", b"\r\n")  # a separator stands behind an empty line
            size += len(line)
            if number and size <= MOST_MESSAGE:
                lines.append(line[1:] if whole and _QUOTED.match(line) else line)
            whole = line.endswith(b"\n")
        if number:
            yield from _message(path, number, lines, size, date, position, skipped)
        elif position:
            skipped.append(f"{path}: holds no mail in this format")


def _message(
    path: Path, number: int, lines: list[bytes], size: int, date: int, position: int, skipped: list[str]
) -> Iterator[tuple[Outside, int]]:
    if size > MOST_MESSAGE:
        skipped.append(f"{path}: message {number} has {size} octets, more than {MOST_MESSAGE}")
        return
    if lines and lines[-1] in (b"\n", b"\r\n"):
        lines.pop()  # the empty line before the next separator
    octets = b"".join(lines)
    ours = _OURS.match(octets)
    if ours is not None and shown_time(int(ours[4]), int(ours[5])) is not None:
        flags = _flags(ours[1] + ours[2], ours[3])
        date, zone, octets = int(ours[4]), int(ours[5]), octets[ours.end() :]
    else:
        zone = 0
        header = octets.partition(b"\n\n")[0].partition(b"\r\n\r\n")[0]
        found = {name.lower(): value for name, value in _THEIRS.findall(header)}
        flags = _flags(found.get(b"status", b"") + found.get(b"x-status", b""), found.get(b"x-keywords", b""))
    yield Outside(octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"), flags, date, zone), position


def _flags(letters: bytes, keywords: bytes) -> frozenset[str]:
    found = {flag for letter, flag in _LETTERS.items() if letter.encode() in letters}
    if b"R" in letters:
        found.add(SEEN)
    words = keywords.decode("ascii", "replace").split()
    words = [word for word in words if KEYWORD.fullmatch(word) and len(word) <= MAX_KEYWORD]
    # A message of another program may have the field from its author: what is beyond the limits is passed over.
    return canonical(frozenset(found.union(words[: MAX_KEYWORDS - len(SYSTEM_FLAGS)])))


def _date(dated: re.Match[bytes] | None) -> int:
    """Unix seconds of a separator's date, which is in UTC (RFC 4155); 0 where it has none."""
    if dated is None:
        return 0
    month, day, time, year = (word.decode("ascii") for word in dated.groups())
    try:
        return max(int(parsedate_to_datetime(f"{day} {month} {year} {time} +0000").timestamp()), 0)
    except (ValueError, TypeError, OverflowError):
        return 0
