"""Single messages: a directory per mailbox with a file per message, octet for octet.

`messages.jsonl` in each directory has a line per file: {file, flags, internal_date, zone}. A file that it does not name
has no flags, and its own time as internal date.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from gateway.mailbox.flags import canonical
from gateway.mailbox.model import shown_time
from gateway.mailbox.portable import NotPortable, Outside, read_file

SUFFIX: Final = ".eml"
LIST: Final = "messages.jsonl"
_LINE: Final = 1 << 20


def write(directory: Path, listing: BinaryIO, uid: int, message: Outside) -> None:
    """Add a message, and its line to `listing`. Raises OSError."""
    name = f"{uid:08}{SUFFIX}"
    (directory / name).write_bytes(message.content)
    about = {
        "file": name,
        "flags": sorted(message.flags),
        "internal_date": message.internal_date,
        "zone": message.zone,
    }
    listing.write(json.dumps(about).encode() + b"\n")


def files(directory: Path) -> list[Path]:
    """Its messages by name; links are not followed. Raises OSError."""
    found = (path for path in directory.iterdir() if path.suffix.lower() == SUFFIX)
    return sorted(path for path in found if path.is_file() and not path.is_symlink())


def read(directory: Path, skipped: list[str]) -> Iterator[tuple[Outside, int]]:
    """Every message, with the number read so far; those left out go to `skipped`. Raises OSError, NotPortable."""
    about = _listing(directory)
    for number, path in enumerate(files(directory), 1):
        file = read_file(path, skipped)
        if file is None:
            continue
        flags, date, zone = about.get(path.name, (frozenset(), file[1], 0))
        yield Outside(file[0], flags, date, zone), number


def _listing(directory: Path) -> dict[str, tuple[frozenset[str], int, int]]:
    path, found = directory / LIST, dict[str, tuple[frozenset[str], int, int]]()
    if not path.is_file():
        return found
    with path.open("rb") as file:
        while line := file.readline(_LINE):
            try:
                one = json.loads(line)
                flags = canonical(frozenset(str(flag) for flag in one["flags"]))
                name, date, zone = str(one["file"]), int(one["internal_date"]), int(one["zone"])
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise NotPortable(f"{path}: not a list of messages: {error}") from error
            if shown_time(date, zone) is None:
                raise NotPortable(f"{path}: not a list of messages: {name} has no date: {date}, {zone}")
            found[name] = (flags, date, zone)
    return found
