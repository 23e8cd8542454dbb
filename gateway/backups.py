"""A user's backup: her mailbox and outbox as of one moment each, and the key that opens both, sealed to her.

    mailbox/mail.db  mailbox/messages/    the mailbox, under the same key as the original
    outbox/outbox.db outbox/contents/     the outbox, the same
    backup.key                            the mailbox's key, sealed to her HPKE key, which her recovery kit has too
    backup.json                           layout, address, time

| state on disk                                   | a crash here leaves                                            |
|-------------------------------------------------|----------------------------------------------------------------|
| `<target>.partial`                              | nothing of use; the next backup to `<target>` removes it       |
| `<target>`, renamed when all is fsynced         | the backup                                                     |
| `accounts/<address>/restored.partial`           | nothing of use; the next restore removes it                    |
| `restored`, renamed when all is fsynced         | the restored account: the next opening moves its parts in      |
| a part moved to `replaced-<time>`, or moved in  | the next opening goes on with what `restored` still has        |

What was there before a restore is kept in `replaced-<time>`, for her to remove.
"""

import asyncio
import contextlib
import hmac
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import apsw

from gateway.database import keyed
from gateway.errors import OperatorError
from gateway.mailbox import backup
from gateway.mailbox.errors import MailboxError
from gateway.mailbox.maintenance import Progress
from gateway.mailbox.store import MailStore
from gateway.outbox.store import OutboxStore
from p2pcore.crypto.files import replace_file, sync_directory
from p2pcore.crypto.keys import HpkeKey, HpkePublic
from p2pcore.errors import Failure
from p2pcore.records import Identity

LAYOUT: Final = 1
MOST: Final = 64 << 10  # octets of backup.json and of backup.key
PARTS: Final = ("mailbox", "outbox")
_INFO: Final = b"p2pmail backup 1"
_NONE: Final = "{}: is no backup of `p2pmail mailbox backup`: backup.json"


@dataclass(frozen=True, slots=True)
class Opened:
    """An account whose stores are open; `outbox` None: it has none yet."""

    address: str
    directory: Path
    identity: Identity
    key: bytes
    store: MailStore
    outbox: OutboxStore | None


def outbox_key(key: bytes) -> bytes:
    """Return the key of the outbox that goes with a mailbox's key."""
    return hmac.digest(key, b"p2pmail outbox 1", "sha256")


async def back_up(account: Opened, target: Path, progress: Progress) -> None:
    """Write a backup of an account to `target`, which must not exist; durable on return. Raises OSError."""
    partial = target.with_name(f"{target.name}.partial")
    await asyncio.to_thread(_new, target, partial)
    await account.store.back_up(await _made(partial / "mailbox") / "mail.db", account.key, progress)
    if account.outbox is not None:
        outbox = await _made(partial / "outbox") / "outbox.db"
        await account.outbox.back_up(outbox, outbox_key(account.key), progress)
    await asyncio.to_thread(_sealed, partial, account)
    await asyncio.to_thread(_named, partial, target)


def _sealed(partial: Path, account: Opened) -> None:
    public = HpkePublic.from_bytes(HpkeKey.from_bytes(account.identity.hpke_keys[0]).public_bytes)
    replace_file(partial / "backup.key", public.seal(_INFO, account.key))
    about = {"layout": LAYOUT, "address": account.address, "made": int(time.time())}
    replace_file(partial / "backup.json", json.dumps(about).encode() + b"\n")


