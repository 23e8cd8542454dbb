"""docs/deploy.md and README.md: commands are p2pmail's; files are there, and warnings are those that `status` gives."""

import inspect
import re
from types import SimpleNamespace
from typing import cast

import pytest

from gateway import health, renewing, status
from p2pcore.records import DomainRecord
from tests.deploy import commands
from tests.deploy.compose import ROOT

DOCUMENT = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = "\n".join(re.findall(r"^```\n(.*?)^```$", DOCUMENT + README, re.MULTILINE | re.DOTALL))
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
        if words[0] not in ("init", "recover", "join", "ca"):  # named, not shown whole
            commands.check(words)


def test_files() -> None:
    """Every file of the repository that it speaks of is there."""
    named = set(re.findall(r"\]\(\.\./([^)#]+)\)|\b(config/[\w/.-]+\w)", DOCUMENT))
    paths = {first or second for first, second in named}
    assert {"docker-compose.yml", "config/systemd/p2pmail.service", "config/dns/example.org.zone"} <= paths
    for path in paths:
        assert (ROOT / path).exists(), path


def test_warnings() -> None:
    """Each warning that `status` may give has its row in the table, and each row is of a warning that there is."""
    table = DOCUMENT.partition("| warning | do |")[2].partition("\n\n")[0]
    texts = [
        text for row in re.findall(r"^\| (`[^|]+`) \|", table, re.MULTILINE) for text in re.findall(r"`([^`]+)`", row)
    ]
    source = "".join(inspect.getsource(module) for module in (status, health, renewing))
    for text in texts:
        assert all(part.strip() in source for part in re.split(r"…|\d+", text)), text
    now = 10**13
    record = SimpleNamespace(next_update=0)
    given = [
        *(
            warning
            for k, w, known in ((0, 0, 0), (1, 1, 1), (3, 2, 1), (3, 2, 2))
            for warning in health.of_copies(k, w, known)
        ),
        *health.of_clock(10**6),
        *health.of_directory(cast(DomainRecord, record), 0, 0, now),
        health.REFUSED,
        *health.of_gateways("bob@example.org", 2, "no answer"),
        status.too_few_copies(3, 0.5, 7, 3),
    ]
    patterns = [re.compile(".*".join(map(re.escape, text.split("…")))) for text in texts]
    for warning in given:
        assert any(pattern.search(warning) for pattern in patterns), warning
