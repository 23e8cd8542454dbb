"""Mailbox keys at rest: 32 octets in a file, under a passphrase where `keys.passphrase` says where that comes from.

| state on disk                  | reached by                                  | a crash here leaves           |
|--------------------------------|---------------------------------------------|-------------------------------|
| the key as it is               | a new account, `p2pmail mailbox unseal`     | it opens without a passphrase |
| the key under the passphrase   | the first opening with `keys.passphrase`    | the one or the other, whole   |
"""

import getpass
import os
import sys
from pathlib import Path

from gateway.errors import ConfigurationError
from p2pcore.crypto.files import replace_file
from p2pcore.crypto.under_passphrase import open_under, seal_under
from p2pcore.errors import Failure

KEY_SIZE = 32  # octets
_KIND = b"p2pmail mailbox key 1\n"
_MOST = 4_096  # octets of a file with a passphrase or key


class Passphrase:
    """The passphrase of this machine's mailbox keys; asked for once, when first needed.

    `source` is "prompt", "file:PATH" (relative to `directory`), "credential:NAME" (systemd's LoadCredential), or "":
    there is none.
    """

    def __init__(self, source: str, directory: Path) -> None:
        self._source = source
        self._directory = directory
        self._known: str | None = None

    @property
    def wanted(self) -> bool:
        """Whether keys are to be under a passphrase."""
        return bool(self._source)

    def get(self) -> str:
        """Return it. Raises ConfigurationError."""
        if self._known is None:
            self._known = self._ask()
            if not self._known:
                raise ConfigurationError(f"keys.passphrase: {self._source}: it is empty")
        return self._known

    def _ask(self) -> str:
        kind, _, name = self._source.partition(":")
        if self._source == "prompt":
            if not sys.stdin.isatty():
                raise ConfigurationError('keys.passphrase: "prompt", and there is no terminal to ask at')
            return getpass.getpass("Passphrase of the mailbox keys: ")
        if kind == "file" and name:
            return _line(self._directory / name)
        if kind == "credential" and name and "/" not in name:
            directory = os.environ.get("CREDENTIALS_DIRECTORY")
            if not directory:
                raise ConfigurationError(f"keys.passphrase: {self._source}: systemd has given no credentials")
            return _line(Path(directory) / name)
        raise ConfigurationError(
            f'keys.passphrase: {self._source!r}: not "prompt", "file:PATH" or "credential:NAME"; or no longer set'
        )


def read_mailbox_key(path: Path, passphrase: Passphrase) -> bytes:
    """Return the key in `path`, which is under the passphrase afterwards if there is to be one.

    Raises ConfigurationError.
    """
    try:
        with path.open("rb") as file:
            octets = file.read(_MOST)
        if len(octets) != KEY_SIZE:
            if not octets.startswith(_KIND):
                raise ConfigurationError(f"{path}: {len(octets)} octets, not a mailbox key")
            if not passphrase.wanted:
                raise ConfigurationError(f"{path}: is under a passphrase; keys.passphrase says where it comes from")
            return open_under(_KIND, octets, passphrase.get(), "mailbox key")
        if passphrase.wanted:
            replace_file(path, seal_under(_KIND, octets, passphrase.get()))
        return octets
    except Failure as error:
        raise ConfigurationError(f"{path}: {error}") from error
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read or written: {error.strerror}") from error


def unseal(path: Path, passphrase: Passphrase) -> None:
    """Leave the key in `path` under no passphrase, durably, until the next opening. Raises ConfigurationError."""
    key = read_mailbox_key(path, passphrase)
    try:
        replace_file(path, key)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from error


def _line(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MOST).decode().partition("\n")[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"keys.passphrase: {path}: cannot be read: {error}") from error
