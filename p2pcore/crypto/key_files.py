"""Private keys at rest: files of mode 0600, under a passphrase where there is to be one.

| state on disk                  | reached by                                        | a crash here leaves      |
|--------------------------------|---------------------------------------------------|--------------------------|
| the key as it is               | `write` without a passphrase, `unseal`            | the old file or the new  |
| the key under the passphrase   | `write` with one, `seal` of a key that lies open  | the one or the other     |

A file under the passphrase begins with "p2pmail key 1\\n" (see `under_passphrase`).
"""

from collections.abc import Callable
from pathlib import Path

from p2pcore.crypto.files import replace_file
from p2pcore.crypto.under_passphrase import Stretched
from p2pcore.errors import Malformed, Tampered, TooLarge
from p2pcore.records import Identity, decode, encode

_MAGIC = b"p2pmail key 1\n"
_MOST = 1 << 20  # octets of a file with keys


class KeyFiles:
    """Reads and writes the files of one machine's private keys.

    `passphrase` returns what they are under; it is called once, when first needed, and may raise. None: they lie open.
    """

    def __init__(self, passphrase: Callable[[], str] | None = None) -> None:
        self._passphrase = passphrase
        self._stretched: Stretched | None = None

    def read(self, path: Path) -> bytes:
        """Return the key in `path`, under the passphrase or not.

        Raises OSError, TooLarge, Malformed, Tampered (wrong passphrase, altered), each of which names the file.
        """
        octets = _content(path)
        if not octets.startswith(_MAGIC):
            return octets
        if self._passphrase is None:
            raise Malformed(f"{path}: is under a passphrase, and none is given")
        try:
            return self._under().open(_MAGIC, octets, "key")
        except (Malformed, Tampered) as error:
            raise type(error)(f"{path}: {error}") from error

    def write(self, path: Path, key: bytes) -> None:
        """Make `key` the content of `path`, under the passphrase if there is one; durable on return. Raises OSError."""
        replace_file(path, key if self._passphrase is None else self._under().seal(_MAGIC, key))

    def seal(self, path: Path) -> None:
        """Put the key in `path`, if it lies open, under the passphrase, if there is one; durable on return.

        Raises OSError, TooLarge.
        """
        if self._passphrase is not None:
            octets = _content(path)
            if not octets.startswith(_MAGIC):
                self.write(path, octets)

    def unseal(self, path: Path) -> None:
        """Let the key in `path` lie open; durable on return. Raises as `read`."""
        replace_file(path, self.read(path))

    def read_identity(self, path: Path) -> Identity:
        """Return the identity in `path`. Raises as `read`."""
        octets = self.read(path)
        try:
            return decode(Identity, octets)
        except Malformed as error:
            raise Malformed(f"{path}: {error}") from error

    def write_identity(self, path: Path, identity: Identity) -> None:
        """Make `identity` the content of `path`, as `write`."""
        self.write(path, encode(identity))

    def _under(self) -> Stretched:
        if self._stretched is None:
            assert self._passphrase is not None
            self._stretched = Stretched(self._passphrase())
        return self._stretched


def is_under_passphrase(path: Path) -> bool:
    """Return whether the key in `path` is under a passphrase. Raises OSError."""
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        octets = file.read(_MOST + 1)
    if len(octets) > _MOST:
        raise TooLarge(f"{path}: more than {_MOST} octets, not a key")
    return octets
