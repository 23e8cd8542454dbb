"""What we send never ends early, whatever the reader takes for the end: we help nobody to smuggle past a lax MTA."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.mail.outgoing import NewItem, NewRecipient
from gateway.outbound.bodies import seal
from gateway.outbound.courier import Courier
from gateway.outbound.message import Message, compose
from gateway.outbound.model import QueuedRecipient, QueueItem, Unit
from gateway.outbound.mx import Target
from gateway.outbound.session import Timeouts
from tests.gateway.smtp.attacks import endings
from tests.gateway.smtp.attacks.roles import HEADER, RELAY, SUBMISSION
from tests.gateway.smtp.attacks.wire import on_virtual_time
from tests.gateway.smtp.submission_world import ALICE, People

Reader = Callable[[bytes], bytes]

_ANY_END = rb"(?:\r\n|\r|\n)"
LAX: dict[str, tuple[Reader, re.Pattern[bytes]]] = {
    # how the reader sees the octets, and what is an end to it
    "RFC 5321": (lambda octets: octets, re.compile(rb"\r\n\.\r\n")),
    "LF ends lines": (lambda octets: octets, re.compile(rb"\n\.\r?\n")),
    "CR ends lines": (lambda octets: octets, re.compile(_ANY_END + rb"\." + _ANY_END)),
    "CR is ignored": (lambda octets: octets.replace(b"\r", b""), re.compile(rb"\n\.\n")),
    "NUL is ignored": (lambda octets: octets.replace(b"\0", b""), re.compile(_ANY_END + rb"\." + _ANY_END)),
    "space at the end of a line is ignored": (lambda octets: octets, re.compile(_ANY_END + rb"\.[ \t]*" + _ANY_END)),
}


def sent(content: bytes) -> bytes:
    """The octets between 354 and the reply for a queued content."""
    composed = compose(Unit(_item(content), "remote.example", (_recipient(),)), None)
    return b"".join(bytes(block) for block in composed.blocks()) + b".\r\n"


def ends_early(octets: bytes) -> list[str]:
    """Which readers see the end of these octets before their end."""
    found = []
    for name, (seen_as, end) in LAX.items():
        seen = seen_as(b"\r\n" + octets)
        match = end.search(seen)
        assert match is not None, name
        if match.end() < len(seen):
            found.append(name)
    return found


def _recipient() -> QueuedRecipient:
    return QueuedRecipient(0, "x@remote.example", "remote.example", "", "", "pending", 0, 0, 0, "", "", "")


def _item(content: bytes) -> QueueItem:
    trace = b"Received: from [127.0.0.1]\r\n\tby mx.example.org with ESMTPSA id one;\r\n\tnow\r\n"
    new = NewItem("one", ALICE, ALICE, (NewRecipient("x@remote.example"),), content, trace=trace)
    return QueueItem(
        id=1,
        submitter=new.submitter,
        submission_id=new.submission_id,
        reverse_path=new.reverse_path,
        body=new.body,
        smtputf8=new.smtputf8,
        trace=new.trace,
        ret=new.ret,
        envelope_id=new.envelope_id,
        accepted=0,
        sealed=seal(content),
        recipients=(_recipient(),),
    )


@pytest.mark.parametrize("role", [SUBMISSION, RELAY], ids=str)
def test_what_was_submitted_ends_once_for_every_reader(role: Any, people: People, tmp_path: Path) -> None:
    """Each content with a doubtful end is refused, or leaves us in a form that has one end for lax readers too."""

    async def story(world: Any) -> int:
        accepted = 0
        for ending in (*endings.REFUSED.values(), *endings.CONTENT.values()):
            role.forget(world)
            wire = await role.in_content(world)
            said = await wire.send(HEADER + b"text" + ending + b"MAIL FROM:<ceo@example.org>\r\n.\r\n")
            wire.vanish()
            if said.startswith(b"250"):
                (kept,) = role.kept(world)
                accepted += 1
                assert ends_early(sent(kept)) == [], ending
        return accepted

    assert on_virtual_time(lambda: role.make(people, tmp_path), story) >= len(endings.CONTENT)


@pytest.mark.parametrize("role", [SUBMISSION, RELAY], ids=str)
def test_what_came_in_chunks_ends_once_too(role: Any, people: People, tmp_path: Path) -> None:
    """In chunks a dot alone on a line is content (RFC 3030 §2); when it leaves after DATA it is stuffed."""
    content = HEADER + b".\r\nMAIL FROM:<ceo@example.org>\r\n.\r\nDATA\r\n..\r\n.\r\n."

    async def story(world: Any) -> None:
        for size in (1, 7, len(content)):
            role.forget(world)
            wire = role.wire(world)
            await wire.send(role.greeting, role.to_data.removesuffix(b"DATA\r\n"))
            for place in range(0, len(content), size):
                chunk = content[place : place + size]
                assert (await wire.send(b"BDAT %d\r\n" % len(chunk) + chunk)).startswith(b"250 ")
            assert (await wire.send(b"BDAT 0 LAST\r\n")).startswith(b"250 2.0.0 kept")
            wire.vanish()
            (kept,) = role.kept(world)
            assert kept == content + b"\r\n"
            assert ends_early(sent(kept)) == []

    on_virtual_time(lambda: role.make(people, tmp_path), story)


@given(st.lists(st.sampled_from([b"\r\n", b".", b"..", b" ", b"\t", b"x", b"\x80", b"\x0b", b"\x8a", b"\xae"])))
@settings(max_examples=300, deadline=None)
def test_any_taken_content_ends_once(pieces: list[bytes]) -> None:
    """Invariant: content without bare CR, bare LF and NUL, as our listeners take it, has one end when it leaves."""
    octets = sent(HEADER + b"".join(pieces) + b"\r\n")
    assert ends_early(octets) == []
    assert octets.endswith(b"\r\n.\r\n")


@given(st.lists(st.sampled_from([b"\r\n", b".", b"..", b".\r\n", b"x"])), st.integers(0, 40))
@settings(max_examples=200, deadline=None)
def test_stuffing_is_undone_by_the_rule(pieces: list[bytes], padding: int) -> None:
    """Invariant: a reader that obeys RFC 5321 §4.5.2 gets the octets that were queued, behind our trace."""
    content = HEADER + b"x" * padding + b"".join(pieces) + b"\r\n"
    octets = sent(content)
    lines = octets.removesuffix(b".\r\n").split(b"\r\n")
    assert b"\r\n".join(line.removeprefix(b".") for line in lines).endswith(content)


def test_every_lax_reader_is_lax() -> None:
    """The readers above do see an early end where there is one: the tests can fail."""
    early = {
        "RFC 5321": b"x\r\n.\r\ny\r\n.\r\n",
        "LF ends lines": b"x\n.\ny\r\n.\r\n",
        "CR ends lines": b"x\r.\ry\r\n.\r\n",
        "CR is ignored": b"x\n\r.\r\r\ny\r\n.\r\n",
        "NUL is ignored": b"x\r\n\0.\r\ny\r\n.\r\n",
        "space at the end of a line is ignored": b"x\r\n. \r\ny\r\n.\r\n",
    }
    assert early.keys() == LAX.keys()
    for name, octets in early.items():
        assert name in ends_early(octets)


class RecordingMta:
    """Answers as if all went well, and keeps every octet after DATA until the connection ends."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.over = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 remote.example ESMTP\r\n")
        while line := await reader.readline():
            if line != b"DATA\r\n":
                writer.write(b"250 ok\r\n")
                continue
            writer.write(b"354 go ahead\r\n")
            while not self.content.endswith(b"\r\n.\r\n") and (piece := await reader.read(65_536)):
                self.content += piece
            writer.write(b"250 2.0.0 taken\r\n")
        writer.close()
        self.over.set()


class OneHost:
    """Exchangers whose only host is on loopback."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def targets(self, domain: str) -> tuple[Target, ...]:
        return (Target("mx.remote.example", "127.0.0.1", self._port),)


async def test_the_wire_has_what_was_composed() -> None:
    """Between us and a remote MTA nothing is added, converted or unstuffed: the octets are those tested above."""
    content = HEADER + b".\r\n..\r\n. \r\n\r\n.x\r\n" * 5_000 + b"end"
    composed = compose(Unit(_item(content), "remote.example", (_recipient(),)), None)
    assert isinstance(composed, Message)
    mta = RecordingMta()
    server = await asyncio.start_server(mta.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    timeouts = Timeouts(connect=2_000, command=5_000, data=5_000, block=5_000, final=5_000, quit=500)
    session = await Courier(OneHost(port), "mx.example.org", timeouts).connect("remote.example")
    (attempt,) = await session.deliver(composed)
    await session.quit()
    await mta.over.wait()
    server.close()
    await server.wait_closed()
    assert attempt.outcome == "delivered"
    assert bytes(mta.content) == sent(content)
    assert ends_early(bytes(mta.content)) == []
