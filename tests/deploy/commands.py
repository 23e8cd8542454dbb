"""Whether a line that calls `p2pmail` would be understood by it."""

import re
import shlex

import typer.main

from gateway.cli.app import app


def check(words: list[str]) -> None:
    """Raise a usage error where the command line has no such command, argument or option. Runs nothing."""
    command = typer.main.get_command(app)
    while children := getattr(command, "commands", None):
        if not words or words[0] not in children:
            raise AssertionError(f"p2pmail {' '.join(words)}: no such command")
        command, words = children[words[0]], words[1:]
    command.make_context(command.name, list(words), resilient_parsing=False)


def calls(text: str) -> list[list[str]]:
    """Return the arguments of every call of `p2pmail` in shell text: comments and redirections taken off."""
    found = []
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        for part in re.split(r"\|\|?|&&|;", line):
            match = re.search(r"(?:^|[\s/])p2pmail((?: .*)?)$", part.strip())
            if match is None or part.lstrip().startswith("#"):
                continue
            words = shlex.split(re.sub(r"\s\d?[<>].*$", "", match[1]), comments=True)
            if words and not words[0].startswith("-"):  # else the name of a user, a service or a directory
                found.append(words)
    return found
