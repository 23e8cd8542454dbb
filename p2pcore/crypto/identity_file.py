"""One role's private keys on disk, and the recovery kit that holds a copy under a passphrase.

| file | content | crash while saving |
|---|---|---|
| identity | an encoded records.Identity, mode 0600 | the old file or the new one, whole (see `files`) |
| recovery kit | octets that the caller writes | the caller's |

A recovery kit is an encoded records.Identity under a passphrase (see `under_passphrase`), beginning with
"p2pmail kit 1\\n".
"""

from pathlib import Path

from p2pcore.crypto.files import replace_file
from p2pcore.crypto.under_passphrase import open_under, seal_under
from p2pcore.errors import Malformed
from p2pcore.records import Identity, decode, encode

_KIT_MAGIC = b"p2pmail kit 1\n"


def save_identity(path: Path, identity: Identity) -> None:
    """Replace `path` with `identity`, mode 0600; durable on return. Raises OSError."""
    replace_file(path, encode(identity))


def load_identity(path: Path) -> Identity:
    """Return the identity in `path`. Raises OSError, Malformed (which names the file)."""
    try:
        return decode(Identity, path.read_bytes())
    except Malformed as error:
        raise Malformed(f"{path}: {error}") from error


def seal_kit(identity: Identity, passphrase: str) -> bytes:
    """Return a recovery kit with `identity` under `passphrase`. Takes about 0.1 s."""
    return seal_under(_KIT_MAGIC, encode(identity), passphrase)


def open_kit(kit: bytes, passphrase: str) -> Identity:
    """Return the identity in a recovery kit. Raises Malformed (no kit), Tampered (wrong passphrase, or altered)."""
    return decode(Identity, open_under(_KIT_MAGIC, kit, passphrase, "recovery kit"))
