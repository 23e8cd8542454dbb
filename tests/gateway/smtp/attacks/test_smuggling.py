"""Nothing but CRLF, dot, CRLF ends a content, however it is cut into segments: no second mail is ever seen in one."""

from pathlib import Path
from typing import Any

import pytest

from tests.gateway.smtp.attacks import endings
from tests.gateway.smtp.attacks.roles import HEADER, ROLES, Role
from tests.gateway.smtp.attacks.wire import on_virtual_time
from tests.gateway.smtp.submission_world import People


def stream(role: Role, ending: bytes) -> bytes:
    """A content that a lax reader takes for two: the second mail is complete with its commands."""
    return HEADER + b"text" + ending + role.to_data + HEADER + b"smuggled" + endings.TRUE


def cuts(octets: bytes, ending: bytes) -> list[tuple[bytes, ...]]:
    """Whole; cut in two at every octet around the ending; octet by octet there."""
    start = octets.index(ending, len(HEADER)) - 1
    end = start + len(ending) + 2
    pairs = [(octets[:place], octets[place:]) for place in range(start, end + 1)]
    single = tuple(octets[place : place + 1] for place in range(start, end))
    return [(octets,), *pairs, (octets[:start], *single, octets[end:])]


def run(role: Role, people: People, directory: Path, ending: bytes) -> list[tuple[bytes, list[bytes]]]:
    """What is said, and what is kept, for each way to cut the stream."""

    async def story(world: Any) -> list[tuple[bytes, list[bytes]]]:
        found = []
        for pieces in cuts(stream(role, ending), ending):
            role.forget(world)
            wire = await role.in_content(world)
            said = await wire.send(*pieces)
            # no part of the content was run as a command: the session is where it was
            assert (await wire.send(b"NOOP\r\n")).endswith(b"250 2.0.0 ok\r\n")
            wire.vanish()
            found.append((said, role.kept(world)))
        return found

    return on_virtual_time(lambda: role.make(people, directory), story)


@pytest.mark.parametrize("role", ROLES, ids=str)
@pytest.mark.parametrize("ending", endings.REFUSED.values(), ids=endings.REFUSED.keys())
def test_a_doubtful_end_is_refused(ending: bytes, role: Role, people: People, tmp_path: Path) -> None:
    """One reply, 554 5.6.0, at the true end; neither of the two mails is kept."""
    for said, kept in run(role, people, tmp_path, ending):
        assert said.startswith(b"554 5.6.0 content holds a")
        assert said.count(b"\r\n") == 1
        assert kept == []


@pytest.mark.parametrize("role", ROLES, ids=str)
@pytest.mark.parametrize("ending", endings.CONTENT.values(), ids=endings.CONTENT.keys())
def test_what_only_looks_like_an_end_is_content(ending: bytes, role: Role, people: People, tmp_path: Path) -> None:
    """One reply and one mail, in which the commands of the second are text like any other."""
    expected = stream(role, ending).replace(b"\r\n.", b"\r\n").removesuffix(b"\r\n")
    for said, kept in run(role, people, tmp_path, ending):
        assert said.startswith(b"250 2.")
        assert said.count(b"\r\n") == 1
        assert kept == [expected]


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_the_true_end_is_seen_across_segments(role: Role, people: People, tmp_path: Path) -> None:
    """Wherever segments end, what follows the true end is the next command: the tests above can see a second mail."""
    for said, kept in run(role, people, tmp_path, endings.TRUE):
        replies = said.splitlines()
        assert [reply[:3] for reply in replies] == [b"250", b"250", b"250", b"354", b"250"]
        smuggled = [] if role.name == "relay" else [HEADER + b"smuggled\r\n"]  # the queue knows this submission's ID
        assert kept == [HEADER + b"text\r\n", *smuggled]


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_a_dot_at_once_is_the_end_of_nothing(role: Role, people: People, tmp_path: Path) -> None:
    """CRLF of the 354 exchange counts as the line end before the dot (RFC 5321 §4.1.1.4); a bare one does not."""

    async def story(world: Any) -> None:
        for early in (b".\r", b".\n", b"\n.\r\n", b"\r.\r\n", b".\r\r\n"):
            wire = await role.in_content(world)
            assert await wire.send(early) == b""
            assert (await wire.send(b"\r\n.\r\n")).startswith(b"554 5.6.0 ")
            wire.vanish()
        wire = await role.in_content(world)
        assert (await wire.send(b".", b"\r", b"\n")).startswith(b"250 2." if role.name == "mx" else b"554 5.6.0 ")

    on_virtual_time(lambda: role.make(people, tmp_path), story)