async def restore(directory: Path, identity: Identity, key: bytes, source: Path, progress: Progress) -> dict[str, Any]:
    """Put the backup `source` in place of the account's mailbox and outbox; return what its backup.json says.

    The account at `directory` (of `identity`, mailbox key `key`) is closed; its next opening finds the restored one.
    Raises OperatorError (no backup of hers, or not to be opened), OSError.
    """
    about = await asyncio.to_thread(_about, source, identity.name)
    old_key = await asyncio.to_thread(_opened_key, source, identity)
    partial = directory / "restored.partial"
    await asyncio.to_thread(_emptied, partial)
    keys = {"mailbox": (old_key, key), "outbox": (outbox_key(old_key), outbox_key(key))}
    for number, (part, name) in enumerate((("mailbox", "mail.db"), ("outbox", "outbox.db"))):
        if part == "mailbox" or await asyncio.to_thread((source / part).exists):
            progress(part, number, len(PARTS))
            target = await _made(partial / part)
            try:
                await asyncio.to_thread(_check_whole, source / part / name, keys[part][0])
                await asyncio.to_thread(
                    backup.copy_closed, source / part / name, keys[part][0], target / name, keys[part][1]
                )
            except apsw.Error as error:
                raise OperatorError(f"{source / part / name}: cannot be read: {error}") from error
    try:
        store = await MailStore.open(partial / "mailbox", key)
    except MailboxError as error:
        raise OperatorError(f"{source}: {error}") from error
    try:
        await store.renew()
    finally:
        await store.close()
    await asyncio.to_thread(_named, partial, directory / "restored")
    await asyncio.to_thread(finish_restore, directory)
    progress("done", len(PARTS), len(PARTS))
    return about


def _check_whole(database: Path, key: bytes) -> None:
    """Raises OperatorError where `database` holds nothing, which would take the place of her mail; apsw.Error."""
    layout = 0
    if database.exists():
        with contextlib.closing(keyed(database, key)) as connection:
            layout = connection.pragma("user_version")
    if not layout:
        raise OperatorError(f"{database}: is missing or empty: the backup is not whole")


def finish_restore(directory: Path) -> None:
    """Move the parts of a complete restore into an account that is closed; does nothing where there is none.

    Raises OSError.
    """
    restored = directory / "restored"
    if not restored.is_dir():
        return
    replaced = directory / f"replaced-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{time.time_ns() % 10**9:09}"
    for part in PARTS:
        if (directory / part).exists() and ((restored / part).exists() or part == "outbox"):
            replaced.mkdir(mode=0o700, exist_ok=True)
            (directory / part).rename(replaced / part)
        if (restored / part).exists():
            (restored / part).rename(directory / part)
        sync_directory(directory)
    restored.rmdir()
    sync_directory(directory)


def _about(source: Path, address: str) -> dict[str, Any]:
    try:
        with (source / "backup.json").open("rb") as file:
            about = json.loads(file.read(MOST))
        layout, whose, _ = about["layout"], about["address"], time.gmtime(about["made"])
    except OSError as error:
        raise OperatorError(f"{_NONE.format(source)} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise OperatorError(f"{_NONE.format(source)} is not what it writes") from error
    if layout != LAYOUT:
        raise OperatorError(f"{source}: has layout {layout}; this program reads {LAYOUT}")
    if whose != address:
        raise OperatorError(f"{source}: is a backup of {whose}, not of {address}")
    return dict(about)


def _opened_key(source: Path, identity: Identity) -> bytes:
    with (source / "backup.key").open("rb") as file:
        sealed = file.read(MOST)
    for octets in identity.hpke_keys:
        with contextlib.suppress(Failure):
            return HpkeKey.from_bytes(octets).open(_INFO, sealed)
    raise OperatorError(
        f"{source}: none of {identity.name}'s keys here opens it; `p2pmail recover` adds those of a kit"
    )


async def _made(directory: Path) -> Path:
    await asyncio.to_thread(directory.mkdir, mode=0o700)
    return directory


def _new(target: Path, partial: Path) -> None:
    if target.exists():
        raise OperatorError(f"{target}: exists already; nothing was written")
    if not target.parent.is_dir():  # never made here: it may be a disk that is not mounted
        raise OperatorError(f"{target.parent}: is no directory; make it, or mount it, first")
    _emptied(partial)


def _emptied(partial: Path) -> None:
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(mode=0o700)


def _named(partial: Path, target: Path) -> None:
    sync_directory(partial)
    partial.rename(target)
    sync_directory(target.parent)
