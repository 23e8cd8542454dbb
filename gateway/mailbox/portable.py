"""Mail outside the store: what the formats mbox, Maildir and eml have in common.

A tree of one format holds one entry per mailbox, and `mailboxes.json` at its root: a list of {path, name, special_use,
subscribed}. Without that file (a tree of another program) the path is the name, and usual names tell the special use.
"""

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote, unquote_to_bytes

from gateway.mailbox.errors import MailboxError
from gateway.mailbox.names import DELIMITER, canonical

Format = Literal["mbox", "maildir", "eml"]
INDEX: Final = "mailboxes.json"
MOST_INDEX: Final = 16 << 20  # octets of an index that is read
MOST_MESSAGE: Final = 64 << 20  # octets of a message that is imported: what the network carries at most
MOST_MAILBOXES: Final = 10_000
KEYWORD: Final = re.compile(r"[!#-'+-\[\]^-z|~$]+")
"""An IMAP keyword of any length: an atom (RFC 3501 §9)."""

_FILES: Final = ("cur", "new", "tmp", INDEX, "dovecot-keywords", "messages.jsonl")  # no mailbox has such a path
_SUFFIXES: Final = (".mbox", ".eml")
_MOST_LEVEL: Final = 200  # octets; file systems allow 255, and a suffix comes after it

_USUAL: Final = {
    "sent": "\\Sent",
    "sent items": "\\Sent",
    "sent messages": "\\Sent",
    "sent mail": "\\Sent",
    "drafts": "\\Drafts",
    "trash": "\\Trash",
    "deleted items": "\\Trash",
    "deleted messages": "\\Trash",
    "junk": "\\Junk",
    "junk e-mail": "\\Junk",
    "spam": "\\Junk",
    "archive": "\\Archive",
    "archives": "\\Archive",
}


class NotPortable(MailboxError):
    """What is to be imported or exported cannot be; the text names the file."""


@dataclass(frozen=True, slots=True)
class Folder:
    """One mailbox outside; `path` is relative to the tree's root, "" the root itself."""

    path: str
    name: str
    special_use: str | None
    subscribed: bool


@dataclass(frozen=True, slots=True)
class Outside:
    """One message outside, whole."""

    content: bytes
    flags: frozenset[str]
    internal_date: int  # Unix seconds
    zone: int  # minutes east


def path_of(name: str, suffix: str = "") -> str:
    """A file path for a mailbox name: a directory per level, none of them hidden, "..", or a file's of some format.

    Of a long level the end is a digest: only the index has its name.
    """
    return "/".join(_level(quote(level, safe=" @+_-.,;!$'()[]=")) for level in name.split(DELIMITER)) + suffix


def _level(level: str) -> str:
    if len(level) > _MOST_LEVEL:
        digest = hashlib.sha256(level.encode()).hexdigest()
        level = f"{level[: _MOST_LEVEL - len(digest)]}{digest}"
    if level in _FILES or level.endswith(_SUFFIXES):
        level = f"{level[:-1]}%{ord(level[-1]):02X}"
    return f"%2E{level[1:]}" if level[0] == "." else level


def name_of(path: str) -> str:
    """The mailbox name of a path of this or another program: what no name may have is replaced. Raises TooLarge."""
    text = unquote_to_bytes(os.fsencode(path)).decode("utf-8", "replace")
    text = re.sub(r"[*%\x00-\x1f\x7f-\x9f\u2028\u2029]", "_", text)
    return canonical(DELIMITER.join(filter(None, text.split(DELIMITER))) or "_")


def read_file(path: Path, skipped: list[str]) -> tuple[bytes, int] | None:
    """A message's file: its octets and its time (Unix seconds).

    None where it is too large, or cannot be read (another program has just renamed it): `skipped` says so.
    """
    try:
        status = path.stat()
        if status.st_size > MOST_MESSAGE:
            skipped.append(f"{path}: has {status.st_size} octets, more than {MOST_MESSAGE}")
            return None
        return path.read_bytes(), status.st_mtime_ns // 10**9
    except OSError as error:
        skipped.append(f"{path}: {error.strerror}")
        return None


def special_use_of(name: str) -> str | None:
    """What a mailbox of another program with this name is for, as far as its name tells."""
    return _USUAL.get(name.casefold().removeprefix("inbox/"))


def write_index(root: Path, folders: Sequence[Folder]) -> None:
    """Note the mailboxes of a tree. Raises OSError."""
    (root / INDEX).write_text(json.dumps([asdict(folder) for folder in folders], indent=1) + "\n", encoding="utf-8")


def read_index(root: Path) -> list[Folder] | None:
    """The mailboxes of a tree as its index names them, None where it has none. Raises NotPortable, OSError."""
    try:
        with (root / INDEX).open("rb") as file:
            octets = file.read(MOST_INDEX + 1)
    except FileNotFoundError:
        return None
    if len(octets) > MOST_INDEX:
        raise NotPortable(f"{root / INDEX}: longer than {MOST_INDEX} octets")
    try:
        folders = [
            Folder(str(one["path"]), canonical(str(one["name"])), one["special_use"], bool(one["subscribed"]))
            for one in json.loads(octets)
        ]
    except (ValueError, KeyError, TypeError, RecursionError, MailboxError) as error:
        raise NotPortable(f"{root / INDEX}: not an index of mailboxes: {error}") from error
    if len(folders) > MOST_MAILBOXES:
        raise NotPortable(f"{root / INDEX}: more than {MOST_MAILBOXES} mailboxes")
    base = root.resolve()
    for folder in folders:
        if not (root / folder.path).resolve().is_relative_to(base):
            raise NotPortable(f"{root / INDEX}: {folder.path!r} is outside of {root}")
    return folders
