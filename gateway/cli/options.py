"""Options that several commands share, and how commands read what people give them."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from gateway.errors import ConfigurationError
from gateway.site import CONFIG_NAME

ConfigFile = Annotated[
    Path, typer.Option("-c", "--config", help="The configuration file; its directory holds all data.")
]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override one key for this run; repeatable.")
]
SeedOverrides = Annotated[
    list[str], typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Write this into the new file; repeatable.")
]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read her password from standard input, the first line of it.")
]
DEFAULT_CONFIG = Path(CONFIG_NAME)
FILE = "a file, or - for standard input."
MOST = 8 << 20  # octets of a text or kit that is read: the largest domain record fits


def plain_console() -> Console:
    """Return the console on standard output that prints what it is given: ":b:" of an IPv6 address is no emoji."""
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


def plain(text: str) -> str:
    """Return what somebody typed, or strangers said, without what a terminal would obey."""
    return "".join(each if each.isprintable() else "?" for each in text)


def read_line(what: str) -> str:
    """Return a line of standard input without its end. Raises ConfigurationError."""
    line = sys.stdin.buffer.readline(1_001)
    if len(line) > 1_000:
        raise ConfigurationError(f"standard input: {what}: longer than 1,000 octets")
    return _decoded(line, f"standard input: {what}").rstrip("\r\n")


def read_file(name: str) -> bytes:
    """Return the octets of a file, or of standard input for "-". Raises ConfigurationError."""
    try:
        if name == "-":
            octets = sys.stdin.buffer.read(MOST + 1)
        else:
            with Path(name).open("rb") as file:
                octets = file.read(MOST + 1)
    except OSError as error:
        raise ConfigurationError(f"{Path(name)}: cannot be read: {error.strerror}") from error
    if len(octets) > MOST:
        raise ConfigurationError(f"{name}: longer than {MOST} octets, so not what is wanted here")
    return octets


def read_text(name: str) -> str:
    """Return the text of a file, or of standard input for "-". Raises ConfigurationError."""
    return _decoded(read_file(name), name)


def _decoded(octets: bytes, what: str) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{what}: not UTF-8 text") from error
