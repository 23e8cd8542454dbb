"""A store's mail as mbox, Maildir or eml files: flags, internal dates, mailboxes with their uses and subscriptions.

Written into a new directory; one that a crash left is not complete, and lacks `mailboxes.json`.
"""

import asyncio
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from gateway.mailbox import eml, maildir, mbox
from gateway.mailbox.errors import NoSuchMessage
from gateway.mailbox.maintenance import Progress
from gateway.mailbox.model import Mailbox, MessageRow
from gateway.mailbox.portable import Folder, Format, Outside, path_of, write_index
from gateway.mailbox.store import MailStore


async def export(store: MailStore, directory: Path, form: Format, progress: Progress) -> tuple[int, list[str]]:
    """Write all mail below `directory`, which must not exist; gives the number of messages, and what could not be kept.

    A message that is expunged meanwhile is left out. Raises OSError, StoreDamaged (a content that cannot be read).
    """
    await asyncio.to_thread(directory.mkdir, mode=0o700)
    mailboxes = await store.mailboxes()
    total, done, notes = sum(mailbox.messages for mailbox in mailboxes), 0, list[str]()
    folders = []
    for mailbox in mailboxes:
        path = _path(mailbox, form)
        folders.append(Folder(path, mailbox.name, mailbox.special_use, mailbox.subscribed))
        with ExitStack() as stack:
            writer = await asyncio.to_thread(_Writer, stack, directory / path, form)
            for row in (await store.snapshot(mailbox.name)).messages:
                try:
                    content = await store.read(mailbox.id, row.uid)
                except NoSuchMessage:
                    continue
                await asyncio.to_thread(writer.write, row, content)
                done += 1
                progress(mailbox.name, done, max(total, done))
        notes += [f"{mailbox.name}: keyword {keyword} is not kept" for keyword in writer.lost]
    await asyncio.to_thread(write_index, directory, folders)
    return done, notes


def _path(mailbox: Mailbox, form: Format) -> str:
    if form == "maildir" and mailbox.name == "INBOX":
        return ""
    return path_of(mailbox.name, mbox.SUFFIX if form == "mbox" else "")


class _Writer:
    """One mailbox being written in one of the formats; what it opens, `stack` closes."""

    def __init__(self, stack: ExitStack, path: Path, form: Format) -> None:
        self._path = path
        self._maildir = maildir.Writer(path) if form == "maildir" else None
        self._file: BinaryIO | None = None
        self._listing: BinaryIO | None = None
        if self._maildir is not None:
            stack.callback(self._maildir.close)
        elif form == "mbox":
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = stack.enter_context(path.open("xb"))
        else:
            path.mkdir(parents=True, exist_ok=True)
            self._listing = stack.enter_context((path / eml.LIST).open("xb"))

    @property
    def lost(self) -> list[str]:
        """Keywords that the format could not hold."""
        return sorted(self._maildir.lost) if self._maildir is not None else []

    def write(self, row: MessageRow, content: bytes) -> None:
        message = Outside(content, row.flags, row.internal_date, row.zone)
        if self._maildir is not None:
            self._maildir.write(row.uid, message)
        elif self._file is not None:
            mbox.write(self._file, message)
        elif self._listing is not None:
            eml.write(self._path, self._listing, row.uid, message)
