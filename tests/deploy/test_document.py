"""docs/deploy.md: its commands are p2pmail's, its files are there, its warnings are those that `status` gives."""

import inspect
import re

import pytest

from gateway.status import Status
from tests.deploy import commands
from tests.deploy.compose import ROOT

DOCUMENT = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
BLOCKS = "\n".join(re.findall(r"^```\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL))
INLINE = [text for text in re.findall(r"`(p2pmail [a-z][^`]*)`", DOCUMENT) if not text.startswith("p2pmail is ")]


@pytest.mark.parametrize("words", commands.calls(BLOCKS), ids=" ".join)
def test_commands(words: list[str]) -> None:
    """Every command in a block is one that p2pmail understands."""
    commands.check(words)


def test_commands_in_sentences() -> None:
    """A command named in a sentence exists; where it is whole, it is understood."""
    assert len(INLINE) > 10
    for text in INLINE:
        (words,) = commands.calls(text)
        if words[0] not in ("init", "recover", "join"):  # named, not shown whole
            commands.check(words)


def test_files() -> None:
    """Every file of the repository that it speaks of is there."""
    named = set(re.findall(r"\]\(\.\./([^)#]+)\)|\b(config/[\w/.-]+\w)", DOCUMENT))
    paths = {first or second for first, second in named}
    assert {"docker-compose.yml", "config/systemd/p2pmail.service", "config/dns/example.org.zone"} <= paths
    for path in paths:
        assert (ROOT / path).exists(), path


def test_warnings() -> None:
    """Each warning in its table is in what `status` may say."""
    source = inspect.getsource(Status)
    table = DOCUMENT.partition("| warning | do |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)
    assert len(rows) == source.count("warnings.append(")
    for row in rows:
        assert all(part.strip() in source for part in row.split("…")), row
