"""Mail from mbox, Maildir or eml files into a store: by whole batches, each one transaction.

Nothing is taken away: what is imported twice is there twice. After a crash the mail of complete batches is there.
"""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from gateway.mailbox import eml, maildir, mbox
from gateway.mailbox.errors import NoSuchMailbox
from gateway.mailbox.maintenance import Progress
from gateway.mailbox.model import NewMessage
from gateway.mailbox.portable import (
    MOST_MAILBOXES,
    Folder,
    Format,
    NotPortable,
    Outside,
    name_of,
    read_index,
    special_use_of,
)
from gateway.mailbox.store import MailStore

BATCH: Final = 200  # messages of one transaction
BATCH_OCTETS: Final = 16 << 20

Reader = Callable[[Path, list[str]], Iterator[tuple[Outside, int]]]


async def import_into(store: MailStore, source: Path, form: Format, progress: Progress) -> tuple[int, list[str]]:
    """Add all mail below `source` (for mbox also one file); gives the number of messages, and what was left out.

    A mailbox with a special use comes into the store's with that use. Raises NotPortable, MailboxError, OSError.
    """
    folders = await asyncio.to_thread(_folders, source, form)
    imported, notes = 0, list[str]()
    for number, folder in enumerate(folders):
        name = await _target(store, folder)
        path = source / folder.path if folder.path else source
        read: Reader = {"mbox": mbox.read, "maildir": maildir.read, "eml": eml.read}[form]
        messages = read(path, notes)
        while batch := await asyncio.to_thread(_batch, messages):
            await store.append_many(name, batch)
            imported += len(batch)
            progress(f"{name}: {imported} messages", number, len(folders))
    progress("done", len(folders), len(folders))
    return imported, notes


def _batch(messages: Iterator[tuple[Outside, int]]) -> list[NewMessage]:
    batch, octets = list[NewMessage](), 0
    while len(batch) < BATCH and octets < BATCH_OCTETS:
        one = next(messages, None)
        if one is None:
            break
        message = one[0]
        batch.append(NewMessage(message.content, message.flags, message.internal_date, message.zone))
        octets += len(message.content)
    return batch


async def _target(store: MailStore, folder: Folder) -> str:
    """The mailbox that a folder's mail goes into, made where it is missing."""
    mailboxes = await store.mailboxes()
    for mailbox in mailboxes:
        if folder.special_use is not None and mailbox.special_use == folder.special_use:
            return mailbox.name
    try:
        return (await store.mailbox(folder.name)).name
    except NoSuchMailbox:
        made = await store.create(folder.name)
    if folder.subscribed:
        await store.subscribe(made.name, True)
    return made.name


def _folders(source: Path, form: Format) -> list[Folder]:
    if form == "mbox" and source.is_file():
        name = name_of(source.name.removesuffix(mbox.SUFFIX))
        return [Folder("", name, special_use_of(name), True)]
    if not source.is_dir():
        raise NotPortable(f"{source}: no such directory")
    folders = read_index(source)
    if folders is None:
        folders = list(_found(source, form))
    if not folders:
        raise NotPortable(f"{source}: holds no mail in this format")
    return folders


def _found(source: Path, form: Format) -> Iterator[Folder]:
    """What looks like a mailbox below `source`, which has no index."""
    paths = [source, *sorted(path for path in source.rglob("*") if not path.is_symlink())]
    count = 0
    for path in paths:
        relative = "" if path == source else str(path.relative_to(source))
        if form == "mbox":
            fits = path.is_file() and not path.name.startswith(".") and _is_mbox(path)
        else:
            fits = path.is_dir() and (maildir.is_one(path) if form == "maildir" else bool(eml.files(path)))
        if not fits:
            continue
        count += 1
        if count > MOST_MAILBOXES:
            raise NotPortable(f"{source}: more than {MOST_MAILBOXES} mailboxes")
        plain = relative.removesuffix(mbox.SUFFIX)
        if form == "maildir" and plain.startswith("."):
            plain = plain[1:].replace(".", "/")  # Maildir++
        name = name_of(plain) if plain else "INBOX"
        yield Folder(relative, name, special_use_of(name), True)


def _is_mbox(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(5) == b"From "
