"""`p2pmail queue list` and `show`: what strangers say reaches the terminal as text, and as nothing else."""

import json
from typing import Any

import pytest

from gateway import control
from gateway.outbound.params import LISTED
from gateway.site import Site
from tests.gateway.cli.conftest import Command

EVIL = "550 5.1.1 [2001:db8:a:b::1] [bold]no[/bold] \x1b]0;title\x07\x1b[2J\u202e\x9b2J ü"
ITEM: dict[str, Any] = {
    "id": "7",
    "where": "queue",
    "from": '"[red]"@example.org',
    "accepted": 1_700_000_000_000,
    "size": 10,
    "recipients": [
        {"to": '"[/]"@x.example', "state": "held", "attempts": 1, "next_attempt": 0, "reply": EVIL, "remote": "mx"}
    ],
}


@pytest.fixture(autouse=True)
def _answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "ask", lambda *_: [ITEM])


def test_replies_of_strangers_are_only_text(p2pmail: Command, site: Site) -> None:
    """Neither their control characters nor rich's markup does anything; the rest is there."""
    ended = p2pmail("queue", "list", "-c", site.config_file)
    assert ended.code == 0
    assert all(line.isprintable() for line in ended.out.split("\n"))
    assert '<"[red]"@example.org>' in ended.out
    assert '"[/]"@x.example: held' in ended.out
    assert "550 5.1.1 [2001:db8:a:b::1] [bold]no[/bold] ?]0;title??[2J??2J ü" in ended.out


def test_programs_get_everything(p2pmail: Command, site: Site) -> None:
    """JSON, in which control characters are escaped."""
    ended = p2pmail("queue", "list", "--json", "-c", site.config_file)
    assert json.loads(ended.out) == [ITEM]
    assert "\x1b" not in ended.out


def test_one_message(p2pmail: Command, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the list, with how often and where each recipient was tried; programs get everything."""
    monkeypatch.setattr(control, "ask", lambda *_: ITEM)
    ended = p2pmail("queue", "show", "7", "-c", site.config_file)
    assert ended.code == 0
    assert all(line.isprintable() for line in ended.out.split("\n"))
    assert ended.out.startswith('7  queue  2023-11-14 22:13:20  <"[red]"@example.org>  10 octets\n')
    assert '"[/]"@x.example: held, attempts 1, the last at mx  550 5.1.1' in ended.out
    assert json.loads(p2pmail("queue", "show", "7", "--json", "-c", site.config_file).out) == ITEM


def test_a_long_list_says_that_it_is_not_all(p2pmail: Command, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the list is at its bound somebody might take it for the whole queue."""
    monkeypatch.setattr(control, "ask", lambda *_: [ITEM] * LISTED)
    assert p2pmail("queue", "list", "-c", site.config_file).out.endswith("`p2pmail status` counts all.\n")
    monkeypatch.setattr(control, "ask", lambda *_: [ITEM])
    assert "counts all" not in p2pmail("queue", "list", "-c", site.config_file).out
