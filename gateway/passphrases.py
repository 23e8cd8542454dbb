"""Where the passphrase of this machine's private keys comes from (`keys.passphrase`)."""

import getpass
import os
import shlex
import subprocess
import sys
from pathlib import Path

from gateway.errors import ConfigurationError

SERVICE_CREDENTIALS = Path("/run/credentials/p2pmail.service")  # where its user's own commands find them while it runs
_MOST = 4_096  # octets that may come with a passphrase
_PATIENCE = 120  # seconds for a command, which may ask a person


def obtain(source: str, directory: Path, *, new: bool = False) -> str:
    """Return the passphrase that `source` leads to.

    "prompt", which asks twice for a `new` one, under which nothing is yet; "file:PATH" (relative to `directory`);
    "credential:NAME" (systemd's LoadCredential, also while p2pmail.service runs); "command:LINE", run without a shell,
    whose first line of output it is: `secret-tool lookup …` asks the desktop's keyring.
    Raises ConfigurationError.
    """
    passphrase = _ask(source, directory, new)
    if not passphrase:
        raise ConfigurationError(f"keys.passphrase: {source}: it is empty")
    return passphrase


def _ask(source: str, directory: Path, new: bool) -> str:
    kind, _, name = source.partition(":")
    if source == "prompt":
        if not sys.stdin.isatty():
            raise ConfigurationError('keys.passphrase: "prompt", and there is no terminal to ask at')
        passphrase = getpass.getpass("Passphrase of this machine's keys: ")
        if new and getpass.getpass("Once more, since nothing is under it yet: ") != passphrase:
            raise ConfigurationError("keys.passphrase: the two are not the same; nothing is under either")
        return passphrase
    if kind == "file" and name:
        return _line(directory / name)
    if kind == "credential" and name and "/" not in name:
        given = os.environ.get("CREDENTIALS_DIRECTORY")
        if not given and not os.access(SERVICE_CREDENTIALS / name, os.R_OK):
            raise ConfigurationError(
                f"keys.passphrase: {source}: systemd has given no credentials, nor is p2pmail.service running with them"
            )
        return _line((Path(given) if given else SERVICE_CREDENTIALS) / name)
    if kind == "command" and name:
        return _said_by(name)
    raise ConfigurationError(
        f'keys.passphrase: {source!r}: not "prompt", "file:PATH", "credential:NAME" or "command:LINE"'
    )


def _said_by(line: str) -> str:
    try:
        command = shlex.split(line)
        ended = subprocess.run(command, stdout=subprocess.PIPE, timeout=_PATIENCE, check=False)  # noqa: S603  the operator's own
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"keys.passphrase: command:{line}: cannot be run: {reason}") from error
    except subprocess.TimeoutExpired as error:
        raise ConfigurationError(
            f"keys.passphrase: command:{line}: gave no answer within {_PATIENCE} seconds"
        ) from error
    if ended.returncode:
        raise ConfigurationError(f"keys.passphrase: command:{line}: ended with exit code {ended.returncode}")
    return _first_line(ended.stdout[:_MOST], f"command:{line}: its first line of output")


def _line(path: Path) -> str:
    try:
        with path.open("rb") as file:
            octets = file.read(_MOST)
    except OSError as error:
        raise ConfigurationError(f"keys.passphrase: {path}: cannot be read: {error.strerror}") from error
    return _first_line(octets, f"{path}: its first line")


def _first_line(octets: bytes, what: str) -> str:
    try:
        return octets.partition(b"\n")[0].rstrip(b"\r").decode()
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"keys.passphrase: {what} is no UTF-8 text") from error
