"""Maildir trees: a directory with cur, new and tmp per mailbox, one below another as the names have levels.

Flags stand in the file's name, keywords by letter as in Dovecot's file `dovecot-keywords` (26 at most, the others are
named as lost), the internal date in the file's time. Ends of lines are LF, and CRLF when read. The INBOX is the root.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gateway.mailbox.flags import canonical
from gateway.mailbox.model import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN, SYSTEM_FLAGS
from gateway.mailbox.portable import KEYWORD, NotPortable, Outside, read_file

KEYWORDS: Final = "dovecot-keywords"
_LETTERS: Final = {"D": DRAFT, "F": FLAGGED, "R": ANSWERED, "S": SEEN, "T": DELETED}
_MOST_KEYWORDS: Final = 26


@dataclass
class Writer:
    """One mailbox being written; `close` writes its keywords."""

    directory: Path
    keywords: dict[str, int] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for part in ("cur", "new", "tmp"):
            (self.directory / part).mkdir(parents=True, exist_ok=True)

    def write(self, uid: int, message: Outside) -> None:
        """Add a message. Raises OSError."""
        letters = {letter for letter, flag in _LETTERS.items() if flag in message.flags}
        for keyword in sorted(message.flags - SYSTEM_FLAGS):
            number = self.keywords.setdefault(keyword, len(self.keywords))
            if number < _MOST_KEYWORDS:
                letters.add(chr(ord("a") + number))
            else:
                self.lost.add(keyword)
        path = self.directory / "cur" / f"{uid:010}.{message.internal_date}.p2pmail:2,{''.join(sorted(letters))}"
        path.write_bytes(message.content.replace(b"\r\n", b"\n"))
        os.utime(path, (message.internal_date, message.internal_date))

    def close(self) -> None:
        """Note which letter is which keyword. Raises OSError."""
        lines = [f"{number} {keyword}\n" for keyword, number in self.keywords.items() if number < _MOST_KEYWORDS]
        if lines:
            (self.directory / KEYWORDS).write_text("".join(lines), encoding="ascii")


def is_one(directory: Path) -> bool:
    """Whether a directory is a Maildir."""
    return (directory / "cur").is_dir()


def files(directory: Path) -> list[Path]:
    """Its messages, oldest name first. Raises OSError."""
    found = [
        Path(entry.path)
        for part in ("cur", "new")
        if (directory / part).is_dir()
        for entry in os.scandir(directory / part)
        if entry.is_file(follow_symlinks=False) and not entry.name.startswith(".")
    ]
    return sorted(found, key=lambda path: [int(word) if word.isdecimal() else 0 for word in path.name.split(".")[:2]])


def read(directory: Path, skipped: list[str]) -> Iterator[tuple[Outside, int]]:
    """Every message, with the number read so far; those left out go to `skipped`. Raises OSError, NotPortable."""
    keywords = _keywords(directory)
    for number, path in enumerate(files(directory), 1):
        file = read_file(path, skipped)
        if file is None:
            continue
        octets = file[0].replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        letters = path.name.rpartition(":2,")[2] if ":2," in path.name else ""
        flags = {_LETTERS[letter] for letter in letters if letter in _LETTERS}
        flags |= {keywords[letter] for letter in letters if letter in keywords}
        yield Outside(octets, canonical(frozenset(flags)), file[1], 0), number


def _keywords(directory: Path) -> dict[str, str]:
    path = directory / KEYWORDS
    if not path.is_file():
        return {}
    found = {}
    for line in path.read_text(encoding="ascii", errors="replace").splitlines()[:_MOST_KEYWORDS]:
        number, _, keyword = line.partition(" ")
        if not number.isdigit() or int(number) >= _MOST_KEYWORDS or not KEYWORD.fullmatch(keyword):
            raise NotPortable(f"{path}: not a list of keywords: {line!r}")
        found[chr(ord("a") + int(number))] = keyword
    return found
